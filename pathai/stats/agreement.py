"""How often the named class is right: confusion, accuracy, balanced accuracy, kappa."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from pathai.stats.bootstrap import Statistic, ratio
from pathai.stats.estimate import FloatArray

Confusions = Callable[[FloatArray], FloatArray]
"""Counts of rows float64[b, n] to tables float64[b, C, C], row = truth."""


def weighted_confusion(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> Confusions:
    """Confusion table of every resample at once."""
    cell = np.asarray(truth, np.int64) * n_classes + np.asarray(predicted, np.int64)
    member = (cell[:, None] == np.arange(n_classes**2)).astype(float)

    def tables(w: FloatArray) -> FloatArray:
        out: FloatArray = (w @ member).reshape(len(w), n_classes, n_classes)
        return out

    return tables


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> float:
    """Mean over the classes that occur of the share of their cases that is found.

    Parameters
    ----------
    truth, predicted : int[n]
        Class indices.
    n_classes : int
        Number of classes C.
    """
    return _once(weighted_balanced_accuracy(truth, predicted, n_classes), truth)


def weighted_balanced_accuracy(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> Statistic:
    """``balanced_accuracy`` of every resample at once."""
    tables = weighted_confusion(truth, predicted, n_classes)

    def statistic(w: FloatArray) -> FloatArray:
        table = tables(w)
        of_class = table.sum(axis=2)
        recall = np.nan_to_num(ratio(np.diagonal(table, axis1=1, axis2=2), of_class))
        return ratio(recall.sum(axis=1), (of_class > 0).sum(axis=1).astype(float))

    return statistic


def kappa(
    truth: ArrayLike, predicted: ArrayLike, n_classes: int, *, quadratic: bool = False
) -> float:
    """Agreement beyond chance: 1 is perfect, 0 what independent answers would reach.

    Parameters
    ----------
    truth, predicted : int[n]
        Class indices.
    n_classes : int
        Number of classes C.
    quadratic : bool
        Weigh a disagreement by the squared distance of the classes; for ordered classes.

    Returns
    -------
    float
        NaN where truth and answer are one and the same class throughout.

    References
    ----------
    .. [1] Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological
       Measurement 20:37-46, 1960.
    .. [2] Cohen, "Weighted kappa", Psychological Bulletin 70:213-220, 1968.
    """
    return _once(weighted_kappa(truth, predicted, n_classes, quadratic=quadratic), truth)


def weighted_kappa(
    truth: ArrayLike, predicted: ArrayLike, n_classes: int, *, quadratic: bool = False
) -> Statistic:
    """``kappa`` of every resample at once."""
    tables = weighted_confusion(truth, predicted, n_classes)
    c = np.arange(n_classes)
    apart = (c[:, None] - c).astype(float) ** 2
    cost = apart if quadratic else (apart > 0).astype(float)

    def statistic(w: FloatArray) -> FloatArray:
        table = tables(w)
        chance = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
        seen = (table * cost).sum(axis=(1, 2)) * w.sum(axis=1)
        return 1 - ratio(seen, (chance * cost).sum(axis=(1, 2)))

    return statistic


def _once(statistic: Statistic, truth: ArrayLike) -> float:
    return float(statistic(np.ones((1, len(np.asarray(truth)))))[0])
