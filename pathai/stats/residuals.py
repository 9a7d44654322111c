"""How far numbers are off: absolute and relative errors, R2, rank correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pathai.stats.bootstrap import Statistic, bootstrap_interval, ratio, run_starts
from pathai.stats.estimate import Estimate, FloatArray


def weighted_median(values: ArrayLike) -> Statistic:
    """Median of float[n] in each resample; counts must be whole numbers."""
    x = np.asarray(values, float)
    order = np.argsort(x, kind="stable")
    ranked = x[order]

    def statistic(w: FloatArray) -> FloatArray:
        if not len(ranked):
            return np.full(len(w), np.nan)
        total = np.cumsum(w[:, order], axis=1)
        n = total[:, -1:]
        low = (total > (n - 1) // 2).argmax(axis=1)
        high = (total > n // 2).argmax(axis=1)
        return np.where(n[:, 0] > 0, (ranked[low] + ranked[high]) / 2, np.nan)

    return statistic


def r2(truth: ArrayLike, value: ArrayLike) -> float:
    """Share of the variance of the truth that the values explain; below 0 if worse than its mean.

    Parameters
    ----------
    truth, value : float[n]
        In one unit. NaN where the truth does not vary.
    """
    return float(weighted_r2(truth, value)(np.ones((1, len(np.asarray(truth)))))[0])


def weighted_r2(truth: ArrayLike, value: ArrayLike) -> Statistic:
    """``r2`` of every resample at once."""
    t, v = np.asarray(truth, float), np.asarray(value, float)
    t, v = t - t.mean(), v - t.mean()  # centered: no cancellation below
    squared = (t - v) ** 2

    def statistic(w: FloatArray) -> FloatArray:
        n = w.sum(axis=1)
        spread = w @ (t * t) - ratio((w @ t) ** 2, n)
        spread[spread <= 1e-12 * (w @ (t * t))] = 0.0
        return 1 - ratio(w @ squared, spread)

    return statistic


def spearman(truth: ArrayLike, value: ArrayLike) -> float:
    """Rank correlation of float[n] and float[n], ties at their mean rank; NaN if one is constant.

    References
    ----------
    .. [1] Spearman, "The proof and measurement of association between two things", American
       Journal of Psychology 15:72-101, 1904.
    """
    return float(weighted_spearman(truth, value)(np.ones((1, len(np.asarray(truth)))))[0])


def weighted_spearman(truth: ArrayLike, value: ArrayLike) -> Statistic:
    """``spearman`` of every resample at once, ranks taken within the resample."""
    first, second = _ranks(truth), _ranks(value)

    def statistic(w: FloatArray) -> FloatArray:
        n = w.sum(axis=1)[:, None]
        a, b = first(w) - (n + 1) / 2, second(w) - (n + 1) / 2
        product = np.sqrt((w * a * a).sum(axis=1) * (w * b * b).sum(axis=1))
        return ratio((w * a * b).sum(axis=1), product)

    return statistic


def _ranks(values: ArrayLike) -> Statistic:
    """Mean rank of every row among the repeated rows, float64[b, n]."""
    _, place = np.unique(np.asarray(values, float), return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = run_starts(place[order])

    def ranks(w: FloatArray) -> FloatArray:
        same = np.add.reduceat(w[:, order], starts, axis=1)
        middle: FloatArray = np.cumsum(same, axis=1) - (same - 1) / 2
        return middle[:, place]

    return ranks


@dataclass(frozen=True)
class RelativeError:
    """Error of counts relative to the truth; ``n_zero`` slides of true count 0 are left out."""

    n: int
    n_zero: int
    mape: Estimate
    median: Estimate
    signed: Estimate


def relative_error(
    truth: ArrayLike, estimate: ArrayLike, groups: Sequence[str], seed: int = 0
) -> RelativeError:
    """Mean and median absolute, and mean signed, relative error, with patient-level intervals.

    Parameters
    ----------
    truth, estimate : float[n]
        True and estimated counts, not negative.
    groups : sequence of str, length n
        Patient of each row.
    seed : int
        Seed of the resampling.

    Returns
    -------
    RelativeError
        Fractions: 0.1 is 10 %. ``signed`` is positive for overcounting.
    """
    t, e = np.asarray(truth, float), np.asarray(estimate, float)
    if (t < 0).any() or not np.isfinite(e).all():
        raise ValueError("counts must be finite, and true counts not negative")
    known = t > 0
    if not known.any():
        nothing = Estimate(math.nan, math.nan, math.nan)
        return RelativeError(0, len(t), nothing, nothing, nothing)
    relative = (e[known] - t[known]) / t[known]
    who = np.asarray(groups, str)[known].tolist()
    size = np.abs(relative)
    return RelativeError(
        int(known.sum()),
        int((~known).sum()),
        bootstrap_interval(lambda i: float(size[i].mean()), who, seed=seed),
        bootstrap_interval(lambda i: float(np.median(size[i])), who, seed=seed),
        bootstrap_interval(lambda i: float(relative[i].mean()), who, seed=seed),
    )
