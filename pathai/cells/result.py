"""From the journal of a slide's blocks to ``cells/<detector>.zarr``, in flat memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathai.cells.blocks import in_order
from pathai.cells.counts import count_interval, map_pixel, per_mm2, square_counts
from pathai.cells.ground import OVERFULL, analyzed
from pathai.cells.raster import strips
from pathai.cells.search import Search
from pathai.store.cell_rows import CellJournal
from pathai.store.cell_store import PIECE, write_streamed_cells
from pathai.store.groups import Streamed
from pathai.store.records import BACKGROUND, TISSUE, UNREADABLE, CellsAttrs, TissueMap

RASTER_PX = 4
"""Working px per px of the class raster (2 µm at 0.5 µm/px)."""
F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


class Classifier(Protocol):
    """What gives nuclei their classes once all of a slide are known.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, instead of the detector's.
    """

    classes: tuple[str, ...]

    def __call__(self, xy_um: F64, measures: F32) -> tuple[U8, F32]:
        """Class uint8[M] and probability float32[M, C] of nuclei, which are sorted by y, then x.

        Parameters
        ----------
        xy_um : float64[M, 2]
            Centers x, y.
        measures : float32[M, F]
        """
        ...


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
    name: str,
    classifier: Classifier | None = None,
) -> CellsAttrs:
    """Write ``cells/<detector>.zarr``; what it says of the whole.

    Parameters
    ----------
    path : Path
        Of the group.
    journal : CellJournal
        Of every block.
    search : Search
        What made it.
    name : str
        Of the detector.
    classifier : Classifier, optional
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
        measures = _whole(streamed)
        xy_um = found.xy_px0.astype(np.float64) * [search.info.mpp.x, search.info.mpp.y]
        class_, support = classifier(xy_um, measures)
        prob, classes = support.astype(np.float16), classifier.classes
    step = float(search.grid.scale[0]) * RASTER_PX
    attrs = CellsAttrs(
        detector=name,
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
        **figures(found.anchors_px0, class_, ground, len(classes)),
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
    return attrs


def figures(anchors_px0: F32, class_: U8, ground: TissueMap, classes: int) -> dict[str, Any]:
    """Counts of a slide with their intervals, as fields of `CellsAttrs`."""
    counts, areas = square_counts(anchors_px0, ground)
    count = count_interval(counts, areas)
    return {
        "count": count,
        "density_per_mm2": per_mm2(count, ground.area_mm2(TISSUE)),
        "class_counts": tuple(int(n) for n in np.bincount(class_, minlength=classes)),
    }


def _whole(streamed: Streamed) -> NDArray[Any]:
    """A streamed array in memory, for what looks at all nuclei at once."""
    whole, start = np.empty(streamed.shape, streamed.dtype), 0
    for piece in streamed.pieces(PIECE):
        whole[start : start + len(piece)] = piece
        start += len(piece)
    return whole
