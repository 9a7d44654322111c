"""How well scores rank: AUROC, average precision, and their curves."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from pathai.stats.bootstrap import Statistic, ratio, run_starts
from pathai.stats.estimate import FloatArray, two_sided_z


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


def weighted_auroc(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """``auroc`` of every resample at once; rows may carry any weight."""
    y, s = np.asarray(labels, bool), np.asarray(scores, float)
    order = np.argsort(s, kind="stable")
    starts = run_starts(s[order])
    positive = y[order].astype(float)

    def statistic(w: FloatArray) -> FloatArray:
        ranked = w[:, order]
        pos = np.add.reduceat(ranked * positive, starts, axis=1)
        neg = np.add.reduceat(ranked * (1 - positive), starts, axis=1)
        below = np.cumsum(neg, axis=1) - neg / 2
        return ratio((pos * below).sum(axis=1), pos.sum(axis=1) * neg.sum(axis=1))

    return statistic


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve, as the mean precision at each positive (AUPRC).

    No interpolation between points, which would be optimistic [1]_. By chance it equals the
    share of positives, not one half.

    Parameters
    ----------
    labels : bool[n]
        True for the positive class.
    scores : float[n]
        Larger means more positive.

    Returns
    -------
    float
        NaN without a positive.

    References
    ----------
    .. [1] Davis and Goadrich, "The relationship between Precision-Recall and ROC curves",
       ICML 2006.
    """
    if not np.isfinite(np.asarray(scores, float)).all():
        raise ValueError("scores must be finite")
    n = len(np.asarray(labels))
    return float(weighted_average_precision(labels, scores)(np.ones((1, n)))[0])


def weighted_average_precision(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """``average_precision`` of every resample at once."""
    y, s = np.asarray(labels, bool), np.asarray(scores, float)
    order = np.argsort(-s, kind="stable")
    starts = run_starts(s[order])
    positive = y[order].astype(float)

    def statistic(w: FloatArray) -> FloatArray:
        ranked = w[:, order]
        found = np.add.reduceat(ranked * positive, starts, axis=1)
        called = np.cumsum(np.add.reduceat(ranked, starts, axis=1), axis=1)
        precision = ratio(np.cumsum(found, axis=1), called)
        np.nan_to_num(precision, copy=False)
        return ratio((found * precision).sum(axis=1), found.sum(axis=1))

    return statistic


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """False and true positive rate, float64[m] each, from (0, 0) to (1, 1)."""
    from sklearn.metrics import roc_curve as curve

    y = np.asarray(labels, bool)
    if y.all() or not y.any():
        return np.empty(0), np.empty(0)
    fpr, tpr, _ = curve(y, np.asarray(scores, float))
    return fpr, tpr


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Recall and precision, float64[m] each, with recall rising; empty without a positive."""
    from sklearn.metrics import precision_recall_curve as curve

    y = np.asarray(labels, bool)
    if not y.any():
        return np.empty(0), np.empty(0)
    precision, recall, _ = curve(y, np.asarray(scores, float))
    return recall[::-1], precision[::-1]


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
    z = two_sided_z(level)
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
