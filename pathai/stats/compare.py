"""Two models on the same patients: whether one is better, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pathai.stats.bootstrap import Resamples, Statistic, percentile_interval
from pathai.stats.estimate import Estimate, FloatArray, two_sided_z


@dataclass(frozen=True)
class Difference:
    """Second minus first, and the p-value of "no difference" (two-sided)."""

    first: float
    second: float
    difference: Estimate
    p: float
    test: str


def paired_bootstrap(
    first: Statistic, second: Statistic, drawn: Resamples, level: float = 0.95
) -> Difference:
    """Difference of any statistic; both models are seen on the same drawn patients.

    The p-value is twice the smaller share of resamples on either side of 0, itself counted
    once on each side so that it never becomes 0; 1 where the two never differ.

    References
    ----------
    .. [1] Davison and Hinkley, "Bootstrap Methods and their Application", 1997 (chapter 4).
    """
    a, b = drawn.value(first), drawn.value(second)
    if drawn.n_patients < 2:
        return Difference(a, b, Estimate(b - a), math.nan, "bootstrap of patients")
    draws = drawn.draws(second) - drawn.draws(first)
    known = draws[np.isfinite(draws)]
    side = min((known <= 0).sum(), (known >= 0).sum())
    p = min(1.0, 2 * (1 + float(side)) / (1 + len(known)))
    estimate = percentile_interval(b - a, draws, drawn.n_patients, level)
    return Difference(a, b, estimate, p, "bootstrap of patients")


def delong(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = 0.95
) -> Difference:
    """Difference of two AUROCs of the same independent units (one per patient).

    Parameters
    ----------
    labels : bool[n]
        True for the positive class; at least two of each class.
    first, second : float[n]
        Scores of the two models.
    level : float
        Nominal coverage.

    Returns
    -------
    Difference
        With ``p = 1`` and no interval where both rank alike in every comparison.

    References
    ----------
    .. [1] DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated
       receiver operating characteristic curves", Biometrics 44:837-845, 1988.
    .. [2] Sun and Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing
       Letters 21:1389-1393, 2014.
    """
    y = np.asarray(labels, bool)
    if min(y.sum(), (~y).sum()) < 2:
        raise ValueError("DeLong's test needs at least two units of each class")
    (pos_a, neg_a), (pos_b, neg_b) = _placements(y, first), _placements(y, second)
    a, b = float(pos_a.mean()), float(pos_b.mean())
    gap_pos, gap_neg = pos_b - pos_a, neg_b - neg_a
    variance = gap_pos.var(ddof=1) / len(gap_pos) + gap_neg.var(ddof=1) / len(gap_neg)
    if variance <= 1e-18:
        same = abs(b - a) < 1e-12
        return Difference(a, b, Estimate(b - a), 1.0 if same else math.nan, "DeLong")
    sd = math.sqrt(variance)
    p = math.erfc(abs(b - a) / sd / math.sqrt(2))
    half = two_sided_z(level) * sd
    return Difference(a, b, Estimate(b - a, b - a - half, b - a + half), p, "DeLong")


def _placements(y: np.ndarray, scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Share of the other class that each positive beats, and that beats each negative."""
    from scipy.stats import rankdata

    s = np.asarray(scores, float)
    n_pos, n_neg = int(y.sum()), int((~y).sum())
    rank = rankdata(s)
    positive = (rank[y] - rankdata(s[y])) / n_neg
    negative = 1 - (rank[~y] - rankdata(s[~y])) / n_pos
    return positive, negative
