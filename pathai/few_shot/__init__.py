"""Few labels: a linear probe on slide vectors, and how its figures grow with labeled patients.

The probe is logistic regression (classes) or ridge regression (numbers) on one vector per slide,
with a Gaussian prior on the weights. The width of the prior is the one thing that is chosen, by
cross-validation *among the labeled patients only*: the patients that the probe is tested on
enter neither the choice, nor the standardization, nor the fit. Every patient weighs the same,
however many slides there are of it, and no patient is on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.errors import PathaiError
from pathai.few_shot.linear import FOLDS, LEFT, Data, Floats, Probe, answers, checked, fit, folds
from pathai.stats import Estimate, auroc

KS: tuple[int | None, ...] = (1, 2, 4, 8, 16, 32, None)


@dataclass(frozen=True)
class Point:
    """One point of a learning curve.

    ``k`` is None for all patients, each tested by a probe that was fitted on the others.
    ``figures`` hold mean and 95 % range over the draws. The draws share patients, so the range
    says how much luck is in drawing so few; it is no confidence interval for other patients.
    """

    k: int | None
    n_patients: int
    repeats: int
    figures: dict[str, Estimate]


# --- figures ---------------------------------------------------------------------------------


def _figures(answer: Floats, data: Data, rows: NDArray[np.intp]) -> dict[str, float]:
    """Figures per patient: its slides of the same truth are averaged first."""
    if not data.n_classes:
        _, unit = np.unique(data.patient[rows], return_inverse=True)
        return _of_numbers(_means(data.truth[rows], unit), _means(answer[:, 0], unit))
    pairs = np.stack([data.patient[rows], data.truth[rows].astype(int)], axis=1)
    units, unit = np.unique(pairs, axis=0, return_inverse=True)
    share = np.stack([_means(p, unit) for p in np.exp(answer).T], axis=1)
    return _of_classes(units[:, 1], share)


def _means(values: Floats, unit: NDArray[np.intp]) -> Floats:
    out: Floats = np.bincount(unit, values) / np.bincount(unit)
    return out


def _of_classes(truth: NDArray[np.intp], share: Floats) -> dict[str, float]:
    wanted = range(1, 2) if share.shape[1] == 2 else range(share.shape[1])
    recall = [(share[truth == c].argmax(axis=1) == c).mean() for c in np.unique(truth)]
    own = np.clip(share[np.arange(len(truth)), truth], 1e-12, 1.0)
    return {
        "auroc": float(np.mean([auroc(truth == c, share[:, c]) for c in wanted])),
        "balanced_accuracy": float(np.mean(recall)),
        "log_loss": float(-np.log(own).mean()),
    }


def _of_numbers(truth: Floats, value: Floats) -> dict[str, float]:
    from scipy.stats import rankdata

    ranks = rankdata(truth), rankdata(value)
    flat = min(np.ptp(truth), np.ptp(value)) == 0
    spread = float(((truth - truth.mean()) ** 2).sum())
    lost = float(((truth - value) ** 2).sum())
    return {
        "mae": float(np.abs(truth - value).mean()),
        "r2": 1 - lost / spread if spread else float("nan"),
        "spearman": float("nan") if flat else float(np.corrcoef(*ranks)[0, 1]),
    }


# --- doors -----------------------------------------------------------------------------------


def probe(
    x: ArrayLike,
    truth: ArrayLike,
    groups: Sequence[str],
    k: int | None,
    seed: int,
    *,
    n_classes: int,
) -> Probe:
    """Fit a probe on few labeled patients, and test it on all others.

    Parameters
    ----------
    x : float[n, D]
        A vector per slide, such as the mean standardized tile; features of comparable scale.
    truth : float[n]
        Index of the class, or a number.
    groups : sequence of str, length n
        Patient of each slide.
    k : int or None
        Labeled patients to draw, per class (of a number: in all). None takes all of them; the
        figures are then of patients left out in turn.
    seed : int
        Of the draw.
    n_classes : int
        Number of classes; 0 for a number. Ordered classes are fitted as plain ones.

    Raises
    ------
    PathaiError
        E180 for features that are not finite, E184 for a missing label, or when fewer than
        ``LEFT`` patients of a class would be left to test on (label more, or lower ``k``).
    """
    data = checked(x, truth, groups, n_classes)
    if k is not None and k > _most(data):
        message = f"{k} labeled patients per class, but at most {_most(data)} leave some to test on"
        raise PathaiError("E184", message, "label more patients, or draw fewer")
    return _one(data, k, np.random.default_rng([seed, 0]))


def learning_curve(
    x: ArrayLike,
    truth: ArrayLike,
    groups: Sequence[str],
    ks: Sequence[int | None] = KS,
    repeats: int = 20,
    seed: int = 0,
    *,
    n_classes: int,
) -> tuple[Point, ...]:
    """How good a probe of ``k`` labeled patients per class is on patients that it never met.

    Parameters
    ----------
    x, truth, groups, n_classes
        As in `probe`.
    ks : sequence of int or None
        Labeled patients per class; None for all. Those that would leave too few to test on are
        left out. Within one draw, the patients of a smaller ``k`` are among those of a larger.
    repeats : int
        Draws per ``k``.
    seed : int
        Of the draws.

    Returns
    -------
    tuple of Point
        In the order of ``ks``.

    Raises
    ------
    PathaiError
        As `probe`.
    """
    data = checked(x, truth, groups, n_classes)
    points = []
    for k in ks:
        if k is not None and not (2 if not n_classes else 1) <= k <= _most(data):
            continue
        made = [_one(data, k, np.random.default_rng([seed, r])) for r in range(repeats)]
        figures = {n: _over([m.figures[n] for m in made]) for n in made[0].figures}
        points.append(Point(k, len(made[0].patients), repeats, figures))
    return tuple(points)


def _most(data: Data) -> int:
    """Largest draw per class that leaves patients to test on."""
    return int(np.bincount(data.classes, minlength=max(data.n_classes, 1)).min()) - LEFT


def _one(data: Data, k: int | None, rng: np.random.Generator) -> Probe:
    """Draw, fit, test."""
    everyone = np.arange(len(data.names))
    if k is not None:
        order = rng.permutation(everyone)
        drawn = np.sort(
            np.concatenate([order[data.classes[order] == c][:k] for c in np.unique(data.classes)])
        )
        made = fit(data, drawn, rng)
        rows = data.slides(np.setdiff1d(everyone, drawn))
        return _tested(made, data, drawn, rows, answers(made, data, rows))
    smallest = int(np.bincount(data.classes, minlength=max(data.n_classes, 1)).min())
    parts = [
        (rows, answers(fit(data, rest, rng), data, rows))
        for rest, test in folds(data, everyone, min(smallest, FOLDS), rng)
        for rows in (data.slides(test),)
    ]
    order = np.concatenate([rows for rows, _ in parts])
    answer = np.concatenate([found for _, found in parts])[np.argsort(order)]
    return _tested(fit(data, everyone, rng), data, everyone, np.sort(order), answer)


def _tested(
    made: Probe, data: Data, patients: NDArray[np.intp], rows: NDArray[np.intp], answer: Floats
) -> Probe:
    return replace(
        made,
        patients=tuple(data.names[p] for p in patients),
        rows=rows,
        held_out=answer,
        figures=_figures(answer, data, rows),
    )


def _over(values: Sequence[float]) -> Estimate:
    """Mean and 95 % range over the draws in which the figure exists."""
    found = np.array([v for v in values if np.isfinite(v)])
    if not len(found):
        return Estimate(*[float("nan")] * 3)
    low, high = np.quantile(found, (0.025, 0.975))
    return Estimate(float(found.mean()), float(low), float(high))
