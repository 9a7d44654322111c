"""The nuclei of one block: what a worker does, wherever it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.cells.frame import Block, Frame
from pathai.detectors.base import Detections, Detector, checked, taken
from pathai.errors import PathaiError
from pathai.resample import area_reduce
from pathai.store.cell_rows import CellBlock
from pathai.units import Mpp

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
MOST_PER_MM2 = 25_000
"""More nuclei than this do not fit into one layer of tissue.

Small lymphocytes, the smallest nuclei with the least cytoplasm, are about 7 µm wide. Discs of 7 µm
packed as closely as discs can be are 23,600 per mm²; the densest lymphoid tissue holds about two
thirds of that. What is denser over a whole square is texture: ink, pigment, debris, compression.
"""
Measure = Callable[[U8, Mpp, Any, Detections], F32]
"""An image, its µm/px, the slide's background (or None) and nuclei to float32[M, F]."""


@dataclass(frozen=True)
class Found:
    """What one block owns.

    Attributes
    ----------
    nuclei : Detections
        In level-0 px, on tissue, in no overfull square.
    measures : float32[M, F]
    squares : int32[n, 3]
        Column, row and number of nuclei of each overfull square.
    mended : int
        Outlines that had to be mended or left out.
    """

    nuclei: Detections
    measures: F32
    squares: NDArray[np.int32]
    mended: int

    def rows(self, boxes: NDArray[np.float64]) -> CellBlock:
        """As it is stored, with the unreadable ``boxes`` float64[l, 4] of the block."""
        found = self.nuclei
        return CellBlock(
            centers=found.centers,
            anchors=found.anchors,
            score=found.score.astype(np.float16),
            class_=found.class_,
            prob=found.prob.astype(np.float16),
            dab_od=found.dab_od.astype(np.float16),
            vertices=np.diff(found.outline_start).astype(np.int32),
            squares=self.squares,
            boxes=boxes,
            measures=self.measures,
            outline=found.outline,
            mended=self.mended,
        )


@dataclass(frozen=True)
class Finder:
    """Finds the nuclei of a block; a worker gets it once, then only pixels.

    Parameters
    ----------
    detector : Detector
        Already fitted to the slide.
    name : str
        Of the detector, for messages.
    grid : Frame
        Working px.
    downsample : float
        Level-0 px per pixel of the tissue map.
    measure : Measure, optional
        Measures what was found.
    measures : int
        Columns that it gives.
    """

    detector: Detector
    name: str
    grid: Frame
    downsample: float
    measure: Measure | None = None
    measures: int = 0

    def __call__(self, pixels: U8, block: Block) -> Found:
        """Nuclei that a block owns, from its window ``uint8[h, w, 3]``."""
        grid = self.grid
        work = np.ascontiguousarray(pixels)
        if grid.factor != (1.0, 1.0):
            work = area_reduce(work, grid.factor, block.window[:2], block.start, block.size)
        seen = self.detector.detect(work, grid.mpp)
        size = (work.shape[1], work.shape[0])
        found = checked(
            seen, self.name, len(self.detector.classes), size, grid.halo_px(self.detector)
        )
        anchor = found.detections.anchors.astype(np.float64) + block.start
        owned = (anchor >= block.core[:2]).all(axis=1) & (anchor < block.core[2:]).all(axis=1)
        anchor_px0 = grid.to_px0(anchor).astype(np.float32)
        owned &= self._on_tissue(anchor_px0, block)
        index = np.flatnonzero(owned)
        squares, spoiled = overfull(anchor[index], grid)
        index = index[~spoiled]
        kept = taken(found.detections, index)
        measures = np.empty((len(index), self.measures), np.float32)
        if self.measure is not None:
            background = getattr(self.detector, "background", None)
            measures = np.asarray(self.measure(work, grid.mpp, background, kept), np.float32)
            if measures.shape != (len(index), self.measures):
                message = f"{list(measures.shape)} measures for {len(index)} nuclei"
                raise PathaiError("E186", message, "correct what measures them")
        shift = np.asarray(block.start)
        nuclei = Detections(
            centers=grid.to_px0(kept.centers + shift).astype(np.float32),
            anchors=anchor_px0[index],
            score=kept.score,
            class_=kept.class_,
            prob=kept.prob,
            dab_od=kept.dab_od,
            outline=grid.to_px0(kept.outline + shift).astype(np.float32),
            outline_start=kept.outline_start,
        )
        return Found(nuclei, measures, squares, int(found.mended[index].sum()))

    def _on_tissue(self, xy_px0: F32, block: Block) -> NDArray[np.bool_]:
        height, width = block.tissue.shape
        column = (xy_px0[:, 0] / self.downsample).astype(np.int64) - block.place[0]
        row = (xy_px0[:, 1] / self.downsample).astype(np.int64) - block.place[1]
        on: NDArray[np.bool_] = block.tissue[row.clip(0, height - 1), column.clip(0, width - 1)]
        return on


def overfull(
    anchor: NDArray[np.float64], grid: Frame
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Squares with more nuclei than `MOST_PER_MM2`, and which nuclei lie in them.

    Parameters
    ----------
    anchor : float64[m, 2]
        Working px x, y of the whole slide.
    grid : Frame
        Gives the squares.

    Returns
    -------
    squares : int32[n, 3]
        Column, row, number of nuclei.
    spoiled : bool[m]
    """
    edge = grid.square_px
    most = MOST_PER_MM2 * edge**2 * grid.mpp.x * grid.mpp.y / 1e6
    square = np.floor(anchor / edge).astype(np.int32)
    places, which, counts = np.unique(square, axis=0, return_inverse=True, return_counts=True)
    full = counts > most
    squares = np.column_stack([places[full], counts[full]]).astype(np.int32)
    return squares, full[which]
