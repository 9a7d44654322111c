"""What makes probabilities honest: temperature, isotonic calibration, reliability.

Plain arrays, no torch. Everything is fitted on scores of patients that the scoring model never
saw (out of fold) and is checked by simulation in ``tests/unit/test_calibration.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.stats import Estimate, FloatArray, bins_for, probability_bins, share


def softmax(logits: ArrayLike) -> FloatArray:
    """Probabilities float64[n, C] of logits[n, C]."""
    z = np.asarray(logits, float)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    out: FloatArray = e / e.sum(axis=-1, keepdims=True)
    return out


def brier(labels: ArrayLike, prob: ArrayLike) -> float:
    """Mean squared distance between the probability of "positive" and the truth (0 is best).

    References
    ----------
    .. [1] Brier, "Verification of forecasts expressed in terms of probability",
       Monthly Weather Review 78:1-3, 1950.
    """
    return float(np.mean((np.asarray(prob, float) - np.asarray(labels, float)) ** 2))


def calibrate(logits: ArrayLike, temperature: float, offset: ArrayLike) -> FloatArray:
    """Probabilities float64[n, C]: ``softmax(logits / temperature + offset)``.

    Training weighs classes equally; ``offset``, the log of the classes' true shares, puts the
    training cohort's prevalence back.

    References
    ----------
    .. [1] Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a
       priori probabilities", Neural Computation 14:21-41, 2002.
    """
    return softmax(np.asarray(logits, float) / temperature + np.asarray(offset, float))


def fit_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    offset: ArrayLike = 0.0,
    *,
    prior_sd: float = 3.0,
    min_to_sharpen: int = 20,
) -> float:
    """Temperature T that makes ``calibrate(logits, T, offset)`` honest.

    The likelihood is maximized under a log-normal prior around T = 1, so that few cases move
    it little. The targets are Platt's: with ``n_c`` cases of a class, the case's own class gets
    ``(n_c + 1) / (n_c + 2)`` instead of 1, so that a handful of cases that happen to be
    separated cannot make a model certain. Below ``min_to_sharpen`` cases, T is at least 1.

    Parameters
    ----------
    logits : float[n, C]
        Scores of cases that their model never saw in training.
    labels : int[n]
        True class.
    offset : float[C] or float[n, C]
        Added after the division; see ``calibrate``.
    prior_sd : float
        Standard deviation of log T before any data.
    min_to_sharpen : int
        Number of cases from which T < 1 is allowed.

    Returns
    -------
    float
        Between 0.1 and 10; exactly 1 for no cases.

    References
    ----------
    .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599.
    .. [2] Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin
       Classifiers, 1999 (section 2.2: targets).
    """
    z, y = np.asarray(logits, float), np.asarray(labels, np.int64)
    shift = np.asarray(offset, float)
    if len(y) == 0:
        return 1.0
    target = _platt_targets(y, z.shape[1])

    def loss(log_t: float) -> float:
        scaled = z / math.exp(log_t) + shift
        top = scaled.max(axis=1, keepdims=True)
        normalizer = np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0]
        fit = float(normalizer.sum() - (target * scaled).sum())
        return fit + 0.5 * (log_t / prior_sd) ** 2

    low = 0.0 if len(y) < min_to_sharpen else -math.log(10)
    high = math.log(10)
    shrink = (math.sqrt(5) - 1) / 2
    for _ in range(60):  # golden section
        a, b = high - shrink * (high - low), low + shrink * (high - low)
        low, high = (low, b) if loss(a) <= loss(b) else (a, high)
    return math.exp((low + high) / 2)


def _platt_targets(y: NDArray[np.int64], n_classes: int) -> FloatArray:
    """Targets float64[n, C] that shrink from certainty by the size of the own class."""
    count = np.bincount(y, minlength=n_classes)[y].astype(float)
    target = np.repeat((1 / (count + 2) / max(n_classes - 1, 1))[:, None], n_classes, axis=1)
    target[np.arange(len(y)), y] = (count + 1) / (count + 2)
    return target


# --- isotonic --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Isotonic:
    """Rising curves from a model's probability to an honest one, as plain breakpoints.

    Attributes
    ----------
    x, y : tuple of tuple of float
        One curve per class, or a single one for P(positive) of two classes: straight between
        the breakpoints, constant outside.
    """

    x: tuple[tuple[float, ...], ...]
    y: tuple[tuple[float, ...], ...]

    def apply(self, prob: ArrayLike) -> FloatArray:
        """Honest probabilities float64[n, C] of the model's float[n, C]; rows sum to 1."""
        p = np.asarray(prob, float)
        curves = list(zip(self.x, self.y, strict=True))
        if len(curves) != (1 if p.shape[1] == 2 else p.shape[1]):
            raise ValueError(f"{len(curves)} curves do not fit {p.shape[1]} classes")
        columns = p[:, 1:] if len(curves) == 1 else p
        mapped = [np.interp(q, x, y) for q, (x, y) in zip(columns.T, curves, strict=True)]
        if len(curves) == 1:
            return np.column_stack([1 - mapped[0], mapped[0]])
        out: FloatArray = np.column_stack(mapped)
        out /= out.sum(axis=1, keepdims=True)
        return out


def fit_isotonic(
    prob: ArrayLike, labels: ArrayLike, groups: Sequence[str], *, least: int = 50
) -> Isotonic:
    """Learn the rising curve that makes a model's probabilities honest, whatever its shape.

    Two classes get one curve for P(positive); more get one each, against the rest, and the
    results are divided by their sum [1]_. Targets are Platt's, not 0 and 1, so that no answer
    becomes certain. Ranks within a flat part are lost; a temperature keeps them.

    Parameters
    ----------
    prob : float[n, C]
        Probabilities for cases that their model never saw in training.
    labels : int[n]
        True class.
    groups : sequence of str, length n
        Patient of each case.
    least : int
        Patients that each class must have, and at least 2: a free curve follows the noise of a
        few cases [2]_.

    Raises
    ------
    ValueError
        A class has too few patients: use ``fit_temperature``, which has a single number to learn.

    References
    ----------
    .. [1] Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass
       probability estimates", KDD 2002.
    .. [2] Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised
       learning", ICML 2005.
    """
    from sklearn.isotonic import IsotonicRegression

    p, y = np.asarray(prob, float), np.asarray(labels, np.int64)
    who = np.asarray(groups, str)
    n_classes = p.shape[1]
    patients = [len(np.unique(who[y == c])) for c in range(n_classes)]
    if min(patients) < max(least, 2):
        raise ValueError(
            f"isotonic calibration needs {max(least, 2)} patients of each class, class "
            f"{int(np.argmin(patients))} has {min(patients)}: calibrate by temperature"
        )
    curves = []
    for c in [1] if n_classes == 2 else range(n_classes):
        own, rest = len(np.unique(who[y == c])), len(np.unique(who[y != c]))
        target = np.where(y == c, (own + 1) / (own + 2), 1 / (rest + 2))
        fitted = IsotonicRegression(out_of_bounds="clip").fit(p[:, c], target)
        curves.append((fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()))
    return Isotonic(*(tuple(tuple(curve[k]) for curve in curves) for k in (0, 1)))


# --- reliability -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bin:
    """Cases of like probability: their mean probability, and how many of them are true."""

    predicted: float
    observed: Estimate
    n: int


def reliability(
    truth: ArrayLike, prob: ArrayLike, groups: Sequence[str], *, seed: int = 0
) -> list[Bin]:
    """Observed share against claimed probability, in bins of equal numbers of cases.

    Parameters
    ----------
    truth : bool[n]
        Whether the event (a class) is true of each case.
    prob : float[n]
        Its claimed probability.
    groups : sequence of str, length n
        Patient of each case; they say how many bins there are (``pathai.stats.bins_for``).
        Intervals are those of ``pathai.stats.share``.
    seed : int
        Seed of the resampling.

    Returns
    -------
    list of Bin
        By rising probability.

    References
    ----------
    .. [1] DeGroot and Fienberg, "The comparison and evaluation of forecasters", The
       Statistician 32:12-22, 1983.
    """
    y, p = np.asarray(truth, bool), np.asarray(prob, float)
    who, place = np.asarray(groups, str), probability_bins(p, bins_for(groups))
    rows = [np.flatnonzero(place == b) for b in range(int(place.max()) + 1)] if len(p) else []
    return [Bin(float(p[r].mean()), share(y[r], who[r].tolist(), seed=seed), len(r)) for r in rows]
