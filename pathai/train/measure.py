"""Numbers of a training, from held-out answers alone, in the units of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.answers import bounds
from pathai.config import TrainConfig
from pathai.conformal import cross_intervals, cross_sets
from pathai.labels import point
from pathai.metrics import class_report, number_report, survival_report
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
        "folds": [_fold(found, cohort, held[0], f, task) for f in range(len(found.folds))],
        "shipped": found.last.as_json(),
        "targets": {one.target.name: _target(one, cohort, task, section) for one in held},
    }


def _target(one: HeldOut, cohort: Cohort, task: Task, section: TrainConfig) -> dict[str, Any]:
    area = cohort.area_mm2[one.rows]
    baselines = {"constant": constant(one), "tissue_area": by_area(one, area)}
    groups = {name: [column[i] for i in one.rows] for name, column in cohort.groups.items()}
    if task.unit == "patient":
        one, baselines, groups = by_patient(one, baselines, groups)
    groups = {name: values for name, values in groups.items() if len(set(values)) > 1}
    report = _report(one, baselines, groups, section)
    asked = {"question": one.target.question, "column": one.target.label}
    return {**asked, **report}


def _report(
    one: HeldOut,
    baselines: Mapping[str, Floats],
    groups: Mapping[str, Sequence[str]],
    section: TrainConfig,
) -> dict[str, Any]:
    target, who = one.target, list(one.patients)
    if target.has_classes:
        return class_report(
            one.labels,
            one.prob,
            who,
            target.classes,
            ordinal=target.kind == "ordinal",
            raw=one.raw,
            sets=cross_sets(one.prob, one.labels, who, one.fold, section.alpha),
            alpha=section.alpha,
            baselines=baselines,
            subgroups=groups,
            confounders=tuple(groups),
            seed=section.seed,
        )
    if target.kind == "survival":
        return survival_report(
            one.truth[:, 0],
            one.truth[:, 1].astype(bool),
            one.risk,
            one.alive,
            target.horizon,
            who,
            baselines=baselines,
            subgroups=groups,
            seed=section.seed,
        )
    truth = point(target, one.truth)
    low, high = cross_intervals(truth, one.value, one.spread, who, one.fold, section.alpha)
    least, most = bounds(target.kind)
    return number_report(
        truth,
        one.value,
        who,
        kind=target.kind,
        unit=target.unit_of_value,
        low=np.clip(low, least, most),
        high=np.clip(high, least, most),
        alpha=section.alpha,
        baselines=baselines,
        subgroups=groups,
        seed=section.seed,
    )


def _fold(found: Nested, cohort: Cohort, one: HeldOut, f: int, task: Task) -> dict[str, Any]:
    """One outer fold on its own: point values, which differ a lot between small folds."""
    mine = np.flatnonzero(one.fold == f)
    part = _rows(one, mine)
    section = TrainConfig(alpha=0.1)
    report = _report(part, {}, {}, section) if len(mine) else {"figures": {}}
    return {
        "n": len(mine),
        "n_patients": len(set(part.patients)),
        "chosen": found.choices[f].as_json(),
        "figures": {name: figure["value"] for name, figure in report["figures"].items()},
    }


def _rows(one: HeldOut, rows: Ints) -> HeldOut:
    """Some of the units."""
    arrays = ("truth", "fold", "rows", "logits", "offset", "raw", "prob", "value", "spread", "risk",
              "alive", "median")  # fmt: skip
    taken = {name: getattr(one, name)[rows] for name in arrays if len(getattr(one, name))}
    return replace(one, patients=tuple(one.patients[i] for i in rows), **taken)


def by_patient(
    one: HeldOut, baselines: Mapping[str, Floats], groups: Mapping[str, Sequence[str]]
) -> tuple[HeldOut, dict[str, Floats], dict[str, list[str]]]:
    """Means over the slides of each patient; a patient at several sites is of none of them."""
    names, place = np.unique(np.asarray(one.patients, str), return_inverse=True)
    rows = [np.flatnonzero(place == p) for p in range(len(names))]

    def mean(values: Floats) -> Floats:
        return np.stack([values[r].mean(axis=0) for r in rows]) if len(values) else values

    first = _rows(one, np.array([r[0] for r in rows], np.intp))
    means = ("truth", "raw", "prob", "value", "spread", "risk", "alive", "median")
    merged = replace(first, **{name: mean(getattr(one, name)) for name in means})
    homes = {
        name: [v[r[0]] if len({v[i] for i in r}) == 1 else "several" for r in rows]
        for name, v in groups.items()
    }
    return merged, {name: mean(b) for name, b in baselines.items()}, homes


# --- baselines that know nothing of pathology --------------------------------------------------


def constant(one: HeldOut) -> Floats:
    """What the training part's mean says of each slide: shares float64[m, C], or a value [m]."""
    if one.target.has_classes:
        shares: Floats = np.exp(one.offset)
        return shares
    value = _goal(one)
    out = np.empty(len(value))
    for f in np.unique(one.fold):
        out[one.fold == f] = value[one.fold != f].mean()
    return out


def by_area(one: HeldOut, area: Floats) -> Floats:
    """What the tissue area says, learned in each training part: shaped as ``constant``."""
    out = constant(one)
    for f in np.unique(one.fold):
        train, test = one.fold != f, one.fold == f
        scale = max(float(area[train].std()), 1e-12)
        x = ((area - area[train].mean()) / scale)[:, None]
        if one.target.has_classes:
            _logistic(x, one.labels, train, test, out)
        elif one.target.kind == "count":
            density = _goal(one)[train].sum() / max(float(area[train].sum()), 1e-12)
            out[test] = density * area[test]
        else:
            slope = float((x[train, 0] * (_goal(one)[train] - _goal(one)[train].mean())).mean())
            out[test] += slope * x[test, 0]
    return out


def _logistic(x: Floats, labels: Ints, train: Any, test: Any, out: Floats) -> None:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(x[train], labels[train])
    out[np.ix_(test, model.classes_)] = model.predict_proba(x[test])


def _goal(one: HeldOut) -> Floats:
    """The number to hit; survival: minus the time, so that larger means a larger risk."""
    value = point(one.target, one.truth)
    return -value if one.target.kind == "survival" else value
