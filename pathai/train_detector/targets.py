"""What the network shall answer for a label map: heat, inside, rays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
UNKNOWN = -1
"""Label of pixels that neither reward nor punish."""
SPREAD = (1.2, 2.6)
"""Limits of the standard deviation of a center's heat, px."""


@dataclass(frozen=True)
class Targets:
    """Of one crop.

    Attributes
    ----------
    heat : float32[h, w]
        1 at centers, falling off with the size of the nucleus.
    known : bool[h, w]
        Where the truth is known.
    inside : float32[h / 2, w / 2]
        Share of nucleus.
    at : int64[K, 2]
        Row and column, in half px, of places whose rays are known.
    rays : float32[K, R]
        Distances to the edge, px.
    """

    heat: F32
    known: NDArray[np.bool_]
    inside: F32
    at: NDArray[np.int64]
    rays: F32


def targets(labels: I32, rays: int, reach_px: int = 40) -> Targets:
    """Targets of a label map ``int32[h, w]``: 0 background, above it one number per nucleus."""
    height, width = labels.shape
    names, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape)
    count = len(names)
    size = np.bincount(compact.ravel(), minlength=count)
    rows, columns = np.indices(labels.shape)
    y = np.bincount(compact.ravel(), rows.ravel(), minlength=count) / size
    x = np.bincount(compact.ravel(), columns.ravel(), minlength=count) / size
    real = (names > 0) & (size >= 12)
    y, x, name, area = y[real], x[real], names[real], size[real]
    heat = _heat(x, y, area, (height, width))
    at, own = _places(x, y, name, labels)
    found = _distances(labels, at, own, rays, reach_px)
    whole = (labels > 0).astype(np.float32)
    inside = whole.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    known = labels != UNKNOWN
    tiny = (names > 0) & (size < 12)
    if tiny.any():  # slivers at the edge of a crop: nobody could tell
        known &= ~np.isin(labels, names[tiny])
    return Targets(heat, known, inside, at, found)


def _heat(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    area: NDArray[np.int64],
    shape: tuple[int, int],
) -> F32:
    heat = np.zeros(shape, np.float32)
    if len(x) == 0:
        return heat
    sigma = np.clip(0.22 * np.sqrt(area), *SPREAD)
    step = np.arange(-8, 9)
    cy, cx = np.rint(y).astype(int), np.rint(x).astype(int)
    rows = cy[:, None, None] + step[None, :, None]
    columns = cx[:, None, None] + step[None, None, :]
    square = (rows - cy[:, None, None]) ** 2 + (columns - cx[:, None, None]) ** 2
    value = np.exp(-square / (2 * sigma[:, None, None] ** 2)).astype(np.float32)
    rows, columns = np.broadcast_arrays(rows, columns)
    good = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    np.maximum.at(heat, (rows[good], columns[good]), value[good])
    return heat


def _places(
    x: NDArray[np.float64], y: NDArray[np.float64], name: I32, labels: I32
) -> tuple[NDArray[np.int64], I32]:
    """Half-px places at and around centers that lie in their own nucleus."""
    around = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])
    base = np.stack([(y + 0.5) // 2, (x + 0.5) // 2], axis=1).astype(np.int64)
    at = (base[:, None] + around).reshape(-1, 2)
    own = np.repeat(name, len(around))
    limit = np.array(labels.shape) // 2
    good = ((at >= 0) & (at < limit)).all(axis=1)
    at, own = at[good], own[good]
    same = labels[2 * at[:, 0], 2 * at[:, 1]] == own
    return at[same], own[same]


def _distances(labels: I32, at: NDArray[np.int64], own: I32, rays: int, reach_px: int) -> F32:
    """Distances from the middles of half-px places to the last own pixel along each ray."""
    angle = np.arange(rays) * (2 * np.pi / rays)
    middle = 2.0 * at + 1.0  # px, rows and columns; pixel i covers i to i + 1
    far = np.zeros((len(at), rays), np.float32)
    height, width = labels.shape
    alive = np.ones(far.shape, bool)
    for step in np.arange(0.5, reach_px, 0.5):
        row = np.floor(middle[:, :1] + step * np.sin(angle)).astype(int)
        column = np.floor(middle[:, 1:] + step * np.cos(angle)).astype(int)
        within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        hit = labels[row.clip(0, height - 1), column.clip(0, width - 1)] == own[:, None]
        alive &= hit & within
        if not alive.any():
            break
        far[alive] = step
    return far + np.float32(0.25)
