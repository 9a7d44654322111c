"""What every stage left of every slide, read from manifests and stores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pathai.errors import CODES, PathaiError
from pathai.plan import Plan
from pathai.sheet import SheetRow
from pathai.store.commit import manifest_path
from pathai.store.folders import CaseFolder, SlideFolder
from pathai.store.manifest import Problem, Status, read_manifest
from pathai.store.records import (
    BACKGROUND,
    TISSUE,
    TISSUE_NAMES,
    CellsAttrs,
    PredictionAttrs,
    Qc,
    SlideInfo,
)
from pathai.units import Box

STATUSES: tuple[Status, ...] = ("ok", "degraded", "skipped", "failed")
"""From best to worst; a slide has the worst status of its stages."""
Severity = Status | Literal["warning"]
"""A warning is about the sheet or the folder, and changes no slide's status."""
FLAG_SHARE = 0.01
"""An artefact that covers less of the tissue is not flagged."""
ON_MAP = ("tissue", "dark", "unreadable")
"""Classes that the map tells; how much of the tissue the others cover is a quality figure."""
SOFT_UM = 2.0
"""Edges softer than this (standard deviation, µm) are flagged."""


@dataclass(frozen=True)
class Outcome:
    """One problem with the status that it led to; ``slide_id`` is empty for what is no row."""

    slide_id: str
    status: Severity
    problem: Problem


@dataclass(frozen=True)
class SlideRow:
    """One slide of the sheet and what is known of it; None where a stage gave nothing.

    Parameters
    ----------
    areas_mm2 : dict
        Area of every class of the tissue map but background.
    qc : Qc or None
        Quality figures.
    box : Box or None
        Around the tissue, level-0 px.
    not_applicable : frozenset of str
        Models that do not answer for the slide's stain.
    """

    row: SheetRow
    folder: SlideFolder
    status: Status
    outcomes: tuple[Outcome, ...]
    info: SlideInfo | None
    areas_mm2: dict[str, float]
    qc: Qc | None
    box: Box | None
    cells: CellsAttrs | None
    answers: dict[str, PredictionAttrs]
    not_applicable: frozenset[str]
    has_draft: bool

    @property
    def tissue_mm2(self) -> float | None:
        """Tissue area, mm²."""
        return self.areas_mm2.get(TISSUE_NAMES[TISSUE])

    @property
    def flags(self) -> tuple[str, ...]:
        """What a person should look at before trusting the slide's numbers."""
        shown = {n: a for n, a in self.areas_mm2.items() if self.qc is None or n in ON_MAP}
        total = sum(shown.values())
        shares = {n: a / total for n, a in shown.items() if total and n != TISSUE_NAMES[TISSUE]}
        if self.qc is not None:
            shares |= {n: self.qc.share(n) for n in self.qc.artefact_mm2}
        found = [f"{n} {share:.0%}" for n, share in shares.items() if share > FLAG_SHARE]
        if self.qc is not None and (self.qc.focus_um or 0) > SOFT_UM:
            found.append(f"soft focus, {self.qc.focus_um:.1f} µm")
        if self.info is not None and self.info.mpp_source == "sheet":
            found.append("mpp from sheet")
        return tuple(found)


def slide_rows(plan: Plan) -> tuple[SlideRow, ...]:
    """Every slide of the sheet, in the order of the ids."""
    rows = [_slide_row(plan, row) for row in plan.sheet.rows]
    same: dict[str, list[str]] = {}
    for row in rows:
        if row.info is not None:
            same.setdefault(row.info.sha256, []).append(row.row.slide_id)
    return tuple(_with_doubles(row, same) for row in rows)


def _with_doubles(row: SlideRow, same: Mapping[str, Sequence[str]]) -> SlideRow:
    """Warn of a file that is in the sheet twice: it would count as two slides."""
    slide_id = row.row.slide_id
    others = [i for i in same[row.info.sha256] if i != slide_id] if row.info else []
    if not others:
        return row
    warning = _warning(slide_id, "E153", f"{slide_id}: the same file as {', '.join(others)}")
    return replace(row, outcomes=(*row.outcomes, warning))


def _warning(slide_id: str, code: str, message: str, stage: str = "ingest") -> Outcome:
    problem = Problem(code=code, message=message, remedy=CODES[code].remedy, stage=stage)
    return Outcome(slide_id, "warning", problem)


def other_outcomes(plan: Plan, rows: Sequence[SlideRow]) -> Iterator[Outcome]:
    """Problems of models and cases that are no slide's, and results that are no row's."""
    known = {o.problem for row in rows for o in row.outcomes}
    bases = [(task, plan.model_folder(task), "train") for task in plan.tasks]
    for case_id in plan.sheet.cases():
        folder = plan.results.case(case_id)
        bases += [(case_id, folder.base(stage), stage) for stage in ("findings", "draft")]
    seen: set[Problem] = set()
    for subject, base, stage in bases:
        _, outcomes = _outcomes(base, subject, stage, "")
        for outcome in outcomes:
            if outcome.problem not in known | seen:
                seen.add(outcome.problem)
                yield outcome
    for kind, name in plan.leftovers():
        message = f"{kind} {name} has results but is not in the sheet"
        yield _warning("", "E167", message, "cohort")


def _slide_row(plan: Plan, row: SheetRow) -> SlideRow:
    folder = plan.results.slide(row.slide_id)
    reading = _Reading(folder)
    reading.stage("ingest", folder.base("ingest"))
    reading.stage("tile", folder.base("tile"))
    for encoder in plan.config.features.encoders:
        reading.stage("features", folder.base("features", encoder))
    for encoder in plan.config.slide.encoders:
        reading.stage("slide", folder.base("slide", encoder))
    detector = plan.config.cells.detector
    reading.stage("cells", folder.base("cells", detector))
    answers, not_applicable = {}, set()
    for model in plan.models:
        if reading.not_applicable(folder.base("predictions", model.name)):
            not_applicable.add(model.name)
        elif reading.stage("predict", folder.base("predictions", model.name)):
            attrs = reading.answer(model.name)
            if attrs is not None:
                answers[model.name] = attrs
    areas, box = reading.tissue()
    qc = reading.qc()
    return SlideRow(
        row=row,
        folder=folder,
        info=reading.info(),
        areas_mm2=areas,
        qc=qc,
        box=box,
        cells=reading.cells(detector),
        answers=answers,
        not_applicable=frozenset(not_applicable),
        has_draft=_has_draft(plan.results.case(row.case_id)),
        status=reading.status,
        outcomes=tuple(reading.outcomes),
    )


class _Reading:
    """Reads one slide; what is missing or damaged becomes an outcome, never an exception."""

    def __init__(self, folder: SlideFolder) -> None:
        self.folder = folder
        self.status: Status = "ok"
        self.outcomes: list[Outcome] = []
        self.usable: set[str] = set()

    def stage(self, stage: str, base: Path) -> bool:
        """Note how a stage ended; whether its result can be read."""
        status, outcomes = _outcomes(base, self.folder.slide_id, stage, self.folder.slide_id)
        for outcome in outcomes:
            self._note(outcome)
        self._worsen(status)
        usable = status in ("ok", "degraded")
        if usable:
            self.usable.add(stage)
        return usable

    @staticmethod
    def not_applicable(base: Path) -> bool:
        """Whether a model does not answer for this stain, which is nobody's fault."""
        try:
            return read_manifest(manifest_path(base)).not_applicable
        except PathaiError:
            return False

    def _note(self, outcome: Outcome) -> None:
        # Children pass on a parent's problem unchanged: it is listed once, where it arose.
        if outcome.problem not in (o.problem for o in self.outcomes):
            self.outcomes.append(outcome)

    def _worsen(self, status: Status) -> None:
        self.status = max(self.status, status, key=STATUSES.index)

    def _broken(self, stage: str, error: PathaiError) -> None:
        named = error.about(self.folder.slide_id)
        problem = Problem(code=named.code, message=named.message, remedy=named.remedy, stage=stage)
        self._note(Outcome(self.folder.slide_id, "failed", problem))
        self._worsen("failed")

    def info(self) -> SlideInfo | None:
        if "ingest" not in self.usable:
            return None
        try:
            return self.folder.read_slide()
        except PathaiError as error:
            self._broken("ingest", error)
            return None

    def tissue(self) -> tuple[dict[str, float], Box | None]:
        if "tile" not in self.usable:
            return {}, None
        try:
            tissue = self.folder.read_tissue()
        except PathaiError as error:
            self._broken("tile", error)
            return {}, None
        areas = {
            name: tissue.area_mm2(value)
            for value, name in enumerate(TISSUE_NAMES)
            if value != BACKGROUND
        }
        return areas, tissue.box(TISSUE)

    def qc(self) -> Qc | None:
        if "tile" not in self.usable:
            return None
        try:
            return self.folder.read_qc()
        except PathaiError as error:
            self._broken("tile", error)
            return None

    def cells(self, detector: str) -> CellsAttrs | None:
        if "cells" not in self.usable:
            return None
        try:
            return self.folder.read_cells_attrs(detector)
        except PathaiError as error:
            self._broken("cells", error)
            return None

    def answer(self, model: str) -> PredictionAttrs | None:
        try:
            return self.folder.read_prediction(model).attrs
        except PathaiError as error:
            self._broken("predict", error)
            return None


def _outcomes(base: Path, subject: str, stage: str, slide_id: str) -> tuple[Status, list[Outcome]]:
    """Status and problems of one result; one that was never made counts as failed."""
    try:
        manifest = read_manifest(manifest_path(base))
    except PathaiError as error:
        message = f"{subject}: no result of stage {stage} ({error.message})"
        problem = Problem(code=error.code, message=message, remedy="run pathai run", stage=stage)
        return "failed", [Outcome(slide_id, "failed", problem)]
    return manifest.status, [Outcome(slide_id, manifest.status, p) for p in manifest.problems]


def _has_draft(case: CaseFolder) -> bool:
    try:
        manifest = read_manifest(manifest_path(case.base("draft")))
    except PathaiError:
        return False
    return manifest.status in ("ok", "degraded") and case.draft("html").is_file()
