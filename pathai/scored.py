"""Answers beside the truth, and every number that follows: for held-out folds and for new sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pathai.labels import point
from pathai.metrics import class_report, number_report, survival_report
from pathai.metrics.classes import class_figures
from pathai.metrics.numbers import number_figures
from pathai.metrics.survival import survival_figures
from pathai.store.records import Answer
from pathai.task import Target

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def _none() -> NDArray[Any]:
    return np.zeros(0)


@dataclass(frozen=True)
class Scored:
    """One question, over ``m`` units with known truth; arrays of other kinds are empty.

    Parameters
    ----------
    target : Target
        The question.
    truth : float64[m, 2]
        See `pathai.labels.read_truth`.
    patients : tuple of str, length m
        Patient of each unit.
    prob, raw : float64[m, C]
        Classes: probabilities after calibration, and before where that is of interest.
    sets : bool[m, C]
        Classes: the conformal set.
    value, low, high : float64[m]
        Numbers: answer and conformal interval, infinite where it has no end.
    risk, alive : float64[m]
        Survival: risk score, probability of living past the horizon.
    """

    target: Target
    truth: Floats
    patients: tuple[str, ...]
    prob: Floats = field(default_factory=_none)
    raw: Floats = field(default_factory=_none)
    sets: NDArray[np.bool_] = field(default_factory=_none)
    value: Floats = field(default_factory=_none)
    low: Floats = field(default_factory=_none)
    high: Floats = field(default_factory=_none)
    risk: Floats = field(default_factory=_none)
    alive: Floats = field(default_factory=_none)

    @property
    def labels(self) -> Ints:
        """Class intp[m] of each unit."""
        return self.truth[:, 0].astype(np.intp)

    def take(self, rows: Ints) -> Scored:
        """Some of the units."""
        return self._changed(tuple(self.patients[i] for i in rows), lambda a: a[rows])

    def _changed(
        self, patients: tuple[str, ...], change: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> Scored:
        """The same with a change of every array that holds something."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        held = {n: change(a) for n, a in arrays.items() if isinstance(a, np.ndarray) and len(a)}
        return Scored(**{**arrays, **held, "patients": patients})


Columns = Mapping[str, Sequence[str]]
"""Column of the sheet to the value of each unit."""


def by_patient(
    one: Scored, baselines: Mapping[str, Floats], columns: Columns
) -> tuple[Scored, dict[str, Floats], dict[str, list[str]]]:
    """One unit per patient: the mean of the answers for the slides.

    A class is in the patient's set when it is in that of any slide. A patient with slides from
    several sites is of none of them.
    """
    names, place = np.unique(np.asarray(one.patients, str), return_inverse=True)
    rows = [np.flatnonzero(place == p).tolist() for p in range(len(names))]

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        return np.stack([values[r].mean(axis=0) for r in rows]) if len(values) else values

    merged = one._changed(tuple(names.tolist()), mean)
    merged = replace(merged, sets=mean(one.sets.astype(float)) > 0)
    homes = {
        name: [v[r[0]] if len({v[i] for i in r}) == 1 else "several" for r in rows]
        for name, v in columns.items()
    }
    return merged, {name: mean(b) for name, b in baselines.items()}, homes


def answered(
    target: Target, truth: Floats, answers: Sequence[Answer], patients: Sequence[str]
) -> Scored:
    """Stored answers beside the truth, one of each per unit; none of them may be withheld.

    Parameters
    ----------
    target : Target
        The question.
    truth : float64[m, 2]
        See `pathai.labels.read_truth`.
    answers : sequence of Answer, length m
        To this question.
    patients : sequence of str, length m
        Patient of each.
    """
    scored = Scored(target, truth, tuple(patients))
    if target.has_classes:
        prob = np.array([answer.prob for answer in answers])
        prob = prob / prob.sum(axis=1, keepdims=True)  # answers are stored with six digits
        sets = np.array([[c in answer.set for c in target.classes] for answer in answers])
        return replace(scored, prob=prob, sets=sets)
    if target.kind == "survival":
        alive = np.array([answer.prob[0] for answer in answers])
        risks = np.array([answer.risk for answer in answers], float)
        return replace(scored, risk=risks, alive=alive)
    value, low, high = _numbers(answers)
    return replace(scored, value=value, low=low, high=high)


def _numbers(said: Sequence[Answer]) -> tuple[Floats, Floats, Floats]:
    """Values and intervals; an end that is not there is infinite."""

    def column(name: str, absent: float) -> Floats:
        found = [getattr(answer, name) for answer in said]
        return np.array([absent if v is None else v for v in found], float)

    return column("value", np.nan), column("low", -np.inf), column("high", np.inf)


def report(
    one: Scored,
    *,
    baselines: Mapping[str, Floats],
    columns: Columns,
    alpha: float,
    method: str,
    seed: int,
) -> dict[str, Any]:
    """Everything that can be said about the answers to one question, ready for JSON.

    Parameters
    ----------
    one : Scored
        Answers and truth.
    baselines : mapping
        Name to what knows nothing of pathology says: float64[m, C] for classes, else [m].
    columns : mapping
        Columns for subgroups, of which each is also asked whether it gives the label away.
    alpha : float
        1 - coverage that sets and intervals promise.
    method : str
        How probabilities were calibrated.
    seed : int
        Of the resampling.
    """
    target, who = one.target, list(one.patients)
    varied = {name: list(v) for name, v in columns.items() if len(set(v)) > 1}
    if target.has_classes:
        return class_report(
            one.labels,
            one.prob,
            who,
            target.classes,
            ordinal=target.kind == "ordinal",
            raw=one.raw if len(one.raw) else None,
            calibration_method=method,
            sets=one.sets,
            alpha=alpha,
            baselines=baselines,
            subgroups=varied,
            confounders=tuple(varied),
            seed=seed,
        )
    if target.kind == "survival":
        return survival_report(
            one.truth[:, 0],
            one.truth[:, 1].astype(bool),
            one.risk,
            one.alive,
            target.horizon,
            who,
            baselines={name: (risk, None) for name, risk in baselines.items()},
            subgroups=varied,
            seed=seed,
        )
    return number_report(
        point(target, one.truth),
        one.value,
        who,
        kind=number_kind(target),
        unit=target.unit_of_value,
        low=one.low,
        high=one.high,
        alpha=alpha,
        baselines=baselines,
        subgroups=varied,
        seed=seed,
    )


def unit_report(
    one: Scored,
    unit: str,
    *,
    baselines: Mapping[str, Floats],
    columns: Columns,
    alpha: float,
    method: str,
    seed: int,
) -> dict[str, Any]:
    """What ``report`` says of answers for slides, per ``unit`` of the task, with its question."""
    if unit == "patient":
        one, baselines, columns = by_patient(one, baselines, columns)
    found = report(one, baselines=baselines, columns=columns, alpha=alpha, method=method, seed=seed)
    return {"question": one.target.question, "column": one.target.label, **found}


def point_figures(one: Scored) -> dict[str, float | None]:
    """The figures of a few units, without intervals."""
    target, who = one.target, list(one.patients)
    if target.has_classes:
        ordinal = target.kind == "ordinal"
        found = class_figures(one.labels, one.prob, who, ordinal=ordinal, intervals=False)
    elif target.kind == "survival":
        event = one.truth[:, 1].astype(bool)
        found = survival_figures(
            one.truth[:, 0], event, one.risk, one.alive, target.horizon, who, intervals=False
        )
    else:
        value = point(target, one.truth)
        found = number_figures(value, one.value, who, kind=number_kind(target), intervals=False)
    return {name: figure.as_json()["value"] for name, figure in found.items()}


def number_kind(target: Target) -> Literal["regression", "count", "ratio"]:
    """Kind of a question that is answered by a number."""
    if target.kind not in ("regression", "count", "ratio"):
        raise ValueError(f"{target.kind} is not answered by a number")
    return target.kind
