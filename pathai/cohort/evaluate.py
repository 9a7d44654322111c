"""How good the answers and counts are on slides that nothing was fitted to.

Every figure stands beside two baselines that know nothing of pathology: a constant, and the
tissue area of the slide. The independent unit is the patient. Which way the tissue area points,
and every constant, is taken from training slides, never from those that are scored.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathai.cohort.gather import SlideRow
from pathai.config import CohortConfig
from pathai.errors import PathaiError
from pathai.plan import Model, Plan
from pathai.stats import Estimate, RelativeError, auroc, binary_metrics, relative_error
from pathai.store.bundle import ModelSpec, TrainingData, read_bundle

SEED = 0
_COLUMNS = ("slide_id", "case_id", "patient_id", "stain", "site", "laterality")
"""Columns beside the labels that may choose the slides to score."""


class _Training:
    """Which slides of the sheet a model was trained on, under whatever name.

    A slide is known by its content. Names count only for a model of this run: ids of unrelated
    runs collide, as both may number their patients from 1.
    """

    def __init__(self, data: TrainingData, here: bool, rows: Sequence[SlideRow]) -> None:
        self._data, self._here = data, here
        self._patients = {row.row.patient_id for row in rows if self.slide(row)}

    def slide(self, row: SlideRow) -> bool:
        """Whether the model was trained on this very file."""
        return row.info is not None and self._data.has_content(row.info.sha256)

    def patient(self, row: SlideRow) -> bool:
        """Whether it was trained on the patient, by this sheet or by a name of this run."""
        sheet = row.row
        named = self._here and self._data.has_id(sheet.slide_id, sheet.patient_id)
        return named or sheet.patient_id in self._patients


@dataclass(frozen=True)
class _Unit:
    """One scored unit: a patient, or a slide where the task says so."""

    patient: str
    positive: bool
    prob: float
    area: float
    slides: int


def evaluate(plan: Plan, rows: Sequence[SlideRow]) -> dict[str, Any]:
    """All figures of the cohort, ready for JSON.

    Parameters
    ----------
    plan : Plan
        ``cohort.evaluate_on`` and ``cohort.count_column`` say what is scored against what.
    rows : sequence of SlideRow
        Every slide of the sheet.

    Returns
    -------
    dict
        ``tasks`` by model name and ``counts``; each has ``evaluated`` and, when false, ``reason``.
    """
    section = plan.config.cohort
    return {
        "evaluate_on": dict(sorted(section.evaluate_on.items())),
        "tasks": {
            model.name: _task(model, section, rows, here=_trained_here(plan, model))
            for model in plan.models
        },
        "counts": _counts(section, plan.config.cells.detector, rows),
    }


def held_out(section: CohortConfig, row: SlideRow) -> bool:
    """Whether a slide is one of those to score."""
    columns = {name: getattr(row.row, name) for name in _COLUMNS} | row.row.labels
    wanted = section.evaluate_on
    return bool(wanted) and all(columns.get(c) == v for c, v in wanted.items())


def _trained_here(plan: Plan, model: Model) -> bool:
    return model.folder.resolve() == plan.model_folder(model.name).resolve()


def _not_evaluated(reason: str) -> dict[str, Any]:
    return {"evaluated": False, "reason": reason}


# --- predictions -----------------------------------------------------------------------------


def _task(
    model: Model, section: CohortConfig, rows: Sequence[SlideRow], *, here: bool
) -> dict[str, Any]:
    if not section.evaluate_on:
        return _not_evaluated("cohort.evaluate_on names no slides to score")
    chosen = [row for row in rows if held_out(section, row)]
    if not chosen:
        return _not_evaluated("no slide of the sheet is chosen by cohort.evaluate_on")
    try:
        spec = read_bundle(model.folder).spec
    except PathaiError as error:
        return _not_evaluated(f"there is no usable model ({error.code}: {error.message})")
    left_out: Counter[str] = Counter()
    training = _Training(spec.data, here, rows)
    scored = []
    for row in chosen:
        reason = _unusable(model.name, spec, training, row)
        if reason:
            left_out[reason] += 1
        else:
            scored.append(row)
    units = _units(model.name, spec, scored, left_out)
    about = {
        "task": spec.task.name,
        "question": spec.task.question,
        "label": spec.task.label,
        "classes": list(spec.task.classes),
        "unit": spec.task.unit,
        "trained_here": here,
        "left_out": dict(sorted(left_out.items())),
    }
    positive = sum(u.positive for u in units)
    if not units or positive in (0, len(units)):
        reason = "no answered, labeled slide" if not units else "only one class among the slides"
        return {**_not_evaluated(f"{reason} among those to score"), **about}
    y, who = [u.positive for u in units], [u.patient for u in units]
    return {
        **about,
        "evaluated": True,
        "n_slides": sum(u.slides for u in units),
        "n_patients": len(set(who)),
        "n_positive_patients": len({u.patient for u in units if u.positive}),
        "n_negative_patients": len({u.patient for u in units if not u.positive}),
        "model": binary_metrics(y, [u.prob for u in units], who, SEED),
        **_baselines(spec, training, rows, units),
    }


def _unusable(model: str, spec: ModelSpec, training: _Training, row: SlideRow) -> str:
    """Why a slide cannot be scored, or nothing."""
    if training.slide(row):
        return "the model was trained on the slide"
    if training.patient(row):
        return "the model was trained on the patient"
    if row.row.labels.get(spec.task.label, "") not in spec.task.classes:
        return "no label"
    if model in row.not_applicable:
        return "not applicable: other stain"
    answer = row.answers.get(model)
    if answer is None:
        return "failed or skipped"
    if answer.out_of_distribution:
        return "no answer: out of distribution"
    if answer.abstained or len(answer.prob) != len(spec.task.classes):
        return "no answer: abstained"
    return ""


def _units(
    model: str, spec: ModelSpec, rows: Sequence[SlideRow], left_out: Counter[str]
) -> list[_Unit]:
    positive = spec.task.classes[1]
    single = [
        _Unit(
            row.row.patient_id,
            row.row.labels[spec.task.label] == positive,
            float(row.answers[model].prob[1]),
            row.tissue_mm2 or 0.0,
            1,
        )
        for row in rows
    ]
    return single if spec.task.unit == "slide" else _by_patient(single, left_out)


def _by_patient(single: Sequence[_Unit], left_out: Counter[str]) -> list[_Unit]:
    """Means over each patient's slides; a patient with two labels is left out."""
    groups: dict[str, list[_Unit]] = {}
    for unit in single:
        groups.setdefault(unit.patient, []).append(unit)
    found = []
    for patient, members in sorted(groups.items()):
        if len({m.positive for m in members}) > 1:
            left_out["patient with two labels"] += len(members)
            continue
        prob = math.fsum(m.prob for m in members) / len(members)
        area = math.fsum(m.area for m in members) / len(members)
        found.append(_Unit(patient, members[0].positive, prob, area, len(members)))
    return found


def _baselines(
    spec: ModelSpec, training: _Training, rows: Sequence[SlideRow], units: Sequence[_Unit]
) -> dict[str, Any]:
    y, who = [u.positive for u in units], [u.patient for u in units]
    trained = [
        _Unit(
            row.row.patient_id,
            row.row.labels.get(spec.task.label) == spec.task.classes[1],
            0.0,
            row.tissue_mm2,
            1,
        )
        for row in rows
        if training.slide(row)
        and row.row.labels.get(spec.task.label) in spec.task.classes
        and row.tissue_mm2 is not None
    ]
    if spec.task.unit == "patient":
        trained = _by_patient(trained, Counter())
    if not trained or len({u.positive for u in trained}) < 2:
        reason = "no training slides of both classes in this sheet"
        constant = binary_metrics(y, [0.5] * len(y), who, SEED)
        return {"constant": constant, "tissue_area": _not_evaluated(reason)}
    share = sum(u.positive for u in trained) / len(trained)
    seen = auroc([u.positive for u in trained], [u.area for u in trained])
    sign = 1 if seen >= 0.5 else -1
    area = binary_metrics(y, [sign * u.area for u in units], who, SEED)
    return {
        "constant": binary_metrics(y, [share] * len(y), who, SEED),
        "tissue_area": {
            "evaluated": True,
            "larger_is_positive": sign > 0,
            "auroc_training": round(seen, 6),
            "auroc": area["auroc"],
        },
    }


# --- counts ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Count:
    patient: str
    truth: float
    found: float
    area: float


def _counts(section: CohortConfig, detector: str, rows: Sequence[SlideRow]) -> dict[str, Any]:
    column = section.count_column
    if not column:
        return _not_evaluated("cohort.count_column names no reference count")
    if not section.evaluate_on:
        return _not_evaluated("cohort.evaluate_on names no slides to score")
    tested = {r.row.patient_id for r in rows if held_out(section, r)}
    left_out: Counter[str] = Counter()
    scored: list[_Count] = []
    trained: list[_Count] = []
    for row in rows:
        test = held_out(section, row)
        if not test and row.row.patient_id in tested:
            continue  # patients never straddle
        truth = _reference(row.row.labels.get(column, ""))
        if truth is None or row.cells is None or row.tissue_mm2 is None:
            if test:
                left_out["no reference count" if truth is None else "failed or skipped"] += 1
            continue
        count = _Count(row.row.patient_id, truth, row.cells.count.value, row.tissue_mm2)
        (scored if test else trained).append(count)
    about = {"column": column, "detector": detector, "left_out": dict(sorted(left_out.items()))}
    if not any(c.truth > 0 for c in scored):
        return {**_not_evaluated("no counted slide with a reference count"), **about}
    truths, who = [c.truth for c in scored], [c.patient for c in scored]

    def against(found: Sequence[float]) -> dict[str, Any]:
        return _error(relative_error(truths, found, who, SEED))

    figures = {"model": against([c.found for c in scored])}
    area = math.fsum(c.area for c in trained)
    if area > 0:
        total = math.fsum(c.truth for c in trained)
        mean, density = total / len(trained), total / area
        figures["constant"] = {**against([mean] * len(scored)), "count": round(mean, 6)}
        by_area = against([density * c.area for c in scored])
        figures["tissue_area"] = {**by_area, "density_per_mm2": round(density, 6)}
    else:
        nothing = _not_evaluated("no training slide with a reference count in this sheet")
        figures["constant"] = figures["tissue_area"] = nothing
    densities = np.array([c.truth / c.area for c in scored if c.area > 0])
    spread = float(densities.std() / densities.mean()) if len(densities) else 0.0
    return {
        **about,
        "evaluated": True,
        "n_slides": len(scored),
        "n_patients": len(set(who)),
        "reference_density_variation": round(spread, 6),
        "n_training_slides": len(trained),
        **figures,
    }


def _reference(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and value >= 0 else None


def _error(error: RelativeError) -> dict[str, Any]:
    def plain(estimate: Estimate) -> dict[str, float | None]:
        return estimate.as_json()

    return {
        "evaluated": True,
        "n": error.n,
        "n_zero": error.n_zero,
        "mape": plain(error.mape),
        "median": plain(error.median),
        "signed": plain(error.signed),
    }
