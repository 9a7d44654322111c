"""Tiled TIFF read directly: its compressed tiles as they lie in the file, or decoded one by one.

Serves every TIFF whose levels are plain grids of tiles: Aperio, OME-TIFF, generic pyramids. It is
the only reader that gives compressed bytes; what it decodes must equal the other readers.
"""

import re
from functools import cached_property
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.readers.base import BaseSlide, Facts, Mask, Pixels, number, ome_mpp, text_kinds
from pathai.source import Remote
from pathai.store.tile_check import CannotCopy, jpeg_header
from pathai.store.tile_copy import CompressedTiles
from pathai.units import Mpp, Size

JPEG, J2K_RGB, J2K = 7, 33005, 34712
"""TIFF compressions whose tiles can be copied; 33003 keeps YCbCr inside of JPEG 2000."""
RGB, YCBCR = 2, 6
ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""APP14 segment that says: the components are red, green, blue (transform 0)."""
ODD = ("ndpi", "scn", "bif", "philips", "qpi")
"""Formats whose tiles shift, overlap or are none, as tifffile calls them."""
ASPECT = 1.0
"""Px by which a level may miss the size that its downsample asks for."""


class _Tiff(tifffile.TiffFile):  # type: ignore[misc]
    """Knows its levels, once they were asked for."""

    @cached_property
    def slide_levels(self) -> list[tuple[Any, float]]:
        return _levels(self)


class TiledTiffReader(BaseSlide):
    """Reads through tifffile and its codecs."""

    name = "tiled-tiff"

    def _open(self) -> Any:
        return _Tiff(self.path.open() if isinstance(self.path, Remote) else self.path)

    def _collect(self, handle: Any) -> Facts:
        pages = handle.slide_levels
        first = pages[0][0]
        text = first.description or ""
        objective = re.search(r"AppMag = ([0-9.]+)", text)
        tags = [tag.name for tag in first.tags if isinstance(tag.value, str) and tag.value.strip()]
        aperio = text.startswith("Aperio")
        return Facts(
            size=Size(first.imagewidth, first.imagelength),
            level_dimensions=tuple(Size(p.imagewidth, p.imagelength) for p, _ in pages),
            level_downsamples=tuple(_ratio(first, page) for page, _ in pages),
            mpp=_mpp(first, text),
            objective=number(objective[1]) if objective else None,
            vendor="aperio" if aperio else "generic-tiff",
            text_tags=text_kinds(tags),
            icc=bytes(first.tags.valueof("InterColorProfile", b"")),
        )

    def _region(self, handle: Any, level: int, x: int, y: int, size: Size) -> tuple[Pixels, Mask]:
        page = handle.slide_levels[level][0]
        out = np.full((size.height, size.width, 3), 255, np.uint8)
        valid = np.zeros((size.height, size.width), bool)
        wide, high = page.tilewidth, page.tilelength
        across = -(-page.imagewidth // wide)
        for row in range(y // high, (y + size.height - 1) // high + 1):
            for column in range(x // wide, (x + size.width - 1) // wide + 1):
                tile = _tile(handle, page, row * across + column)
                if tile is None:
                    continue
                y0, x0 = row * high, column * wide
                ys = slice(max(y, y0), min(y + size.height, y0 + tile.shape[0]))
                xs = slice(max(x, x0), min(x + size.width, x0 + tile.shape[1]))
                there = slice(ys.start - y, ys.stop - y), slice(xs.start - x, xs.stop - x)
                part = tile[ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0]
                out[there], valid[there] = part, True
        return out, valid

    def compressed(self) -> list[CompressedTiles]:
        """Levels whose tiles can be copied, finest first; empty if the finest cannot.

        Raises
        ------
        PathaiError
            E120 if the file cannot be opened.
        """
        return self.convert("E120", "looking for its tiles", lambda: _compressed(self._here()))


def _levels(handle: Any) -> list[tuple[Any, float]]:
    """Pages that are levels, with their downsample, finest first."""
    odd = [name for name in ODD if getattr(handle, f"is_{name}")]
    if odd:
        raise PathaiError("E120", f"tiles of format {odd[0]} are not a plain grid")
    first = handle.pages[0].aspage()
    if not first.is_tiled:
        raise PathaiError("E118", "the image has no tiles")
    if first.dtype != np.uint8:
        raise PathaiError("E140", f"pixels are {first.dtype}, not 8 bits per channel")
    if first.samplesperpixel != 3 or first.planarconfig != 1:
        raise PathaiError("E141", f"{first.samplesperpixel} channels, not an interleaved RGB image")
    others = [page.aspage() for page in (*handle.pages[1:], *(first.pages or ()))]
    found = [(first, 1.0)]
    for page in sorted(others, key=lambda p: -p.imagewidth):
        same = page.is_tiled and page.dtype == first.dtype
        same = same and page.samplesperpixel == first.samplesperpixel
        if not same or page.imagewidth >= found[-1][0].imagewidth:
            continue
        downsample = whole_factor(
            Size(first.imagewidth, first.imagelength), Size(page.imagewidth, page.imagelength)
        )
        if downsample is not None:
            found.append((page, downsample))
    return found


def _ratio(first: Any, page: Any) -> float:
    """Level-0 px per px of a level, mean of both axes."""
    across, down = first.imagewidth / page.imagewidth, first.imagelength / page.imagelength
    return float(across + down) / 2


def whole_factor(full: Size, level: Size) -> float | None:
    """How much smaller a level is: the one factor that fits both axes to within a pixel.

    Scanners divide by a whole number and drop what is left of a pixel, so a whole number that
    fits is the truth; else it is what the longer axis says. None if the axes disagree.
    """
    long = max(full.width, full.height) == full.width
    ratio = full.width / level.width if long else full.height / level.height
    for factor in (float(round(ratio)), ratio):
        off = (abs(full.width / factor - level.width), abs(full.height / factor - level.height))
        if factor >= 1 and max(off) <= ASPECT:
            return factor
    return None


def _tile(handle: Any, page: Any, index: int) -> NDArray[np.uint8] | None:
    """Decoded tile without its padding, or None where the file holds no bytes."""
    count = page.databytecounts[index]
    if count == 0:
        return None
    data = handle.filehandle.read_segments([page.dataoffsets[index]], [count])
    raw = next(iter(data))[0]
    tile, _, shape = page.decode(raw, index, jpegtables=page.jpegtables)
    found: NDArray[np.uint8] = tile.reshape(tile.shape[-3:])[: shape[-3], : shape[-2]]
    return found


def _compressed(handle: Any) -> list[CompressedTiles]:
    found: list[CompressedTiles] = []
    for page, downsample in handle.slide_levels:
        try:
            head, codec = _head(page)
        except CannotCopy:
            break
        tile = Size(page.tilewidth, page.tilelength)
        rows, columns = -(-page.imagelength // tile.height), -(-page.imagewidth // tile.width)
        offsets = np.asarray(page.dataoffsets, np.uint64)
        counts = np.asarray(page.databytecounts, np.uint64)
        if not len(offsets) == len(counts) == rows * columns:
            break
        found.append(
            CompressedTiles(
                Size(page.imagewidth, page.imagelength),
                downsample,
                tile,
                codec,
                head,
                offsets.reshape(rows, columns),
                counts.reshape(rows, columns),
            )
        )
    return found


def _head(page: Any) -> tuple[bytes, str]:
    """What stands in front of a tile to make it a picture file, and its codec.

    Aperio keeps tables apart and RGB without any marker: a decoder alone would take it for YCbCr.
    """
    kind = int(page.photometric)
    if int(page.compression) in (J2K_RGB, J2K) and kind == RGB:
        return b"", "jpeg2000"
    if int(page.compression) != JPEG or kind not in (RGB, YCBCR):
        raise CannotCopy("its tiles are not JPEG")
    tables = page.jpegtables or b""
    if tables and not jpeg_header(tables):
        raise CannotCopy("its shared JPEG tables are damaged")
    return (tables[:-2] or b"\xff\xd8") + (ADOBE_RGB if kind == RGB else b""), "jpeg"


def _mpp(page: Any, text: str) -> Mpp | None:
    """Aperio's text, OME-XML, then the resolution tags: a fixed order."""
    aperio = re.search(r"\|\s*MPP = ([^|\r\n]{1,20})", text)
    if aperio:
        value = number(aperio[1].strip())
        return Mpp(value, value) if value is not None else None
    if "<OME" in text[:4096]:
        return ome_mpp(text)
    unit = page.tags.get("ResolutionUnit")
    scale = {2: 25400.0, 3: 10000.0}.get(int(unit.value) if unit else 2)
    axes = [page.tags.get(f"{axis}Resolution") for axis in "XY"]
    if scale is None or None in axes:
        return None
    per = [tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in axes]
    return Mpp(scale / per[0], scale / per[1]) if all(p > 0 for p in per) else None
