"""Length of biopsy cores, and of tumor along them.

The axis is the longest path through the medial axis of the piece. Near the ends, where a medial
axis forks into the corners, it goes straight on to the edge. Tumor lies at a place of the axis if
any of it is nearer to that place than to every other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from pathai.units import Mpp

F64 = NDArray[np.float64]
LEAST_MM, WIDEST_MM, LEAST_RATIO = 1.0, 2.0, 3.0
"""A piece is a core if it is this long, no wider, and this many times longer than wide."""
FORK = 2.0
"""Half-widths of a core by which its medial axis is cut at each end, before it goes straight on."""
SMOOTH_UM = 40.0
"""Scale on which the axis is smoothed: steps between pixels would make it longer."""


@dataclass(frozen=True)
class Axis:
    """Axis of a piece.

    Attributes
    ----------
    xy_um : float64[n, 2]
        Places along it, on the map.
    share_mm : float64[n]
        Length that each place stands for.
    """

    xy_um: F64
    share_mm: F64

    @property
    def length_mm(self) -> float:
        """From end to end of the tissue."""
        return float(self.share_mm.sum())


@dataclass(frozen=True)
class TumorLength:
    """Tumor along an axis, mm: without and with the tissue between first and last tumor."""

    tumor_mm: float
    span_mm: float


def core_axis(inside: NDArray[np.bool_], mpp: Mpp) -> Axis | None:
    """Axis of a piece of tissue; None if its shape is not that of a core.

    Parameters
    ----------
    inside : bool[h, w]
        The piece; holes in it are filled.
    mpp : Mpp
        µm per pixel.

    References
    ----------
    Zhang TY, Suen CY. A fast parallel algorithm for thinning digital patterns. Commun ACM
    1984;27:236-239.
    """
    from skimage.morphology import skeletonize

    rows, columns = (np.flatnonzero(inside.any(axis=a)) for a in (1, 0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    piece = np.pad(inside[top : rows[-1] + 1, left : columns[-1] + 1], 2)
    piece = ndimage.binary_fill_holes(ndimage.binary_closing(piece, iterations=2, border_value=0))
    area_mm2 = float(piece.sum()) * mpp.x * mpp.y / 1e6
    path = _longest_path(np.argwhere(skeletonize(piece)), mpp)
    if len(path) < 3:
        return None
    depth = ndimage.distance_transform_edt(piece, sampling=(mpp.y, mpp.x))
    place = (path[:, ::-1] + 0.5) * [mpp.x, mpp.y]
    half_um = float(np.median(depth[path[:, 0], path[:, 1]]))
    middle = _without_forks(place, half_um, mpp)
    if len(middle) < 3:
        return None
    first, last = (_to_edge(middle[::way], piece, half_um, mpp) for way in (1, -1))
    smooth = np.concatenate([first[::-1], middle, last])
    step = np.hypot(*np.diff(smooth, axis=0).T)
    share = (np.concatenate([[0.0], step]) + np.concatenate([step, [0.0]])) / 2
    smooth = smooth + np.array([left - 2, top - 2]) * [mpp.x, mpp.y]
    axis = Axis(smooth, share / 1000)
    width = area_mm2 / axis.length_mm
    fits = axis.length_mm >= max(LEAST_MM, LEAST_RATIO * width) and width <= WIDEST_MM
    return axis if fits else None


def _without_forks(place: F64, half_um: float, mpp: Mpp) -> F64:
    """The path smoothed, without its ends: there a medial axis turns into the corners."""
    smooth: F64 = ndimage.gaussian_filter1d(place, SMOOTH_UM / mpp.mean, axis=0, mode="nearest")
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(smooth, axis=0).T))])
    kept = (along >= FORK * half_um) & (along <= along[-1] - FORK * half_um)
    middle: F64 = smooth[kept]
    return middle


def _to_edge(place: F64, piece: NDArray[np.bool_], half_um: float, mpp: Mpp) -> F64:
    """Places from the first one straight on to the edge of the tissue, float64[k, 2]."""
    away = np.hypot(*(place - place[0]).T)
    back = min(int(np.searchsorted(away, 2 * half_um)), len(place) - 1)
    way = place[0] - place[back]
    way /= max(float(np.hypot(*way)), 1e-9)
    fine = max(mpp.x, mpp.y)  # as far apart as tumor pixels, so that none is passed over
    beyond = place[0] + np.arange(fine, 4 * FORK * half_um, fine)[:, None] * way
    x, y = np.floor(beyond / [mpp.x, mpp.y]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < piece.shape[1]) & (y < piece.shape[0])
    inside &= piece[y.clip(0, piece.shape[0] - 1), x.clip(0, piece.shape[1] - 1)]
    reached: F64 = beyond if inside.all() else beyond[: int(np.argmin(inside))]
    return reached


def _longest_path(pixels: NDArray[np.int64], mpp: Mpp) -> NDArray[np.int64]:
    """Pixels (y, x) along the longest shortest path, found by going to the farthest twice."""
    if len(pixels) < 2:
        return pixels
    pairs = cKDTree(pixels).query_pairs(1.5, output_type="ndarray")
    gap = (pixels[pairs[:, 0]] - pixels[pairs[:, 1]]) * [mpp.y, mpp.x]
    size = len(pixels)
    graph = coo_array((np.hypot(*gap.T), (pairs[:, 0], pairs[:, 1])), shape=(size, size)).tocsr()

    def farthest(start: int) -> tuple[int, NDArray[np.int32]]:
        away, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
        away[~np.isfinite(away)] = -1
        return int(np.argmax(away)), before

    first, _ = farthest(0)
    last, before = farthest(first)
    path = [last]
    while path[-1] != first:
        path.append(int(before[path[-1]]))
    return pixels[path]


def tumor_length(axis: Axis, tumor: NDArray[np.bool_], mpp: Mpp) -> TumorLength:
    """Tumor along an axis by both conventions; the report must say which one it prints.

    Parameters
    ----------
    axis : Axis
        Of the piece.
    tumor : bool[h, w]
        Tumor of this piece, on the same map as the piece.
    mpp : Mpp
        µm per pixel.
    """
    y, x = np.nonzero(tumor)
    if not len(y):
        return TumorLength(0.0, 0.0)
    place = np.stack([(x + 0.5) * mpp.x, (y + 0.5) * mpp.y], axis=1)
    hit = np.unique(cKDTree(axis.xy_um).query(place)[1])
    return TumorLength(
        tumor_mm=float(axis.share_mm[hit].sum()),
        span_mm=float(axis.share_mm[hit[0] : hit[-1] + 1].sum()),
    )
