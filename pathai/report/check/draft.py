"""A whole draft, as stored: every sentence, completeness, and its origin."""

from collections.abc import Sequence
from hashlib import sha256

from pathai.drafters.base import CITE, Line
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, canonical
from pathai.layouts import load_layout
from pathai.report.check.cross import check_case
from pathai.report.check.numbers import check_numbers
from pathai.report.check.printed import filled, notes, watermark
from pathai.report.check.statement import check_statement
from pathai.report.plan import plan
from pathai.report.records import Draft, Problem, Section, Statement
from pathai.report.render import briefs, slide_note_texts, title_text


def check_draft(draft: Draft, case: CaseFindings) -> list[Problem]:
    """What is wrong with a draft, as stored: every sentence, completeness, and its origin."""
    problems = _check_origin(draft, case)
    layout = draft.layout or load_layout(draft.template)
    planned = plan(case, layout, draft.language)
    here = {finding.key for finding in case.findings}
    for key in layout.requires:
        if key not in here:
            problems.append(Problem(code="required", message=f"{key} is neither given nor missing"))
    if [s.id for s in planned] != [s.id for s in draft.sections]:
        problems.append(Problem(code="required", message="sections are missing or moved"))
        return problems
    for wanted, section in zip(planned, draft.sections, strict=True):
        if section.notes != slide_note_texts(wanted, case, draft.language):
            problems.append(Problem(code="required", message=f"{section.id}: a note is missing"))
        if section.briefs != briefs(wanted, case, draft.language):
            problems.append(Problem(code="required", message=f"{section.id}: a line was changed"))
        if section.title != title_text(wanted, draft.language):
            problems.append(Problem(code="heading", message=f"{section.id}: another heading"))
        problems += _check_section(wanted.lines, section, case, draft.language)
    lines = [line for section in planned for line in section.lines]
    return problems + check_case(draft, case, lines)


def _check_origin(draft: Draft, case: CaseFindings) -> list[Problem]:
    problems = []
    if draft.findings_digest != case.sha256() or draft.case_id != case.case_id:
        problems.append(Problem(code="origin", message="the draft is of other findings"))
    if draft.revision != case.revision or draft.verification.statements != len(draft.statements()):
        problems.append(Problem(code="origin", message="the draft is of another revision"))
    fell, counts = sum(s.verdict == "fallback" for s in draft.statements()), draft.verification
    if (counts.fallback, counts.accepted) != (fell, counts.statements - fell):
        problems.append(Problem(code="origin", message="the counts of the draft are not its own"))
    if draft.digest != digest_of(draft):
        problems.append(Problem(code="origin", message="the digest is not that of the draft"))
    if draft.watermark != watermark(draft.language) or draft.status != "draft":
        problems.append(Problem(code="origin", message="the watermark is not in place"))
    return problems


def digest_of(draft: Draft) -> str:
    """SHA-256 of everything in a draft but its digest."""
    return sha256(canonical(draft, exclude={"digest"}).encode()).hexdigest()


def _check_section(
    lines: Sequence[Line], section: Section, case: CaseFindings, language: str
) -> list[Problem]:
    given = [(s.id, s.finding) for s in section.statements]
    if given != [(line.statement, line.finding) for line in lines]:
        return [Problem(code="required", message=f"{section.id}: statements are missing or moved")]
    pairs = zip(lines, section.statements, strict=True)
    return [p for line, said in pairs for p in _check_said(said, line, case, language)]


def _check_said(said: Statement, line: Line, case: CaseFindings, language: str) -> list[Problem]:
    """A stored statement; what a person wrote may stand with its problems, if they are flagged."""
    finding = case.finding(said.finding)
    problems = check_statement(said.text, line, case, human=said.source == "human")
    flagged = said.source == "human" and said.verdict == "flag"
    if finding is None or (problems and not (flagged and _named(problems, said))):
        return problems or [Problem(code="unknown_id", message=f"{said.id} stands on nothing")]
    if said.notes != notes(finding, language):
        return [Problem(code="required", message=f"{said.id}: a note is missing")]
    if said.rendered != _filled(said.text, case, language):
        return [Problem(code="rendered", message=f"{said.id} is not printed as it was drafted")]
    # Without a citation this is the very sentence that was just read back.
    again = not problems and CITE.search(said.text)
    return check_numbers(said.rendered, finding, language) if again else []


def _named(problems: Sequence[Problem], said: Statement) -> bool:
    return {problem.code for problem in problems} <= set(said.flags)


def _filled(text: str, case: CaseFindings, language: str) -> str:
    """A text with its values; empty where it names what does not exist."""
    try:
        return filled(text, case, language)
    except PathaiError:
        return ""


def require(draft: Draft, case: CaseFindings) -> None:
    """Refuse a draft with any problem.

    Raises
    ------
    PathaiError
        E203 naming the first problem; draft the case again.
    """
    problems = check_draft(draft, case)
    if problems:
        first = problems[0]
        raise PathaiError("E203", f"case {case.case_id}: {first.message} ({first.code})")
