"""The four places where the life of a report calls its neighbors, so that each is called once."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pathai.config import ReportConfig
from pathai.drafters.base import Line
from pathai.finding import CaseFindings
from pathai.report import check
from pathai.report.life.events import Event
from pathai.report.records import Draft, Problem
from pathai.store.folders import ResultsFolder
from pathai.store.manifest import canonical as canonical_file


def revise(
    case: CaseFindings, entered: Sequence[Event], requires: Sequence[str] = ()
) -> CaseFindings:
    """The findings with a person's entries, rules applied again (E204 if one does not fit)."""
    rules = import_module("pathai.rules")
    made: CaseFindings = rules.revise(case, [_entry(event, case) for event in entered], requires)
    return made


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
    if find_spec("pathai.layouts") is None:
        return ()
    found: Sequence[str] = import_module("pathai.layouts").load_layout(section.template).requires
    return found


def check_words(text: str, line: Line, case: CaseFindings) -> list[Problem]:
    """What the verifier says to a person's sentence: flags, never a rewrite."""
    human: Any = getattr(check, "check_statement", None)
    if human is None:
        return check.check_text(text, line, case)
    problems: list[Problem] = human(text, line, case, human=True)
    return problems


KINDS = ("md", "html", "docx", "pdf", "fhir.json")
"""Endings of a report's documents."""
_NAMES = {"md": "markdown", "html": "html", "docx": "docx", "pdf": "pdf"}


def documents(
    draft: Draft,
    case: CaseFindings,
    said: dict[str, str],
    results: Path,
    kinds: Sequence[str] = KINDS,
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
    """
    pages = import_module("pathai.report.documents")
    state = pages.State(**said)
    evidence = pages.pictures(case, ResultsFolder(results).slide)
    made: dict[str, bytes] = {}
    for kind in kinds:
        if kind == "fhir.json":
            pdf = made.get("pdf") or pages.pdf(draft, case, state, evidence)
            fhir = import_module("pathai.report.fhir")
            made[kind] = canonical_file(fhir.fhir(draft, case, state, pdf=pdf))
        else:
            text = getattr(pages, _NAMES[kind])(draft, case, state, evidence)
            made[kind] = text.encode() if isinstance(text, str) else bytes(text)
    return made
