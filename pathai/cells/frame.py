"""Blocks of a slide: what each reads, and which nuclei it owns.

The slide is cut into blocks at the detector's resolution. A block is read with the surround that
the detector asks for, and keeps the nuclei whose anchor lies in it (half-open), so the
result does not depend on the size of blocks, where they begin, or the number of workers. What is
read begins at multiples of `ALIGN` working px, so that a detector's inner grids stay in step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.base import Detector
from pathai.errors import PathaiError
from pathai.resample import reduction
from pathai.store.records import TISSUE, TissueMap
from pathai.units import Mpp

ALIGN = 8
"""Least step of the windows of blocks, working px; a detector's `step_px` may ask for more."""
COARSE = 32
"""Blocks and squares begin at multiples of it, so that the usual strides of networks divide it."""
SQUARE_UM = 64.0
"""Edge of the squares in which nuclei are too many to be true, about; blocks are whole squares."""
SLIVER = 1e-6
"""Working px: by so little may a quotient miss the edge of a pixel of the tissue map."""
Four = tuple[int, int, int, int]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """How the detector's working pixels lie on the slide.

    Attributes
    ----------
    factor : tuple of float
        Image px per working px, x and y.
    downsample : float
        Level-0 px per image px.
    size : tuple of int
        Working px of the whole image, x and y.
    mpp : Mpp
        µm per working px.
    """

    factor: tuple[float, float]
    downsample: float
    size: tuple[int, int]
    mpp: Mpp

    @property
    def scale(self) -> NDArray[np.float64]:
        """Level-0 px per working px, x and y."""
        return np.asarray(self.factor) * self.downsample

    @property
    def square_px(self) -> int:
        """Edge of a square, working px."""
        return max(round(SQUARE_UM / self.mpp.mean / COARSE), 1) * COARSE

    def to_px0(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Working px to level-0 px; in both, pixel i covers i to i + 1."""
        placed: NDArray[np.float64] = xy.astype(np.float64) * self.scale
        return placed

    def halo_px(self, detector: Detector) -> int:
        """Surround that a block is read with, working px."""
        least = detector.halo_um / min(self.mpp.x, self.mpp.y)
        reach = getattr(detector, "halo_px", least)  # a network counts in px
        step = lcm(ALIGN, getattr(detector, "step_px", 1))
        return ceil(reach / step) * step


def frame(shape: tuple[int, ...], mpp: Mpp, downsample: float, detector: Detector) -> Frame:
    """Lay the detector's working grid over an image.

    Raises
    ------
    PathaiError
        E131 if ``mpp`` is outside the detector's range: choose another detector or level.
    """
    low, high = detector.mpp_range
    if not all(low <= m <= high for m in (mpp.x, mpp.y)):
        message = f"{mpp.x:.3g} x {mpp.y:.3g} µm/px is outside the detector's {low} to {high}"
        raise PathaiError("E131", message, "choose a detector made for this resolution")
    fx, fy = reduction(mpp, detector.mpp)
    size = (max(int(shape[1] / fx), 1), max(int(shape[0] / fy), 1))
    return Frame((fx, fy), downsample, size, Mpp(mpp.x * fx, mpp.y * fy))


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes
    ----------
    core : tuple of int
        Left, top, right, bottom of what it owns, working px.
    window : tuple of int
        Left, top, right, bottom of what is read, image px.
    start, size : tuple of int
        First working px of what the detector sees, and how many, x and y.
    place : tuple of int
        Column and row of the first pixel of ``tissue`` in the tissue map.
    tissue : bool[h, w]
        Where the core is tissue, in pixels of the tissue map.
    """

    core: Four
    window: Four
    start: Pair
    size: Pair
    place: Pair
    tissue: NDArray[np.bool_]


def blocks(
    grid: Frame,
    shape: tuple[int, ...],
    tissue: TissueMap,
    halo: int,
    edge_px: int,
    offset: Pair = (0, 0),
) -> Iterator[Block]:
    """Blocks that hold tissue, row by row, each no larger than its tissue needs.

    Parameters
    ----------
    grid : Frame
        Working px.
    shape : tuple of int
        Rows and columns of the image.
    tissue : TissueMap
        What is sought through.
    halo : int
        From `Frame.halo_px`.
    edge_px : int
        Edge of a block, working px; it is rounded up to whole squares.
    offset : tuple of int
        Squares by which the first block lies left of and above the slide; changes no result.
    """
    step = -(-max(edge_px, 1) // grid.square_px) * grid.square_px
    left, top = (-((n * grid.square_px) % step) for n in offset)
    for y in range(top, grid.size[1], step):
        for x in range(left, grid.size[0], step):
            whole = (max(x, 0), max(y, 0), min(x + step, grid.size[0]), min(y + step, grid.size[1]))
            found = _with_tissue(whole, grid, tissue)
            if found is not None:
                core, place, inside = found
                yield Block(core, *_window(core, halo, grid, shape), place, inside)


def _with_tissue(
    core: Four, grid: Frame, tissue: TissueMap
) -> tuple[Four, Pair, NDArray[np.bool_]] | None:
    """A core cut down to its tissue, and that tissue; None without any."""
    step = grid.scale / tissue.downsample
    height, width = tissue.classes.shape
    x0, y0 = (min(int(core[i] * step[i]), n - 1) for i, n in ((0, width), (1, height)))
    x1, y1 = min(ceil(core[2] * step[0]), width), min(ceil(core[3] * step[1]), height)
    inside = tissue.classes[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] == TISSUE
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    reach = []  # of the tissue, working px, on whole multiples of COARSE
    for first, found, each, axis in ((x0, columns, step[0], 0), (y0, rows, step[1], 1)):
        low = floor(((first + found[0]) / each - SLIVER) / COARSE) * COARSE
        high = ceil(((first + found[-1] + 1) / each + SLIVER) / COARSE) * COARSE
        # the last pixel of the map also holds what lies beyond it, for the size was rounded
        at_end = first + found[-1] + 1 >= tissue.classes.shape[1 - axis]
        reach.append(
            (max(low, core[axis]), core[2 + axis] if at_end else min(high, core[2 + axis]))
        )
    (left, right), (up, down) = reach
    return (left, up, right, down), (x0, y0), inside


def _window(core: Four, halo: int, grid: Frame, shape: tuple[int, ...]) -> tuple[Four, Pair, Pair]:
    """Image px to read for a block; first working px and how many with the halo."""
    left, top = max(core[0] - halo, 0), max(core[1] - halo, 0)
    right, bottom = min(core[2] + halo, grid.size[0]), min(core[3] + halo, grid.size[1])
    fx, fy = grid.factor
    x0, y0 = int(left * fx), int(top * fy)
    x1, y1 = min(ceil(right * fx) + 1, shape[1]), min(ceil(bottom * fy) + 1, shape[0])
    if grid.factor == (1.0, 1.0):
        x1, y1 = right, bottom
    return (x0, y0, x1, y1), (left, top), (right - left, bottom - top)
