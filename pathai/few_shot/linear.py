"""The fit of a probe: standardization, L2 prior chosen among the labeled patients, weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.errors import PathaiError

Floats = NDArray[np.float64]
PRIORS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Standard deviations of the answer under the prior: of a logit, or of a number in its own
standard deviations. The weights have this divided by the root of the number of features."""
UNCHOSEN = 1.0
"""The prior where there are too few patients to choose one."""
FOLDS = 5
BORROWED = 3.0
"""Weight, in patients, of the common variance in the variance of each feature: two patients
alone would make some feature hardly vary by chance, and that feature would decide."""
LEFT = 2
"""Patients per class that must be left to test on."""


@dataclass(frozen=True)
class Probe:
    """A fitted probe; ``outputs = weight @ (x - mean) / scale + bias``.

    Parameters
    ----------
    weight : float64[C, D]
        Of standardized features; one row per class, or a single one for a number.
    bias : float64[C]
    mean, scale : float64[D]
        Standardization, of the labeled patients.
    prior : float
        One of ``PRIORS``; the standard deviation of the answer that was chosen.
    patients : tuple of str
        The labeled patients, sorted.
    rows : int[m]
        Rows that ``held_out`` belongs to, of patients that the answer was not fitted on.
    held_out : float64[m, C]
        Log-probabilities of the classes, or values.
    figures : dict of str to float
        Of ``held_out``; NaN where a figure does not exist. They carry no interval: compute it
        from ``held_out`` where they are reported.
    """

    weight: Floats
    bias: Floats
    mean: Floats
    scale: Floats
    prior: float
    patients: tuple[str, ...] = ()
    rows: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    held_out: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    figures: dict[str, float] = field(default_factory=dict)

    def outputs(self, x: ArrayLike) -> Floats:
        """Logits of the classes, or the number: float[n, D] -> float64[n, C]."""
        z = (np.asarray(x, np.float64) - self.mean) / self.scale
        out: Floats = z @ self.weight.T + self.bias
        return out

    def as_linear(self, mean: ArrayLike, scale: ArrayLike) -> tuple[Floats, Floats]:
        """The same answer as a linear layer on features of another standardization.

        Parameters
        ----------
        mean, scale : float[D]
            With ``z = (x - mean) / scale``, e.g. of the training tiles; the mean of standardized
            tiles is the standardized mean tile.

        Returns
        -------
        weight : float64[C, D]
        bias : float64[C]
            ``weight @ z + bias`` equals ``outputs(x)``.
        """
        other_mean, other_scale = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
        weight: Floats = self.weight * (other_scale / self.scale)
        bias: Floats = self.bias + self.weight @ ((other_mean - self.mean) / self.scale)
        return weight, bias


@dataclass(frozen=True)
class Data:
    """Slides with the patients that they belong to, checked."""

    x: Floats
    truth: Floats
    patient: NDArray[np.intp]
    names: tuple[str, ...]
    n_classes: int

    @property
    def classes(self) -> NDArray[np.intp]:
        """Class of each patient, the most frequent of its slides; 0 for numbers."""
        found = np.zeros(len(self.names), np.intp)
        for p in range(len(self.names)) if self.n_classes else ():
            counts = np.bincount(self.truth[self.patient == p].astype(int))
            found[p] = len(counts) - 1 - int(np.argmax(counts[::-1]))
        return found

    def slides(self, patients: ArrayLike) -> NDArray[np.intp]:
        """Rows of these patients."""
        return np.flatnonzero(np.isin(self.patient, patients))


def checked(x: ArrayLike, truth: ArrayLike, groups: Sequence[str], n_classes: int) -> Data:
    """What `pathai.few_shot.probe` is given, checked (E180, E184)."""
    values, target = np.asarray(x, np.float64), np.asarray(truth, np.float64)
    if values.ndim != 2 or target.shape != (len(values),) or len(groups) != len(values):
        raise ValueError("x is [n, D]; truth and groups have n entries")
    if not np.isfinite(values).all():
        raise PathaiError("E180", f"row {np.argwhere(~np.isfinite(values))[0, 0]}: not finite")
    if not np.isfinite(target).all():
        row = int(np.flatnonzero(~np.isfinite(target))[0])
        raise PathaiError("E184", f"row {row} has no label", "leave it out")
    if n_classes and not np.isin(target, np.arange(n_classes)).all():
        raise ValueError("truth holds no index of a class")
    names, patient = np.unique(np.asarray(groups, str), return_inverse=True)
    data = Data(values, target, patient.astype(np.intp), tuple(names.tolist()), n_classes)
    counts = np.bincount(data.classes, minlength=max(n_classes, 1))
    if counts.min() < 2 or len(names) < 3:
        message = f"{counts.min()} patients of one class, 2 are needed, and 3 in all"
        raise PathaiError("E184", message, "label more patients")
    return data


# --- the fit ---------------------------------------------------------------------------------


def _weights(patient: NDArray[np.intp]) -> Floats:
    """Weight of each slide: every patient counts once."""
    weight: Floats = 1.0 / np.bincount(patient)[patient]
    return weight


def _standardization(x: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Mean and scale of each feature, float64[D] each; see ``BORROWED``."""
    n = weight.sum()
    mean = weight @ x / n
    spread = weight @ (x - mean) ** 2
    common = float(np.median(spread)) / max(n - 1, 1.0)
    variance = (spread + BORROWED * common) / (max(n - 1, 0.0) + BORROWED)
    return mean, np.where(variance > 0, np.sqrt(np.where(variance > 0, variance, 1.0)), 1.0)


def _path(data: Data, rows: NDArray[np.intp], priors: Sequence[float]) -> Iterator[Probe]:
    """A probe per prior, fitted on these slides.

    An L2 prior leaves the weights in the span of the rows, so everything is fitted there: with
    fewer slides than features that is much smaller, and the answer is the same.
    """
    x, target, weight = data.x[rows], data.truth[rows], _weights(data.patient[rows])
    mean, scale = _standardization(x, weight)
    u, s, vt = np.linalg.svd((x - mean) / scale, full_matrices=False)
    for prior in priors:
        solve = _logistic if data.n_classes else _ridge
        slope, bias = solve(u * s, target, weight, prior**2 / x.shape[1], data.n_classes)
        yield Probe(slope @ vt, bias, mean, scale, prior)


def _logistic(
    z: Floats, target: Floats, weight: Floats, variance: float, n_classes: int
) -> tuple[Floats, Floats]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=variance, max_iter=5_000, tol=1e-6)
    model.fit(z, target.astype(int), sample_weight=weight)
    slope, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
    if n_classes == 2:  # one logit of the positive class, as two logits
        return np.vstack([-slope, slope]) / 2, np.concatenate([-bias, bias]) / 2
    return slope, bias


def _ridge(
    z: Floats, target: Floats, weight: Floats, variance: float, n_classes: int
) -> tuple[Floats, Floats]:
    from sklearn.linear_model import Ridge

    center = float(weight @ target / weight.sum())
    spread = float(np.sqrt(weight @ (target - center) ** 2 / weight.sum())) or 1.0
    model = Ridge(alpha=1 / variance).fit(z, (target - center) / spread, sample_weight=weight)
    slope = np.asarray(model.coef_)[None, :] * spread
    return slope, np.array([float(model.intercept_) * spread + center])


def fit(data: Data, patients: NDArray[np.intp], rng: np.random.Generator) -> Probe:
    """A probe of these patients, its prior chosen by cross-validation among them."""
    prior = UNCHOSEN
    smallest = int(np.bincount(data.classes[patients])[np.unique(data.classes[patients])].min())
    if smallest >= 2:
        loss = np.zeros(len(PRIORS))
        for rest, test in folds(data, patients, min(smallest, FOLDS), rng):
            rows = data.slides(test)
            weight = _weights(data.patient[rows])
            for i, one in enumerate(_path(data, data.slides(rest), PRIORS)):
                loss[i] += weight @ _losses(one, data, rows)
        prior = PRIORS[int(np.argmin(loss))]  # the first, so the narrower, where they are equal
    return next(_path(data, data.slides(patients), (prior,)))


def folds(
    data: Data, patients: NDArray[np.intp], count: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Split patients so that each class is spread over the folds; (fitted on, tested on)."""
    fold = np.empty(len(patients), int)
    start = 0
    for c in np.unique(data.classes[patients]):
        mine = rng.permutation(np.flatnonzero(data.classes[patients] == c))
        fold[mine] = (start + np.arange(len(mine))) % count
        start += len(mine)
    for k in range(count):
        yield patients[fold != k], patients[fold == k]


def answers(probe: Probe, data: Data, rows: NDArray[np.intp]) -> Floats:
    """Log-probabilities of the classes, or values: float64[m, C]."""
    out = probe.outputs(data.x[rows])
    if data.n_classes:
        out = out - out.max(axis=1, keepdims=True)
        out -= np.log(np.exp(out).sum(axis=1, keepdims=True))
    return out


def _losses(probe: Probe, data: Data, rows: NDArray[np.intp]) -> Floats:
    answer = answers(probe, data, rows)
    if data.n_classes:
        return -np.take_along_axis(answer, data.truth[rows].astype(int)[:, None], axis=1)[:, 0]
    loss: Floats = (answer[:, 0] - data.truth[rows]) ** 2
    return loss
