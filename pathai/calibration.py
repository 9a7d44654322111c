"""What makes a model's answer honest: calibration, prediction sets, and knowing foreign slides.

Plain arrays, no torch. Everything is fitted on scores of patients that the scoring model never
saw (out of fold) and is checked by simulation in ``tests/unit/test_calibration.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


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


def conformal_p(reference: Sequence[ArrayLike], prob: ArrayLike) -> list[float]:
    """How unremarkable each class would be: class-conditional conformal p-values.

    The set ``{c : p[c] > alpha}`` holds the true class with probability at least
    ``1 - alpha`` within each class, when reference and new cases are exchangeable. With fewer
    than ``1/alpha - 1`` reference cases of a class its p-value cannot fall to alpha, so the
    class stays in the set: too little is known to leave it out.

    Parameters
    ----------
    reference : sequence of float[n_c], one per class
        Nonconformity ``1 - probability of the true class`` of held-out cases of that class.
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
    p = np.asarray(prob, float)
    if len(reference) != len(p):
        raise ValueError(f"{len(p)} probabilities for {len(reference)} classes")
    out = []
    for past, now in zip(reference, 1 - p, strict=True):
        scores = np.asarray(past, float)
        # One part in 1e9 of slack: rounding must not drop a class.
        out.append(float((1 + (scores >= now - 1e-9).sum()) / (len(scores) + 1)))
    return out


# --- out of distribution ---------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """Where the slides of a training cohort lie: a shrunken Gaussian in low-rank form.

    ``covariance = axes.T @ diag(variances - floor) @ axes + floor * identity``

    Attributes
    ----------
    mean : float64[D]
    axes : float64[r, D]
        Orthonormal directions in which the cohort varies.
    variances : float64[r]
        Shrunken variance along each axis.
    floor : float
        Variance in every other direction.
    root_mean, root_sd : float
        Mean and standard deviation of ``distance ** (2/3)`` over left-out patients.
    n : int
        Number of left-out patients.
    """

    mean: FloatArray
    axes: FloatArray
    variances: FloatArray
    floor: float
    root_mean: float
    root_sd: float
    n: int

    def distance(self, x: ArrayLike) -> float:
        """Mahalanobis distance of float[D] from the cohort."""
        d = np.asarray(x, float) - self.mean
        along = self.axes @ d
        rest = max(0.0, float(d @ d - along @ along))
        return math.sqrt(float((along**2 / self.variances).sum()) + rest / self.floor)

    def percentile(self, x: ArrayLike) -> float:
        """Percent of new cohort slides expected to lie nearer than float[D].

        The cube root of the squared distance is nearly normal [1]_; it is placed in the Student
        predictive distribution of the left-out patients' values. A plain rank among n patients
        could not exceed ``100 n / (n + 1)`` and so never flag anything in a small cohort.

        References
        ----------
        .. [1] Wilson and Hilferty, "The distribution of chi-square", PNAS 17:684-688, 1931.
        """
        from scipy.special import stdtr

        root = self.distance(x) ** (2 / 3)
        t = (root - self.root_mean) / (self.root_sd * math.sqrt(1 + 1 / self.n))
        return 100.0 * float(stdtr(self.n - 1, t))


def _gaussian(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Mean, axes, variances and floor of the Ledoit-Wolf estimate, without a D x D matrix."""
    n, dim = x.shape
    mean = x.mean(axis=0)
    centered = x - mean
    gram = centered @ centered.T
    values, vectors = np.linalg.eigh(gram)
    keep = values > max(values[-1], 0) * 1e-10
    eigen = values[keep] / n
    average = eigen.sum() / dim
    # Squared Frobenius distances of the sample covariance to its target and to the truth.
    spread = float((eigen**2).sum() - dim * average**2)
    noise = (float((np.diag(gram) ** 2).sum()) / n - float((eigen**2).sum())) / n
    weight = 1.0 if spread <= 0 else min(max(noise / spread, 0.0), 1.0)
    floor = float(max(weight * average, 1e-6 * average, 1e-12))
    axes = (vectors[:, keep] / np.sqrt(values[keep])).T @ centered
    return mean, axes, (1 - weight) * eigen + floor, floor


def fit_reference(x: ArrayLike, groups: Sequence[str], max_refits: int = 50) -> Reference:
    """Learn where a cohort's slides lie, and how far a left-out patient's slide lies from it.

    Parameters
    ----------
    x : float[n, D]
        One vector per slide, on comparable scales (standardized).
    groups : sequence of str, length n
        Patient of each row; a patient's slides are left out together.
    max_refits : int
        With more patients than this they are left out in this many parts.

    Returns
    -------
    Reference

    References
    ----------
    .. [1] Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
       matrices", Journal of Multivariate Analysis 88:365-411, 2004.
    .. [2] Lee et al., "A simple unified framework for detecting out-of-distribution samples and
       adversarial attacks", NeurIPS 2018, arXiv:1807.03888.
    """
    rows = np.asarray(x, float)
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    if len(names) < 3:
        raise ValueError("a reference needs at least 3 patients")
    part = place % min(len(names), max_refits)
    roots = np.empty(len(rows))
    for p in np.unique(part):
        rest = Reference(*_gaussian(rows[part != p]), 0.0, 1.0, 1)
        for i in np.flatnonzero(part == p):
            roots[i] = rest.distance(rows[i]) ** (2 / 3)
    # One value per patient: slides of one patient are not independent.
    per_patient = np.array([roots[place == g].mean() for g in range(len(names))])
    middle = float(per_patient.mean())
    sd = max(float(per_patient.std(ddof=1)), 0.02 * middle, 1e-6)
    return Reference(*_gaussian(rows), middle, sd, len(names))
