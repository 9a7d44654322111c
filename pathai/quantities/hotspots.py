"""The densest circle or square of a fixed area: over every place, not over the steps of a grid.

A circle, as a microscope's field of view is one, and as it has no direction. The center may lie
anywhere. Branch and bound: the plane is cut into cells; in a cell of half-edge ``h`` no circle
holds more nuclei than lie within ``r + h √2`` of its middle. Cells that cannot beat the best circle
seen are dropped, the others are cut in four, until none is left. For squares (edges along x and y)
distance is the larger of both axes, and the bound ``r + h``.

Where nuclei lie as on a lattice, nearly every place is as good as the best one and hardly a cell
can be dropped. So the search ends after `MOST_CENTERS` places at the latest and then says, beside
the densest place that it saw, how many nuclei no place can exceed.
"""

from dataclasses import dataclass
from math import ceil, pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

F64 = NDArray[np.float64]
AREAS_MM2 = (1.0, 0.25)
"""Areas of hot spots."""
RESOLUTION_UM = 1e-3
"""Cells smaller than this are not cut again: a place that small is none."""
MOST_CENTERS = 1_500_000
"""Places to look at before the search ends; a million nuclei at random need one million."""
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
    at_most : int
        No circle of this area holds more; equals ``count`` where the search came to its end.
    """

    x_um: float
    y_um: float
    radius_um: float
    count: int
    at_most: int


@dataclass(frozen=True)
class Square:
    """A square with edges along x and y, and the points in it.

    Attributes
    ----------
    x_um, y_um : float
        Center.
    edge_um : float
        Of the area asked for.
    count : int
        Points within it.
    at_most : int
        No such square holds more; equals ``count`` where the search came to its end.
    """

    x_um: float
    y_um: float
    edge_um: float
    count: int
    at_most: int


def radius_um(area_mm2: float) -> float:
    """Radius of a circle of this area: 564.19 µm for 1 mm²."""
    return 1000 * sqrt(area_mm2 / pi)


def densest_circle(xy_um: F64, area_mm2: float, most_centers: int = MOST_CENTERS) -> Circle | None:
    """Circle of this area with the most points; None without points.

    Among circles with equally many points the one is taken that the search meets first with the
    smallest y, then x, so that the same points give the same circle.

    Parameters
    ----------
    xy_um : float64[M, 2]
        Positions x, y.
    area_mm2 : float
        Area of the circle.
    most_centers : int
        Places to look at before the search ends.
    """
    if not len(xy_um):
        return None
    radius = radius_um(area_mm2)
    x, y, count, at_most = _densest(xy_um, radius, 2.0, most_centers)
    return Circle(x, y, radius, count, at_most)


def densest_square(xy_um: F64, area_mm2: float, most_centers: int = MOST_CENTERS) -> Square | None:
    """Square of this area with the most points; None without points. Else as `densest_circle`."""
    if not len(xy_um):
        return None
    edge = 1000 * sqrt(area_mm2)
    x, y, count, at_most = _densest(xy_um, edge / 2, np.inf, most_centers)
    return Square(x, y, edge, count, at_most)


def _densest(
    xy_um: F64, reach: float, norm: float, most_centers: int
) -> tuple[float, float, int, int]:
    """Center with the most points within ``reach``, their number, and what none can exceed."""
    points = np.asarray(xy_um, np.float64)
    tree = cKDTree(points)
    centers, half, least, upper = _bins(points, reach, norm)
    corner = sqrt(2) if norm == 2 else 1.0
    best = (0, 0.0, 0.0)  # count, -y, -x: the largest tuple wins
    looked = 0
    while len(centers):
        if looked + len(centers) > most_centers:
            # The most promising places alone, for a good one; all of them stay possible.
            room = max(most_centers - looked, 1)
            centers = centers[np.argsort(-upper, kind="stable")[:room]]
            best = max(best, _best(tree, centers, reach, norm))
            return -best[2], -best[1], best[0], max(int(upper.max()), best[0])
        looked += len(centers)
        best = max(best, _best(tree, centers, reach, norm))
        least = max(least, best[0])
        if half < RESOLUTION_UM:
            break
        # A bin may be known to beat what a center was found for; equal bounds must stay then.
        short = best[0] if least == best[0] else least - 1
        most = _held(tree, centers, reach + half * corner + 1e-9, norm)
        kept = most > short
        half /= 2
        step = half * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])
        centers = (centers[kept][:, None] + step).reshape(-1, 2)
        upper = np.repeat(most[kept], 4)
    return -best[2], -best[1], best[0], best[0]


def _best(tree: cKDTree, centers: F64, reach: float, norm: float) -> tuple[int, float, float]:
    """The center that holds most: count, -y, -x."""
    held = _held(tree, centers, reach, norm)
    top = np.flatnonzero(held == held.max())
    place = centers[top[np.lexsort((centers[top, 0], centers[top, 1]))[0]]]
    return int(held.max()), -float(place[1]), -float(place[0])


def _bins(points: F64, reach: float, norm: float) -> tuple[F64, float, int, NDArray[np.int64]]:
    """Middles of bins that may hold the best center, half an edge, a count that is reached, bounds.

    The last is int64[n]: no center in bin ``i`` holds more.
    """
    from scipy.signal import oaconvolve  # a second to load, and few runs look for hot spots

    low, high = points.min(axis=0), points.max(axis=0)
    span = high - low
    fine = reach / min(max(sqrt(len(points)) / 10, 4), 100)  # more points are worth a finer grid
    edge = max(fine, sqrt(float((span[0] + reach) * (span[1] + reach)) / MOST_BINS))
    size = np.maximum(np.ceil(span / edge).astype(int), 1)
    index = np.minimum(((points - low) / edge).astype(int), size - 1)
    counts = np.bincount(index[:, 1] * size[0] + index[:, 0], minlength=int(size[0] * size[1]))
    grid = counts.reshape(size[1], size[0]).astype(np.float64)
    bins = ceil(reach / edge) + 1
    away = np.abs(np.arange(-bins, bins + 1))
    near, far = np.maximum(away - 1, 0) * edge, (away + 0.5) * edge
    # A center outside of all points' box is no better than the nearest one inside.
    distance = np.hypot if norm == 2 else np.maximum
    may = distance(near[:, None], near[None]) <= reach
    sure = distance(far[:, None], far[None]) <= reach
    upper = np.rint(oaconvolve(grid, may.astype(float), mode="same"))
    least = int(np.rint(oaconvolve(grid, sure.astype(float), mode="same")).max())
    row, column = np.nonzero(upper >= max(least, 1))
    middles = low + (np.stack([column, row], axis=1) + 0.5) * edge
    return middles, edge / 2, least, upper[row, column].astype(np.int64)


def _held(tree: cKDTree, centers: F64, reach: float, norm: float) -> NDArray[np.int64]:
    """Points within ``reach`` of each center."""
    parts = [
        tree.query_ball_point(centers[i : i + CHUNK], reach, p=norm, return_length=True)
        for i in range(0, len(centers), CHUNK)
    ]
    return np.concatenate(parts).astype(np.int64)
