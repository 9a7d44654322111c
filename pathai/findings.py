"""Stage findings: every number that a report of the case may contain.

``findings_of_case`` is a pure function of what the slides' stages left; ``run`` reads that from
the store. What was expected and is not there becomes ``failed`` or ``not_assessed`` with a note,
never an absent line: not measured is not negative.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathai import rules
from pathai.case import PredictionInput, SlideInput, slide_input
from pathai.cell_findings import cell_drafts
from pathai.clinical import read_clinical
from pathai.config import FindingsConfig
from pathai.errors import PathaiError
from pathai.figure_words import decimals
from pathai.finding import (
    CaseFindings,
    Context,
    Evidence,
    Finding,
    Method,
    PredictedNumber,
    Prediction,
    Quantity,
    Specimen,
    registry,
)
from pathai.finding_draft import Draft, degraded, missing, tissue_boxes, word_of
from pathai.sheet import SheetRow
from pathai.store.commit import Commit
from pathai.store.folders import CaseFolder, SlideFolder
from pathai.store.manifest import canonical
from pathai.store.records import Answer, PredictionAttrs
from pathai.task import NUMBER_KINDS, Target

_UNKNOWN = Answer(question="")
"""Stands for the question of a model of which nothing is known."""


def findings_of_case(
    case_id: str,
    slides: Sequence[SlideInput],
    requires: Sequence[str] = (),
    context: Sequence[Context] = (),
) -> CaseFindings:
    """All findings of a case, numbered in a fixed order, with what the rules derive of them.

    Parameters
    ----------
    case_id : str
        The lab's id of the case.
    slides : sequence of SlideInput
        In any order; they are sorted by id.
    requires : sequence of str
        Keys that the report's layout asks for; what is missing is there as not assessed.
    context : sequence of Context
        Items of the case's clinical context.

    Raises
    ------
    PathaiError
        E200 if the stages contradict each other; run them again.
    """
    ordered = sorted(slides, key=lambda s: s.slide_id)
    try:
        count = Quantity(value=len(ordered), unit="{slides}")
        found = [_of_case(ordered, 1, key="case.slide_count", status="measured", value=count)]
        for slide in ordered:
            found += _number(_of_slide(slide), slide, len(found) + 1)
        if not any(registry().family(s.stain) == "ihc" for s in ordered):
            absent = {"status": "not_assessed", "note": "no_dab_slide"}
            found.append(_of_case(ordered, len(found) + 1, key="cells.positive_percent", **absent))
        case = CaseFindings(
            case_id=case_id,
            specimens=_specimens(ordered),
            findings=tuple(found),
            context=tuple(context),
        )
        return rules.apply(case, requires)
    except ValueError as error:
        raise PathaiError("E200", f"case {case_id}: {error}") from None


def answer_key(model: str) -> str:
    """Finding key of a model's answer: ``msi-h`` gives ``msi_h.probability``."""
    return f"{word_of(model)}.probability"


def _of_case(slides: Sequence[SlideInput], number: int, **fields: Any) -> Finding:
    """A finding that stands on all slides of the case."""
    method = Method(name="sheet", version="1", kind="count")
    evidence = tuple(Evidence(slide_id=s.slide_id) for s in slides)
    return Finding(id=f"F{number}", method=method, evidence=evidence, **fields)


def _specimens(slides: Sequence[SlideInput]) -> tuple[Specimen, ...]:
    by_id: dict[str, list[SlideInput]] = {}
    for slide in slides:
        by_id.setdefault(slide.specimen_id, []).append(slide)
    return tuple(
        Specimen(
            specimen_id=name,
            laterality=group[0].laterality,
            site=group[0].site,
            slides=tuple(s.slide_id for s in group),
        )
        for name, group in sorted(by_id.items())
    )


def _of_slide(slide: SlideInput) -> list[Draft]:
    given = sorted(slide.predictions, key=lambda p: p.model)
    taken, drafts = {word_of(p.model) for p in given}, list[Draft]()
    for one in given:
        for t, answer in enumerate(_answers(one)):
            word = word_of(answer.name) if t else word_of(one.model)
            if t and word in taken:
                word = f"{word_of(one.model)}_{word}"
            taken.add(word)
            drafts.append(_predicted(one, answer, word, slide))
    return [*drafts, *cell_drafts(slide), _tissue(slide)]


def _answers(given: PredictionInput) -> Sequence[Answer | Target]:
    """What a model said, or was asked where it said nothing."""
    if given.answer is not None and given.stage.usable:
        return given.answer.answers
    return given.asked or (_UNKNOWN,)


def _number(drafts: Sequence[Draft], slide: SlideInput, start: int) -> list[Finding]:
    ids = {draft.key: f"F{start + i}" for i, draft in enumerate(drafts)}
    return [
        Finding(
            id=ids[draft.key],
            key=draft.key,
            specimen_id=slide.specimen_id,
            laterality=slide.laterality,
            stain=slide.stain,
            status=draft.status,
            value=draft.value,
            method=draft.method,
            evidence=(
                Evidence(slide_id=slide.slide_id, boxes=draft.boxes, polygons=draft.polygons),
            ),
            flags=tuple(sorted(draft.flags)),
            note=draft.note,
            code=draft.code,
            parents=tuple(ids[key] for key in draft.parents),
        )
        for draft in drafts
    ]


def _tissue(slide: SlideInput) -> Draft:
    key, stage = "tissue.area_mm2", slide.tissue_stage
    method = Method(name="tissue-map", version=stage.version or "1", kind="geometry")
    if slide.tissue_mm2 is None or not stage.usable:
        return missing(key, stage, slide, method)
    value = Quantity(value=slide.tissue_mm2, unit="mm2")
    return Draft(key, "measured", method, value, degraded(stage), boxes=tissue_boxes(slide))


def _predicted(
    given: PredictionInput, answer: Answer | Target, word: str, slide: SlideInput
) -> Draft:
    """One answer of a model: a class, a number, or the chance of no event up to a time."""
    number = answer.kind in NUMBER_KINDS
    key = f"{word}.predicted_number" if number else f"{word}.probability"
    method = Method(name=given.model, version=given.stage.version or "1", kind="mil")
    attrs = given.answer
    if attrs is None or not isinstance(answer, Answer):
        return missing(key, given.stage, slide, method)
    method = method.model_copy(update={"digest": attrs.model_digest})
    value = _number_of(attrs, answer) if number else _chance_of(attrs, answer)
    flags = degraded(given.stage)
    flags += ("out_of_distribution",) if attrs.out_of_distribution else ()
    if attrs.abstained:
        return Draft(key, "indeterminate", method, value, flags, "abstained", boxes=given.boxes)
    if answer.classes:
        flags += ("ambiguous_set",) if len(answer.set) > 1 else ()
        flags += ("empty_set",) if not answer.set else ()
    return Draft(key, "predicted", method, value, flags, boxes=given.boxes)


def _shared(attrs: PredictionAttrs, answer: Answer) -> dict[str, Any]:
    """What holds for every kind of answer."""
    names = ("ood_percentile", "out_of_distribution", "abstained")
    return {"question": answer.question, **{name: getattr(attrs, name) for name in names}}


def _chance_of(attrs: PredictionAttrs, answer: Answer) -> Prediction:
    """A class with its set; of survival the chance of no event, which has none."""
    fields = {**_shared(attrs, answer), "set": tuple(answer.set)}
    if answer.classes:
        fields["alpha"] = attrs.alpha
    if attrs.abstained:
        return Prediction(**fields)
    if answer.classes:
        chance = answer.prob[answer.classes.index(answer.label)]
        return Prediction(label=answer.label, probability=chance, **fields)
    until = f"{answer.horizon:,g} {answer.unit_of_value}".strip()
    return Prediction(label=f"no event within {until}", probability=answer.prob[0], **fields)


def _number_of(attrs: PredictionAttrs, answer: Answer) -> PredictedNumber:
    """A number with its interval; a share in percent, a count without decimals."""
    fields = {**_shared(attrs, answer), "alpha": attrs.alpha}
    percent = answer.kind == "ratio" and answer.unit_of_value in ("", "%")
    fields["unit"] = "%" if percent else answer.unit_of_value
    if attrs.abstained or answer.value is None:
        return PredictedNumber(**fields)
    times = 100 if percent else 1
    numbers = {name: getattr(answer, name) for name in ("value", "low", "high")}
    places = 0 if answer.kind == "count" else 1 if percent else decimals(answer.value)
    scaled = {name: None if v is None else times * v for name, v in numbers.items()}
    return PredictedNumber(decimals=places, **scaled, **fields)


# --- from the store --------------------------------------------------------------------------


def run(
    folder: CaseFolder,
    section: FindingsConfig,
    out: Commit,
    *,
    rows: Sequence[SheetRow],
    slides: Mapping[str, SlideFolder],
    detector: str,
    models: Mapping[str, Sequence[Target]],
    regions: Path | None = None,
    clinical: Path | None = None,
    requires: Sequence[str] = (),
) -> None:
    """Write ``findings.json`` of a case.

    Parameters
    ----------
    folder : CaseFolder
        The case.
    section : FindingsConfig
        Options.
    out : Commit
        Receives ``findings.json``.
    rows : sequence of SheetRow
        The case's slides.
    slides : mapping
        Their folders by slide id.
    detector : str
        Name of the nuclei detector.
    models : mapping
        The questions of the models that were applied, by name.
    regions : Path, optional
        Folder of drawn regions, ``<slide_id>.geojson``.
    clinical : Path, optional
        The case's ``clinical.yaml``; it need not exist.
    requires : sequence of str
        Keys that the report's layout asks for.

    Raises
    ------
    PathaiError
        E205 when the clinical context is wrong.
    """
    context = read_clinical(clinical) if clinical else ()
    inputs = [
        slide_input(
            row,
            slides[row.slide_id],
            section,
            detector,
            models,
            regions / f"{row.slide_id}.geojson" if regions else None,
        )
        for row in rows
    ]
    case = findings_of_case(folder.case_id, inputs, requires, context)
    out.part("findings.json").write_bytes(canonical(case.model_dump(mode="json")))
