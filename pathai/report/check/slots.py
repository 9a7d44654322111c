"""Slots of a text: the value of its own finding once, its own term once, allowed citations."""

from pathai.drafters.base import CITE, SLOT, TERM, Line
from pathai.finding import CaseFindings, Finding
from pathai.report.records import Problem


def check_slots(text: str, line: Line, finding: Finding, case: CaseFindings) -> list[Problem]:
    """Which findings, terms and sources the text names."""
    slots = [f"F{number}" for number in SLOT.findall(text)]
    if any(case.finding(slot) is None for slot in slots):
        return [Problem(code="unknown_id", message="a slot without a finding")]
    if any(slot != finding.id for slot in slots):
        return [Problem(code="wrong_finding", message="a value of another finding")]
    if len(slots) != 1:
        return [Problem(code="missing_slot", message="the value does not stand exactly once")]
    return _check_terms(TERM.findall(text), finding) + _check_cites(CITE.findall(text), line)


def _check_terms(terms: list[str], finding: Finding) -> list[Problem]:
    if [term for term in terms if term != "predicted"] != [finding.key]:
        return [Problem(code="subject", message="it does not name its finding, and only it, once")]
    hedges = terms.count("predicted")
    if finding.status == "predicted" and hedges != 1:
        return [Problem(code="hedge", message="a prediction is not marked as one")]
    if finding.status != "predicted" and hedges:
        return [Problem(code="hedge", message="a finding that was not predicted is marked so")]
    return []


def _check_cites(cites: list[str], line: Line) -> list[Problem]:
    if len(set(cites)) != len(cites):
        return [Problem(code="citation", message="a source is cited twice")]
    if foreign := sorted(set(cites) - set(line.cites)):
        return [Problem(code="citation", message=f"{foreign[0]} may not be cited here")]
    return []
