"""Air bubbles under the coverslip: a thin dark gray ring around a clear, round inside."""

import numpy as np
from numpy.typing import NDArray

from pathai.tissue.colors import BAND, Density
from pathai.tissue.parts import Parts, dilated, without_small_holes
from pathai.tissue.reading import Mask, Overview

AREA_UM2 = (9_000.0, 12e6)
"""Sizes of bubbles."""
ROUND = (0.66, 0.9)
"""Share of its box that a bubble covers; a circle covers 0.785."""
STRETCHED = 1.5
"""Longest side by shortest side of the box at most."""
CLEAR = 0.85
"""Share of the inside without a dark pixel."""
CLOSED = 0.85
"""Share of the ring that must be dark."""
GRAY = 0.65
"""Color by density of the ring at most; a ring of nuclei has more color."""
THICK_UM, THICK = 28.0, 0.6
"""So far outside of the ring less than this share may still be dark: glands have thick walls."""


def find_bubbles(
    view: Overview, white: NDArray[np.float32], density: Density, color: Density, dark: float
) -> Mask:
    """Bubbles, with their rings.

    Parameters
    ----------
    view : Overview
        With its fine image.
    white : float32[3]
        Light through bare glass.
    density, color : int16[h, w]
        As in `pathai.tissue.colors.Colors`.
    dark : float
        Light that passes the ring, at most, as a share of bare glass.

    Returns
    -------
    bool[h, w]
    """
    out = np.zeros(density.shape, bool)
    if view.fine is None:
        return out
    line = _darkest(view) < dark * float(white.max())
    area = view.mpp.x * view.mpp.y
    clear = Parts(~line)
    boxes = clear.boxes()
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    inner = (boxes[:, [0, 2]] > 0).all(axis=1) & (boxes[:, [1, 3]] < out.shape).all(axis=1)
    size = (clear.areas * area >= CLEAR * AREA_UM2[0]) & (clear.areas * area <= AREA_UM2[1])
    shape = np.maximum(height, width) <= STRETCHED * np.minimum(height, width)
    full = clear.areas >= CLEAR * ROUND[0] * height * width
    thick = max(2, round(THICK_UM / view.mpp.mean))
    for k in np.flatnonzero(inner & size & shape & full):
        rows, columns, part = clear.piece(int(k), thick + 1)
        disk = without_small_holes(part, part.size)
        near = line[rows, columns], density[rows, columns], color[rows, columns]
        box = int(height[k] * width[k])
        if part.sum() >= CLEAR * disk.sum() and _ringed(disk, box, *near, thick):
            out[rows, columns] |= dilated(disk, 1)
    return out


def _darkest(view: Overview) -> NDArray[np.uint8]:
    """Least of the fine pixels' red or blue light: stains let one of both pass."""
    assert view.fine is not None  # noqa: S101
    out = np.full(view.valid.shape, 255, np.uint8)
    zoom = view.zoom
    for top in range(0, len(out), BAND):
        band = view.fine[top * zoom : (top + BAND) * zoom]
        rim = np.maximum(band[..., 0], band[..., 2])
        for y in range(zoom):
            for x in range(zoom):
                part = rim[y::zoom, x::zoom]
                here = out[top : top + len(part), : part.shape[1]]
                np.minimum(here, part, out=here)
    return out


def _ringed(disk: Mask, box: int, line: Mask, density: Density, color: Density, thick: int) -> bool:
    """Whether a disk has a bubble's thin gray ring around it."""
    if not ROUND[0] * box <= disk.sum() <= ROUND[1] * box:
        return False
    ring = dilated(disk, 1) & ~disk
    beyond = dilated(disk, thick) & ~dilated(disk, thick - 1)
    if line[ring].mean() < CLOSED or (beyond.any() and line[beyond].mean() > THICK):
        return False
    shade = color[ring] / np.maximum(density[ring], 1)
    return bool(np.median(shade) <= GRAY)
