"""Whether the site or the scanner already tells the label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.stats.estimate import FloatArray
from pathai.stats.folds import patient_labels

WARN_BELOW = 0.01
"""P-value below which a column is said to predict the label: one false alarm in a hundred."""


@dataclass(frozen=True)
class Association:
    """Cramer's V (0 none to 1 complete) of a column and the label, and its p-value."""

    v: float
    p: float
    n_patients: int
    n_values: int


def association(
    values: Sequence[str],
    labels: ArrayLike,
    groups: Sequence[str],
    *,
    n_permutations: int = 2000,
    seed: int = 0,
) -> Association:
    """How strongly a column goes with the label, patients as units.

    The p-value is the share of random assignments of the labels to the patients that go with the
    column at least as strongly: valid for any table, also one of sites with one patient.

    Parameters
    ----------
    values : sequence of str, length n
        The column: site, scanner, ...
    labels : int[n]
        Class of each row; a patient belongs to the largest.
    groups : sequence of str, length n
        Patient of each row; the patient's value is the first in sorted order.
    n_permutations, seed : int
        Number of random assignments and their seed.

    Returns
    -------
    Association
        NaN for both numbers where column or label does not vary.

    References
    ----------
    .. [1] Cramer, "Mathematical Methods of Statistics", 1946 (section 21.9).
    .. [2] Phipson and Smyth, "Permutation p-values should never be zero", Statistical
       Applications in Genetics and Molecular Biology 9:39, 2010.
    """
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    kinds, code = np.unique(np.asarray(values, str), return_inverse=True)
    column = np.full(len(names), len(kinds))
    np.minimum.at(column, place, code)
    kinds, column = np.unique(column, return_inverse=True)
    classes, label = np.unique(patient_labels(groups, labels), return_inverse=True)
    n = len(names)
    if len(kinds) < 2 or len(classes) < 2:
        return Association(math.nan, math.nan, n, len(kinds))
    member = (column[:, None] == np.arange(len(kinds))).astype(float)
    seen = float(_chi_square(label[None], member, len(classes))[0])
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(label, (n_permutations, 1)), axis=1)
    by_chance = _chi_square(shuffled, member, len(classes))
    p = (1 + float((by_chance >= seen - 1e-9).sum())) / (1 + n_permutations)
    most = n * (min(len(kinds), len(classes)) - 1)
    return Association(math.sqrt(max(0.0, seen) / most), p, n, len(kinds))


def confounder_warning(
    name: str, values: Sequence[str], labels: ArrayLike, groups: Sequence[str], *, seed: int = 0
) -> str:
    """Give one line where the column predicts the label (p below 0.01), else an empty text.

    Parameters
    ----------
    name : str
        What the column is called.
    values, labels, groups, seed
        As for ``association``.
    """
    found = association(values, labels, groups, seed=seed)
    if not found.p < WARN_BELOW:
        return ""
    return (
        f"{name} predicts the label (Cramer's V {found.v:.2f}, p = {found.p:.2g}, "
        f"{found.n_patients} patients, {found.n_values} values): the model may have learned "
        f"{name} instead; use site-preserved folds and read the subgroup table"
    )


def _chi_square(labels: NDArray[np.intp], member: FloatArray, n_classes: int) -> FloatArray:
    """Pearson's chi-square of label and column, float64[b], for labels intp[b, patients]."""
    n, of_value = len(member), member.sum(axis=0)
    total = np.zeros(len(labels))
    for c in range(n_classes):
        of_class = float((labels[0] == c).sum())
        seen = (labels == c).astype(float) @ member
        total += (seen**2 / of_value).sum(axis=1) / of_class
    return n * (total - 1)
