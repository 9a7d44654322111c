"""The curves of a target of classes, as lists ready for drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pathai import stats
from pathai.calibration import reliability
from pathai.metrics.tables import Json, curve, numbers
from pathai.stats import FloatArray

THRESHOLDS = np.arange(1, 100) / 100
"""Probabilities at which the decision curve is drawn."""


def class_curves(
    truth: NDArray[np.int64],
    prob: FloatArray,
    groups: Sequence[str],
    classes: Sequence[str],
    *,
    ordinal: bool,
    seed: int,
) -> Json:
    """ROC, precision-recall, reliability, risk-coverage, confusion; of binary also decision.

    Two classes have one curve each, of the positive class; more have one per class against the
    rest, and those that do not occur have empty ones.
    """
    events = [1] if len(classes) == 2 else range(len(classes))
    roc, pr, reliable = [], [], []
    for c in events:
        name, true, p = {"class": classes[c]}, truth == c, prob[:, c]
        roc.append(name | curve(*stats.roc_curve(true, p)))
        shape = curve(*stats.precision_recall_curve(true, p))
        pr.append(name | shape | {"prevalence": round(float(true.mean()), 6)})
        bins = reliability(true, p, groups, seed=seed)
        columns = {
            "predicted": numbers([b.predicted for b in bins]),
            "observed": numbers([b.observed.value for b in bins]),
            "low": numbers([b.observed.low for b in bins]),
            "high": numbers([b.observed.high for b in bins]),
            "n": [b.n for b in bins],
        }
        reliable.append(name | columns)
    answer = prob.argmax(axis=1)
    tables = stats.weighted_confusion(truth, answer, len(classes))
    out: Json = {
        "roc": roc,
        "pr": pr,
        "reliability": reliable,
        "risk_coverage": curve(
            *stats.risk_coverage(answer != truth, prob.max(axis=1)), ("coverage", "risk")
        ),
        "confusion": tables(np.ones((1, len(truth))))[0].astype(int).tolist(),
    }
    if len(classes) == 2 and not ordinal:
        model, everyone = stats.decision_curve(truth == 1, prob[:, 1], THRESHOLDS)
        out["decision"] = {
            "threshold": numbers(THRESHOLDS),
            "model": numbers(model),
            "all": numbers(everyone),
        }
    return out
