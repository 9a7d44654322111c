"""Resampling of patients: the interval of any statistic, one by one or all resamples at once.

A statistic of the fast form gets how often each row entered each resample, float64[b, n], and
gives one number per resample, float64[b]. It equals the plain statistic on the repeated rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.stats.estimate import Estimate, FloatArray, wilson

Statistic = Callable[[FloatArray], FloatArray]
"""Counts of rows float64[b, n] to one number per resample float64[b]; NaN where undefined."""

_BLOCK = 1_000_000
"""Counts handed to a statistic at once: bounds its memory, changes nothing else."""


@dataclass(frozen=True)
class Resamples:
    """Patients drawn with replacement; all rows of a drawn patient enter together.

    Attributes
    ----------
    counts : float64[B, n]
        How often each row enters each resample.
    n_patients : int
        Number of patients that were drawn from.
    """

    counts: FloatArray
    n_patients: int

    def value(self, statistic: Statistic) -> float:
        """Give the statistic of the rows themselves."""
        return float(statistic(np.ones((1, self.counts.shape[1])))[0])

    def draws(self, statistic: Statistic) -> FloatArray:
        """Give the statistic of every resample, float64[B]."""
        step = max(1, _BLOCK // max(1, self.counts.shape[1]))
        parts = [statistic(self.counts[i : i + step]) for i in range(0, len(self.counts), step)]
        out: FloatArray = np.concatenate(parts) if parts else np.empty(0)
        return out

    def interval(self, statistic: Statistic, level: float = 0.95) -> Estimate:
        """Expanded percentile interval, as ``bootstrap_interval`` gives it."""
        value = self.value(statistic)
        if self.n_patients < 2:
            return Estimate(value)
        return percentile_interval(value, self.draws(statistic), self.n_patients, level)

    def on_logit(self, statistic: Statistic, level: float = 0.95) -> Estimate:
        """Interval of a figure between 0 and 1: normal on the logit scale, mapped back.

        For figures that resampling shifts, as repeated rows shift average precision upward: the
        interval takes its width from the resamples, its place from the value [1]_.

        References
        ----------
        .. [1] Boyd, Eng and Page, "Area under the precision-recall curve: point estimates and
           confidence intervals", ECML PKDD 2013.
        """
        from scipy.special import expit, logit, stdtrit

        value = self.value(statistic)
        if self.n_patients < 2 or not 0 < value < 1:
            return Estimate(value)
        draws = self.draws(statistic)
        known = draws[np.isfinite(draws)]
        if known.size < 2 or np.ptp(known) <= 1e-12:
            return Estimate(value)
        edge = 0.5 / self.n_patients  # a resample at 0 or 1 is as far out as it can be seen
        spread = float(logit(np.clip(known, edge, 1 - edge)).std(ddof=1))
        half = float(stdtrit(self.n_patients - 1, 0.5 + level / 2)) * spread
        middle = float(logit(value))
        return Estimate(value, float(expit(middle - half)), float(expit(middle + half)))

    def reflected(self, statistic: Statistic, level: float = 0.95) -> Estimate:
        """Interval mirrored at the value, for a statistic that resampling pushes away from 0.

        A sum of absolute deviations (the calibration error) grows with every added noise: its
        resamples lie above the value about as far as the value lies above the truth. The
        percentiles are mirrored at the value ("basic" interval) and cut at 0. By simulation a
        nominal 95 % holds the truth in 83 to 93 % for 40 to 200 patients: read it as a scale.

        References
        ----------
        .. [1] Davison and Hinkley, "Bootstrap Methods and their Application", 1997 (5.2.1).
        """
        plain = self.interval(statistic, level)
        if not math.isfinite(plain.low):
            return plain
        v = plain.value
        return Estimate(v, min(v, max(0.0, 2 * v - plain.high)), max(v, 2 * v - plain.low))


def resample(
    groups: Sequence[str],
    *,
    strata: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Resamples:
    """Draw patients with replacement, the same ones as ``bootstrap_interval`` draws.

    Parameters
    ----------
    groups : sequence of str, length n
        Patient of each row.
    strata : array[n], optional
        Class of each row, constant within a patient; patients are then drawn within classes.
    n_resamples, seed : int
        Number of resamples and seed.

    Returns
    -------
    Resamples
    """
    place, picked = _pick(groups, strata, n_resamples, seed)
    n_patients = int(place.max()) + 1 if len(place) else 0
    flat = picked + n_patients * np.arange(n_resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=n_resamples * n_patients)
    return Resamples(counts.reshape(n_resamples, n_patients)[:, place].astype(float), n_patients)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    groups: Sequence[str],
    *,
    strata: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Interval of any statistic by resampling whole patients with replacement.

    The percentiles are widened for small samples as Hesterberg proposes, because the plain
    percentile interval is too narrow there. Resamples where the statistic is NaN are left out.

    Parameters
    ----------
    statistic : callable
        Gets row indices intp[m] (repeats allowed), returns a number.
    groups : sequence of str, length n
        Patient of each row; all rows of a drawn patient enter together.
    strata : array[n], optional
        Class of each row, constant within a patient; patients are then drawn within classes.
    n_resamples, seed, level
        Number of resamples, seed, nominal coverage.

    Returns
    -------
    Estimate
        ``low`` and ``high`` are NaN below two patients, and where every resample gives the same
        value: an interval of no width would claim to know what was not sampled.

    References
    ----------
    .. [1] Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.
    .. [2] Field and Welsh, "Bootstrapping clustered data", JRSS B 69:369-390, 2007.
    .. [3] Hesterberg, "What teachers should know about the bootstrap", The American
       Statistician 69:371-386, 2015 (section 5.3: expanded percentile interval).
    """
    value = float(statistic(np.arange(len(groups))))
    if len(set(groups)) < 2:
        return Estimate(value)
    place, picked = _pick(groups, strata, n_resamples, seed)
    n_patients = int(place.max()) + 1
    rows = [np.flatnonzero(place == g) for g in range(n_patients)]
    single = np.array([r[0] for r in rows]) if n_patients == len(place) else None
    draws = np.empty(n_resamples)
    for b, chosen in enumerate(picked):
        taken = np.concatenate([rows[g] for g in chosen]) if single is None else single[chosen]
        draws[b] = statistic(taken)
    return percentile_interval(value, draws, n_patients, level)


def share(right: ArrayLike, groups: Sequence[str], *, seed: int = 0) -> Estimate:
    """Share of the units that are right, with Wilson's interval where each patient is one unit.

    Where a patient has several units the interval is a bootstrap of patients: none where all
    units agree.

    Parameters
    ----------
    right : bool[n]
        Whether each unit is right.
    groups : sequence of str, length n
        Patient of each unit.
    seed : int
        Seed of the resampling.
    """
    hit = np.asarray(right, bool)
    if len(set(groups)) == len(groups):
        return wilson(int(hit.sum()), len(hit))
    return resample(groups, seed=seed).interval(weighted_mean(hit))


def weighted_mean(values: ArrayLike) -> Statistic:
    """Mean of float[n] in each resample."""
    x = np.asarray(values, float)

    def statistic(w: FloatArray) -> FloatArray:
        return ratio(w @ x, w.sum(axis=1))

    return statistic


def ratio(top: NDArray[Any], bottom: NDArray[Any]) -> FloatArray:
    """``top / bottom``, NaN where ``bottom`` is 0."""
    out = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    np.divide(top, bottom, out=out, where=bottom != 0)
    return out


def run_starts(ranked: ArrayLike) -> NDArray[np.intp]:
    """First place of each run of equal values in a sorted array[n], for ``np.add.reduceat``."""
    x = np.asarray(ranked)
    return np.flatnonzero(np.r_[True, x[1:] != x[:-1]])


def percentile_interval(
    value: float, draws: FloatArray, n_patients: int, level: float = 0.95
) -> Estimate:
    """Expanded percentile interval of float64[B] draws; see ``bootstrap_interval``."""
    from scipy.special import ndtr, stdtrit

    known = draws[np.isfinite(draws)]
    if known.size == 0 or np.ptp(known) <= 1e-12 * max(1.0, abs(value)):
        return Estimate(value)
    widen = math.sqrt(n_patients / (n_patients - 1))
    tail = float(ndtr(widen * stdtrit(n_patients - 1, (1 - level) / 2)))
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def _pick(
    groups: Sequence[str], strata: ArrayLike | None, n_resamples: int, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Patient of each row, intp[n], and the patients of each resample, intp[B, G]."""
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    kind = np.zeros(len(groups), int) if strata is None else np.asarray(strata)
    first = np.empty(len(names), kind.dtype)
    first[place[::-1]] = kind[::-1]  # the first row of a patient is written last
    pools = [np.flatnonzero(first == c) for c in np.unique(first)]
    rng = np.random.default_rng(seed)
    drawn = [p[rng.integers(0, len(p), (n_resamples, len(p)))] for p in pools]
    return place, np.concatenate(drawn, axis=1) if drawn else np.empty((n_resamples, 0), np.intp)
