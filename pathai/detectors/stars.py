"""Star-convex polygons: from distances along rays, and the strongest of those that overlap.

References
----------
Schmidt U, Weigert M, Broaddus C, Myers G. Cell detection with star-convex polygons.
In: MICCAI 2018, LNCS 11071:265-273.
"""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
SHORTEST_PX = 1e-3
"""StarDist's own least distance: no ray vanishes."""


def star_polygons(at: NDArray[Any], distances: NDArray[Any]) -> F64:
    """Polygons ``float64[M, K, 2]`` around ``at`` [M, 2] (x, y), ``distances`` [M, K] along rays.

    Ray *k* points to angle 2 pi k / K from the x axis toward the y axis. Corners lie in 1/64 px,
    as all positions that must not depend on where a block starts.
    """
    rays = distances.shape[1]
    angle = np.arange(rays) * (2 * np.pi / max(rays, 1))
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    length = np.maximum(distances, SHORTEST_PX)[..., None]
    corners: F64 = at[:, None] + np.rint(length * ray * 64) / 64
    return corners


def suppress(polygons: F64, score: NDArray[Any], overlap: float) -> I64:
    """Rows that stay when each polygon, strongest first, drops weaker ones that it covers.

    One is dropped if its intersection with a stronger one that stays is more than ``overlap`` of
    the smaller area of both. Equal scores go by y, then x of the first corner.

    Parameters
    ----------
    polygons : float64[M, K, 2]
        Star-convex.
    score : float[M]
        Higher is stronger.
    overlap : float
        Share of the smaller area, 0 to 1.

    Returns
    -------
    int64[N]
        Strongest first.
    """
    if not len(polygons):
        return np.empty(0, np.int64)
    order = np.lexsort((polygons[:, 0, 0], polygons[:, 0, 1], -np.asarray(score, np.float64)))
    shapes = shapely.polygons(polygons[order])
    shapes = np.where(shapely.is_valid(shapes), shapes, shapely.buffer(shapes, 0))
    shapely.prepare(shapes)
    area = shapely.area(shapes)
    tree = shapely.STRtree(shapes)
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if not alive[i]:
            continue
        near = tree.query(shapes[i])
        near = near[(near > i) & alive[near]]
        if len(near):
            common = shapely.area(shapely.intersection(shapes[near], shapes[i]))
            alive[near[common > overlap * np.minimum(area[near], area[i])]] = False
    return order[alive]


def paint(polygons: F64, score: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Label map ``int32[h, w]``; label ``i + 1`` is row *i*, the stronger one lies on top."""
    from skimage.draw import polygon

    labels = np.zeros(shape, np.int32)
    for i in np.argsort(score, kind="stable"):
        # skimage counts from pixel centers
        labels[polygon(polygons[i, :, 1] - 0.5, polygons[i, :, 0] - 0.5, shape)] = i + 1
    return labels
