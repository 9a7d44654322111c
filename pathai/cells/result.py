"""From the journal of a slide's blocks to ``cells/<detector>.zarr``, in flat memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.cells.blocks import in_order
from pathai.cells.classes import Classes
from pathai.cells.ground import OVERFULL, analyzed
from pathai.cells.raster import strips
from pathai.cells.search import Search
from pathai.config import CellsConfig
from pathai.finding import registry
from pathai.quantities.counting import per_mm2
from pathai.quantities.squares import map_pixel
from pathai.quantities.summary import Known, Nuclei, summarize
from pathai.store.cell_rows import CellJournal
from pathai.store.cell_store import PIECE, write_streamed_cells
from pathai.store.cells_summary import CellsSummary
from pathai.store.groups import Streamed
from pathai.store.records import BACKGROUND, TISSUE, UNREADABLE, CellsAttrs, TissueMap

RASTER_PX = 4
"""Working px per px of the class raster (2 µm at 0.5 µm/px)."""
F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Sorted:
    """Nuclei that count, sorted by y, then x; outlines and measures stay in the journal.

    Attributes
    ----------
    journal : CellJournal
    rows : int64[M]
        Where each nucleus is in the journal.
    begins : int64[n + 1]
        Vertices before each nucleus of the journal.
    start : int64[M + 1]
        Vertices before each nucleus here.
    xy_px0, anchors_px0 : float32[M, 2]
    spoiled : int
        Nuclei that were found, but on ground that turned out to hold too many.
    """

    journal: CellJournal
    rows: I64
    begins: I64
    start: I64
    xy_px0: F32
    anchors_px0: F32
    spoiled: int

    def column(self, name: str) -> NDArray[Any]:
        """One short column."""
        found: NDArray[Any] = self.journal.column(name)[self.rows]
        return found

    def outlines(self, first: int, stop: int) -> tuple[F32, I64]:
        """Points of the outlines of some nuclei, and where each starts."""
        points = self.journal.outlines(self.rows[first:stop], self.begins)
        return points, self.start[first : stop + 1] - self.start[first]

    def points(self, size: int) -> Iterator[F32]:
        """All points of all outlines in order, ``size`` at a time."""
        for low in range(0, int(self.start[-1]), size):
            high = min(low + size, int(self.start[-1]))
            first = int(np.searchsorted(self.start, low, side="right")) - 1
            stop = int(np.searchsorted(self.start, high, side="left"))
            found = self.journal.outlines(self.rows[first:stop], self.begins)
            yield found[low - self.start[first] : high - self.start[first]]

    def measures(self, size: int) -> Iterator[F32]:
        """Measures of all nuclei, ``size`` at a time."""
        for low in range(0, len(self.rows), size):
            yield self.journal.measures(self.rows[low : low + size])


def settle(journal: CellJournal, ground: TissueMap) -> Sorted:
    """Sort the nuclei of a journal that lie on analyzed ground."""
    centers, anchors = journal.column("centers"), journal.column("anchors")
    on = ground.classes[map_pixel(ground, anchors)]
    rows = in_order(centers, anchors)
    rows = rows[on[rows] == TISSUE]
    vertices = journal.column("vertices").astype(np.int64)
    begins = np.concatenate([[0], np.cumsum(vertices)])
    start = np.concatenate([[0], np.cumsum(vertices[rows])])
    return Sorted(
        journal, rows, begins, start, centers[rows], anchors[rows], int((on == OVERFULL).sum())
    )


def store(
    path: Path,
    journal: CellJournal,
    search: Search,
    section: CellsConfig,
    classifier: Classes | None = None,
) -> tuple[CellsAttrs, CellsSummary]:
    """Write ``cells/<detector>.zarr``; what it says of the whole, and every figure of it.

    Parameters
    ----------
    path : Path
        Of the group.
    journal : CellJournal
        Of every block.
    search : Search
        What made it.
    section : CellsConfig
        Name of the detector, and cut-offs.
    classifier : Classes, optional
        Its classes stand in place of the detector's.
    """
    boxes, _ = search.unreadable(journal)
    squares = journal.column("squares")
    ground = analyzed(search.tissue, search.grid, boxes, squares)
    found = settle(journal, ground)
    class_, prob, classes = found.column("class_"), found.column("prob"), search.detector.classes
    streamed = Streamed(
        (len(found.rows), len(search.measures)), np.dtype(np.float32), found.measures
    )
    measures: NDArray[Any] | Streamed = streamed
    if classifier is not None:
        measures = whole = _whole(streamed)
        xy_um = found.xy_px0.astype(np.float64) * [search.info.mpp.x, search.info.mpp.y]
        class_, support = classifier(xy_um, whole)
        prob, classes = support.astype(np.float16), classifier.classes
    step = float(search.grid.scale[0]) * RASTER_PX
    nuclei = Nuclei(found.anchors_px0, class_, found.column("dab_od"), classes)
    detector = search.detector
    summary = summarized(
        nuclei,
        ground,
        name=section.detector,
        digest=detector.digest,
        stain=search.info.stain,
        cutoffs_od=section.cutoffs_od,
        known=Known(
            detector.error,
            getattr(detector, "share_error", None),
            getattr(classifier or detector, "class_error", None),
        ),
    )
    attrs = CellsAttrs(
        detector=section.detector,
        detector_digest=search.detector.digest,
        classes=classes,
        analyzed_mm2=ground.area_mm2(TISSUE),
        excluded_mm2=sum(
            ground.area_mm2(int(value))
            for value in np.unique(ground.classes)
            if value not in (BACKGROUND, TISSUE)
        ),
        unreadable_mm2=ground.area_mm2(UNREADABLE),
        implausible_mm2=ground.area_mm2(OVERFULL),
        implausible=int(squares[:, 2].sum()) + found.spoiled,
        mended=journal.mended,
        raster_downsample0=step,
        measures=search.measures,
        classifier=classifier.record if classifier else None,
        **told(summary, class_, len(classes)),
    )
    arrays: dict[str, NDArray[Any] | Streamed] = {
        "xy_px0": found.xy_px0,
        "score": found.column("score"),
        "class_": class_,
        "prob": prob,
        "dab_od": found.column("dab_od"),
        "measures": measures,
        "outline_px0": Streamed((int(found.start[-1]), 2), np.dtype(np.float32), found.points),
        "outline_start": found.start,
    }
    size = (ceil(search.info.height / step), ceil(search.info.width / step))
    reach = (search.grid.halo_px(search.detector) + 1) * float(search.grid.scale[1])
    value = class_ + np.uint8(1)
    drawn = strips(found.xy_px0, value, found.outlines, reach, size, step)
    write_streamed_cells(path, arrays, attrs, size, drawn)
    return attrs, summary


def summarized(
    nuclei: Nuclei,
    ground: TissueMap,
    *,
    name: str,
    digest: str,
    stain: str,
    cutoffs_od: tuple[float, float, float],
    known: Known | None = None,
) -> CellsSummary:
    """Every figure of the slide's nuclei, with the errors that were measured."""
    family = registry().family(stain)
    return summarize(
        nuclei,
        ground,
        detector=name,
        digest=digest,
        stain=stain,
        family="he" if family == "he" else "ihc" if family == "ihc" else "",
        cutoffs_od=cutoffs_od,
        known=known,
    )


def told(summary: CellsSummary, class_: U8, classes: int) -> dict[str, Any]:
    """Counts of the whole slide, as fields of `CellsAttrs`."""
    slide = summary.slide
    return {
        "count": slide.count,
        "density_per_mm2": slide.density_per_mm2 or per_mm2(slide.count, 0.0),
        "class_counts": tuple(int(n) for n in np.bincount(class_, minlength=classes)),
    }


def _whole(streamed: Streamed) -> NDArray[Any]:
    """A streamed array in memory, for what looks at all nuclei at once."""
    whole, start = np.empty(streamed.shape, streamed.dtype), 0
    for piece in streamed.pieces(PIECE):
        whole[start : start + len(piece)] = piece
        start += len(piece)
    return whole
