"""Intervals of counts: of the true number in the tissue that was analyzed, and of its kind.

Two questions have two intervals. *How many nuclei are in the analyzed tissue?* All of it was
counted, so only the detector can be wrong: `true_count`. *How dense is tissue of this kind?* The
analyzed tissue is then a sample of squares, and their scatter comes on top: `tissue_density`.
"""

from math import exp, hypot, sqrt

import numpy as np
from numpy.typing import NDArray

from pathai.quantities.crowding import EVEN, Crowding
from pathai.quantities.error import CountError
from pathai.stats.quantiles import chi2_quantile, t_quantile
from pathai.store.records import Interval

COVERS = (
    "scatter between squares of 250 µm of the analyzed tissue; "
    "not errors of the detector, nor scatter beyond neighboring squares"
)
"""What an interval holds where nobody has measured the detector's error."""
COVERS_DETECTOR = (
    "errors of the detector as measured on {fields} held-back fields ({source}); all of the "
    "analyzed tissue was counted, so nothing is added for sampling; not tissue unlike those fields"
)
COVERS_BOTH = (
    "errors of the detector as measured on {fields} held-back fields ({source}), and scatter "
    "between squares of 250 µm as of other tissue of this kind; not tissue unlike those fields"
)
CROWDED = "; widened where nuclei lie denser than {densest:,.0f} per mm²"
FEW = 10
"""Below so many nuclei the interval also holds the exact Poisson interval."""


def poisson(found: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a Poisson mean.

    References
    ----------
    Garwood F. Fiducial limits for the Poisson distribution. Biometrika 1936;28:437-442.
    """
    tail = (1 - level) / 2
    low = chi2_quantile(tail, 2 * found) / 2 if found else 0.0
    return low, chi2_quantile(1 - tail, 2 * found + 2) / 2


def count_interval(
    counts: NDArray[np.int64], areas_mm2: NDArray[np.float64], level: float = 0.95
) -> Interval:
    """Total count with an interval from the scatter between squares alone.

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

    References
    ----------
    Cochran WG. Sampling Techniques, 3rd ed. Wiley 1977, chapter 6 (ratio estimators).
    """
    total = int(counts.sum())
    if total == 0 or len(counts) < 2:
        low, high = poisson(total, level)
    else:
        width = _scatter(counts, areas_mm2, level)
        low, high = total * exp(-width), total * exp(width)
    return Interval(value=total, low=low, high=high, level=level, covers=COVERS)


def _scatter(counts: NDArray[np.int64], areas_mm2: NDArray[np.float64], level: float) -> float:
    """Half-width on the log scale from the scatter between two or more squares."""
    total, squares = int(counts.sum()), len(counts)
    rest = counts - total * areas_mm2 / areas_mm2.sum()
    variance = max(squares / (squares - 1) * float((rest * rest).sum()), float(total))
    return t_quantile((1 + level) / 2, squares - 1) * sqrt(variance) / total


def half_width(
    found: int, error: CountError, crowded: Crowding = EVEN, level: float = 0.95
) -> float:
    """Half-width of ln(true / found) that the detector's error gives.

    It is that of one more slide of the kind that was checked: Student's t with the fields' degrees
    of freedom, and the uncertainty of the mean. For the share of nuclei that lie where density
    is past what was checked, the error is taken as twice as large, and ln(density / densest
    checked) is added: there a detector merges or splits nuclei in a way nobody measured.
    """
    quantile = t_quantile((1 + level) / 2, error.fields - 1)
    width = quantile * error.sd(found) * sqrt(1 + 1 / error.fields)
    if crowded.nuclei:
        width += (crowded.nuclei * width + crowded.excess) / max(found, 1)
    return width


def true_count(
    counts: NDArray[np.int64],
    areas_mm2: NDArray[np.float64],
    error: CountError | None,
    crowded: Crowding = EVEN,
    level: float = 0.95,
) -> Interval:
    """Number of nuclei in the analyzed tissue: those found, with the interval of the true number.

    The value is what was found, so that every nucleus of it can be shown. The interval is
    centered where the measured bias puts the truth, and stretched to hold the value.

    Parameters
    ----------
    counts : int64[K]
        Nuclei per square; they enter only where ``error`` is not known.
    areas_mm2 : float64[K]
        Tissue per square, positive.
    error : CountError or None
        The detector's error; None gives the interval of sampling alone, and says so.
    crowded : Crowding
        What lies past the density that was checked.
    level : float
        Nominal coverage.
    """
    if error is None:
        return count_interval(counts, areas_mm2, level)
    found = int(counts.sum())
    width = half_width(found, error, crowded, level)
    return _interval(found, error, width, COVERS_DETECTOR, crowded, level)


def tissue_count(
    counts: NDArray[np.int64],
    areas_mm2: NDArray[np.float64],
    error: CountError | None,
    crowded: Crowding = EVEN,
    level: float = 0.95,
) -> Interval:
    """Number of nuclei to expect in as much tissue of this kind: detector and scatter together.

    Both half-widths add as squares on the log scale, since neither knows of the other.
    """
    if error is None:
        return count_interval(counts, areas_mm2, level)
    found = int(counts.sum())
    width = half_width(found, error, crowded, level)
    if found and len(counts) >= 2:
        width = hypot(width, _scatter(counts, areas_mm2, level))
    elif found:
        low, high = poisson(found, level)
        width = hypot(width, np.log(high / max(low, 0.5)) / 2)
    return _interval(found, error, width, COVERS_BOTH, crowded, level)


def _interval(
    found: int, error: CountError, width: float, covers: str, crowded: Crowding, level: float
) -> Interval:
    low = max((found + 0.5) * exp(error.log_ratio - width) - 0.5, 0.0)
    high = (found + 0.5) * exp(error.log_ratio + width) - 0.5
    if found < FEW:
        exact = poisson(found, level)
        low, high = min(low, exact[0]), max(high, exact[1])
    words = covers.format(fields=error.fields, source=error.source or "source not stated")
    words += CROWDED.format(densest=error.densest_per_mm2) if crowded.nuclei else ""
    low, high = min(low, found), max(high, found)
    return Interval(value=found, low=low, high=high, level=level, covers=words)


def per_mm2(count: Interval, area_mm2: float) -> Interval:
    """A count's interval per mm²; the area is taken as known, and 0 on no area."""
    area = area_mm2 if area_mm2 > 0 else np.inf
    return count.model_copy(
        update={"value": count.value / area, "low": count.low / area, "high": count.high / area}
    )
