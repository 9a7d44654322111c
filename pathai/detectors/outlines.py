"""Outlines that may come from foreign code: what is certain of them is kept."""

import numpy as np
import shapely
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


def mend(
    outline: F32, start: I64, centers: F32, reach_px: float
) -> tuple[F32, I64, NDArray[np.bool_]]:
    """Outlines that are simple polygons, or empty where there is none.

    Parameters
    ----------
    outline : float32[k, 2]
        Vertices x, y of all outlines.
    start : int64[M + 1]
        Outline ``i`` is ``outline[start[i]:start[i + 1]]``.
    centers : float32[M, 2]
        Centers of the nuclei.
    reach_px : float
        An outline that goes farther than this from its center is none.

    Returns
    -------
    outline : float32[k', 2]
    start : int64[M + 1]
    mended : bool[M]
        Which of them are not as they were.
    """
    length = np.diff(start)
    owner = np.repeat(np.arange(len(length)), length)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(outline - centers[owner]).max(axis=1, initial=0) <= reach_px
    lost = length < 3
    lost[owner[~near]] = True  # not finite is not near
    rings = shapely.linearrings(outline[~lost[owner]], indices=_numbered(~lost, length))
    polygons = shapely.polygons(rings) if len(rings) else np.empty(0, object)
    sound = shapely.is_valid(polygons) & (shapely.area(polygons) > 0)
    if sound.all() and not lost.any():
        return outline, start, np.zeros(len(length), bool)
    kept: list[F32] = []
    parts = iter(zip(polygons, sound, strict=True))
    mended = np.zeros(len(length), bool)
    for i in range(len(length)):
        part = outline[start[i] : start[i + 1]]
        if lost[i]:
            part, mended[i] = part[:0], True
        else:
            polygon, fine = next(parts)
            if not fine:
                part, mended[i] = _largest(polygon), True
        kept.append(part)
    begins = np.concatenate([[0], np.cumsum([len(part) for part in kept])]).astype(np.int64)
    return np.concatenate([outline[:0], *kept]), begins, mended


def _numbered(wanted: NDArray[np.bool_], length: I64) -> I64:
    """For each point of a wanted outline, which of them it is of."""
    numbers: I64 = np.repeat(np.arange(int(wanted.sum())), length[wanted])
    return numbers


def _largest(polygon: shapely.Polygon) -> F32:
    """The largest part of a polygon that crosses itself, without holes; nothing if it is flat."""
    parts = shapely.get_parts(shapely.make_valid(polygon))
    parts = shapely.get_parts(parts)  # a part may be a collection itself
    areas = shapely.area(parts)
    if not len(parts) or areas.max() == 0:
        return np.empty((0, 2), np.float32)
    ring = shapely.get_exterior_ring(parts[int(areas.argmax())])
    points: F32 = shapely.get_coordinates(ring)[:-1].astype(np.float32)
    return points
