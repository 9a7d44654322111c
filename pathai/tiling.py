"""Stage tile: where the tissue is, and its pixels as a tissue-only pyramid.

Native decoders run in a child process; this process asks for blocks, halves and stores them.
"""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathai.config import TileConfig
from pathai.errors import PathaiError
from pathai.source import Place, stamp
from pathai.store.commit import Commit, Skipped
from pathai.store.folders import SlideFolder
from pathai.store.records import PEN, TISSUE, UNREADABLE, TissueMap
from pathai.tissue import Overview, dark_background, overview, tissue_map
from pathai.units import Box, Mpp, Size

if TYPE_CHECKING:
    from pathai.readers import Slide

BLOCK_SECONDS = 120.0
"""Longest a decoder may think about one block."""
SPARSE = ("mirax", "ventana", "leica")
"""Formats in which regions between the scanned fields have no pixels by design."""


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
        E145 without tissue, E146 on a dark background.
    PathaiError
        E113 if more of the tissue is unreadable than the configuration allows, E163 if the file
        is not the one that was ingested, E170-E172 if the decoder failed as a process.
    """
    from pathai.store.pyramid import write_tissue
    from pathai.store.pyramid_writer import write_pyramid

    info = folder.read_slide()
    source = _Source(path, info.reader, section)
    size, vendor, view = source.survey(info.mpp)
    if size != Size(info.width, info.height):
        message = f"the file is {size.width} x {size.height} px, ingest saw another size"
        raise PathaiError("E163", message, "run pathai ingest again")
    if dark_background(view):
        raise Skipped("E146", "bright on dark background, like fluorescence")
    tissue = tissue_map(view, sparse=vendor in SPARSE)
    _require_tissue(tissue, section)
    written = write_pyramid(
        out.part("tiles.zarr"),
        source.read,
        size,
        info.mpp,
        tissue,
        max_bad_fraction=section.max_bad_fraction,
    )
    write_tissue(out.part("tissue.zarr"), tissue)
    source.unchanged()
    if written.bad_fraction > 0:
        count = len(written.unreadable)
        message = f"{written.bad_fraction:.3%} of the tissue is unreadable, in {count} rectangles"
        out.degrade("E121", message, "copy or scan the slide again; those tiles are marked")


def _require_tissue(tissue: TissueMap, section: TileConfig) -> None:
    area, unclear = tissue.area_mm2(TISSUE), tissue.area_mm2(UNREADABLE)
    if area + unclear < section.min_tissue_mm2 or area + unclear == 0:
        message = f"{area:.3f} mm² of tissue, at least {section.min_tissue_mm2:g} wanted"
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
        self.state = stamp(path)

    def survey(self, mpp: Mpp) -> tuple[Size, str, Overview]:
        """Size of level 0, vendor and a small image of the slide."""
        found: tuple[Size, str, Overview] = self._call("survey", mpp, self.section.tissue_um)
        return found

    def read(self, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels of a level-0 box and which of them are real."""
        pixels, valid = self._call("read", box, limit=BLOCK_SECONDS)
        if valid is None:
            valid = np.ones(pixels.shape[:2], bool)
        return pixels, valid

    def unchanged(self) -> None:
        """Refuse a file that was replaced or written to meanwhile (E163)."""
        if stamp(self.path) != self.state:
            raise PathaiError("E163", "the file changed while its tiles were read")

    def _call(self, name: str, *args: Any, limit: float = float("inf")) -> Any:
        left = max(self.deadline - time.monotonic(), 0.001)
        target = f"pathai.tiling:{name}"
        return self.guard.call(target, self.path, self.reader, *args, seconds=min(left, limit))


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


def survey(path: Place, reader: str, mpp: Mpp, target_um: float) -> tuple[Size, str, Overview]:
    """Level-0 size, vendor and overview of a slide (runs in the child)."""
    slide = _slide(path, reader)
    facts = slide.facts
    levels = list(zip(facts.level_dimensions, facts.level_downsamples, strict=True))
    return facts.size, facts.vendor, overview(slide.read_level, levels, mpp, target_um)


def read(path: Place, reader: str, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Level-0 pixels of a box and their validity, None for all valid (runs in the child)."""
    pixels, valid = _slide(path, reader).read_level(box)
    return pixels, None if valid.all() else valid
