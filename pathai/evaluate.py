"""How good a model is on slides it never met: another time, another laboratory, another scanner.

Every number is of slides that the model answered; what it did not answer is counted beside them.
A slide of the model's own training is recognized by its content under any name and left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.labels import one_label_per_patient, point, read_truth
from pathai.metrics import compare_class_models, compare_number_models, compare_survival_models
from pathai.metrics_page import metrics_page
from pathai.scored import Scored, answered, by_patient, number_kind, report
from pathai.sheet import SheetRow
from pathai.store.bundle import METRICS, PAGE, TargetState, TrainingData
from pathai.store.manifest import canonical, write_atomic
from pathai.store.records import PredictionAttrs

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Told:
    """What a model said about a slide, and what is known of the slide's file."""

    attrs: PredictionAttrs
    sha256: str
    scanner: str = ""


Ask = Callable[[SheetRow], Told | str]
"""A model's answer to a slide of the sheet, or why there is none."""


def evaluate(
    states: Sequence[TargetState],
    training: TrainingData,
    unit: str,
    rows: Sequence[SheetRow],
    ask: Ask,
    *,
    alpha: float,
    seed: int = 0,
) -> tuple[dict[str, Any], list[Scored]]:
    """Measure a model on the slides of a sheet.

    Parameters
    ----------
    states : sequence of TargetState
        The model's questions.
    training : TrainingData
        Hashes of what it was trained on.
    unit : str
        ``patient`` or ``slide``.
    rows : sequence of SheetRow
        Slides with labels.
    ask : callable
        Row to the model's answer.
    alpha : float
        1 - coverage that sets and intervals promise.
    seed : int
        Of the resampling.

    Returns
    -------
    tuple
        Contents of ``metrics.json``, and the scored units per target.

    Raises
    ------
    PathaiError
        E184 when no slide can be scored, or a label cannot be read; it names the row.
    """
    left_out: Counter[str] = Counter()
    told = list(_answered(rows, ask, training, left_out))
    targets, units = {}, []
    for t, state in enumerate(states):
        found, columns = _scored(state, t, told, unit)
        baselines = _constant(state, len(found.patients))
        if unit == "patient":
            found, baselines, columns = by_patient(found, baselines, columns)
        numbers = report(
            found, baselines=baselines, columns=columns, alpha=alpha, method="",
            seed=seed,
        )  # fmt: skip
        asked = {"question": state.target.question, "column": state.target.label}
        targets[state.target.name] = {**asked, **numbers}
        units.append(found)
    metrics = {
        "schema_version": 2,
        "task": states[0].target.name,
        "unit": unit,
        "n_slides": len(told),
        "n_patients": len({row.patient_id for row, _ in told}),
        "left_out": dict(sorted(left_out.items())),
        "folds": [],
        "targets": targets,
    }
    return metrics, units


def _answered(
    rows: Sequence[SheetRow], ask: Ask, training: TrainingData, left_out: Counter[str]
) -> list[tuple[SheetRow, Told]]:
    """Slides with an answer, of patients of whom no slide was trained on."""
    told: list[tuple[SheetRow, Told]] = []
    seen: set[str] = set()
    for row in sorted(rows, key=lambda r: r.slide_id):
        answer = ask(row)
        if isinstance(answer, str):
            left_out[answer] += 1
        elif training.has_content(answer.sha256):
            left_out["the model was trained on the slide"] += 1
            seen.add(row.patient_id)
        elif answer.attrs.abstained:
            left_out[f"no answer: {answer.attrs.reason}"] += 1
        else:
            told.append((row, answer))
    kept = [(row, answer) for row, answer in told if row.patient_id not in seen]
    if len(kept) < len(told):
        left_out["the model was trained on the patient"] += len(told) - len(kept)
    if not kept:
        reasons = (
            ", ".join(f"{n} {why}" for why, n in sorted(left_out.items())) or "no row is asked for"
        )
        raise PathaiError("E184", f"no slide can be scored: {reasons}", "give other slides")
    return kept


def _scored(
    state: TargetState, t: int, told: Sequence[tuple[SheetRow, Told]], unit: str
) -> tuple[Scored, dict[str, list[str]]]:
    """Answers and truth of one question, over the slides whose label is known."""
    target = state.target
    known = [(row, told) for row, told in told if row.labels.get(target.label, "").strip()]
    if not known:
        message = f"no answered slide has a label in column {target.label}"
        raise PathaiError("E184", message, "fill the column, or name another sheet")
    truth = np.array([_truth(state, row) for row, _ in known])
    if unit == "patient":
        rows = [row for row, _ in known]
        one_label_per_patient(target, truth, rows, "leave slides out with --where")
    said = [one.attrs.answers[t] for _, one in known]
    columns = {
        "site": [row.site for row, _ in known],
        "scanner": [one.scanner for _, one in known],
    }
    return answered(target, truth, said, [row.patient_id for row, _ in known]), columns


def _truth(state: TargetState, row: SheetRow) -> tuple[float, float]:
    try:
        return read_truth(state.target, row.labels)
    except ValueError as error:
        message = f"row {row.row}, slide {row.slide_id}, {error}"
        raise PathaiError("E184", message, "correct the sheet") from None


def _constant(state: TargetState, n: int) -> dict[str, Floats]:
    """What the mean of the model's training patients says."""
    typical = np.array(state.typical)
    if state.target.has_classes:
        return {"constant": np.tile(typical, (n, 1))}
    return {"constant": np.full(n, typical[0])}


def compare(first: Sequence[Scored], second: Sequence[Scored], *, seed: int = 0) -> dict[str, Any]:
    """Two models on the units that both answered, per target that both know.

    Raises
    ------
    PathaiError
        E184 when they share no target and unit.
    """
    others = {one.target.name: one for one in second}
    found = {}
    for one in first:
        other = others.get(one.target.name)
        if other is None or other.target.kind != one.target.kind:
            continue
        a, b = _same_units(one, other)
        if len(a.patients):
            found[one.target.name] = _compared(a, b, seed)
    if not found:
        raise PathaiError("E184", "the two models share no question and patient", "see the tasks")
    return found


def _same_units(a: Scored, b: Scored) -> tuple[Scored, Scored]:
    shared = sorted(set(a.patients) & set(b.patients))
    if len(set(a.patients)) < len(a.patients) or len(set(b.patients)) < len(b.patients):
        raise PathaiError("E184", "two models are compared by patient", "set unit: patient")
    return tuple(  # type: ignore[return-value]
        one.take(np.array([one.patients.index(p) for p in shared], np.intp)) for one in (a, b)
    )


def _compared(a: Scored, b: Scored, seed: int) -> dict[str, Any]:
    target, who = a.target, list(a.patients)
    if target.has_classes:
        ordinal = target.kind == "ordinal"
        return compare_class_models(a.labels, a.prob, b.prob, who, ordinal=ordinal, seed=seed)
    if target.kind == "survival":
        time, event = a.truth[:, 0], a.truth[:, 1].astype(bool)
        pair = (a.risk, a.alive), (b.risk, b.alive)
        return compare_survival_models(time, event, *pair, target.horizon, who, seed=seed)
    truth = point(target, a.truth)
    return compare_number_models(truth, a.value, b.value, who, kind=number_kind(target), seed=seed)


def write(metrics: dict[str, Any], folder: Path, about: Sequence[str]) -> None:
    """Write ``metrics.json`` and ``evaluation.html``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / METRICS, canonical(metrics))
    page = metrics_page(metrics, title=metrics["task"], about=about)
    write_atomic(folder / PAGE, page.encode())
