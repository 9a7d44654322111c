"""The densest circle of a fixed area: exact over every place, not over the steps of a grid.

A circle, as a microscope's field of view is one, and as it has no direction. The center may lie
anywhere. Branch and bound: the plane is cut into cells; in a cell of half-edge ``h`` no circle
holds more nuclei than lie within ``r + h √2`` of its middle. Cells that cannot beat the best circle
seen are dropped, the others are cut in four, until none is left.
"""

from dataclasses import dataclass
from math import ceil, pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve
from scipy.spatial import cKDTree

F64 = NDArray[np.float64]
AREAS_MM2 = (1.0, 0.25)
"""Areas of hot spots."""
RESOLUTION_UM = 1e-3
"""Cells smaller than this are not cut again: a place that small is none."""
MOST_BINS = 2**23
CHUNK = 200_000


@dataclass(frozen=True)
class Circle:
    """A circle and the points in it.

    Attributes
    ----------
    x_um, y_um : float
        Center.
    radius_um : float
        Of the area asked for.
    count : int
        Points within it.
    """

    x_um: float
    y_um: float
    radius_um: float
    count: int


def radius_um(area_mm2: float) -> float:
    """Radius of a circle of this area: 564.19 µm for 1 mm²."""
    return 1000 * sqrt(area_mm2 / pi)


def densest_circle(xy_um: F64, area_mm2: float) -> Circle | None:
    """Circle of this area with the most points; None without points.

    Among circles with equally many points the one is taken that the search meets first with the
    smallest y, then x, so that the same points give the same circle.

    Parameters
    ----------
    xy_um : float64[M, 2]
        Positions x, y.
    area_mm2 : float
        Area of the circle.
    """
    if not len(xy_um):
        return None
    radius = radius_um(area_mm2)
    points = np.asarray(xy_um, np.float64)
    tree = cKDTree(points)
    centers, half, least = _bins(points, radius)
    best = (0, 0.0, 0.0)  # count, -y, -x: the largest tuple wins
    while len(centers):
        held = _held(tree, centers, radius)
        top = np.flatnonzero(held == held.max())
        place = centers[top[np.lexsort((centers[top, 0], centers[top, 1]))[0]]]
        best = max(best, (int(held.max()), -float(place[1]), -float(place[0])))
        least = max(least, best[0])
        if half < RESOLUTION_UM:
            break
        # A bin may be known to beat what a center was found for; equal bounds must stay then.
        short = best[0] if least == best[0] else least - 1
        most = _held(tree, centers, radius + half * sqrt(2) + 1e-9)
        centers = centers[most > short]
        half /= 2
        corner = half * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])
        centers = (centers[:, None] + corner).reshape(-1, 2)
    return Circle(-best[2], -best[1], radius, best[0])


def _bins(points: F64, radius: float) -> tuple[F64, float, int]:
    """Middles of bins that may hold the best center, half an edge, and a count that is reached."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = high - low
    fine = radius / min(max(sqrt(len(points)) / 10, 4), 100)  # more points are worth a finer grid
    edge = max(fine, sqrt(float((span[0] + radius) * (span[1] + radius)) / MOST_BINS))
    size = np.maximum(np.ceil(span / edge).astype(int), 1)
    index = np.minimum(((points - low) / edge).astype(int), size - 1)
    counts = np.bincount(index[:, 1] * size[0] + index[:, 0], minlength=int(size[0] * size[1]))
    grid = counts.reshape(size[1], size[0]).astype(np.float64)
    reach = ceil(radius / edge) + 1
    away = np.abs(np.arange(-reach, reach + 1))
    near, far = np.maximum(away - 1, 0) * edge, (away + 0.5) * edge
    # A center outside of all points' box is no better than the nearest one inside.
    may = np.hypot(near[:, None], near[None]) <= radius
    sure = np.hypot(far[:, None], far[None]) <= radius
    upper = np.rint(oaconvolve(grid, may.astype(float), mode="same"))
    least = int(np.rint(oaconvolve(grid, sure.astype(float), mode="same")).max())
    row, column = np.nonzero(upper >= max(least, 1))
    middles = low + (np.stack([column, row], axis=1) + 0.5) * edge
    return middles, edge / 2, least


def _held(tree: cKDTree, centers: F64, radius: float) -> NDArray[np.int64]:
    """Points within ``radius`` of each center."""
    parts = [
        tree.query_ball_point(centers[i : i + CHUNK], radius, return_length=True)
        for i in range(0, len(centers), CHUNK)
    ]
    return np.concatenate(parts).astype(np.int64)
