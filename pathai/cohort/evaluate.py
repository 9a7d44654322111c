"""How good the answers are on slides that nothing was fitted to, for every kind of question.

Every figure stands beside two baselines that know nothing of pathology: a constant, and the
tissue area of the slide. The independent unit is the patient. What the baselines say is learned
on training slides of the sheet, never on those that are scored.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.baselines import by_area, typical
from pathai.cohort.counts import evaluate_counts
from pathai.cohort.drift import drift
from pathai.cohort.gather import SlideRow
from pathai.cohort.training import Training, held_out, not_evaluated, trained_here
from pathai.config import CohortConfig
from pathai.errors import PathaiError
from pathai.labels import read_truth
from pathai.plan import Model, Plan
from pathai.scored import Scored, answered, by_patient, report
from pathai.store.bundle import ModelSpec, TargetState, read_bundle
from pathai.store.records import Answer
from pathai.task import Target

SEED = 0
NO_TRAINING = "no training slides in this sheet that it could be learned from"

Floats = NDArray[np.float64]
Figures = dict[str, Any]


def evaluate(plan: Plan, rows: Sequence[SlideRow]) -> Figures:
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
        ``tasks`` by model name, each with its ``targets``; ``counts``; and ``drift`` by model
        name. A target has ``evaluated`` and, when false, ``reason``; else what
        `pathai.scored.report` tells.
    """
    section = plan.config.cohort
    found: dict[str, Figures] = {"tasks": {}, "drift": {}}
    for model in plan.models:
        here = trained_here(plan, model)
        try:
            spec = read_bundle(model.folder).spec
        except PathaiError as error:
            reason = f"there is no usable model ({error.code}: {error.message})"
            nothing = {**not_evaluated(reason), "targets": {}}
            found["tasks"][model.name], found["drift"][model.name] = nothing, not_evaluated(reason)
            continue
        training = Training(spec.data, here, rows)
        found["tasks"][model.name] = _model(model, spec, section, training, rows, here=here)
        limit = plan.config.predict.ood_percentile
        found["drift"][model.name] = drift(model.name, training, rows, limit)
    return {
        "evaluate_on": dict(sorted(section.evaluate_on.items())),
        **found,
        "counts": evaluate_counts(section, plan.config.cells.detector, rows),
    }


def _model(
    model: Model,
    spec: ModelSpec,
    section: CohortConfig,
    training: Training,
    rows: Sequence[SlideRow],
    *,
    here: bool,
) -> Figures:
    chosen = [row for row in rows if held_out(section, row)]
    reason = ""
    if not section.evaluate_on:
        reason = "cohort.evaluate_on names no slides to score"
    elif not chosen:
        reason = "no slide of the sheet is chosen by cohort.evaluate_on"
    if reason:
        return {**not_evaluated(reason), "targets": {}}
    asked = _Asked(model.name, spec, training, rows)
    targets = {
        state.target.name: _target(asked, t, state, chosen) for t, state in enumerate(spec.targets)
    }
    return {
        "task": spec.task.name,
        "unit": spec.task.unit,
        "trained_here": here,
        "evaluated": any(found["evaluated"] for found in targets.values()),
        "targets": targets,
    }


@dataclass(frozen=True)
class _Asked:
    """A model, what it was trained on, and all slides of the sheet."""

    name: str
    spec: ModelSpec
    training: Training
    rows: Sequence[SlideRow]

    @property
    def by_patient(self) -> bool:
        """Whether a patient is one unit."""
        return self.spec.task.unit == "patient"


@dataclass
class _Slides:
    """Slides with a known truth, and the model's answers where it gave some."""

    rows: list[SlideRow] = field(default_factory=list)
    truth: list[tuple[float, float]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def patients(self) -> list[str]:
        """Patient of each slide."""
        return [row.row.patient_id for row in self.rows]

    @property
    def area(self) -> Floats:
        """Tissue of each slide, mm²; 0 where it is not known."""
        return np.array([row.tissue_mm2 or 0.0 for row in self.rows])

    def add(self, row: SlideRow, truth: tuple[float, float], answer: Answer | None = None) -> None:
        """One more."""
        self.rows.append(row)
        self.truth.append(truth)
        self.answers += [] if answer is None else [answer]

    def without(self, patients: set[str]) -> "_Slides":
        """The slides of all other patients."""
        keep = [i for i, row in enumerate(self.rows) if row.row.patient_id not in patients]
        answers = [self.answers[i] for i in keep] if self.answers else []
        return _Slides([self.rows[i] for i in keep], [self.truth[i] for i in keep], answers)


def _target(
    asked: _Asked, t: int, state: TargetState, chosen: Sequence[SlideRow]
) -> dict[str, Any]:
    """Figures of one question of a model."""
    target, left_out = state.target, Counter[str]()
    slides = _Slides()
    for row in chosen:
        found = _usable(asked, t, target, row)
        if isinstance(found, str):
            left_out[found] += 1
        else:
            slides.add(row, *found)
    if asked.by_patient and (torn := _two_labels(target, slides)):
        left_out["patient with two labels"] += sum(p in torn for p in slides.patients)
        slides = slides.without(torn)
    about = {
        "question": target.question,
        "column": target.label,
        "kind": target.kind,
        "classes": list(target.classes),
        "unit_of_value": target.unit_of_value,
        "left_out": dict(sorted(left_out.items())),
    }
    if reason := _too_little(target, slides):
        return {**about, **not_evaluated(f"{reason} among those to score")}
    return {**about, "evaluated": True, **_figures(asked, state, slides)}


def _usable(
    asked: _Asked, t: int, target: Target, row: SlideRow
) -> tuple[tuple[float, float], Answer] | str:
    """Truth and answer of a slide, or why it cannot be scored."""
    if asked.training.slide(row):
        return "the model was trained on the slide"
    if asked.training.patient(row):
        return "the model was trained on the patient"
    truth = _truth(target, row)
    if truth is None:
        return "no label"
    if asked.name in row.not_applicable:
        return "not applicable: other stain"
    attrs = row.answers.get(asked.name)
    if attrs is None:
        return "failed or skipped"
    if attrs.out_of_distribution:
        return "no answer: out of distribution"
    if attrs.abstained or len(attrs.answers) <= t or not _fits(target, attrs.answers[t]):
        return "no answer: abstained"
    return truth, attrs.answers[t]


def _truth(target: Target, row: SlideRow) -> tuple[float, float] | None:
    try:
        return read_truth(target, row.row.labels)
    except ValueError:
        return None


def _fits(target: Target, answer: Answer) -> bool:
    """Whether an answer is one to this kind of question."""
    if target.has_classes:
        return len(answer.prob) == len(target.classes)
    if target.kind == "survival":
        return len(answer.prob) == 1 and answer.risk is not None
    return answer.value is not None


def _two_labels(target: Target, slides: _Slides) -> set[str]:
    """Patients whose slides contradict each other; numbers may differ from slide to slide."""
    if not (target.has_classes or target.kind == "survival"):
        return set()
    seen: dict[str, set[tuple[float, float]]] = {}
    for patient, truth in zip(slides.patients, slides.truth, strict=True):
        seen.setdefault(patient, set()).add(truth)
    return {patient for patient, found in seen.items() if len(found) > 1}


def _too_little(target: Target, slides: _Slides) -> str:
    """Why nothing can be said, or nothing."""
    if not slides.rows:
        return "no answered, labeled slide"
    if target.has_classes and len(set(slides.truth)) < 2:
        return "only one class among the slides"
    if len(set(slides.patients)) < 2:
        return "only one patient"
    if target.kind == "survival" and not any(event for _, event in slides.truth):
        return "no event"
    return ""


def _figures(asked: _Asked, state: TargetState, slides: _Slides) -> Figures:
    target, who = state.target, slides.patients
    one = answered(target, np.array(slides.truth), slides.answers, who)
    columns = {
        "site": [row.row.site for row in slides.rows],
        "scanner": [row.info.vendor if row.info else "" for row in slides.rows],
    }
    area, homes = {"area": slides.area}, columns
    if asked.by_patient:
        one, area, homes = by_patient(one, area, columns)
    baselines, absent = _baselines(asked, state, area["area"])
    alpha = slides.rows[0].answers[asked.name].alpha
    found = report(one, baselines=baselines, columns=homes, alpha=alpha, method="", seed=SEED)
    return {
        **found,
        "n_slides": len(slides.rows),
        "patients_by_class": _patients_by_class(one),
        "baselines_absent": absent,
    }


def _patients_by_class(one: Scored) -> dict[str, int]:
    names = one.target.classes
    pairs = set(zip(one.patients, one.labels.tolist(), strict=True)) if names else set()
    return {name: sum(label == c for _, label in pairs) for c, name in enumerate(names)}


def _baselines(
    asked: _Asked, state: TargetState, new_area: Floats
) -> tuple[dict[str, Floats], Mapping[str, str]]:
    """What the baselines say of each unit, and why one of them says nothing."""
    target, n = state.target, len(new_area)
    known = _Slides()
    for row in asked.rows:
        truth = _truth(target, row) if asked.training.slide(row) else None
        if truth is not None and row.tissue_mm2 is not None:
            known.add(row, truth)
    if asked.by_patient:
        known = known.without(_two_labels(target, known))
    if len(set(known.truth)) > 1:
        one, area = Scored(target, np.array(known.truth), tuple(known.patients)), known.area
        if asked.by_patient:
            one, merged, _ = by_patient(one, {"area": area}, {})
            area = merged["area"]
        constant = _spread(target, typical(target, one.truth), n)
        return {
            "constant": constant,
            "tissue_area": by_area(target, one.truth, area, new_area, constant),
        }, {}
    if target.has_classes:
        equal = np.full(len(target.classes), 1 / len(target.classes))
        says = np.array(state.typical) if state.typical else equal
    elif state.typical:
        says = np.array(state.typical)
    else:
        return {}, {"constant": NO_TRAINING, "tissue_area": NO_TRAINING}
    return {"constant": _spread(target, says, n)}, {"tissue_area": NO_TRAINING}


def _spread(target: Target, says: Floats, n: int) -> Floats:
    """The same answer for every unit."""
    return np.tile(says, (n, 1)) if target.has_classes else np.full(n, says[0])
