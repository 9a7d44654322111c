"""Stage tile: where the tissue is, and its pixels as a tissue-only pyramid.

Native decoders run in a child process; this process asks for blocks, halves and stores them.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathai.config import TileConfig
from pathai.errors import PathaiError
from pathai.store.commit import Commit, Skipped
from pathai.store.folders import SlideFolder
from pathai.store.records import PEN, UNREADABLE, Qc, TissueMap
from pathai.units import Box, Mpp, Size

if TYPE_CHECKING:
    from pathai.readers import Slide

BLOCK_SECONDS = 120.0
"""Longest a decoder may think about one block."""
SPARSE = ("mirax", "ventana", "leica")
"""Formats in which regions between the scanned fields have no pixels by design."""
SPOILED = {
    "pen": "under ink",
    "edge": "under the coverslip's edge",
    "blur": "blurred",
    "fold": "folded",
    "bubble": "under air bubbles",
}
"""Words for artefacts on tissue."""


def run(folder: SlideFolder, section: TileConfig, out: Commit, *, path: Path) -> None:
    """Write ``tissue.zarr`` and ``tiles.zarr`` of a slide.

    Parameters
    ----------
    folder : SlideFolder
        With ``slide.json`` of ingest.
    section : TileConfig
        Limits and resolution of the tissue map.
    out : Commit
        Takes both outputs; is degraded where a small part of the tissue is unreadable.
    path : Path
        The slide file; goes no further than the child.

    Raises
    ------
    Skipped
        E145 without tissue, E147 without usable tissue, E146 on a dark background.
    PathaiError
        E113 if more of the tissue is unreadable than the configuration allows, E163 if the file
        is not the one that was ingested, E170-E172 if the decoder failed as a process.
    """
    from pathai.store.pyramid import write_tissue
    from pathai.store.pyramid_writer import write_pyramid

    info = folder.read_slide()
    source = _Source(path, info.reader, section)
    size, tissue, qc = source.survey(info.mpp, info.stain)
    if size != Size(info.width, info.height):
        message = f"the file is {size.width} x {size.height} px, ingest saw another size"
        raise PathaiError("E163", message, "run pathai ingest again")
    if tissue is None or qc is None:
        raise Skipped("E146", "bright on dark background, like fluorescence")
    require_tissue(tissue, qc, section)
    written = write_pyramid(
        out.part("tiles.zarr"),
        source.read,
        size,
        info.mpp,
        tissue,
        max_bad_fraction=section.max_bad_fraction,
    )
    write_tissue(out.part("tissue.zarr"), tissue, qc)
    source.unchanged()
    if written.bad_fraction > 0:
        count = len(written.unreadable)
        message = f"{written.bad_fraction:.3%} of the tissue is unreadable, in {count} rectangles"
        out.degrade("E121", message, "copy or scan the slide again; those tiles are marked")


def require_tissue(tissue: TissueMap, qc: Qc, section: TileConfig) -> None:
    """Skip a slide with too little usable tissue, and say what became of the rest.

    Raises
    ------
    Skipped
        E145 where little tissue was found, E147 where artefacts cover what was found.
    """
    unclear = tissue.area_mm2(UNREADABLE)
    if qc.tissue_mm2 + unclear >= max(section.min_tissue_mm2, 1e-9):
        return
    spoiled = sorted(qc.artefact_mm2.items(), key=lambda item: -item[1])
    said = ", ".join(f"{area:.2g} mm² {SPOILED[name]}" for name, area in spoiled if area > 0)
    if qc.found_mm2 + unclear >= section.min_tissue_mm2 and said:
        raise Skipped("E147", f"{qc.found_mm2:.2g} mm² of tissue, of it {said}")
    message = f"{qc.tissue_mm2:.3f} mm² of tissue, at least {section.min_tissue_mm2:g} wanted"
    ink = tissue.area_mm2(PEN)
    if ink > 0:
        message += f"; {ink:.3f} mm² of pen"
    raise Skipped("E145", message)


class _Source:
    """The slide file behind the child process."""

    def __init__(self, path: Path, reader: str, section: TileConfig) -> None:
        from pathai.guard import shared

        self.path, self.reader, self.section = path, reader, section
        self.guard = shared(section.memory_mib)
        self.deadline = time.monotonic() + section.seconds
        self.state = self._stat()

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

    def unchanged(self) -> None:
        """Refuse a file that was replaced or written to meanwhile (E163)."""
        if self._stat() != self.state:
            raise PathaiError("E163", "the file changed while its tiles were read")

    def _stat(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            raise PathaiError("E102", "the file does not exist") from None
        except OSError as error:
            raise PathaiError("E162", f"reading failed: {error.strerror}") from None
        return status.st_size, status.st_mtime_ns, status.st_ino

    def _call(self, name: str, *args: Any, limit: float = float("inf")) -> Any:
        left = max(self.deadline - time.monotonic(), 0.001)
        target = f"pathai.tiling:{name}"
        return self.guard.call(target, self.path, self.reader, *args, seconds=min(left, limit))


_current: "tuple[tuple[Path, str], Slide] | None" = None


def _slide(path: Path, reader: str) -> "Slide":
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
    path: Path, reader: str, mpp: Mpp, section: TileConfig, stain: str
) -> tuple[Size, TissueMap | None, Qc | None]:
    """Level-0 size, tissue map and quality of a slide (runs in the child)."""
    from pathai.tissue import dark_background, examine, overview

    slide = _slide(path, reader)
    facts = slide.facts
    levels = list(zip(facts.level_dimensions, facts.level_downsamples, strict=True))
    view = overview(slide.read_level, levels, mpp, section.tissue_um)
    if dark_background(view):
        return facts.size, None, None
    sparse = facts.vendor in SPARSE
    tissue, qc = examine(view, slide.read_level, levels, mpp, section, stain=stain, sparse=sparse)
    return facts.size, tissue, qc


def read(path: Path, reader: str, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Level-0 pixels of a box and their validity, None for all valid (runs in the child)."""
    pixels, valid = _slide(path, reader).read_level(box)
    return pixels, None if valid.all() else valid
