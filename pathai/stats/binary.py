"""The summary of a yes-or-no answer that training and the cohort page share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pathai.stats.bootstrap import resample, share, weighted_mean
from pathai.stats.estimate import Estimate
from pathai.stats.ranking import auroc, auroc_interval, weighted_auroc


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
    kind = np.isin(who, who[y])  # with any positive unit; that is y where one label rules
    drawn = resample(who.tolist(), strata=kind, seed=seed)
    return {
        "n": len(y),
        "n_patients": len(np.unique(who)),
        "n_positive": int(y.sum()),
        "auroc": Estimate(auc, *auroc_interval(auc, n_pos, n_neg)).as_json(),
        "auroc_bootstrap": drawn.interval(weighted_auroc(y, p)).as_json(),
        "brier": drawn.interval(weighted_mean(squared)).as_json(),
        "sensitivity": share(hit[y], who[y].tolist(), seed=seed).as_json(),
        "specificity": share(hit[~y], who[~y].tolist(), seed=seed).as_json(),
    }
