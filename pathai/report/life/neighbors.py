"""The four places where the life of a report calls its neighbors, so that each is called once."""

from collections.abc import Sequence
from typing import Any

from pathai.drafters.base import Line
from pathai.finding import CaseFindings
from pathai.report import check
from pathai.report.life.events import Event
from pathai.report.records import Draft, Problem


def revise(case: CaseFindings, entered: Sequence[Event]) -> CaseFindings:
    """The findings with a person's entries, rules applied again (E204 if one does not fit)."""
    from pathai import rules

    return rules.revise(case, [_entry(event) for event in entered])


def _entry(event: Event) -> dict[str, Any]:
    """An entered event as the rules read it."""
    said = event.after or {}
    return {
        "key": event.what,
        "place": said["place"],
        "value": said["value"],
        "reader": event.reader,
        "event": event.sha256,
        "time": event.time,
    }


def check_words(text: str, line: Line, case: CaseFindings) -> list[Problem]:
    """What the verifier says to a person's sentence: flags, never a rewrite."""
    human: Any = getattr(check, "check_statement", None)
    if human is None:
        return check.check_text(text, line, case)
    problems: list[Problem] = human(text, line, case, human=True)
    return problems


def documents(draft: Draft, case: CaseFindings, said: dict[str, Any]) -> dict[str, bytes]:
    """Every document of a report, by the ending of its name."""
    return {kind: document(kind, draft, case, said) for kind in KINDS}


KINDS = ("md", "html", "docx", "pdf", "fhir.json")
_NAMES = {"md": "markdown", "html": "html", "docx": "docx", "pdf": "pdf"}


def document(kind: str, draft: Draft, case: CaseFindings, said: dict[str, Any]) -> bytes:
    """One document of a report in a state (name, watermark, signer, role, time, digest)."""
    from pathai.report import documents as pages

    state = pages.State(**said)
    if kind == "fhir.json":
        from pathai.report import fhir

        made = fhir.bundle(draft, case, state)
    else:
        made = getattr(pages, _NAMES[kind])(draft, case, state)
    return made.encode() if isinstance(made, str) else bytes(made)
