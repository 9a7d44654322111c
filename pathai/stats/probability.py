"""How honest probabilities are: Brier score, log loss, expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.stats.bootstrap import Statistic, ratio
from pathai.stats.estimate import FloatArray

_CERTAIN = 1e-12
"""Least probability that the log loss takes for the true class."""


def brier_losses(truth: ArrayLike, prob: ArrayLike) -> FloatArray:
    """Brier loss of each case, 0 (best) to 1.

    Half the squared distance between the probabilities and the truth, summed over the classes:
    for two classes ``(P(positive) - truth)**2``, the usual form.

    Parameters
    ----------
    truth : int[n]
        True class.
    prob : float[n, C]
        Probabilities of the classes.

    References
    ----------
    .. [1] Brier, "Verification of forecasts expressed in terms of probability",
       Monthly Weather Review 78:1-3, 1950.
    """
    p = np.asarray(prob, float)
    out: FloatArray = ((p - np.eye(p.shape[1])[np.asarray(truth, np.int64)]) ** 2).sum(axis=1) / 2
    return out


def log_losses(truth: ArrayLike, prob: ArrayLike) -> FloatArray:
    """Minus the log of the true class's probability, per case; probabilities of at least 1e-12."""
    p = np.asarray(prob, float)
    out: FloatArray = -np.log(
        np.maximum(p[np.arange(len(p)), np.asarray(truth, np.int64)], _CERTAIN)
    )
    return out


def log_loss(truth: ArrayLike, prob: ArrayLike) -> float:
    """Mean of ``log_losses``: the surprise per case, in nats."""
    return float(log_losses(truth, prob).mean())


def bins_for(groups: Sequence[str]) -> int:
    """How many bins these patients allow: 10 patients each, at most 10 bins.

    Slides of one patient are alike; bins of few patients would take their noise for a gap.
    """
    return max(1, min(10, len(set(groups)) // 10))


def probability_bins(prob: ArrayLike, n_bins: int = 10) -> NDArray[np.intp]:
    """Bin of each probability: bins of equal numbers of cases, equal values together.

    Bins of equal width would leave most of them nearly empty for a confident model [1]_.

    Parameters
    ----------
    prob : float[n]
        Probabilities.
    n_bins : int
        Most bins; fewer where probabilities are equal. See ``bins_for``.

    Returns
    -------
    intp[n]
        0 to at most ``n_bins - 1``, rising with the probability, none of them empty.

    References
    ----------
    .. [1] Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019,
       arXiv:1904.01685 (adaptive bins).
    """
    p = np.asarray(prob, float)
    edges = np.quantile(p, np.arange(1, n_bins) / n_bins) if len(p) else np.empty(0)
    return np.unique(np.searchsorted(edges, p, side="right"), return_inverse=True)[1]


def claimed(truth: ArrayLike, prob: ArrayLike) -> tuple[NDArray[np.bool_], FloatArray]:
    """What is claimed and how surely: the positive of two classes, else the likeliest class.

    Returns
    -------
    tuple of bool[n], float64[n]
        Whether the claim is true, and its probability.
    """
    y, p = np.asarray(truth, np.int64), np.asarray(prob, float)
    if p.shape[1] == 2:
        return y == 1, p[:, 1]
    return p.argmax(axis=1) == y, p.max(axis=1)


def expected_calibration_error(truth: ArrayLike, prob: ArrayLike, n_bins: int = 10) -> float:
    """Mean gap between claimed and observed share, over bins of equal numbers of cases (ECE).

    Bins are those of ``probability_bins`` on ``claimed``: of P(positive) for two classes, else
    of the likeliest class. Few cases make it too large: noise counts as a gap.

    Parameters
    ----------
    truth : int[n]
        True class.
    prob : float[n, C]
        Probabilities of the classes.
    n_bins : int
        Most bins; see ``bins_for``.

    References
    ----------
    .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599.
    """
    return float(weighted_ece(truth, prob, n_bins)(np.ones((1, len(np.asarray(prob)))))[0])


def weighted_ece(truth: ArrayLike, prob: ArrayLike, n_bins: int = 10) -> Statistic:
    """``expected_calibration_error`` of every resample at once, the bins as in the whole."""
    true, p = claimed(truth, prob)
    place = probability_bins(p, n_bins)
    gap = (place[:, None] == np.arange(place.max() + 1)) * (p - true)[:, None]

    def statistic(w: FloatArray) -> FloatArray:
        return ratio(np.abs(w @ gap).sum(axis=1), w.sum(axis=1))

    return statistic
