"""A case's findings on corrected nuclei and regions."""

from dataclasses import dataclass

from pathai import rules
from pathai.case import SlideInput, drawn_of, slide_input
from pathai.clinical import read_clinical
from pathai.corrected.figures import Slide, basis_of
from pathai.corrected.given import Corrections
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Entry, Finding
from pathai.findings import findings_of_case
from pathai.layouts import chosen, load_layout
from pathai.plan import Plan
from pathai.rules.entries import printed
from pathai.sheet import SheetRow
from pathai.store.commit import manifest_path
from pathai.store.manifest import READABLE, read_manifest

FLAG, HAND = "reader_corrected", "cells.corrected_by_hand"


@dataclass(frozen=True)
class Made:
    """Findings of a case after a person's corrections.

    Attributes
    ----------
    case : CaseFindings
        The next revision after that of the stages, or theirs where nothing was corrected.
    changed : tuple of str
        Ids of the findings that are others now.
    by_hand : int
        Nuclei that were changed, dropped or added.
    notes : tuple of str
        What of the corrections does not count, with its slide.
    """

    case: CaseFindings
    changed: tuple[str, ...] = ()
    by_hand: int = 0
    notes: tuple[str, ...] = ()


def corrected_case(plan: Plan, case_id: str, given: Corrections) -> CaseFindings:
    """The findings of `made_case` alone."""
    return made_case(plan, case_id, given).case


def made_case(plan: Plan, case_id: str, given: Corrections) -> Made:
    """A case's findings as the stages would have found them on corrected nuclei and regions.

    Findings keep their ids; new ones come after them. What changed carries the flag
    ``reader_corrected`` and an entry that names the reader, the logged event and what stood
    there. Intervals are still those of the detector: what a person did not look at is as it
    was, and nobody knows how the detector errs on the rest of a corrected slide.

    Parameters
    ----------
    plan : Plan
        The run.
    case_id : str
    given : Corrections
        Of one reader.

    Raises
    ------
    PathaiError
        E191 for an unknown case or a slide that is not of it, E212 where the slide has no usable
        nuclei or tissue, E164 when a result is damaged.
    """
    rows = plan.sheet.cases().get(case_id)
    if rows is None:
        raise PathaiError("E191", f"no case {case_id!r} in {plan.config.sheet}")
    foreign = sorted(set(given.slides) - {row.slide_id for row in rows})
    if foreign:
        raise PathaiError("E191", f"{case_id} has no slide {foreign[0]!r}")
    inputs: list[SlideInput] = []
    plain: list[SlideInput] = []
    notes, by_hand = list[str](), 0
    for row in rows:
        plain.append(_input(plan, row))
        if not given.of(row.slide_id):
            inputs.append(plain[-1])
            continue
        made, told = _corrected(plan, row, given)
        inputs.append(made)
        by_hand += made.by_hand
        notes += [f"{row.slide_id}: {note}" for note in told]
    wanted = load_layout(chosen(plan.config.report, rows, plan.root).template).requires
    context = read_clinical(plan.root / plan.config.clinical / f"{case_id}.yaml")
    before = findings_of_case(case_id, plain, wanted, context)
    after = findings_of_case(case_id, inputs, wanted, context)
    if not given or after.digest == before.digest:
        return Made(before, notes=tuple(notes))
    case = rules.apply(_marked(before, _numbered(after, before), given), wanted)
    changed = tuple(f.id for f in case.findings if f != before.finding(f.id))
    return Made(case, changed, by_hand, tuple(notes))


def _input(plan: Plan, row: SheetRow) -> SlideInput:
    """As stage findings gathers it."""
    models = {model.name: model.task.asked for model in plan.models}
    regions = plan.root / plan.config.regions / f"{row.slide_id}.geojson"
    folder, config = plan.results.slide(row.slide_id), plan.config
    return slide_input(row, folder, config.findings, config.cells.detector, models, regions)


def _corrected(plan: Plan, row: SheetRow, given: Corrections) -> tuple[SlideInput, tuple[str, ...]]:
    folder, config = plan.results.slide(row.slide_id), plan.config
    detector = config.cells.detector
    for base in (folder.base("tile"), folder.base("cells", detector)):
        path = manifest_path(base)
        if not path.exists() or read_manifest(path).status not in READABLE:
            raise PathaiError("E212", f"{row.slide_id} has no nuclei that could be corrected")
    models = {model.name: model.task.asked for model in plan.models}
    drawn = drawn_of(plan.root / plan.config.regions / f"{row.slide_id}.geojson")
    slide = Slide(folder, detector, config.cells, row.stain_vectors)
    basis, notes = basis_of(slide, given.of(row.slide_id), drawn)
    made = slide_input(row, folder, config.findings, detector, models, basis=basis)
    if made.predictions and not given.of(row.slide_id).excluded.is_empty:
        notes += ("answers of models still stand on all tiles, excluded ones too",)
    return made, notes


def _key(finding: Finding) -> tuple[str, tuple[str, ...]]:
    return finding.key, tuple(e.slide_id for e in finding.evidence)


def _numbered(after: CaseFindings, before: CaseFindings) -> CaseFindings:
    """The findings under the ids that they had; new ones count on from there."""
    had = {_key(f): f.id for f in before.findings}
    last = max(int(f.id[1:]) for f in before.findings)
    ids: dict[str, str] = {}
    for finding in after.findings:
        known = had.get(_key(finding))
        if known is None:
            last += 1
        ids[finding.id] = known or f"F{last}"
    found = [
        f.model_copy(update={"id": ids[f.id], "parents": tuple(ids[p] for p in f.parents)})
        for f in after.findings
    ]
    found.sort(key=lambda f: int(f.id[1:]))
    fields = {"findings": tuple(found), "contradictions": (), "suggestions": (), "digest": ""}
    return after.model_copy(update=fields)


def _marked(before: CaseFindings, after: CaseFindings, given: Corrections) -> CaseFindings:
    """The next revision; what differs says so, and by whom.

    What follows by rule is made anew after this, with the flags of what it follows from.
    """
    stood, found = {f.id: f for f in before.findings}, list[Finding]()
    for finding in after.findings:
        old = stood.get(finding.id)
        if old == finding or finding.method.kind == "rule":
            found.append(finding)
            continue
        entry = Entry(
            reader=given.reader,
            event=given.events[-1] if given.events else "",
            time=given.time,
            before=printed(old) if old else "",
        )
        flags = finding.flags if finding.key == HAND else tuple(sorted({*finding.flags, FLAG}))
        found.append(finding.model_copy(update={"flags": flags, "entry": entry}))
    fields = {
        "findings": tuple(found),
        "revision": before.revision + 1,
        "parent": before.digest,
        "events": given.events,
    }
    return after.model_copy(update=fields)
