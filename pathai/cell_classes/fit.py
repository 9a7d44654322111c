"""Training of the model of cell classes, and what it is worth on slides that it never saw.

References
----------
Guo C et al. On calibration of modern neural networks. ICML 2017, arXiv:1706.04599.
Li X, Grandvalet Y, Davoine F. Explicit inductive bias for transfer learning with convolutional
networks. ICML 2018, arXiv:1802.01483. (A penalty on the distance from a base model's weights.)
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.calibration import fit_temperature, softmax
from pathai.cell_classes.model import CLASSES, ClassModel, Network
from pathai.errors import PathaiError
from pathai.stats import Estimate, grouped_folds, log_losses, share

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

HIDDEN = 16
SPREADS = (0.02, 0.06, 0.2, 0.6)
"""Standard deviations of a weight from the base model's before any data; one is chosen."""
BALANCE = 0.5
"""Weight of a cell: its class's share to the power of minus this."""
FOLDS, INNER_FOLDS = 5, 3
STEPS = 100


@dataclass(frozen=True)
class Labeled:
    """Cells whose class a person, or a picture's recipe, has given.

    Attributes
    ----------
    features : float64[N, D]
        From `pathai.cell_classes.context.Neighborhood`.
    class_ : int64[N]
        Index into `CLASSES`.
    group : tuple of str
        Patient, slide or tile of each cell: held back as a whole.
    """

    features: F64
    class_: I64
    group: tuple[str, ...]

    def take(self, rows: NDArray[Any]) -> "Labeled":
        """Chosen cells."""
        index = np.arange(len(self.class_))[rows]
        group = tuple(self.group[i] for i in index.tolist())
        return Labeled(self.features[index], self.class_[index], group)

    def plus(self, other: "Labeled") -> "Labeled":
        """These cells and others."""
        return Labeled(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.class_, other.class_]),
            self.group + other.group,
        )


def fit(data: Labeled, spread: float, base: Network | None = None, seed: int = 0) -> Network:
    """The network that explains the cells best, near a base.

    The loss is the log loss, each class weighted by the root of its rarity, plus a Gaussian prior
    around the base's weights (around 0 without a base). Full batches and a
    quasi-Newton search: the same cells give the same network.

    Parameters
    ----------
    data : Labeled
    spread : float
        Standard deviation of a weight around the base's before any data.
    base : Network, optional
        Start and center of the prior.
    seed : int
        Of the first weights, without a base.
    """
    from scipy.optimize import minimize

    start = base or _blank(data.features, seed)
    center = _flat(start) if base else np.zeros_like(_flat(start))
    z = start.standard(data.features)
    target = np.eye(len(CLASSES))[data.class_]
    number = np.bincount(data.class_, minlength=len(CLASSES))
    weight = (np.maximum(number, 1) / len(data.class_)) ** -BALANCE
    each = weight[data.class_] / weight[data.class_].mean()

    def loss(flat: F64) -> tuple[float, F64]:
        direct, inward, outward = _split(flat, start)
        hidden = np.tanh(z @ inward)
        prob = softmax(z @ direct + hidden @ outward)
        away = flat - center
        picked = np.maximum((prob * target).sum(axis=1), 1e-300)
        value = -float(each @ np.log(picked)) + float(away @ away) / (2 * spread**2)
        slope = (prob - target) * each[:, None]
        back = (slope @ outward.T) * (1 - hidden**2)
        parts = (z.T @ slope, z.T @ back, hidden.T @ slope)
        gradient = np.concatenate([p.ravel() for p in parts]) + away / spread**2
        return value / len(z), gradient / len(z)

    found = minimize(
        loss, _flat(start), jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "ftol": 1e-6}
    )
    direct, inward, outward = _split(found.x, start)
    return replace(start, direct=direct, inward=inward, outward=outward)


def _blank(features: F64, seed: int) -> Network:
    """A network that knows nothing but the features' mean and spread."""
    wide, rng = features.shape[1], np.random.default_rng(seed)
    deviation = features.std(axis=0)
    return Network(
        mean=features.mean(axis=0),
        scale=np.where(deviation > 1e-9, deviation, 1.0),
        direct=np.zeros((wide + 1, len(CLASSES))),
        inward=rng.normal(0, wide**-0.5, (wide + 1, HIDDEN)),
        outward=rng.normal(0, 0.1, (HIDDEN, len(CLASSES))),
    )


def _flat(network: Network) -> F64:
    return np.concatenate([a.ravel() for a in (network.direct, network.inward, network.outward)])


def _split(flat: F64, like: Network) -> tuple[F64, F64, F64]:
    """The three arrays of weights."""
    first = like.direct.size
    second = first + like.inward.size
    return (
        flat[:first].reshape(like.direct.shape),
        flat[first:second].reshape(like.inward.shape),
        flat[second:].reshape(like.outward.shape),
    )


# --- on what was held back -------------------------------------------------------------------


@dataclass(frozen=True)
class HeldOut:
    """Answers on cells of groups that training left out.

    Attributes
    ----------
    logits : float64[n, 5]
        Not calibrated.
    prob : float64[n, 5]
        Calibrated with a temperature that knows neither the cells nor their groups.
    class_ : int64[n]
        Truth.
    group : tuple of str
    """

    logits: F64
    prob: F64
    class_: I64
    group: tuple[str, ...]

    @property
    def confusion(self) -> I64:
        """Counts ``int64[5, 5]``: rows are the truth, columns the answer."""
        size = len(CLASSES)
        cell = self.class_ * size + self.prob.argmax(axis=1)
        return np.bincount(cell, minlength=size**2).reshape(size, size).astype(np.int64)

    def figures(self) -> dict[str, Any]:
        """Accuracy, recall and precision of each class, log loss; intervals over groups."""
        said = self.prob.argmax(axis=1)
        right = said == self.class_
        number = np.bincount(self.class_, minlength=len(CLASSES))
        most = int(number.argmax())
        found: dict[str, Any] = {
            "cells": len(self.class_),
            "groups": len(set(self.group)),
            "accuracy": share(right, self.group).as_json(),
            "accuracy_of_the_commonest_class": round(float(number[most] / max(number.sum(), 1)), 4),
            "commonest_class": CLASSES[most],
            "log_loss": round(float(log_losses(self.class_, self.prob).mean()), 4),
        }
        found["recall"] = {n: self._share(right, self.class_ == k) for k, n in enumerate(CLASSES)}
        found["precision"] = {n: self._share(right, said == k) for k, n in enumerate(CLASSES)}
        return found

    def _share(self, right: NDArray[np.bool_], rows: NDArray[np.bool_]) -> dict[str, Any]:
        index = np.flatnonzero(rows)
        group = [self.group[i] for i in index.tolist()]
        estimate = share(right[index], group) if len(index) else Estimate(float("nan"))
        return {"cells": len(index), **estimate.as_json()}


def validate(
    data: Labeled, extra: Labeled | None = None, base: Network | None = None, seed: int = 0
) -> HeldOut:
    """Answers on every cell by networks that never saw its group.

    How far weights may leave the base, and the temperature, are chosen on inner folds of the
    training groups.

    Parameters
    ----------
    data : Labeled
        Of at least two groups.
    extra : Labeled, optional
        Further cells to train on, never scored; those of a held-back group are held back too.
    base : Network, optional
        As in `fit`.
    seed : int
        Of folds and first weights.

    Raises
    ------
    PathaiError
        E184 for cells of a single group: nothing could be held back.
    """
    groups = len(set(data.group))
    if groups < 2:
        message = "the classified cells are of one slide or patient only, so none can be held back"
        raise PathaiError("E184", message, "classify cells on two slides at least, better on ten")
    fold = grouped_folds(data.group, data.class_, min(FOLDS, groups), seed)
    size = (len(data.class_), len(CLASSES))
    logits, prob = np.empty(size), np.empty(size)
    for k in range(int(fold.max()) + 1):
        training = data.take(fold != k)
        rows = np.flatnonzero(fold == k)
        known = None if extra is None else _without(extra, data.take(rows))
        network, temperature = _chosen(training, known, base, seed)
        logits[rows] = network.logits(data.features[rows])
        prob[rows] = softmax(logits[rows] / temperature)
    return HeldOut(logits, prob, data.class_, data.group)


def _chosen(
    data: Labeled, extra: Labeled | None, base: Network | None, seed: int
) -> tuple[Network, float]:
    """Network and temperature of training cells alone."""
    spread, logits = choose(data, extra, base, seed)
    temperature = fit_temperature(logits, data.class_) if len(logits) else 1.0
    return fit(_with(data, extra), spread, base, seed), temperature


def choose(
    data: Labeled, extra: Labeled | None = None, base: Network | None = None, seed: int = 0
) -> tuple[float, F64]:
    """The spread with the least log loss on inner folds, and the logits that it gave there.

    With cells of one group there is nothing to choose on: the least spread, and no logits.
    """
    groups = len(set(data.group))
    if groups < 2:
        return SPREADS[0], np.empty((0, len(CLASSES)))
    fold = grouped_folds(data.group, data.class_, min(INNER_FOLDS, groups), seed + 1)
    best = (np.inf, SPREADS[0], np.empty((0, len(CLASSES))))
    for spread in SPREADS:
        logits = np.empty((len(data.class_), len(CLASSES)))
        for k in range(int(fold.max()) + 1):
            rows = np.flatnonzero(fold == k)
            known = None if extra is None else _without(extra, data.take(rows))
            network = fit(_with(data.take(fold != k), known), spread, base, seed)
            logits[rows] = network.logits(data.features[rows])
        loss = float(log_losses(data.class_, softmax(logits)).mean())
        if loss < best[0]:
            best = (loss, spread, logits)
    return best[1], best[2]


def _with(data: Labeled, extra: Labeled | None) -> Labeled:
    return data if extra is None else data.plus(extra)


def _without(extra: Labeled, held: Labeled) -> Labeled:
    """Further cells, less those of groups that are held back."""
    names = frozenset(held.group)
    return extra.take(np.array([group not in names for group in extra.group], bool))


def train(
    data: Labeled,
    card: dict[str, Any],
    *,
    extra: Labeled | None = None,
    base: ClassModel | None = None,
    seed: int = 0,
) -> tuple[ClassModel, HeldOut]:
    """A model on all cells, with what it is worth from cells that were held back.

    Parameters
    ----------
    data : Labeled
        Of at least two groups.
    card : dict
        What shall stand in the card beside the figures.
    extra, base, seed
        As in `validate`.

    Returns
    -------
    ClassModel
        Its ``confusion``, ``temperature`` and figures are of held-back groups.
    HeldOut

    Raises
    ------
    PathaiError
        E184 for cells of a single group.
    """
    network = base.network if base else None
    held = validate(data, extra, network, seed)
    spread, _ = choose(data, extra, network, seed)
    number = np.bincount(data.class_, minlength=len(CLASSES))
    facts = {
        "cells": dict(zip(CLASSES, number.tolist(), strict=True)),
        "base": base.digest if base else "",
        "spread": spread,
        "seed": seed,
        "held_out": held.figures(),
        **card,
    }
    fitted = fit(_with(data, extra), spread, network, seed)
    temperature = fit_temperature(held.logits, held.class_)
    return ClassModel(fitted, temperature, held.confusion, facts), held
