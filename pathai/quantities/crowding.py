"""Where nuclei lie denser than the detector was ever checked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pathai.quantities.error import CountError
from pathai.quantities.squares import Squares
from pathai.units import Box

CROWD_UM = 125.0
"""Edge of the squares in which local density is measured."""
LEAST_TISSUE = 0.5
"""A square with less tissue than this share says nothing about density."""
MOST_BOXES = 20
"""Boxes that are named, those with most nuclei first."""


@dataclass(frozen=True)
class Crowding:
    """Squares denser than what was validated.

    Attributes
    ----------
    nuclei : int
        Nuclei found there.
    area_mm2 : float
        Tissue there.
    excess : float
        Sum over those squares of nuclei times ln(density / densest validated).
    boxes : tuple of Box
        Around connected squares, level-0 px, those with most nuclei first.
    """

    nuclei: int = 0
    area_mm2: float = 0.0
    excess: float = 0.0
    boxes: tuple[Box, ...] = ()


EVEN = Crowding()
"""Nothing is crowded, or nobody knows what would be."""


def crowding(cut: Squares, counts: NDArray[np.int64], error: CountError | None) -> Crowding:
    """Find the squares past what was validated.

    Parameters
    ----------
    cut : Squares
        Squares of `CROWD_UM`.
    counts : int64[K]
        Nuclei found in each.
    error : CountError or None
        Says up to which density counts were checked; without it nothing is known to be crowded.
    """
    if error is None or not len(cut):
        return EVEN
    whole = cut.edge[0] * cut.edge[1] * cut.tissue.mpp.x * cut.tissue.mpp.y / 1e6
    density = counts / cut.areas_mm2
    dense = (density > error.densest_per_mm2) & (cut.areas_mm2 >= LEAST_TISSUE * whole)
    if not dense.any():
        return EVEN
    excess = counts[dense] * np.log(density[dense] / error.densest_per_mm2)
    grid = np.zeros(cut.shape, np.int64)
    grid[cut.row[dense], cut.column[dense]] = counts[dense]
    labels, number = ndimage.label(grid > 0, np.ones((3, 3)))
    held = ndimage.sum_labels(grid, labels, np.arange(1, number + 1))
    places = ndimage.find_objects(labels)
    order = np.argsort(-held, kind="stable")[:MOST_BOXES]
    return Crowding(
        nuclei=int(counts[dense].sum()),
        area_mm2=float(cut.areas_mm2[dense].sum()),
        excess=float(excess.sum()),
        boxes=tuple(cut.box(*places[i]) for i in order),
    )
