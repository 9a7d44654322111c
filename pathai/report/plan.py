"""Which finding stands where: decided by code and a layout, so that a draft is complete.

A layout's section stands once for the case, for each specimen or for each slide. Sections that
follow one another with the same ``per`` stay together: all of specimen A, then all of specimen B.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from pathai.drafters.base import Line
from pathai.finding import VALUELESS, CaseFindings, Finding, registry
from pathai.knowledge import for_key
from pathai.language import Catalog, catalog
from pathai.layouts import Layout, LayoutSection, load_layout
from pathai.report.records import Gathered, PlannedSection

NAMED = 4
"""Findings without a value that a section lists by name even if it holds nothing else."""


class _Place(NamedTuple):
    """The whole case (both empty), a specimen, or one slide of it."""

    specimen_id: str = ""
    slide_id: str = ""


def plan(
    case: CaseFindings, layout: Layout | None = None, language: str = "en"
) -> tuple[PlannedSection, ...]:
    """Sections and lines of a draft; statement k cites finding k and no finding is left out.

    Parameters
    ----------
    case : CaseFindings
        Findings of one case.
    layout : Layout, optional
        Order of the report; the layout ``generic`` if none is given.
    language : str
        Language of the lines' names and of the headings.
    """
    order = layout or load_layout("generic")
    homes = _homes(case, order)
    said: set[tuple[str, str]] = set()
    sections: list[PlannedSection] = []
    number = 0
    for section, place in _sequence(case, order, homes):
        found = sorted(homes[section.id, place], key=lambda f: _rank(f, section))
        lines = tuple(_line(f, number + i, language) for i, f in enumerate(found, start=1))
        number += len(lines)
        sections.append(
            PlannedSection(
                id=_id(section, place),
                title=section.words(language),
                lines=lines,
                notes=_notes(found, place, said),
                gathered=_gathered(found, one_slide=bool(place.slide_id)),
                **_facts(case, place),
            )
        )
    return tuple(sections)


# --- where a finding stands ------------------------------------------------------------------


def _homes(case: CaseFindings, layout: Layout) -> dict[tuple[str, _Place], list[Finding]]:
    """Findings by section and place; each stands in exactly one."""
    homes: dict[tuple[str, _Place], list[Finding]] = {}
    for finding in case.findings:
        section = layout.section(finding.key)
        place = _place(finding, section, case)
        homes.setdefault((section.id, place), []).append(finding)
    for (name, place), found in list(homes.items()):
        if not place.slide_id and _ambiguous(found):
            homes[name, place] = [f for f in found if len(_slides(f)) > 1]
            for finding in found:
                if len(_slides(finding)) == 1:
                    home = _Place(_specimen(finding, case), *_slides(finding))
                    homes.setdefault((name, home), []).append(finding)
    return {home: found for home, found in homes.items() if found}


def _slides(finding: Finding) -> set[str]:
    return {e.slide_id for e in finding.evidence}


def _specimen(finding: Finding, case: CaseFindings) -> str:
    """The one specimen that a finding's slides were made of; empty for several."""
    slides = _slides(finding)
    of = {s.specimen_id for s in case.specimens if slides & set(s.slides)}
    return of.pop() if len(of) == 1 else ""


def _place(finding: Finding, section: LayoutSection, case: CaseFindings) -> _Place:
    whole = finding.key.startswith("case.") or finding.note == "no_dab_slide"
    slides = _slides(finding)
    if section.per == "case" or whole:
        return _Place()
    if section.per == "slide" and len(slides) == 1:
        return _Place(_specimen(finding, case), *slides)
    return _Place(_specimen(finding, case))


def _ambiguous(found: Iterable[Finding]) -> bool:
    """Whether two slides have a value of one key: then each is printed below its slide's name."""
    keys = Counter(f.key for f in found if f.status not in VALUELESS)
    return any(count > 1 for count in keys.values())


def _sequence(
    case: CaseFindings, layout: Layout, homes: dict[tuple[str, _Place], list[Finding]]
) -> list[tuple[LayoutSection, _Place]]:
    """Sections with their places as they are printed: the case, then specimens, then slides."""
    places = [_Place()]
    for specimen in case.specimens:
        places.append(_Place(specimen.specimen_id))
        places += [_Place(specimen.specimen_id, slide) for slide in specimen.slides]
    places = list(dict.fromkeys(places))
    printed = []
    for per, block in groupby(layout.sections, key=lambda s: s.per):
        together = list(block)
        for group in _groups(places, per):
            for section in together:
                printed += [(section, place) for place in group if (section.id, place) in homes]
    return printed


def _groups(places: Sequence[_Place], per: str) -> list[list[_Place]]:
    """Places that a block of sections runs through together."""
    if per == "slide":
        return [[place] for place in places]
    groups = [list(group) for _, group in groupby(places, key=lambda p: p.specimen_id)]
    if per == "specimen":  # what holds for no single specimen stands after them
        groups.sort(key=lambda group: group == [_Place()])
    return groups


def _id(section: LayoutSection, place: _Place) -> str:
    if place.slide_id:
        return f"{section.id}:slide:{place.slide_id}"
    return f"{section.id}:specimen:{place.specimen_id}" if place.specimen_id else section.id


def _facts(case: CaseFindings, place: _Place) -> dict[str, str]:
    """What the sheet says of a place."""
    if place == _Place():
        return {}
    for specimen in case.specimens:
        if place.specimen_id == specimen.specimen_id and (
            not place.slide_id or place.slide_id in specimen.slides
        ):
            here = (f.stain for f in case.findings if _slides(f) == {place.slide_id} and f.stain)
            return {
                "slide_id": place.slide_id,
                "specimen_id": specimen.specimen_id,
                "laterality": specimen.laterality,
                "site": specimen.site,
                "stain": next(here, ""),
            }
    return {"slide_id": place.slide_id, "specimen_id": place.specimen_id}


# --- what a section says ---------------------------------------------------------------------


def _rank(finding: Finding, section: LayoutSection) -> tuple[bool, int, int]:
    at = section.rank(finding.key)
    last = len(section.keys)
    return finding.status in VALUELESS, last if at is None else at, int(finding.id[1:])


def _line(finding: Finding, number: int, language: str) -> Line:
    words: Catalog = catalog(language)
    return Line(
        statement=f"S{number}",
        finding=finding.id,
        key=finding.key,
        name=words.term(finding.key),
        unit=words.unit(registry().find(finding.key).unit),
        status=finding.phrased,
        language=language,
        cites=for_key(finding.key),
    )


def _notes(found: Sequence[Finding], place: _Place, said: set[tuple[str, str]]) -> tuple[str, ...]:
    """Codes of sentences that hold for a slide and that no section of it has said yet.

    Below a heading that names no slide, why a value is missing stands with the value alone; what
    is said there is said again below the slide's own heading, where a reader looks for it.
    """
    new: set[str] = set()
    for finding in found:
        alone = finding.status in VALUELESS and not place.slide_id
        codes = set(finding.flags) if alone else {*finding.flags, finding.note}
        for code in codes:
            here = {(code, slide) for slide in _slides(finding)}
            if not here <= said:
                new.add(code)
    if place.slide_id:
        said |= {(code, place.slide_id) for code in new}
    return tuple(code for code in registry().once_per_slide if code in new)


def _gathered(found: Sequence[Finding], *, one_slide: bool) -> tuple[Gathered, ...]:
    """Findings without a value that one line names together, by status and reason.

    A single one keeps its sentence, unless its slide has to be told. A section that holds nothing
    else than such findings, and many, says so once for each status.
    """
    once = registry().once_per_slide
    missing = [f for f in found if f.status in VALUELESS]
    empty = len(missing) == len(found) and len(missing) > NAMED
    keys = Counter(f.key for f in found)
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for f in missing:
        same = (f.status, f.code if f.status == "failed" else "")
        groups.setdefault(same if empty else (*same, f.note, *f.flags), []).append(f)
    out = []
    for group in groups.values():
        unclear = not one_slide and any(keys[f.key] > 1 or f.note in once for f in group)
        if len(group) > 1 or unclear:
            codes = dict.fromkeys(c for f in group for c in (f.note, *f.flags) if c)
            out.append(Gathered(findings=tuple(f.id for f in group), notes=tuple(codes), all=empty))
    return tuple(out)
