"""Numbers of a training, from held-out answers alone, in the units of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai import baselines
from pathai.answers import bounds
from pathai.baselines import goal
from pathai.config import TrainConfig
from pathai.conformal import cross_intervals, cross_sets
from pathai.labels import point
from pathai.scored import Scored, by_patient, point_figures, unit_report
from pathai.task import Task
from pathai.train.cohort import Cohort, Gathered
from pathai.train.heldout import HeldOut
from pathai.train.nested import Nested

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def measure(
    task: Task, gathered: Gathered, found: Nested, held: Sequence[HeldOut], section: TrainConfig
) -> dict[str, Any]:
    """Contents of ``metrics.json``: every target with its baselines, and every fold."""
    cohort = gathered.cohort
    return {
        "schema_version": 2,
        "task": task.name,
        "unit": task.unit,
        "n_slides": len(cohort),
        "n_patients": len(set(cohort.patients)),
        "left_out": gathered.left_out,
        "folds": [_fold(found, held[0], f, task) for f in range(len(found.folds))],
        "shipped": found.last.as_json(),
        "targets": {one.target.name: _target(one, cohort, task, section) for one in held},
    }


def _target(one: HeldOut, cohort: Cohort, task: Task, section: TrainConfig) -> dict[str, Any]:
    area = cohort.area_mm2[one.rows]
    beside = {"constant": constant(one), "tissue_area": by_area(one, area)}
    columns = {name: [column[i] for i in one.rows] for name, column in cohort.groups.items()}
    return unit_report(
        _scored(one, section.alpha),
        task.unit,
        baselines=beside,
        columns=columns,
        alpha=section.alpha,
        method=task.calibration,
        seed=section.seed,
    )


def _scored(one: HeldOut, alpha: float) -> Scored:
    """Answers with sets and intervals, each from the errors of the other folds."""
    target, who = one.target, list(one.patients)
    if target.has_classes:
        sets = cross_sets(one.prob, one.labels, who, one.fold, alpha)
        return Scored(target, one.truth, one.patients, prob=one.prob, raw=one.raw, sets=sets)
    if target.kind == "survival":
        return Scored(target, one.truth, one.patients, risk=one.risk, alive=one.alive)
    truth, (least, most) = point(target, one.truth), bounds(target.kind)
    ends = cross_intervals(truth, one.value, one.spread, who, one.fold, alpha)
    low, high = (np.clip(end, least, most) for end in ends)
    return Scored(target, one.truth, one.patients, value=one.value, low=low, high=high)


def _fold(found: Nested, one: HeldOut, f: int, task: Task) -> dict[str, Any]:
    """One outer fold on its own: point values, which differ a lot between small folds."""
    part = _scored(one, 0.1).take(np.flatnonzero(one.fold == f))
    if task.unit == "patient" and len(part.patients):
        part = by_patient(part, {}, {})[0]
    return {
        "n": len(part.patients),
        "n_patients": len(set(part.patients)),
        "chosen": found.choices[f].as_json(),
        "figures": point_figures(part) if len(part.patients) else {},
    }


# --- baselines that know nothing of pathology --------------------------------------------------


def constant(one: HeldOut) -> Floats:
    """One answer for all slides: shares float64[m, C] of the classes, or a value [m].

    It is the mean over the folds of what their training parts say. Each fold's own would rank the
    folds, and so seem to know something, or worse than nothing.
    """
    if one.target.has_classes:
        shares: Floats = np.exp(one.offset).mean(axis=0)
        return np.tile(shares / shares.sum(), (len(one.fold), 1))
    value = goal(one.target, one.truth)
    parts = [value[one.fold != f].mean() for f in np.unique(one.fold)]
    return np.full(len(value), np.mean(parts))


def by_area(one: HeldOut, area: Floats) -> Floats:
    """What the tissue area says, learned in each training part: shaped as ``constant``."""
    out = constant(one)
    for f in np.unique(one.fold):
        train, test = one.fold != f, one.fold == f
        known = one.truth[train], area[train]
        out[test] = baselines.by_area(one.target, *known, area[test], out[test])
    return out
