"""TIFF files that OpenSlide refuses: OME-TIFF, WebP, zstd, strips ..., read through tiffslide."""

import warnings
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiffslide import TiffSlide

from pathai.errors import PathaiError
from pathai.readers.base import (
    BaseSlide,
    Facts,
    Mask,
    Pixels,
    kinds_of,
    number,
    ome_mpp,
    text_kinds,
)
from pathai.source import Remote
from pathai.units import Mpp, Size


class _LevelPixels(TiffSlide):  # type: ignore[misc]
    """Locations in pixels of the level asked for, so that no division rounds them away."""

    def _read_region_loc_transform(self, location: tuple[int, int], level: int) -> tuple[int, int]:
        return location


class TiffSlideReader(BaseSlide):
    """Reads through tiffslide."""

    name = "tiffslide"

    def _open(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            remote = isinstance(self.path, Remote)
            with ExitStack() as undo:
                handle = _LevelPixels(self.path.open() if remote else str(self.path))
                undo.callback(handle.close)
                _ = handle.properties  # warns of formats that it knows in part; kept by the handle
                undo.pop_all()
            return handle

    def _collect(self, handle: Any) -> Facts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = dict(handle.properties)
            dimensions = tuple(Size(*size) for size in handle.level_dimensions)
        page = handle.ts_tifffile.pages[0]
        if page.dtype != np.uint8:
            raise PathaiError("E140", f"pixels are {page.dtype}, not 8 bits per channel")
        axes = str(text["tiffslide.series-axes"])
        channels = dict(zip(axes, handle.ts_tifffile.series[0].shape, strict=False))
        count = channels.get("S", channels.get("C", 1))
        if count not in (3, 4) or (count == 4 and _extra(page) not in (1, 2)):
            raise PathaiError("E141", f"{count} channels, not the 3 of an RGB image")
        objective = number(text.get("tiffslide.objective-power"))
        tags = [tag.name for tag in page.tags if isinstance(tag.value, str) and tag.value.strip()]
        tags += [key for key, value in text.items() if isinstance(value, str) and "." in key]
        return Facts(
            size=dimensions[0],
            level_dimensions=dimensions,
            level_downsamples=tuple(float(d) for d in handle.level_downsamples),
            mpp=_mpp(text) or _mpp_by_default(page),
            objective=objective if objective and objective > 0 else None,
            vendor=str(text.get("tiffslide.vendor") or "generic-tiff"),
            associated=kinds_of(list(handle.associated_images)),
            text_tags=text_kinds([key for key in tags if not key.startswith("tiffslide.")]),
            sparse=count == 4,
            icc=bytes(page.tags.valueof("InterColorProfile", b"")),
        )

    def _region(self, handle: Any, level: int, x: int, y: int, size: Size) -> tuple[Pixels, Mask]:
        part = handle.read_region((x, y), level, (size.width, size.height), as_array=True)
        valid = self._present(handle, level, x, y, size)
        rgb: Pixels = np.ascontiguousarray(part[..., :3])
        if part.shape[2] == 4:
            alpha = part[..., 3:].astype(np.uint16)
            valid &= alpha[..., 0] >= 128
            rgb = _on_white(rgb, alpha, associated=_associated(handle))
        if not valid.all():
            rgb[~valid] = 255
        return rgb, valid

    def _present(self, handle: Any, level: int, x: int, y: int, size: Size) -> Mask:
        """Where the file holds bytes: tiffslide paints a tile of no bytes black."""
        valid = np.ones((size.height, size.width), bool)
        index = int(handle.properties["tiffslide.series-index"])
        page = handle.ts_tifffile.series[index].levels[level].pages[0]
        if not page.is_tiled:
            return valid
        width, length = int(page.tilewidth), int(page.tilelength)
        across = -(-int(page.imagewidth) // width)
        counts = page.databytecounts
        for row in range(y // length, (y + size.height - 1) // length + 1):
            for column in range(x // width, (x + size.width - 1) // width + 1):
                if counts[row * across + column] == 0:
                    top, left = max(row * length - y, 0), max(column * width - x, 0)
                    bottom, right = (row + 1) * length - y, (column + 1) * width - x
                    valid[top:bottom, left:right] = False
        return valid


def _extra(page: Any) -> int:
    """What the fourth channel is (TIFF ExtraSamples): 1 and 2 are opacity, 0 is unknown."""
    extra = page.tags.valueof(338, (0,))
    return int(extra[0] if isinstance(extra, tuple) else extra)


def _associated(handle: Any) -> bool:
    """Whether colors are stored multiplied by their opacity."""
    return _extra(handle.ts_tifffile.pages[0]) == 1


def _on_white(rgb: Pixels, alpha: NDArray[np.uint16], *, associated: bool) -> Pixels:
    """Pixels uint8[h, w, 3] laid over white by their opacity uint16[h, w, 1] of 255."""
    clear = 255 - alpha
    blend = rgb + clear if associated else (rgb * alpha + 255 * clear + 127) // 255
    result: Pixels = np.minimum(blend, 255).astype(np.uint8)
    return result


def _mpp(text: dict[str, Any]) -> Mpp | None:
    """OME-XML first, then what tiffslide found (vendor text, resolution tags): a fixed order."""
    ome = ome_mpp(str(text.get("tiff.ImageDescription") or ""))
    if ome is not None:
        return ome
    x, y = (number(_plain(text.get(f"tiffslide.mpp-{axis}"))) for axis in "xy")
    return Mpp(x, y) if x is not None and y is not None else None


def _mpp_by_default(page: Any) -> Mpp | None:
    """Resolution without a unit is per inch (TIFF 6.0); a unit that says "none" stays none."""
    if 296 in page.tags or not {282, 283} <= set(page.tags.keys()):
        return None
    across, down = (page.tags.valueof(tag) for tag in (282, 283))
    if not across[0] or not down[0]:
        return None
    return Mpp(25_400 * across[1] / across[0], 25_400 * down[1] / down[0])


def _plain(value: object) -> object:
    return repr(float(value)) if isinstance(value, (int, float)) else value
