"""Which finding stands where: decided by code, so that a draft is complete by construction."""

from pathai.drafters.base import Line
from pathai.finding import CaseFindings, Finding, registry
from pathai.knowledge import for_key
from pathai.report.records import PlannedSection

ORDER = ("prediction", "cells", "tissue", "case")
LAST = ("not_assessed", "failed")


def plan(case: CaseFindings) -> tuple[PlannedSection, ...]:
    """Sections and lines of a draft; statement k cites finding k and no finding is left out.

    The case as a whole comes first, then its slides by specimen; within a slide answers of
    models, counts, tissue, and last what has no value.
    """
    by_place: dict[str, list[Finding]] = {}
    for finding in case.findings:
        slides = {e.slide_id for e in finding.evidence}
        whole = finding.key.startswith("case.") or len(slides) > 1 or finding.note == "no_dab_slide"
        by_place.setdefault("" if whole else slides.pop(), []).append(finding)
    number = 0
    sections: list[PlannedSection] = []
    for slide_id, names in _places(case):
        found = sorted(by_place.get(slide_id, []), key=_rank)
        lines = tuple(_line(f, number + i) for i, f in enumerate(found, start=1))
        number += len(lines)
        if lines:
            section_id = f"slide-{slide_id}" if slide_id else "case"
            sections.append(PlannedSection(id=section_id, slide_id=slide_id, lines=lines, **names))
    return tuple(sections)


def _places(case: CaseFindings) -> list[tuple[str, dict[str, str]]]:
    stains = {e.slide_id: f.stain for f in case.findings for e in f.evidence if f.stain}
    places: list[tuple[str, dict[str, str]]] = [("", {})]
    for specimen in case.specimens:
        for slide in specimen.slides:
            names = {
                "specimen_id": specimen.specimen_id,
                "laterality": specimen.laterality,
                "site": specimen.site,
                "stain": stains.get(slide, ""),
            }
            places.append((slide, names))
    return places


def _rank(finding: Finding) -> tuple[bool, int, int]:
    group = registry().find(finding.key).group
    return finding.status in LAST, ORDER.index(group), int(finding.id[1:])


def _line(finding: Finding, number: int) -> Line:
    row = registry().find(finding.key)
    return Line(
        statement=f"S{number}",
        finding=finding.id,
        key=finding.key,
        name=row.name,
        unit=registry().units[row.unit],
        status=finding.status,
        cites=for_key(finding.key),
    )
