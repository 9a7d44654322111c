"""The class raster: which nucleus covers which pixel, drawn in strips."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.store.cell_store import STRIP

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
AT_ONCE = 32_768
"""Nuclei that are drawn at once."""
Outlines = Callable[[int, int], tuple[F32, I64]]
"""First and last row to the points of their outlines, level-0 px, and where each starts."""


def strips(
    xy_px0: F32, value: U8, outlines: Outlines, reach_px0: float, size: tuple[int, int], step: float
) -> Iterator[U8]:
    """The raster from top to bottom, `STRIP` rows at a time.

    A pixel is of the nucleus whose outline holds its center, and of the one whose own center it
    holds, so that a nucleus smaller than a pixel still shows; the largest value wins.

    Parameters
    ----------
    xy_px0 : float32[M, 2]
        Centers, sorted by y.
    value : uint8[M]
        What to draw for each.
    outlines : callable
        See `Outlines`.
    reach_px0 : float
        No outline goes farther than this from its nucleus' center.
    size : tuple of int
        Rows and columns of the raster.
    step : float
        Level-0 px per px.

    Yields
    ------
    uint8[r, columns]
    """
    last_px = np.array([size[1], size[0]]) - 1
    middle = np.floor(xy_px0 / step).astype(np.int64).clip(0, last_px)
    for top in range(0, size[0], STRIP):
        strip = np.zeros((min(STRIP, size[0] - top), size[1]), np.uint8)
        bottom = top + len(strip)
        inside = (top * step - reach_px0, bottom * step + reach_px0)
        first, last = np.searchsorted(xy_px0[:, 1], inside) if len(xy_px0) else (0, 0)
        for start in range(int(first), int(last), AT_ONCE):
            stop = min(start + AT_ONCE, int(last))
            points, begins = outlines(start, stop)
            fill(strip, top, points / step, begins, value[start:stop])
        here = np.flatnonzero((middle[:, 1] >= top) & (middle[:, 1] < bottom))
        np.maximum.at(strip, (middle[here, 1] - top, middle[here, 0]), value[here])
        yield strip


def fill(strip: U8, top: int, points: NDArray[Any], start: I64, value: U8) -> None:
    """Draw polygons by the even-odd rule, all at once.

    Parameters
    ----------
    strip : uint8[r, columns]
        Where to draw; larger values win.
    top : int
        Row of the raster that ``strip[0]`` is.
    points : float[k, 2]
        Vertices x, y in px of the raster; pixel i covers i to i + 1.
    start : int64[n + 1]
        Polygon ``i`` is ``points[start[i]:start[i + 1]]``.
    value : uint8[n]
        What to draw for each.
    """
    length = np.diff(start)
    owner = np.repeat(np.arange(len(length)), length)
    after = np.arange(1, len(points) + 1)
    after[(start[1:] - 1)[length > 0]] = start[:-1][length > 0]
    x, y = np.asarray(points, np.float64).T
    low, high = np.minimum(y, y[after]), np.maximum(y, y[after])
    bottom = top + len(strip)
    first = np.ceil(low - 0.5).clip(top, bottom).astype(np.int64)
    count = np.ceil(high - 0.5).clip(top, bottom).astype(np.int64) - first
    edge = np.repeat(np.arange(len(points)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    share = (row + 0.5 - y[edge]) / (y[after] - y)[edge]
    crossing = x[edge] + share * (x[after] - x)[edge]
    order = np.lexsort((crossing, row, owner[edge]))
    column = np.ceil(crossing[order] - 0.5).clip(0, strip.shape[1]).astype(np.int64)
    left, wide = column[::2], column[1::2] - column[::2]
    run = np.repeat(np.arange(len(left)), wide)
    across = left[run] + np.arange(len(run)) - np.repeat(np.cumsum(wide) - wide, wide)
    entered = order[::2]
    place = ((row[entered] - top)[run], across)
    np.maximum.at(strip, place, value[owner[edge[entered]]][run])
