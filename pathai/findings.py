"""Stage findings: every number that a report of the case may contain.

``findings_of_case`` is a pure function of what the slides' stages left; ``run`` reads that from
the store. What was expected and is not there becomes ``failed`` or ``not_assessed`` with a note,
never an absent line: not measured is not negative.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pathai import stats
from pathai.case import PredictionInput, SlideInput, StageState, slide_input
from pathai.config import FindingsConfig
from pathai.errors import PathaiError
from pathai.finding import (
    CaseFindings,
    Evidence,
    Finding,
    Method,
    Prediction,
    Quantity,
    Specimen,
    Status,
    plain,
    registry,
)
from pathai.sheet import SheetRow
from pathai.store.commit import Commit
from pathai.store.folders import CaseFolder, SlideFolder
from pathai.store.manifest import canonical
from pathai.store.records import CellsAttrs, Interval
from pathai.units import Box

FEW_NUCLEI = 500
"""Below it a positive fraction is marked as uncertain.

References
----------
.. [1] Nielsen et al., "Assessment of Ki67 in breast cancer: updated recommendations from the
   International Ki67 in Breast Cancer Working Group", JNCI 113:808-819, 2021.
"""


class _Draft(NamedTuple):
    """A finding before it has its id."""

    key: str
    status: Status
    method: Method
    value: Quantity | Prediction | None = None
    flags: tuple[str, ...] = ()
    note: str = ""
    code: str = ""
    boxes: tuple[Box, ...] = ()
    parents: tuple[str, ...] = ()


def findings_of_case(case_id: str, slides: Sequence[SlideInput]) -> CaseFindings:
    """All findings of a case, numbered in a fixed order.

    Parameters
    ----------
    case_id : str
        The lab's id of the case.
    slides : sequence of SlideInput
        In any order; they are sorted by id.

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
        case = CaseFindings(case_id=case_id, specimens=_specimens(ordered), findings=tuple(found))
    except ValueError as error:
        raise PathaiError("E200", f"case {case_id}: {error}") from None
    return case.sealed()


def answer_key(model: str) -> str:
    """Finding key of a model's answer: ``msi-h`` gives ``msi_h.probability``."""
    return f"{_word(model)}.probability"


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


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


def _of_slide(slide: SlideInput) -> list[_Draft]:
    drafts = [_prediction(p, slide) for p in sorted(slide.predictions, key=lambda p: p.model)]
    return [*drafts, *_cells(slide), _tissue(slide)]


def _number(drafts: Sequence[_Draft], slide: SlideInput, start: int) -> list[Finding]:
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
            evidence=(Evidence(slide_id=slide.slide_id, boxes=draft.boxes),),
            flags=tuple(sorted(draft.flags)),
            note=draft.note,
            code=draft.code,
            parents=tuple(ids[key] for key in draft.parents),
        )
        for draft in drafts
    ]


def _missing(key: str, stage: StageState, slide: SlideInput, method: Method) -> _Draft:
    """The line of a value that its stage did not give."""
    if stage.code == "E142":
        return _Draft(key, "not_assessed", method, note="stain_unsuitable", code="E142")
    if stage.state == "skipped":
        return _Draft(key, "not_assessed", method, note="slide_skipped", code=stage.code)
    if stage.state == "failed":
        inherited = stage.code and stage.code == slide.tissue_stage.code
        note = "slide_failed" if inherited else "stage_failed"
        return _Draft(key, "failed", method, note=note, code=stage.code)
    return _Draft(key, "not_assessed", method, note="not_run")


def _degraded(stage: StageState) -> tuple[str, ...]:
    return ("degraded",) if stage.state == "degraded" else ()


def _boxes(slide: SlideInput) -> tuple[Box, ...]:
    return (slide.tissue_box,) if slide.tissue_box else ()


def _tissue(slide: SlideInput) -> _Draft:
    key, stage = "tissue.area_mm2", slide.tissue_stage
    method = Method(name="tissue-map", version=stage.version or "1", kind="geometry")
    if slide.tissue_mm2 is None or not stage.usable:
        return _missing(key, stage, slide, method)
    value = Quantity(value=slide.tissue_mm2, unit="mm2")
    return _Draft(key, "measured", method, value, _degraded(stage), boxes=_boxes(slide))


def _cells(slide: SlideInput) -> list[_Draft]:
    stage, cells = slide.cells_stage, slide.cells
    method = Method(name=slide.detector or "none", version=stage.version or "1", kind="count")
    dab = registry().family(slide.stain) == "ihc"
    if cells is None or not stage.usable:
        keys = ["cells.count", "cells.density_per_mm2"] + [_positive_key(slide.stain)] * dab
        return [_missing(key, stage, slide, method) for key in keys]
    method = method.model_copy(update={"digest": cells.detector_digest})
    area = method.model_copy(update={"kind": "geometry"})
    flags = (*_degraded(stage), *(("excluded_area",) if cells.excluded_mm2 > 0 else ()))
    boxes = _boxes(slide)

    def plain_line(key: str, number: float, unit: str, by: Method) -> _Draft:
        value = Quantity(value=number, unit=unit)
        return _Draft(key, "measured", by, value, flags, boxes=boxes)

    drafts = [_positive(slide, cells, method, flags)] if dab else []
    drafts.append(_with_interval("cells.count", "{nuclei}", cells.count, method, flags, boxes))
    drafts.append(_density(cells, method, flags, boxes))
    for label, number in zip(cells.classes, cells.class_counts, strict=True):
        # Positive and negative mean something on an immunostain alone.
        if len(cells.classes) > 1 and (dab or label not in ("negative", "positive")):
            drafts.append(plain_line(f"cells.count.{_word(label)}", number, "{nuclei}", method))
    drafts.append(plain_line("cells.analyzed_area_mm2", cells.analyzed_mm2, "mm2", area))
    drafts.append(plain_line("cells.excluded_area_mm2", cells.excluded_mm2, "mm2", area))
    return drafts


def _density(
    cells: CellsAttrs, method: Method, flags: tuple[str, ...], boxes: tuple[Box, ...]
) -> _Draft:
    key, parents = "cells.density_per_mm2", ("cells.count", "cells.analyzed_area_mm2")
    if cells.analyzed_mm2 <= 0:
        return _Draft(key, "indeterminate", method, note="no_area", parents=parents)
    draft = _with_interval(key, "1/mm2", cells.density_per_mm2, method, flags, boxes)
    return draft._replace(parents=parents)


def _with_interval(
    key: str,
    unit: str,
    found: Interval,
    method: Method,
    flags: tuple[str, ...],
    boxes: tuple[Box, ...],
) -> _Draft:
    numbers = found.model_dump(include={"value", "low", "high", "level"})
    value = Quantity(unit=unit, **numbers)
    return _Draft(key, "measured", method, value, (*flags, "counting_interval"), boxes=boxes)


def _positive_key(stain: str) -> str:
    is_ki67 = plain(stain) in ("ki67", "mib1")
    return "ki67.positive_percent" if is_ki67 else "cells.positive_percent"


def _positive(
    slide: SlideInput, cells: CellsAttrs, method: Method, flags: tuple[str, ...]
) -> _Draft:
    """Share of DAB-positive nuclei with Wilson's interval."""
    key = _positive_key(slide.stain)
    if "positive" not in cells.classes:
        return _Draft(key, "not_assessed", method, note="no_classes")
    total = sum(cells.class_counts)
    positive = cells.class_counts[cells.classes.index("positive")]
    if total == 0:
        return _Draft(key, "indeterminate", method, note="no_nuclei")
    share = stats.wilson(positive, total)
    value = Quantity(
        value=100 * positive / total,
        unit="%",
        numerator=positive,
        denominator=total,
        low=min(100 * share.low, 100 * positive / total),
        high=max(100 * share.high, 100 * positive / total),
        level=0.95,
    )
    flags = (*flags, "all_nuclei", "counting_interval")
    flags += ("few_nuclei",) if total < FEW_NUCLEI else ()
    flags += ("not_ki67_score",) if key == "cells.positive_percent" else ()
    return _Draft(
        key, "measured", method, value, flags, boxes=_boxes(slide), parents=("cells.count",)
    )


def _prediction(given: PredictionInput, slide: SlideInput) -> _Draft:
    key, answer = answer_key(given.model), given.answer
    method = Method(name=given.model, version=given.stage.version or "1", kind="mil")
    if answer is None or not given.stage.usable:
        return _missing(key, given.stage, slide, method)
    method = method.model_copy(update={"digest": answer.model_digest})
    chance = None if answer.abstained else answer.prob[answer.classes.index(answer.label)]
    value = Prediction(
        question=answer.question,
        label="" if answer.abstained else answer.label,
        probability=chance,
        set=tuple(answer.set),
        alpha=answer.alpha,
        ood_percentile=answer.ood_percentile,
        out_of_distribution=answer.out_of_distribution,
        abstained=answer.abstained,
    )
    flags = _degraded(given.stage)
    flags += ("out_of_distribution",) if answer.out_of_distribution else ()
    if answer.abstained:
        return _Draft(key, "indeterminate", method, value, flags, "abstained", boxes=given.boxes)
    flags += ("ambiguous_set",) if len(answer.set) > 1 else ()
    flags += ("empty_set",) if not answer.set else ()
    return _Draft(key, "predicted", method, value, flags, boxes=given.boxes)


# --- from the store --------------------------------------------------------------------------


def run(
    folder: CaseFolder,
    section: FindingsConfig,
    out: Commit,
    *,
    rows: Sequence[SheetRow],
    slides: Mapping[str, SlideFolder],
    detector: str,
    models: Sequence[str],
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
    models : sequence of str
        Names of the models that were applied.
    """
    inputs = [slide_input(row, slides[row.slide_id], section, detector, models) for row in rows]
    case = findings_of_case(folder.case_id, inputs)
    out.part("findings.json").write_bytes(canonical(case.model_dump(mode="json")))
