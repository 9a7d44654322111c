"""Squares of tissue: what scatter between places and local crowding are measured on."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pathai.store.records import TISSUE, TissueMap
from pathai.units import Box

SQUARE_UM = 250.0
"""Edge of the squares whose scatter makes the interval of a density or a share."""


Pixels = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows and columns of the tissue map."""


def map_pixel(tissue: TissueMap, xy_px0: NDArray[Any]) -> Pixels:
    """Row and column ``int64[M]`` of the tissue map at level-0 positions ``float[M, 2]``."""
    height, width = tissue.classes.shape
    column = (xy_px0[:, 0] / tissue.downsample).astype(np.int64)
    row = (xy_px0[:, 1] / tissue.downsample).astype(np.int64)
    return row.clip(0, height - 1), column.clip(0, width - 1)


def tissue_pixel(tissue: TissueMap, xy_px0: NDArray[Any]) -> Pixels:
    """As `map_pixel`, but a nucleus off the analyzed tissue is put on the nearest of it.

    Another point than its center may decide that a nucleus lies on tissue, and rounding may carry
    a center over the edge: it must not be lost from counts.
    """
    row, column = map_pixel(tissue, xy_px0)
    held = tissue.classes == TISSUE
    off = ~held[row, column]
    if not off.any() or not held.any():
        return row, column
    nearest = ndimage.distance_transform_edt(
        ~held, sampling=(tissue.mpp.y, tissue.mpp.x), return_distances=False, return_indices=True
    )
    at = row[off], column[off]
    row[off], column[off] = nearest[0][at], nearest[1][at]
    return row, column


@dataclass(frozen=True)
class Squares:
    """The tissue of a slide or a region, cut into squares.

    Attributes
    ----------
    row, column : int64[K]
        Place of each square that holds tissue, row-major.
    areas_mm2 : float64[K]
        Tissue in it, positive.
    shape : tuple of int
        Rows and columns of all squares.
    edge : tuple of int
        Map pixels per square, x and y.
    tissue : TissueMap
        The map that was cut.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    areas_mm2: NDArray[np.float64]
    shape: tuple[int, int]
    edge: tuple[int, int]
    tissue: TissueMap

    def __len__(self) -> int:
        return len(self.row)

    def count(self, xy_px0: NDArray[np.float32]) -> NDArray[np.int64]:
        """Nuclei ``int64[K]`` in each square, of positions ``float32[M, 2]`` on its tissue."""
        return self.count_at(map_pixel(self.tissue, xy_px0))

    def count_at(
        self, place: Pixels, weights: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """The same from map pixels; with weights their sum ``int64[K]`` in each square."""
        row, column = place
        at = (row // self.edge[1]) * self.shape[1] + column // self.edge[0]
        total = np.bincount(at, weights, minlength=self.shape[0] * self.shape[1])
        found: NDArray[np.int64] = total[self.row * self.shape[1] + self.column].astype(np.int64)
        return found

    def box(self, rows: slice, columns: slice) -> Box:
        """Box in level-0 px around a run of squares."""
        step = self.tissue.downsample
        x, y = columns.start * self.edge[0] * step, rows.start * self.edge[1] * step
        width = (columns.stop - columns.start) * self.edge[0] * step
        return Box(x, y, width, (rows.stop - rows.start) * self.edge[1] * step)


def squares(
    tissue: TissueMap, inside: NDArray[np.bool_] | None = None, square_um: float = SQUARE_UM
) -> Squares:
    """Cut tissue into squares whose edges are whole map pixels.

    Parameters
    ----------
    tissue : TissueMap
        Its class tissue is what was analyzed.
    inside : bool[h, w], optional
        A part of it.
    square_um : float
        Edge of a square.
    """
    held = tissue.classes == TISSUE if inside is None else inside & (tissue.classes == TISSUE)
    height, width = held.shape
    edge = max(round(square_um / tissue.mpp.x), 1), max(round(square_um / tissue.mpp.y), 1)
    shape = ceil(height / edge[1]), ceil(width / edge[0])
    y, x = np.nonzero(held)
    area = np.bincount((y // edge[1]) * shape[1] + x // edge[0], minlength=shape[0] * shape[1])
    used = np.flatnonzero(area)
    px_mm2 = tissue.mpp.x * tissue.mpp.y / 1e6
    areas = area[used].astype(np.float64) * px_mm2
    return Squares(used // shape[1], used % shape[1], areas, shape, edge, tissue)


def square_counts(
    xy_px0: NDArray[np.float32], tissue: TissueMap, square_um: float = SQUARE_UM
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nuclei ``int64[K]`` and tissue ``float64[K]`` mm² of each square that holds tissue."""
    cut = squares(tissue, square_um=square_um)
    return cut.count(xy_px0), cut.areas_mm2
