"""Two models on the same units, figure by figure: the difference, its interval, its p-value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pathai import stats
from pathai.metrics.classes import class_statistics
from pathai.metrics.numbers import Kind, number_statistics
from pathai.metrics.survival import survival_statistics
from pathai.metrics.tables import Json, numbers, p_value
from pathai.stats import Difference, Statistic


def compare_class_models(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[str],
    *,
    ordinal: bool = False,
    seed: int = 0,
) -> Json:
    """Compare two models of classes on the same units.

    Parameters
    ----------
    truth : int[n]
        True class.
    first, second : float[n, C]
        Probabilities of the two models, neither of which saw the unit's patient.
    groups : sequence of str, length n
        Patient of each unit.
    ordinal : bool
        Whether the order of the classes means something.
    seed : int
        Seed of the resampling.

    Returns
    -------
    dict
        ``n``, ``n_patients`` and ``figures``: name to first, second, difference (second minus
        first, with interval), p and test. The AUROC of two classes is compared by DeLong's
        test where each patient is one unit, everything else by a bootstrap of patients;
        ``ece`` is left out, as resampling shifts it. The p-values are not corrected for their
        number: name the figure that decides beforehand.
    """
    y = np.asarray(truth, np.int64)
    a, b = (class_statistics(y, p, ordinal=ordinal) for p in (first, second))
    drawn = stats.resample(groups, seed=seed)
    found = {k: stats.paired_bootstrap(a[k], b[k], drawn) for k in a if k != "ece"}
    scores = [np.asarray(p, float) for p in (first, second)]
    alone = len(set(groups)) == len(y)
    if alone and scores[0].shape[1] == 2 and min((y == 0).sum(), (y == 1).sum()) > 1:
        found["auroc"] = stats.delong(y == 1, scores[0][:, 1], scores[1][:, 1])
    return _json(found, groups)


def compare_number_models(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[str],
    *,
    kind: Kind,
    seed: int = 0,
) -> Json:
    """Compare two models of numbers, float[n] each, on the same units.

    Returns
    -------
    dict
        As of ``compare_class_models``; everything by a bootstrap of patients.
    """
    a, b = (number_statistics(truth, v, kind=kind) for v in (first, second))
    return _bootstrap(a, b, groups, seed)


def compare_survival_models(
    time: ArrayLike,
    event: ArrayLike,
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    horizon: float,
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> Json:
    """Compare two models of survival, each (risk, alive_at_horizon), on the same units.

    Returns
    -------
    dict
        As of ``compare_class_models``; everything by a bootstrap of patients.
    """
    a, b = (survival_statistics(time, event, r, s, horizon) for r, s in (first, second))
    return _bootstrap(a, b, groups, seed)


def _bootstrap(
    a: Mapping[str, Statistic], b: Mapping[str, Statistic], groups: Sequence[str], seed: int
) -> Json:
    drawn = stats.resample(groups, seed=seed)
    return _json({k: stats.paired_bootstrap(a[k], b[k], drawn) for k in a}, groups)


def _json(found: Mapping[str, Difference], groups: Sequence[str]) -> Json:
    figures = {}
    for name, one in found.items():
        first, second = numbers([one.first, one.second])
        figures[name] = {
            "first": first,
            "second": second,
            "difference": one.difference.as_json(),
            "p": p_value(one.p),
            "test": one.test,
        }
    return {"n": len(groups), "n_patients": len(set(groups)), "figures": figures}
