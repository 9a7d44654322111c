"""What acting on the answers would bring: operating points, decision curve, risk and coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pathai.stats.bootstrap import share
from pathai.stats.estimate import Estimate, FloatArray


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold brings; a case is called positive from the threshold upward."""

    threshold: float
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate


def threshold_for(labels: ArrayLike, scores: ArrayLike, sensitivity: float) -> float:
    """Largest threshold that still finds this share of the positives among the scores given.

    It is chosen on these very scores, so on them the sensitivity is met by construction: on new
    cases it will be somewhat lower, and only new cases can say by how much.

    Parameters
    ----------
    labels : bool[n]
        True for the positive class.
    scores : float[n]
        Larger means more positive.
    sensitivity : float
        Share of the positives to find, above 0 and at most 1.

    Returns
    -------
    float
        One of the positives' scores; NaN without a positive.
    """
    if not 0 < sensitivity <= 1:
        raise ValueError("a sensitivity lies above 0 and at most at 1")
    found = np.sort(np.asarray(scores, float)[np.asarray(labels, bool)])[::-1]
    if len(found) == 0:
        return math.nan
    return float(found[math.ceil(sensitivity * len(found) - 1e-9) - 1])


def operating_point(
    labels: ArrayLike, scores: ArrayLike, groups: Sequence[str], threshold: float, seed: int = 0
) -> OperatingPoint:
    """Sensitivity, specificity and predictive values at a threshold.

    Intervals are those of ``share``; they treat the threshold as given. Predictive values hold
    for the share of positives among these cases only.

    Parameters
    ----------
    labels : bool[n]
        True for the positive class.
    scores : float[n]
        Positive from ``threshold`` upward.
    groups : sequence of str, length n
        Patient of each unit.
    threshold : float
        Score from which a case is called positive.
    seed : int
        Seed of the resampling.
    """
    y, who = np.asarray(labels, bool), np.asarray(groups, str)
    called = np.asarray(scores, float) >= threshold

    def among(of: ArrayLike, right: ArrayLike) -> Estimate:
        rows = np.asarray(of, bool)
        return share(np.asarray(right)[rows], who[rows].tolist(), seed=seed)

    return OperatingPoint(
        threshold, among(y, called), among(~y, ~called), among(called, y), among(~called, ~y)
    )


def decision_curve(
    labels: ArrayLike, prob: ArrayLike, thresholds: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Net benefit of acting on the model, and of acting on everyone, at each threshold.

    ``true positives / n - false positives / n * t / (1 - t)``: a threshold of 0.1 says that a
    needless action is worth one ninth of a needed one. Acting on no one has net benefit 0.

    Parameters
    ----------
    labels : bool[n]
        True for the positive class.
    prob : float[n]
        Probability of the positive class; acted on from the threshold upward.
    thresholds : float[m]
        Each in [0, 1).

    Returns
    -------
    tuple of float64[m], float64[m]
        Of the model, and of acting on everyone.

    References
    ----------
    .. [1] Vickers and Elkin, "Decision curve analysis: a novel method for evaluating prediction
       models", Medical Decision Making 26:565-574, 2006.
    """
    y, p = np.asarray(labels, bool), np.asarray(prob, float)
    t = np.asarray(thresholds, float)
    if ((t < 0) | (t >= 1)).any():
        raise ValueError("thresholds must lie in [0, 1)")
    odds = t / (1 - t)
    acted = p[None, :] >= t[:, None]
    model = (acted & y).mean(axis=1) - (acted & ~y).mean(axis=1) * odds
    return model, y.mean() - (1 - y.mean()) * odds


def risk_coverage(wrong: ArrayLike, confidence: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """How often the surest answers are wrong, when only these are given.

    Parameters
    ----------
    wrong : float[n]
        Loss of each answer: 1 for a wrong one.
    confidence : float[n]
        Answers are withheld from the least sure on; equally sure ones together.

    Returns
    -------
    tuple of float64[m], float64[m]
        Coverage (share of the cases that are answered), rising to 1, and the mean loss of these.

    References
    ----------
    .. [1] El-Yaniv and Wiener, "On the foundations of noise-free selective classification",
       JMLR 11:1605-1641, 2010.
    """
    loss, sure = np.asarray(wrong, float), np.asarray(confidence, float)
    order = np.argsort(-sure, kind="stable")
    answered = np.arange(1, len(loss) + 1)
    ends = np.flatnonzero(np.r_[np.diff(sure[order]) != 0, True])[: len(loss)]
    return (answered / max(len(loss), 1))[ends], (np.cumsum(loss[order]) / answered)[ends]
