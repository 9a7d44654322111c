"""How far a detector's count and its shares are from the truth, measured on held-back fields.

The error of a field's count is ``ln(true / found)``. Two things make it: what a whole slide shares
(stain, scanner, crowding), which never averages out, and single nuclei, whose errors do. The
model is ``variance = log_sd² + per_nucleus / found``; the same on the log-odds scale for a share.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.errors import PathaiError

F64 = NDArray[np.float64]
LEAST_FIELDS = 8
"""Fewer held-back fields give no error that is worth stating."""
DENSEST_QUANTILE = 0.99
"""The densest checked field is this quantile: one odd field must not vouch for all crowding."""


@dataclass(frozen=True)
class CountError:
    """How a detector's count relates to the truth, on labeled tissue that it never learned from.

    Attributes
    ----------
    log_ratio : float
        Mean of ln(true / found) over held-back fields.
    log_sd : float
        Its standard deviation between such fields; what one more slide may be off by.
    densest_per_mm2 : float
        Local density of found nuclei up to which this was checked.
    fields : int
        Number of held-back fields.
    source : str
        Which tissue, in words.
    per_nucleus : float
        Variance that single nuclei add, times their number; it averages out over many nuclei.
    """

    log_ratio: float
    log_sd: float
    densest_per_mm2: float
    fields: int
    source: str
    per_nucleus: float = 0.0

    def sd(self, found: float) -> float:
        """Standard deviation of ln(true / found) where ``found`` nuclei were found."""
        return sqrt(self.log_sd**2 + self.per_nucleus / (found + 0.5))


@dataclass(frozen=True)
class ShareError:
    """How a share of nuclei relates to the truth, on labeled tissue nobody learned from.

    Attributes
    ----------
    log_odds : float
        Mean difference of log odds, true less found, over held-back fields.
    log_odds_sd : float
        Its standard deviation between fields, beyond what single nuclei explain.
    per_nucleus : float
        Variance that single nuclei add, times ``n p (1 - p)``.
    fields : int
        Number of held-back fields.
    source : str
        Which tissue, in words.
    """

    log_odds: float
    log_odds_sd: float
    per_nucleus: float
    fields: int
    source: str

    def sd(self, part: float, total: float) -> float:
        """Standard deviation of the log odds where ``part`` of ``total`` were found."""
        return sqrt(self.log_odds_sd**2 + self.per_nucleus * _per_information(part, total))


def log_odds(part: ArrayLike, total: ArrayLike) -> F64:
    """Log odds of a share, with half a nucleus added to either side so that 0 and 1 are finite."""
    part, total = np.asarray(part, float), np.asarray(total, float)
    odds: F64 = np.log((part + 0.5) / (total - part + 0.5))
    return odds


def _per_information(part: ArrayLike, total: ArrayLike) -> F64:
    """1 / (n p (1 - p)), finite for 0 and for all."""
    part, total = np.asarray(part, float) + 0.5, np.asarray(total, float) + 1
    inverse: F64 = total / (part * (total - part))
    return inverse


def calibrate(
    found: ArrayLike, true: ArrayLike, area_mm2: ArrayLike, source: str = ""
) -> CountError:
    """Error of a count from held-back fields, each as independent of the others as slides are.

    Parameters
    ----------
    found : int[n]
        Nuclei that the detector found in each field.
    true : int[n]
        Nuclei that a person or the generator put there.
    area_mm2 : float[n]
        Area of each field.
    source : str
        Which tissue, in words; printed with every interval.

    Returns
    -------
    CountError
        Fields of about one size tell the two parts of the variance badly apart; then the part
        that never averages out is favored, which is the careful side.

    Raises
    ------
    PathaiError
        E193 for fewer than 8 fields: label more.

    References
    ----------
    DerSimonian R, Laird N. Meta-analysis in clinical trials. Control Clin Trials 1986;7:177-188
    (a random effect between fields beside a variance that falls with their size).
    """
    f, t, area = (np.asarray(v, float) for v in (found, true, area_mm2))
    mean, sd, each = _components(np.log((t + 0.5) / (f + 0.5)), 1 / (f + 0.5))
    densest = float(np.quantile(f / area, DENSEST_QUANTILE))
    return CountError(mean, sd, densest, len(f), source, each)


def calibrate_share(
    found: ArrayLike,
    found_total: ArrayLike,
    true: ArrayLike,
    true_total: ArrayLike,
    source: str = "",
) -> ShareError:
    """Error of a share (positive nuclei, a class) from held-back fields.

    Parameters
    ----------
    found, found_total : int[n]
        Nuclei of the class, and all, that were found in each field.
    true, true_total : int[n]
        The same in truth; misses, false nuclei and wrong classes are all in the difference.
    source : str
        Which tissue, in words.

    Raises
    ------
    PathaiError
        E193 for fewer than 8 fields: label more.
    """
    off = log_odds(true, true_total) - log_odds(found, found_total)
    mean, sd, each = _components(off, _per_information(found, found_total))
    return ShareError(mean, sd, each, len(off), source)


def _components(off: F64, size: F64) -> tuple[float, float, float]:
    """Mean, common sd and variance per unit of ``size`` by restricted maximum likelihood.

    Among settings that fit nearly as well as the best, the one with the largest common part wins.
    """
    if len(off) < LEAST_FIELDS:
        message = f"{len(off)} fields are too few to measure an error on"
        raise PathaiError("E193", message, f"label at least {LEAST_FIELDS} fields")
    total = max(float(np.var(off, ddof=1)), 1e-12)
    most = total / float(np.median(size))
    best, fits = np.inf, list[tuple[float, float, float, float]]()
    for common in np.linspace(0, 1.5, 61) * total:
        for each in np.linspace(0, 1.5, 61) * most:
            loss, mean = _restricted(off, common + each * size)
            best = min(best, loss)
            fits.append((loss, common, each, mean))
    near = [fit for fit in fits if fit[0] <= best + 0.5]
    _, common, each, mean = max(near, key=lambda fit: fit[1])
    return mean, sqrt(common), float(each)


def _restricted(off: F64, variance: F64) -> tuple[float, float]:
    """Minus twice the restricted log likelihood over 2, and the weighted mean."""
    if variance.min() <= 0:
        return np.inf, 0.0
    weight = 1 / variance
    mean = float((weight * off).sum() / weight.sum())
    squares = float((weight * (off - mean) ** 2).sum())
    return 0.5 * (float(np.log(variance).sum()) + np.log(weight.sum()) + squares), mean
