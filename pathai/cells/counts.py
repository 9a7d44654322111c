"""Counts of nuclei with the interval that sampling of tissue alone gives them."""

from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.store.records import TISSUE, Interval, TissueMap

SQUARE_UM = 250.0
"""Edge of the squares whose scatter makes the interval of a count."""
COVERS = (
    "scatter between squares of 250 µm of the analyzed tissue; "
    "not errors of the detector, nor scatter beyond neighboring squares"
)


def map_pixel(
    tissue: TissueMap, xy_px0: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column ``int64[M]`` of the tissue map at level-0 positions ``float[M, 2]``."""
    height, width = tissue.classes.shape
    column = (xy_px0[:, 0] / tissue.downsample).astype(np.int64)
    row = (xy_px0[:, 1] / tissue.downsample).astype(np.int64)
    return row.clip(0, height - 1), column.clip(0, width - 1)


def square_counts(
    xy_px0: NDArray[np.float32], tissue: TissueMap, square_um: float = SQUARE_UM
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nuclei and tissue area of each square that holds tissue.

    Parameters
    ----------
    xy_px0 : float32[M, 2]
        Positions on tissue.
    tissue : TissueMap
        Gives the squares, whose edges are whole map pixels, and their tissue.
    square_um : float
        Edge of a square.

    Returns
    -------
    counts : int64[K]
    areas_mm2 : float64[K]
    """
    height, width = tissue.classes.shape
    edge_x = max(round(square_um / tissue.mpp.x), 1)
    edge_y = max(round(square_um / tissue.mpp.y), 1)
    columns, rows = ceil(width / edge_x), ceil(height / edge_y)
    y, x = np.nonzero(tissue.classes == TISSUE)
    area = np.bincount((y // edge_y) * columns + x // edge_x, minlength=rows * columns)
    row, column = map_pixel(tissue, xy_px0)
    place = (row // edge_y) * columns + column // edge_x
    count = np.bincount(place, minlength=rows * columns)
    used = area > 0
    px_mm2 = tissue.mpp.x * tissue.mpp.y / 1e6
    return count[used].astype(np.int64), area[used].astype(np.float64) * px_mm2


def count_interval(
    counts: NDArray[np.int64], areas_mm2: NDArray[np.float64], level: float = 0.95
) -> Interval:
    """Total count with an interval from the scatter between squares.

    The count is a ratio estimate (nuclei per area, times the area); its variance is that of
    squares drawn at random, never less than Poisson. The interval is built on the log scale
    with Student's t, so it stays positive. Below two squares, and for a count of zero, it is
    the exact Poisson interval. It covers what `COVERS` says: another piece of the same
    kind of tissue, seen by the same detector; errors of the detector come on top.

    Parameters
    ----------
    counts : int64[K]
        Nuclei per square.
    areas_mm2 : float64[K]
        Tissue per square, positive.
    level : float
        Nominal coverage.

    Returns
    -------
    Interval

    References
    ----------
    Cochran WG. Sampling Techniques, 3rd ed. Wiley 1977, chapter 6 (ratio estimators).
    Garwood F. Fiducial limits for the Poisson distribution. Biometrika 1936;28:437-442.
    """
    from scipy import stats

    total, squares = int(counts.sum()), len(counts)
    if total == 0 or squares < 2:
        tail = (1 - level) / 2
        low = float(stats.chi2.ppf(tail, 2 * total) / 2) if total else 0.0
        high = float(stats.chi2.ppf(1 - tail, 2 * total + 2) / 2)
        return Interval(value=total, low=low, high=high, level=level, covers=COVERS)
    rest = counts - total * areas_mm2 / areas_mm2.sum()
    variance = max(squares / (squares - 1) * float((rest * rest).sum()), float(total))
    width = float(stats.t.ppf((1 + level) / 2, squares - 1)) * sqrt(variance) / total
    low, high = total * np.exp(-width), total * np.exp(width)
    return Interval(value=total, low=float(low), high=float(high), level=level, covers=COVERS)


def per_mm2(count: Interval, area_mm2: float) -> Interval:
    """A count's interval per mm²; the area is taken as known, and 0 on no area."""
    area = area_mm2 if area_mm2 > 0 else np.inf
    return count.model_copy(
        update={"value": count.value / area, "low": count.low / area, "high": count.high / area}
    )
