"""Knowing foreign slides: where the training cohort's slides lie, and how far off a new one is.

Plain arrays, no torch; checked by simulation in ``tests/unit/test_reference.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


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
