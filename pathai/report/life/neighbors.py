"""The four places where the life of a report calls its neighbors, so that each is called once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pathai import rules
from pathai.config import ReportConfig
from pathai.drafters.base import Line
from pathai.finding import CaseFindings
from pathai.layouts import load_layout
from pathai.report import check
from pathai.report.life.events import Event
from pathai.report.records import Draft, Problem
from pathai.store.folders import ResultsFolder
from pathai.store.manifest import canonical as canonical_file


def revise(
    case: CaseFindings, entered: Sequence[Event], requires: Sequence[str] = ()
) -> CaseFindings:
    """The findings with a person's entries, rules applied again (E204 if one does not fit)."""
    return rules.revise(case, [_entry(event, case) for event in entered], requires)


def _entry(event: Event, case: CaseFindings) -> dict[str, Any]:
    """An entered event as the rules read it; a place is a slide, or else a specimen."""
    said = event.after or {}
    slides = {slide for specimen in case.specimens for slide in specimen.slides}
    place = said["place"]
    return {
        "key": event.what,
        "slide_id": place if place in slides else "",
        "specimen_id": "" if place in slides else place,
        "value": said["value"],
        "reader": event.reader,
        "event": event.sha256,
        "time": event.time,
    }


def requires(section: ReportConfig) -> Sequence[str]:
    """Keys that the layout of the configuration requires."""
    return load_layout(section.template).requires


def check_words(text: str, line: Line, case: CaseFindings) -> list[Problem]:
    """What the verifier says to a person's sentence: flags, never a rewrite."""
    return check.check_statement(text, line, case, human=True)


KINDS = ("md", "html", "docx", "pdf", "fhir.json")
"""Endings of a report's documents."""
_NAMES = {"md": "markdown", "html": "html", "docx": "docx", "pdf": "pdf"}


def documents(
    draft: Draft,
    case: CaseFindings,
    said: dict[str, str],
    results: Path,
    kinds: Sequence[str] = KINDS,
    *,
    snomed: bool = False,
) -> dict[str, bytes]:
    """Documents of a report, by the ending of their names.

    Parameters
    ----------
    draft : Draft
        As it stands.
    case : CaseFindings
        What it stands on.
    said : dict
        State: name, signer, role, time, digest, reason.
    results : Path
        Folder of the results, for pictures of the evidence.
    kinds : sequence of str
        Some of ``KINDS``.
    snomed : bool
        Whether FHIR may hold codes of SNOMED CT.
    """
    from pathai.report import documents as pages  # reportlab and docx are not needed to enter
    from pathai.report.fhir import fhir

    state = pages.State.model_validate(said)
    evidence = pages.pictures(case, ResultsFolder(results).slide)
    made: dict[str, bytes] = {}
    for kind in kinds:
        if kind == "fhir.json":
            pdf = made.get("pdf") or pages.pdf(draft, case, state, evidence)
            made[kind] = canonical_file(fhir(draft, case, state, pdf=pdf, snomed=snomed))
        else:
            text = getattr(pages, _NAMES[kind])(draft, case, state, evidence)
            made[kind] = text.encode() if isinstance(text, str) else bytes(text)
    return made
