"""Numbers with intervals: the statistics that training, cohort page and findings share.

Everything here works on plain arrays, loads no torch, and is checked by simulation in
``tests/unit/test_stats.py``. The independent unit is the patient: functions that take
``groups`` resample, split or leave out whole patients, never single slides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; ``low`` and ``high`` are NaN where none can be given."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Give the three numbers rounded to six digits, with ``None`` for NaN."""
        return {k: None if math.isnan(v) else round(v, 6) for k, v in asdict(self).items()}


def _two_sided_z(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)


# --- ranking ---------------------------------------------------------------------------------


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Probability that a positive scores above a negative; ties count one half.

    Parameters
    ----------
    labels : bool[n]
        True for the positive class.
    scores : float[n]
        Larger means more positive.

    Returns
    -------
    float
        NaN where one class is absent: the quantity does not exist then.
    """
    y, s = np.asarray(labels, bool), np.asarray(scores, float)
    if not np.isfinite(s).all():
        raise ValueError("scores must be finite")
    n_pos, n_neg = int(y.sum()), int((~y).sum())
    if n_pos == 0 or n_neg == 0:
        return math.nan
    _, place, count = np.unique(s, return_inverse=True, return_counts=True)
    mid_rank = np.cumsum(count) - (count - 1) / 2
    u = mid_rank[place][y].sum() - n_pos * (n_pos + 1) / 2
    return float(u / (n_pos * n_neg))


def auroc_interval(auc: float, n_pos: int, n_neg: int, level: float = 0.95) -> tuple[float, float]:
    """Score-type interval of an AUROC; it never collapses, not even at 0 or 1.

    Newcombe's method 5: the Hanley-McNeil variance, with both ``m - 1`` and ``n - 1`` replaced
    by ``(m + n)/2 - 1``, is evaluated at the unknown AUROC and the quadratic is solved for it.
    The units must be independent: one score per patient.

    Parameters
    ----------
    auc : float
        The observed AUROC.
    n_pos, n_neg : int
        Number of positive and negative units, each at least 1.
    level : float, default 0.95
        Nominal coverage.

    Returns
    -------
    tuple of float
        Lower and upper limit, within [0, 1]; NaN where the AUROC is NaN.

    References
    ----------
    .. [1] Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney
       statistic. Part 2", Statistics in Medicine 25:559-573, 2006.
    .. [2] Hanley and McNeil, "The meaning and use of the area under a ROC curve",
       Radiology 143:29-36, 1982.
    """
    if math.isnan(auc):
        return math.nan, math.nan
    if n_pos < 1 or n_neg < 1:
        raise ValueError("an AUROC needs at least one unit of each class")
    z = _two_sided_z(level)
    extra = (n_pos + n_neg) / 2 - 1

    def outside(theta: float) -> bool:
        spread = 1 + extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        variance = theta * (1 - theta) * spread / (n_pos * n_neg)
        return (auc - theta) ** 2 > z * z * variance

    def limit(away: float, near: float) -> float:
        for _ in range(60):
            middle = (away + near) / 2
            away, near = (middle, near) if outside(middle) else (away, middle)
        return (away + near) / 2

    low = 0.0 if auc <= 0 else limit(0.0, auc)
    high = 1.0 if auc >= 1 else limit(1.0, auc)
    return low, high


def wilson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """Proportion with Wilson's score interval; (0, 1) for ``n = 0``.

    References
    ----------
    .. [1] Wilson, "Probable inference, the law of succession, and statistical inference",
       JASA 22:209-212, 1927.
    """
    if not 0 <= successes <= n:
        raise ValueError("successes must lie between 0 and n")
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0)
    z, p = _two_sided_z(level), successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else middle - half
    return Estimate(p, low, 1.0 if successes == n else middle + half)


# --- resampling of patients ------------------------------------------------------------------


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
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    if len(names) < 2:
        return Estimate(value, math.nan, math.nan)
    rows = [np.flatnonzero(place == g) for g in range(len(names))]
    kind = np.zeros(len(groups), int) if strata is None else np.asarray(strata)
    first = np.array([kind[r[0]] for r in rows])
    pools = [np.flatnonzero(first == c) for c in np.unique(first)]
    rng = np.random.default_rng(seed)
    picked = np.concatenate([p[rng.integers(0, len(p), (n_resamples, len(p)))] for p in pools], 1)
    single = np.array([r[0] for r in rows]) if len(rows) == len(groups) else None
    draws = np.empty(n_resamples)
    for b, chosen in enumerate(picked):
        taken = np.concatenate([rows[g] for g in chosen]) if single is None else single[chosen]
        draws[b] = statistic(taken)
    draws = draws[np.isfinite(draws)]
    if draws.size == 0 or np.ptp(draws) <= 1e-12 * max(1.0, abs(value)):
        return Estimate(value, math.nan, math.nan)
    tail = _expanded_tail(len(names), level)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def _expanded_tail(n: int, level: float) -> float:
    """Quantile below the interval, as low as makes the percentiles of ``n`` patients honest."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - level) / 2)))


def grouped_folds(groups: Sequence[str], labels: ArrayLike, k: int, seed: int) -> NDArray[np.intp]:
    """Fold of each row; a patient never straddles folds, classes are spread evenly.

    A patient belongs to the largest label among the rows. Patients are sorted, shuffled by the
    seed within their class and dealt one by one, so the result does not depend on row order.

    Parameters
    ----------
    groups : sequence of str, length n
        Patient of each row.
    labels : int[n]
        Class of each row.
    k : int
        Number of folds, at least 2 and at most the number of patients.
    seed : int
        Same seed, same folds.

    Returns
    -------
    intp[n]
        Values 0 to k - 1.
    """
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    if not 2 <= k <= len(names):
        raise ValueError(f"{k} folds need at least {max(k, 2)} patients, there are {len(names)}")
    kind = np.full(len(names), np.iinfo(np.int64).min)
    np.maximum.at(kind, place, np.asarray(labels, np.int64))
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(kind == c)) for c in np.unique(kind)])
    fold = np.empty(len(names), np.intp)
    fold[order] = np.arange(len(names)) % k
    return fold[place]


# --- summaries -------------------------------------------------------------------------------


def binary_metrics(
    labels: ArrayLike, prob: ArrayLike, groups: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """How well probabilities of "positive" fit the truth, each number with its interval.

    Parameters
    ----------
    labels : bool[n]
        Truth of each unit (slide or patient).
    prob : float[n]
        Probability of the positive class from a model that never saw the unit's patient.
    groups : sequence of str, length n
        Patient of each unit.
    seed : int
        Seed of the resampling.

    Returns
    -------
    dict
        Ready for JSON. ``auroc`` has Newcombe's interval with patients (not slides) counted, so
        it stays honest for few patients and for an AUROC of 1; ``auroc_bootstrap`` and ``brier``
        have patient-level bootstrap intervals; ``sensitivity`` and ``specificity`` are at
        probability 0.5, with Wilson's interval where each patient is one unit and with a
        patient-level bootstrap interval (none where all units agree) where not.
    """
    y, p = np.asarray(labels, bool), np.asarray(prob, float)
    who = np.asarray(groups, str)
    n_pos, n_neg = len(np.unique(who[y])), len(np.unique(who[~y]))
    auc = auroc(y, p)
    squared = (p - y) ** 2
    hit = (p > 0.5) == y

    def share(of: NDArray[np.bool_]) -> dict[str, float | None]:
        right, patients = hit[of], who[of]
        if len(np.unique(patients)) == len(patients):
            return wilson(int(right.sum()), len(right)).as_json()
        return bootstrap_interval(
            lambda i: float(right[i].mean()), patients.tolist(), seed=seed
        ).as_json()

    def resample(statistic: Callable[[NDArray[np.intp]], float]) -> dict[str, float | None]:
        kind = np.isin(who, who[y])  # with any positive unit; that is y where one label rules
        return bootstrap_interval(statistic, who.tolist(), strata=kind, seed=seed).as_json()

    return {
        "n": len(y),
        "n_patients": len(np.unique(who)),
        "n_positive": int(y.sum()),
        "auroc": Estimate(auc, *auroc_interval(auc, n_pos, n_neg)).as_json(),
        "auroc_bootstrap": resample(lambda i: auroc(y[i], p[i])),
        "brier": resample(lambda i: float(squared[i].mean())),
        "sensitivity": share(y),
        "specificity": share(~y),
    }


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
