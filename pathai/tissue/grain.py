"""Fine structure of a slide: how strong and how fine the detail is around every place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.tissue.overview import Floats, Overview

BLOCK = 2
"""Map pixels per pixel of the grain images along one axis."""


@dataclass(frozen=True)
class Grain:
    """Detail of the green channel in squares of `BLOCK` map pixels.

    Parameters
    ----------
    slope : float32[ceil(h / 2), ceil(w / 2)]
        Mean absolute difference across two fine pixels, x and y added, gray levels.
    finest : float32[ceil(h / 2), ceil(w / 2)]
        Mean absolute mixed second difference: the finest detail that the pixels can hold.
    """

    slope: Floats
    finest: Floats


def grain_of(view: Overview) -> Grain:
    """Detail of an overview that has its fine image; every second row and column is looked at."""
    assert view.fine is not None  # noqa: S101
    step = BLOCK * view.zoom
    height, width = (-(-n // step) * step for n in view.fine.shape[:2])
    green = view.fine[..., 1]
    pad = (0, height + 1 - green.shape[0]), (0, width + 1 - green.shape[1])
    level = np.pad(green, pad, mode="edge").astype(np.int16)
    above, here, below = level[:-2:2], level[1:-1:2], level[2::2]
    bend = 2 * here - above - below
    finest = np.abs(2 * bend[:, 1:-1:2] - bend[:, :-2:2] - bend[:, 2::2])
    slope = np.abs(here[:, 2::2] - here[:, :-2:2])
    slope += np.abs((below - above)[:, 1:-1:2])
    return Grain(_mean(slope, view.zoom), _mean(finest, view.zoom))


def _mean(values: NDArray[np.int16], side: int) -> Floats:
    """Means over ``side`` x ``side`` values."""
    total = np.zeros((values.shape[0] // side, values.shape[1] // side), np.float32)
    for y in range(side):
        for x in range(side):
            total += values[y::side, x::side]
    return total / np.float32(side * side)


def box_mean(image: Floats, radius: int) -> Floats:
    """Means over squares of ``2 * radius + 1`` pixels; the edge is continued."""
    out = np.pad(image, radius + 1, mode="edge")[:, 1:]
    width = 2 * radius + 1
    total = np.cumsum(out, axis=0, dtype=np.float64)
    rows = total[width:-1] - total[: -width - 1]
    total = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), axis=1)
    mean = (total[:, width:-1] - total[:, : -width - 1]) / width**2
    return mean.astype(np.float32)
