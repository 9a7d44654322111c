"""Sets and intervals that hold the truth as often as promised: conformal prediction.

Plain arrays, no torch. Scores come from patients that the scoring model never saw, one per
patient: a patient with many slides is one case. Checked by simulation in
``tests/unit/test_conformal.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.stats import FloatArray

_SLACK = 1e-9
"""Rounding must not drop a class."""


# --- sets of classes -------------------------------------------------------------------------


def conformal_p(reference: Sequence[ArrayLike], prob: ArrayLike) -> list[float]:
    """How unremarkable each class would be: class-conditional conformal p-values.

    The set ``{c : p[c] > alpha}`` holds the true class with probability at least
    ``1 - alpha`` within each class, when reference and new cases are exchangeable. With fewer
    than ``1/alpha - 1`` reference cases of a class its p-value cannot fall to alpha, so the
    class stays in the set: too little is known to leave it out.

    Parameters
    ----------
    reference : sequence of float[n_c], one per class
        Nonconformity ``1 - probability of the true class`` of held-out cases of that class;
        see ``class_scores``.
    prob : float[C]
        Probabilities of the new case.

    Returns
    -------
    list of float
        One p-value in (0, 1] per class.

    References
    ----------
    .. [1] Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005
       (section 4.5: label-conditional predictors).
    .. [2] Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence
       74:9-28, 2015 (out-of-fold scores in the place of a split).
    """
    out: list[float] = _p_values(reference, np.asarray(prob, float)[None])[0].tolist()
    return out


def class_scores(
    prob: ArrayLike, truth: ArrayLike, groups: Sequence[str]
) -> tuple[tuple[float, ...], ...]:
    """Sorted nonconformity of each class, one score per patient: that of the oddest slide.

    Parameters
    ----------
    prob : float[n, C]
        Out-of-fold probabilities.
    truth : int[n]
        True class.
    groups : sequence of str, length n
        Patient of each case.

    Returns
    -------
    tuple of tuple of float
        One per class, rounded to six digits; the ``reference`` of ``conformal_p``.
    """
    p, y, who = np.asarray(prob, float), np.asarray(truth, np.int64), np.asarray(groups, str)
    odd = 1 - p[np.arange(len(p)), y]
    return tuple(
        tuple(round(s, 6) for s in np.sort(_oddest(odd[y == c], who[y == c])).tolist())
        for c in range(p.shape[1])
    )


def cross_sets(
    prob: ArrayLike, truth: ArrayLike, groups: Sequence[str], fold: ArrayLike, alpha: float
) -> NDArray[np.bool_]:
    """Sets for cases of a cross-validation, each judged by the scores of the other folds.

    They show what the sets of the shipped model will do. The models behind the other folds'
    scores saw this fold's cases in training, so the promise ``1 - alpha`` is not a theorem here
    as it is for a new case against a fixed model; measured coverage comes out close to it [1]_.

    Parameters
    ----------
    prob : float[n, C]
        Out-of-fold probabilities.
    truth : int[n]
        True class.
    groups : sequence of str, length n
        Patient of each case; a patient is in one fold.
    fold : int[n]
        Fold of each case.
    alpha : float
        Promised share of sets without the true class, within each class.

    Returns
    -------
    bool[n, C]
        Whether each class is in the set.

    References
    ----------
    .. [1] Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence
       74:9-28, 2015.
    """
    p, y, who = np.asarray(prob, float), np.asarray(truth, np.int64), np.asarray(groups, str)
    part = np.asarray(fold)
    out = np.zeros(p.shape, bool)
    for f in np.unique(part):
        rest, test = part != f, part == f
        reference = class_scores(p[rest], y[rest], who[rest].tolist())
        out[test] = _p_values(reference, p[test]) > alpha
    return out


def _p_values(reference: Sequence[ArrayLike], prob: FloatArray) -> FloatArray:
    """P-values float64[n, C] of probabilities float64[n, C]; see ``conformal_p``."""
    if len(reference) != prob.shape[1]:
        raise ValueError(f"{prob.shape[1]} probabilities for {len(reference)} classes")
    out = np.empty(prob.shape)
    for c, past in enumerate(reference):
        scores = np.sort(np.asarray(past, float))
        as_odd = len(scores) - np.searchsorted(scores, 1 - prob[:, c] - _SLACK)
        out[:, c] = (1 + as_odd) / (len(scores) + 1)
    return out


# --- intervals of numbers --------------------------------------------------------------------


def number_scores(
    truth: ArrayLike, value: ArrayLike, spread: ArrayLike, groups: Sequence[str]
) -> tuple[float, ...]:
    """Sorted ``|truth - value| / spread``, one score per patient: that of the worst slide.

    Parameters
    ----------
    truth, value : float[n]
        True number, and the model's, out of fold.
    spread : float[n] or float
        Expected size of the error, above 0: it lets the interval be wider where the model is
        less sure. 1 gives intervals of one width, the value itself gives relative ones.
    groups : sequence of str, length n
        Patient of each case.

    References
    ----------
    .. [1] Papadopoulos, Gammerman and Vovk, "Normalized nonconformity measures for regression
       conformal prediction", IASTED Artificial Intelligence and Applications 2008.
    """
    t, v = np.asarray(truth, float), np.asarray(value, float)
    width = np.broadcast_to(np.asarray(spread, float), v.shape)
    if not (width > 0).all():
        raise ValueError("spreads must be above 0")
    scores = _oddest(np.abs(t - v) / width, np.asarray(groups, str))
    if not np.isfinite(scores).all():
        raise ValueError("truth, value and spread must be finite")
    return tuple(np.sort(scores).tolist())


def interval(
    scores: ArrayLike, value: ArrayLike, spread: ArrayLike, alpha: float
) -> tuple[FloatArray, FloatArray]:
    """Interval that holds the truth with probability ``1 - alpha`` for a patient like the past.

    Parameters
    ----------
    scores : float[m]
        From ``number_scores``.
    value : float[n]
        The model's number for new cases.
    spread : float[n] or float
        As for ``number_scores``.
    alpha : float
        Promised share of intervals without the truth, in (0, 1).

    Returns
    -------
    tuple of float64[n], float64[n]
        Lower and upper end. Infinite with fewer than ``1/alpha - 1`` scores: so few cannot
        promise anything. A count's lower end may be negative: cut it at 0.

    References
    ----------
    .. [1] Lei et al., "Distribution-free predictive inference for regression", JASA
       113:1094-1111, 2018.
    """
    if not 0 < alpha < 1:
        raise ValueError("alpha must lie between 0 and 1")
    past, v = np.sort(np.asarray(scores, float)), np.asarray(value, float)
    rank = math.ceil((1 - alpha) * (len(past) + 1) - 1e-9)
    reach = past[rank - 1] if rank <= len(past) else math.inf
    half = reach * np.broadcast_to(np.asarray(spread, float), v.shape)
    return v - half, v + half


def cross_intervals(
    truth: ArrayLike,
    value: ArrayLike,
    spread: ArrayLike,
    groups: Sequence[str],
    fold: ArrayLike,
    alpha: float,
) -> tuple[FloatArray, FloatArray]:
    """Intervals for cases of a cross-validation, each from the scores of the other folds.

    Parameters and promise are those of ``number_scores`` and ``cross_sets``.

    Returns
    -------
    tuple of float64[n], float64[n]
        Lower and upper end; infinite where the other folds have too few patients.
    """
    t, v = np.asarray(truth, float), np.asarray(value, float)
    width = np.broadcast_to(np.asarray(spread, float), v.shape)
    who, part = np.asarray(groups, str), np.asarray(fold)
    low, high = np.empty((2, len(v)))
    for f in np.unique(part):
        rest, test = part != f, part == f
        scores = number_scores(t[rest], v[rest], width[rest], who[rest].tolist())
        low[test], high[test] = interval(scores, v[test], width[test], alpha)
    return low, high


def _oddest(scores: FloatArray, who: NDArray[np.str_]) -> FloatArray:
    """Largest score of each patient."""
    names, place = np.unique(who, return_inverse=True)
    out = np.full(len(names), -np.inf)
    np.maximum.at(out, place, scores)
    return out
