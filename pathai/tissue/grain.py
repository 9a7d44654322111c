"""Fine structure of a slide: how strong and how fine the detail is around every place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.tissue.reading import Floats, Overview

BAND = 32
"""Rows of the grain images that are made at once."""
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
    height, width = (-(-n // (BLOCK * view.zoom)) for n in view.fine.shape[:2])
    slope, finest = np.zeros((2, height, width), np.float32)
    rows = BLOCK * view.zoom
    for top in range(0, height, BAND):  # in bands that fit a processor's cache
        band = view.fine[top * rows : (top + BAND) * rows + 1, :, 1].astype(np.int16)
        if len(band) < 3:  # a last band of one or two rows has no row between two others
            band = np.pad(band, ((0, 3 - len(band)), (0, 0)), mode="edge")
        above, here, below = band[:-2:2], band[1:-1:2], band[2::2]
        bend = 2 * here - above - below
        fine = np.abs(2 * bend[:, 1:-1:2] - bend[:, :-2:2] - bend[:, 2::2])
        steep = np.abs(here[:, 2::2] - here[:, :-2:2]) + np.abs((below - above)[:, 1:-1:2])
        part = slice(top, min(top + BAND, height))
        for out, values in ((slope, steep), (finest, fine)):
            out[part] = _mean(values, view.zoom, part.stop - top, width)
    return Grain(slope, finest)


def _mean(values: NDArray[np.int16], side: int, height: int, width: int) -> Floats:
    """Means over ``side`` x ``side`` values; a missing last row is like the one before."""
    missing = (0, height * side - values.shape[0]), (0, width * side - values.shape[1])
    even = np.pad(values, missing, mode="edge").astype(np.float32)
    total = np.zeros((height, width), np.float32)
    for y in range(side):
        for x in range(side):
            total += even[y::side, x::side]
    return total / np.float32(side * side)


def box_mean(image: Floats, radius: int) -> Floats:
    """Means over squares of ``2 * radius + 1`` pixels; the edge is continued."""
    wide = np.pad(image, radius, mode="edge")
    height, width = image.shape
    rows = wide[:height].copy()
    for k in range(1, 2 * radius + 1):
        rows += wide[k : k + height]
    out = rows[:, :width].copy()
    for k in range(1, 2 * radius + 1):
        out += rows[:, k : k + width]
    return out / np.float32((2 * radius + 1) ** 2)
