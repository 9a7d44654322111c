"""Stage tile: where the tissue is, and its pixels as a tissue-only pyramid.

The slide's file is opened in a child process alone. Where its tiles can be copied, the child copies
them without decoding any; else this process asks for blocks, halves and stores them.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathai.config import TileConfig
from pathai.errors import PathaiError
from pathai.source import Place, read_at, stamp
from pathai.store.commit import Commit, Skipped
from pathai.store.folders import SlideFolder
from pathai.store.manifest import storage_error
from pathai.store.records import PEN, UNREADABLE, Qc, TissueMap
from pathai.units import Box, Mpp, Size

if TYPE_CHECKING:
    from pathai.readers import Slide
    from pathai.readers.tiled_tiff import TiledTiffReader
    from pathai.store.level import LevelInfo
    from pathai.store.tile_copy import CompressedTiles, ReadAt

BLOCK_SECONDS = 120.0
"""Longest a decoder may think about one block."""
SPOILED = {
    "pen": "under ink",
    "edge": "under the coverslip's edge",
    "blur": "blurred",
    "fold": "folded",
    "bubble": "under air bubbles",
}
"""Words for artefacts on tissue."""


def run(folder: SlideFolder, section: TileConfig, out: Commit, *, path: Place) -> None:
    """Write ``tissue.zarr`` and ``tiles.zarr`` of a slide.

    Parameters
    ----------
    folder : SlideFolder
        With ``slide.json`` of ingest.
    section : TileConfig
        Limits and resolution of the tissue map.
    out : Commit
        Takes both outputs; is degraded where a small part of the tissue is unreadable.
    path : Path or Remote
        The slide file; goes no further than the child.

    Raises
    ------
    Skipped
        E145 without tissue, E149 without usable tissue, E146 on a dark background.
    PathaiError
        E113 if more of the tissue is unreadable than the configuration allows, E163 if the file
        is not the one that was ingested, E170-E172 if the decoder failed as a process.
    """
    from pathai.store.pyramid import write_metadata, write_tissue

    info = folder.read_slide()
    source = _Source(path, info.reader, section)
    size, tissue, qc = source.survey(info.mpp, info.stain)
    if size != Size(info.width, info.height):
        message = f"the file is {size.width} x {size.height} px, ingest saw another size"
        raise PathaiError("E163", message, "run pathai ingest again")
    if tissue is None or qc is None:
        raise Skipped("E146", "bright on dark background, like fluorescence")
    require_tissue(tissue, qc, section)
    tiles = out.part("tiles.zarr")
    stored = _store(source, tiles, size, tissue, section)
    write_metadata(tiles, info.mpp, stored.levels, {"source": stored.source})
    write_tissue(out.part("tissue.zarr"), tissue, qc)
    source.unchanged()
    if stored.bad_fraction > 0:
        count = len(stored.levels[0].unreadable)
        x, y, width, height = stored.levels[0].unreadable[0]
        message = f"{stored.bad_fraction:.3%} of the tissue is unreadable, in {count} rectangles"
        message += f", the first at x {x} y {y}, {width} x {height} px of level 0"
        out.degrade("E121", message, "copy or scan the slide again; those tiles are marked")


@dataclass(frozen=True)
class Stored:
    """What was written: its levels, whether they are copies, the unreadable share of the tissue."""

    levels: "list[LevelInfo]"
    source: str
    bad_fraction: float


def _store(
    source: "_Source", tiles: Path, size: Size, tissue: TissueMap, section: TileConfig
) -> Stored:
    """Copy the tiles where that is possible, else decode them."""
    why = "as configured"
    if section.copy_tiles and section.jpeg_quality is None:
        copied, why = source.copy(tiles, tissue)
        if copied is not None:
            return copied
    from pathai.store.damage import Damage
    from pathai.store.pyramid_writer import write_pyramid

    damage = Damage(tissue, section.max_bad_fraction)
    levels = write_pyramid(tiles, source.read, size, damage, section.jpeg_quality)
    return Stored(levels, f"decoded: {why}", damage.fraction)


def require_tissue(tissue: TissueMap, qc: Qc, section: TileConfig) -> None:
    """Skip a slide with too little usable tissue, and say what became of the rest.

    Raises
    ------
    Skipped
        E145 where little tissue was found, E149 where artefacts cover what was found.
    """
    unclear = tissue.area_mm2(UNREADABLE)
    if qc.tissue_mm2 + unclear >= max(section.min_tissue_mm2, 1e-9):
        return
    spoiled = sorted(qc.artefact_mm2.items(), key=lambda item: -item[1])
    said = ", ".join(f"{area:.2g} mm² {SPOILED[name]}" for name, area in spoiled if area > 0)
    if qc.found_mm2 + unclear >= section.min_tissue_mm2 and said:
        raise Skipped("E149", f"{qc.found_mm2:.2g} mm² of tissue, of it {said}")
    message = f"{qc.tissue_mm2:.3f} mm² of tissue, at least {section.min_tissue_mm2:g} wanted"
    ink = tissue.area_mm2(PEN)
    if ink > 0:
        message += f"; {ink:.3f} mm² of pen"
    raise Skipped("E145", message)


class _Source:
    """The slide file behind the child process."""

    def __init__(self, path: Place, reader: str, section: TileConfig) -> None:
        from pathai.guard import shared

        self.path, self.reader, self.section = path, reader, section
        self.guard = shared(section.memory_mib)
        self.deadline = time.monotonic() + section.seconds
        self.state = self._stamps()

    def survey(self, mpp: Mpp, stain: str) -> tuple[Size, TissueMap | None, Qc | None]:
        """Size of level 0, tissue map and quality; none on a dark background."""
        found: tuple[Size, TissueMap | None, Qc | None] = self._call(
            "survey", mpp, self.section, stain
        )
        return found

    def read(self, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels of a level-0 box and which of them are real."""
        pixels, valid = self._call("read", box, limit=BLOCK_SECONDS)
        if valid is None:
            valid = np.ones(pixels.shape[:2], bool)
        return pixels, valid

    def copy(self, tiles: Path, tissue: TissueMap) -> "tuple[Stored | None, str]":
        """Copied levels, or why there are none."""
        found: tuple[Stored | None, str] = self._call(
            "copy", tiles, tissue, self.section.max_bad_fraction
        )
        return found

    def unchanged(self) -> None:
        """Refuse a file that was replaced or written to meanwhile (E163)."""
        if self._stamps() != self.state:
            raise PathaiError("E163", "the file changed while its tiles were read")

    def _stamps(self) -> list[dict[str, int]]:
        from pathai.readers.slide_files import watched

        return [stamp(file) for file in watched(self.path)]

    def _call(self, name: str, *args: Any, limit: float = float("inf")) -> Any:
        left = max(self.deadline - time.monotonic(), 0.001)
        target = f"pathai.tiling:{name}"
        return self.guard.call(target, self.path, self.reader, *args, seconds=min(left, limit))


COPIED = ("aperio", "generic-tiff", "")
"""Formats whose levels are plain grids of tiles; others shift, overlap or leave out some."""
SAMPLES = 3
"""Tiles of a level that are decoded and held against the reader before it is copied."""
MEAN_ERROR = 3.0
"""Gray levels by which a coarser level may differ on average: readers place it between pixels."""


_current: "tuple[tuple[Place, str], Slide] | None" = None


def _slide(path: Place, reader: str) -> "Slide":
    """The slide that this process reads, opened once (runs in the child)."""
    from pathai.readers import reopen

    global _current
    if _current is None or _current[0] != (path, reader):
        if _current is not None:
            _current[1].close()
        _current = None
        _current = (path, reader), reopen(path, reader)
    return _current[1]


def survey(
    path: Place, reader: str, mpp: Mpp, section: TileConfig, stain: str
) -> tuple[Size, TissueMap | None, Qc | None]:
    """Level-0 size, tissue map and quality of a slide (runs in the child)."""
    from pathai.tissue import dark_background, examine, overview

    slide = _plain(path, _slide(path, reader))
    facts = slide.facts
    levels = list(zip(facts.level_dimensions, facts.level_downsamples, strict=True))
    view = overview(slide.read_level, levels, mpp, section.tissue_um)
    if dark_background(view):
        return facts.size, None, None
    read, sparse = slide.read_level, facts.sparse
    tissue, qc = examine(view, read, levels, mpp, section, stain=stain, sparse=sparse)
    return facts.size, tissue, qc


def _plain(path: Place, slide: "Slide") -> "Slide":
    """The reader of plain tiles where it shows the same levels: it decodes no more than it must."""
    from pathai.readers import reopen

    if slide.facts.vendor not in COPIED or slide.facts.sparse:
        return slide
    try:
        direct = reopen(path, "tiled-tiff")
    except PathaiError:
        return slide
    if direct.facts.level_dimensions == slide.facts.level_dimensions:
        return direct
    direct.close()
    return slide


def read(path: Place, reader: str, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Level-0 pixels of a box and their validity, None for all valid (runs in the child)."""
    pixels, valid = _slide(path, reader).read_level(box)
    return pixels, None if valid.all() else valid


def copy(
    path: Place, reader: str, root: Path, tissue: TissueMap, limit: float
) -> tuple[Stored | None, str]:
    """Copy a slide's compressed tiles and build the levels that it lacks (runs in the child).

    Returns
    -------
    Stored or None
        None if the tiles have to be decoded; nothing is left below ``root`` then.
    str
        Why.
    """
    from pathai.readers import reopen
    from pathai.store.tile_check import CannotCopy

    slide = _slide(path, reader)
    if slide.facts.vendor not in COPIED:
        return None, f"tiles of format {slide.facts.vendor} are not a plain grid"
    try:
        direct: TiledTiffReader = reopen(path, "tiled-tiff")  # type: ignore[assignment]
    except PathaiError as error:
        return None, error.message
    try:
        levels = direct.compressed()
        if not levels or levels[0].size != slide.facts.size:
            return None, "its tiles are not JPEG, or not the level that the reader shows"
        with read_at(path) as read:
            return _copy_levels(slide, read, levels, root, tissue, limit), ""
    except CannotCopy as error:
        shutil.rmtree(root, ignore_errors=True)
        return None, str(error)
    except OSError as error:
        raise storage_error(error) from None
    except PathaiError as error:
        if error.code in ("E113", "E163"):
            raise
        shutil.rmtree(root, ignore_errors=True)
        return None, error.message
    finally:
        direct.close()


def _copy_levels(
    slide: "Slide",
    read: "ReadAt",
    tiles: "list[CompressedTiles]",
    root: Path,
    tissue: TissueMap,
    limit: float,
) -> Stored:
    from pathai.store.damage import Damage
    from pathai.store.level import Level
    from pathai.store.tile_copy import SMALLEST, STEP, build_level, copy_level

    damage = Damage(tissue, limit)
    done: list[LevelInfo] = []

    def build() -> None:
        last = Level(root / str(len(done) - 1), len(done) - 1, done[-1])
        done.append(build_level(root, last, tissue))

    for k, level in enumerate(tiles):
        if k and not _serves(slide, read, level, tissue):
            continue
        if k == 0:
            _require_same(slide, read, level, tissue)
        while done and level.downsample > STEP * 1.25 * done[-1].downsample:
            build()
        if done and level.downsample < 1.5 * done[-1].downsample:
            continue
        folder = root / str(len(done))
        info = copy_level(folder, read, level, damage if k == 0 else Damage(tissue, 1.0))
        if k and info.unreadable:
            shutil.rmtree(folder, ignore_errors=True)  # made from the level below instead
            continue
        done.append(info)
    while max(done[-1].width, done[-1].height) > SMALLEST:
        build()
    return Stored(done, "copied", damage.fraction)


def _serves(slide: "Slide", read: "ReadAt", level: "CompressedTiles", tissue: TissueMap) -> bool:
    """Whether a coarser level is one that the reader shows too, with about the same pixels."""
    if level.size not in slide.facts.level_dimensions:
        return False
    number = slide.facts.level_dimensions.index(level.size)
    gaps = list(_gaps(slide, number, read, level, tissue))
    return all(gap.mean() <= MEAN_ERROR for gap in gaps)


def _require_same(
    slide: "Slide", read: "ReadAt", level: "CompressedTiles", tissue: TissueMap
) -> None:
    """Refuse to copy tiles that the reader decodes to other pixels than the store would."""
    from pathai.store.tile_check import CannotCopy

    differ = [bool(gap.any()) for gap in _gaps(slide, 0, read, level, tissue)]
    if any(differ):
        raise CannotCopy("its tiles decode to other pixels than the reader's")
    if not differ:
        raise CannotCopy("none of the tiles that were tried could be read")


def _gaps(
    slide: "Slide", number: int, read: "ReadAt", level: "CompressedTiles", tissue: TissueMap
) -> Iterator[NDArray[np.int16]]:
    """Differences between some tiles as the store would decode them and as the reader does."""
    from pathai.store.chunks import Undecodable, unpack
    from pathai.store.tile_copy import wanted_chunks

    rows, columns = np.nonzero(wanted_chunks(tissue, level.size, level.tile, level.downsample))
    full, tile = slide.facts.size, level.tile
    for i in np.unique(np.linspace(0, len(rows) - 1, SAMPLES).astype(int)) if len(rows) else ():
        x, y = int(columns[i]) * tile.width, int(rows[i]) * tile.height
        width, height = (
            min(tile.width, level.size.width - x),
            min(tile.height, level.size.height - y),
        )
        ours = np.empty((tile.height, tile.width, 3), np.uint8)
        rx, ry = full.width / level.size.width, full.height / level.size.height
        try:
            data = level.fetch(read, int(rows[i]), int(columns[i]))
            unpack(level.codec, level.complete(data), ours)
            box = Box(x * rx, y * ry, width * rx, height * ry)
            theirs, valid = slide.read_level(box, number)
        except (Undecodable, PathaiError):
            continue  # a damaged tile says nothing of the others; copying finds it
        if valid.all():
            yield ours[:height, :width].astype(np.int16) - theirs
