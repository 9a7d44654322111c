"""Geometry of many outlines at once: area, moments, hull, and the pixels inside.

Outlines are ``float[K, 2]`` vertices x, y, one after the other; outline ``i`` is
``points[start[i]:start[i + 1]]`` and need not be closed. An outline of fewer than three vertices
has no inside.

References
----------
Steger C. On the calculation of arbitrary moments of polygons. TU München, FGBV-96-05, 1996.
Serra J. Image Analysis and Mathematical Morphology. Academic Press, 1982. (Area and perimeter of a
convex body from its projections: Cauchy's formula.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def owners(start: I64) -> I64:
    """Outline ``int64[K]`` of each vertex."""
    return np.repeat(np.arange(len(start) - 1), np.diff(start))


def followers(start: I64) -> I64:
    """Next vertex ``int64[K]`` along each closed outline."""
    following = np.arange(1, int(start[-1]) + 1)
    filled = start[1:] > start[:-1]
    following[start[1:][filled] - 1] = start[:-1][filled]
    return following


@dataclass(frozen=True)
class Moments:
    """Area, centroid and second moments about it, of each outline's inside; px.

    Attributes
    ----------
    area : float64[M]
        0 for an outline without inside.
    perimeter : float64[M]
    x, y : float64[M]
        Centroid; the mean vertex where there is no inside.
    xx, yy, xy : float64[M]
        Second moments divided by the area; 0 where there is no inside.
    """

    area: F64
    perimeter: F64
    x: F64
    y: F64
    xx: F64
    yy: F64
    xy: F64


def moments(points: NDArray[Any], start: I64) -> Moments:
    """Moments of the inside of each outline by Green's theorem (Steger 1996).

    Parameters
    ----------
    points : float[K, 2]
        Vertices, best given near the origin: large coordinates cost digits.
    start : int64[M + 1]
        Where each outline begins.
    """
    owner, after, count = owners(start), followers(start), len(start) - 1
    x, y = np.asarray(points, np.float64).T.reshape(2, -1)
    x1, y1 = x[after], y[after]
    cross = x * y1 - x1 * y

    def total(values: F64) -> F64:
        # summed outline by outline in order, so that no outline depends on the others
        return np.bincount(owner, values, minlength=count).astype(np.float64)

    signed = total(cross) / 2
    empty = np.abs(signed) < 1e-9
    area = np.where(empty, 1.0, signed)
    each = np.maximum(np.diff(start), 1)
    cx = np.where(empty, total(x) / each, total((x + x1) * cross) / (6 * area))
    cy = np.where(empty, total(y) / each, total((y + y1) * cross) / (6 * area))
    xx = total((x * x + x * x1 + x1 * x1) * cross) / (12 * area) - cx * cx
    yy = total((y * y + y * y1 + y1 * y1) * cross) / (12 * area) - cy * cy
    xy = total((x * y1 + 2 * x * y + 2 * x1 * y1 + x1 * y) * cross) / (24 * area) - cx * cy
    none = np.zeros(count)
    return Moments(
        area=np.where(empty, none, np.abs(signed)),
        perimeter=total(np.hypot(x1 - x, y1 - y)),
        x=cx,
        y=cy,
        xx=np.where(empty, none, np.maximum(xx, 0)),
        yy=np.where(empty, none, np.maximum(yy, 0)),
        xy=np.where(empty, none, xy),
    )


def hull(
    x: NDArray[Any], y: NDArray[Any], starts: NDArray[np.intp], directions: int, beyond: float = 0.0
) -> tuple[F64, F64]:
    """Area and perimeter of the polygon of fixed directions that encloses each group of points.

    Parameters
    ----------
    x, y : float[K]
        Points, sorted by group, near the origin.
    starts : int[M]
        First point of each group; no group is empty.
    directions : int
        Directions of projection within half a turn; each serves both ways.
    beyond : float
        How far the outline lies beyond the points, px.
    """
    ahead, behind = [], []
    far = np.float32(beyond)
    for k in range(directions):
        angle = np.pi * k / directions
        cos, sin = x.dtype.type(np.cos(angle)), x.dtype.type(np.sin(angle))
        along = x * cos + y * sin
        ahead.append(np.maximum.reduceat(along, starts) + far)
        behind.append(far - np.minimum.reduceat(along, starts))
    support = np.array([*ahead, *behind], np.float64)
    turn = np.pi / directions
    sides = np.roll(support, 1, axis=0) + np.roll(support, -1, axis=0) - 2 * np.cos(turn) * support
    area = (support * sides).sum(axis=0) / (2 * np.sin(turn))
    return area, support.sum(axis=0) * turn


@dataclass(frozen=True)
class Runs:
    """Rows of pixels inside outlines, sorted by outline, then row, then column.

    Attributes
    ----------
    owner : int64[R]
        Outline.
    row : int64[R]
        Pixel row.
    left, right : int64[R]
        Pixels ``left`` to ``right - 1``.
    """

    owner: I64
    row: I64
    left: I64
    right: I64


def inside(points: F64, start: I64) -> Runs:
    """Pixels whose centers lie inside each outline (even-odd rule).

    A pixel that two outlines share is named for both: which pixels an outline has does not
    depend on the others.

    Parameters
    ----------
    points : float64[K, 2]
        Vertices in px; pixel i covers i to i + 1.
    start : int64[M + 1]
        Where each outline begins.
    """
    owner, after = owners(start), followers(start)
    x0, y0 = points.T.reshape(2, -1)
    x1, y1 = x0[after], y0[after]
    first = np.ceil(np.minimum(y0, y1) - 0.5).astype(np.int64)
    rows = np.ceil(np.maximum(y0, y1) - 0.5).astype(np.int64) - first
    edge = np.repeat(np.arange(len(x0)), rows)
    row = np.arange(len(edge)) + (first - np.cumsum(rows) + rows)[edge]
    # only edges that cross a row of pixel centers are left, so none is level
    slope = (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    cut = x0[edge] + (row + 0.5 - y0[edge]) * slope
    named = owner[edge]
    order = np.lexsort((cut, row, named))
    left, right = np.ceil(cut[order].reshape(-1, 2) - 0.5).astype(np.int64).T
    return Runs(named[order[::2]], row[order[::2]], left, right)
