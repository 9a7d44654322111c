"""A model from few labeled patients: a linear probe, tested on the patients that were not drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pathai.answers import probabilities
from pathai.calibration import calibrate
from pathai.config import TrainConfig
from pathai.conformal import conformal_p, interval
from pathai.errors import PathaiError
from pathai.few_shot import Point, learning_curve, probe
from pathai.few_shot.linear import Probe
from pathai.heads.base import Ensemble
from pathai.heads.linear import LinearProbe
from pathai.labels import point
from pathai.outputs import TargetSpec
from pathai.scored import Scored, unit_report
from pathai.store.bundle import NetworkSpec, TargetState
from pathai.task import Task
from pathai.train.cohort import Cohort, Gathered
from pathai.train.fitting import class_shares, standardization, target_specs
from pathai.train.heldout import HeldOut, calibrated_by_others, state_of
from pathai.train.shipped import Shipped

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

HEAD = "linear"
KINDS = ("binary", "multiclass", "regression")
PARTS = 5
"""Parts of the drawn patients of which each is calibrated with the others."""


def few_shot(
    task: Task, gathered: Gathered, section: TrainConfig
) -> tuple[dict[str, Any], Shipped]:
    """Fit a probe on ``section.few_shot`` patients of each class, drawn by the seed.

    The prior is chosen among them, calibration and conformal scores are of their own answers out
    of fold, and every number is of the patients that were not drawn. Where all were drawn, the
    numbers are their own, out of fold.

    Raises
    ------
    PathaiError
        E184 when the task asks for something that a probe cannot answer.
    """
    cohort, k = gathered.cohort, section.few_shot
    target = cohort.targets[0]
    if target.kind not in KINDS or len(cohort.targets) > 1:
        message = f"task {task.name}: a linear probe answers one {', '.join(KINDS)} question"
        raise PathaiError("E184", message, "train without --few-shot")
    drawn = _drawn(cohort, k, section.seed)
    scales = Ensemble([], *standardization(cohort.take(drawn)))
    x = _vectors(scales, cohort)
    given = (point(target, cohort.truth[0]), cohort.patients, len(target.classes))
    own = _probe(x[drawn], given[0][drawn], [given[1][i] for i in drawn], given[2], section.seed)
    spec = target_specs(cohort.take(drawn))[0]
    state = state_of(_held(cohort, drawn, own, spec), np.zeros(len(target.classes)), "temperature")
    shares = np.exp(class_shares(cohort.take(drawn))[0])
    kept = {"typical": tuple(shares.tolist())} if target.has_classes else {}
    state = state.model_copy(update={"location": spec.location, "scale": spec.scale, **kept})
    curve = learning_curve(x, *given[:2], seed=section.seed, n_classes=given[2])
    rest = np.setdiff1d(np.arange(len(cohort)), drawn)
    tested, said = (rest, own.outputs(x[rest])) if len(rest) else (drawn[own.rows], own.held_out)
    scored = _scored(cohort, tested, said, state, section.alpha)
    numbers = _metrics(task, gathered, scored, tested, state, section)
    numbers["few_shot"] = {
        "patients": len(own.patients),
        "tested_on": "patients that were not drawn" if len(rest) else "the same, out of fold",
        "learning_curve": [_point(one) for one in curve],
    }
    network = NetworkSpec(head=HEAD, hidden=1, dropout=0, members=1)
    return numbers, Shipped((network,), (state,), _network(scales, own, spec))


def _drawn(cohort: Cohort, k: int, seed: int) -> Ints:
    """Slides of the patients that may be learned from: ``k`` of each class, or of all."""
    who, rng = np.asarray(cohort.patients, str), np.random.default_rng(seed)
    part = cohort.strata if cohort.targets[0].has_classes else np.zeros(len(who), np.intp)
    chosen: list[str] = []
    for c in np.unique(part):
        names = np.unique(who[part == c])
        if len(names) < 2:
            raise PathaiError("E184", "a probe needs 2 patients of each class", "label more")
        chosen += rng.permutation(names)[: max(k, 2)].tolist()
    return np.flatnonzero(np.isin(who, chosen))


def _vectors(scales: Ensemble, cohort: Cohort) -> Floats:
    with torch.inference_mode():
        rows = [scales.summary(cohort.bags[i]) for i in range(len(cohort))]
    return torch.stack(rows).double().numpy()


def _probe(x: Floats, truth: Floats, patients: list[str], n_classes: int, seed: int) -> Probe:
    return probe(x, truth, patients, None, seed, n_classes=n_classes)


def _held(cohort: Cohort, drawn: Ints, own: Probe, spec: TargetSpec) -> HeldOut:
    """The drawn patients' own answers, out of fold."""
    rows = drawn[own.rows]
    patients = tuple(cohort.patients[i] for i in rows)
    _, place = np.unique(np.asarray(patients, str), return_inverse=True)
    one = HeldOut(cohort.targets[0], cohort.truth[0][rows], place % PARTS, patients, rows)
    if not one.target.has_classes:
        value = own.held_out[:, 0]
        return replace(one, value=value, spread=np.full(len(rows), spec.scale))
    one = replace(one, logits=own.held_out, offset=np.zeros_like(own.held_out))
    raw, prob = calibrated_by_others(one, "temperature")
    return replace(one, raw=raw, prob=prob)


def _scored(cohort: Cohort, rows: Ints, said: Floats, state: TargetState, alpha: float) -> Scored:
    """Answers for tested slides, with the sets and intervals that the model would give."""
    truth, patients = cohort.truth[0][rows], tuple(cohort.patients[i] for i in rows)
    one = Scored(cohort.targets[0], truth, patients)
    if one.target.has_classes:
        prob = probabilities(state, said)
        kept = [[p > alpha for p in conformal_p(state.conformal, row)] for row in prob]
        raw = calibrate(said, 1.0, np.zeros(said.shape[1]))
        return replace(one, prob=prob, raw=raw, sets=np.array(kept))
    value, spread = said[:, 0], np.full(len(said), state.scale)
    low, high = interval(state.conformal[0], value, spread, alpha)
    return replace(one, value=value, low=low, high=high)


def _network(scales: Ensemble, own: Probe, spec: TargetSpec) -> dict[str, NDArray[Any]]:
    """Arrays of the head ``linear`` that gives the probe's answers; ``x`` is standardized."""
    weight, bias = own.as_linear(0.0, 1.0)
    head = LinearProbe(weight.shape[1], len(weight))
    with torch.no_grad():
        head.classify.weight.copy_(torch.from_numpy(weight / spec.scale))
        head.classify.bias.copy_(torch.from_numpy((bias - spec.location) / spec.scale))
    model = Ensemble([head], scales.mean, scales.scale)
    return {f"model.0.{name}": t.numpy() for name, t in model.state_dict().items()}


def _metrics(
    task: Task,
    gathered: Gathered,
    scored: Scored,
    rows: Ints,
    state: TargetState,
    section: TrainConfig,
) -> dict[str, Any]:
    cohort = gathered.cohort
    typical = np.array(state.typical)
    constant = np.tile(typical, (len(rows), 1)) if task.has_classes else np.full(len(rows), typical)
    columns = {name: [column[i] for i in rows] for name, column in cohort.groups.items()}
    baselines = {"constant": constant}
    found = unit_report(
        scored,
        task.unit,
        baselines=baselines,
        columns=columns,
        alpha=section.alpha,
        method="temperature",
        seed=section.seed,
    )
    return {
        "schema_version": 2,
        "task": task.name,
        "unit": task.unit,
        "n_slides": len(cohort),
        "n_patients": len(set(cohort.patients)),
        "left_out": gathered.left_out,
        "folds": [],
        "targets": {task.name: found},
    }


def _point(one: Point) -> dict[str, Any]:
    figures = {name: figure.as_json() for name, figure in one.figures.items()}
    return {"k": one.k, "n_patients": one.n_patients, "repeats": one.repeats, "figures": figures}
