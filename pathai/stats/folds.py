"""Folds in which no patient, and where wanted no site, is in two parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def grouped_folds(groups: Sequence[str], labels: ArrayLike, k: int, seed: int) -> NDArray[np.intp]:
    """Fold of each row; a patient never straddles folds, classes are spread evenly.

    A patient belongs to the largest label among the rows. Patients are sorted, shuffled by the
    seed within their class and dealt one by one, so the result does not depend on row order.

    Parameters
    ----------
    groups : sequence of str, length n
        Patient of each row.
    labels : int[n]
        Class of each row.
    k : int
        Number of folds, at least 2 and at most the number of patients.
    seed : int
        Same seed, same folds.

    Returns
    -------
    intp[n]
        Values 0 to k - 1.
    """
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    if not 2 <= k <= len(names):
        raise ValueError(f"{k} folds need at least {max(k, 2)} patients, there are {len(names)}")
    kind = patient_labels(groups, labels)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(kind == c)) for c in np.unique(kind)])
    fold = np.empty(len(names), np.intp)
    fold[order] = np.arange(len(names)) % k
    return fold[place]


def site_folds(
    groups: Sequence[str], sites: Sequence[str], labels: ArrayLike, k: int, seed: int
) -> NDArray[np.intp]:
    """Fold of each row; a site is in one fold as a whole, and so is a patient.

    A model can tell sites by their staining and scanners, and through them the label [1]_; sites
    that it never saw show what is left without that. Sites that share a patient stay together.
    They are placed from the largest down, each where patients and classes stay most even.

    Parameters
    ----------
    groups, sites : sequence of str, length n
        Patient and site of each row.
    labels : int[n]
        Class of each row; a patient belongs to the largest.
    k : int
        Number of folds, at least 2.
    seed : int
        Decides between sites of equal size; same seed, same folds, whatever the row order.

    Returns
    -------
    intp[n]
        Values 0 to k - 1; no fold is empty, but one may lack a class where sites do.

    Raises
    ------
    ValueError
        Fewer separate sites than folds: ask for fewer folds, or for patient-grouped folds.

    References
    ----------
    .. [1] Howard et al., "The impact of site-specific digital histology signatures on deep
       learning model accuracy and bias", Nature Communications 12:4423, 2021.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, who = np.unique(np.asarray(groups, str), return_inverse=True)
    places, where = np.unique(np.asarray(sites, str), return_inverse=True)
    size = len(names) + len(places)
    link = coo_array((np.ones(len(who)), (who, len(names) + where)), shape=(size, size))
    n_blocks, member = connected_components(link, directed=False)
    if not 2 <= k <= n_blocks:
        shared = "" if n_blocks == len(places) else f", {n_blocks} that share no patient"
        raise ValueError(
            f"{k} site-preserved folds need at least {max(k, 2)} sites, there are "
            f"{len(places)}{shared}: ask for fewer folds, or keep only patients together"
        )
    block = member[: len(names)]
    kind = np.unique(patient_labels(groups, labels), return_inverse=True)[1]
    table = np.zeros((n_blocks, int(kind.max()) + 2))  # patients per class, and of all classes
    np.add.at(table, (block, kind), 1)
    table[:, -1] = table.sum(axis=1)
    fold: NDArray[np.intp] = _deal(table, k, seed)[block][who]
    return fold


def _deal(table: NDArray[np.float64], k: int, seed: int) -> NDArray[np.intp]:
    """Fold of each block, from the largest down to where the squared shares grow least."""
    share = table / table.sum(axis=0)
    shuffled = np.random.default_rng(seed).permutation(len(share))
    order = shuffled[np.argsort(-table[shuffled, -1], kind="stable")]
    load = np.zeros((k, share.shape[1]))
    fold = np.empty(len(share), np.intp)
    for b in order:  # an empty fold is always among the cheapest, and argmin takes it first
        cost = (2 * load * share[b]).sum(axis=1)
        fold[b] = int(np.argmin(cost))
        load[fold[b]] += share[b]
    return fold


def patient_labels(groups: Sequence[str], labels: ArrayLike) -> NDArray[np.int64]:
    """Largest label among the rows of each patient, int64[patients], patients sorted."""
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    kind = np.full(len(names), np.iinfo(np.int64).min)
    np.maximum.at(kind, place, np.asarray(labels, np.int64))
    return kind
