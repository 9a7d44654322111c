"""A person's words on a machine's draft: bound to slots where they can be, checked, flagged."""

import re
from hashlib import sha256

from pathai.drafters.base import SLOT, TERM, Line
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Finding, canonical, registry
from pathai.language import catalog
from pathai.report.life.neighbors import check_words
from pathai.report.life.state import Edit, State
from pathai.report.records import Brief, Draft, Section, Statement, Verification
from pathai.report.render import render_text

OUTLIVED = "value_changed"
"""Flag of words whose finding has another value by now."""
_TOKEN = re.compile(r"\{(?:F[1-9][0-9]{0,3}|T:[a-z0-9_.]+|K:[a-z0-9_-]+)\}")


def line_of(statement: str, finding: Finding, language: str) -> Line:
    """The planned line of a finding, as the verifier wants it."""
    row = registry().find(finding.key)
    words = catalog(language)
    return Line(
        statement=statement,
        finding=finding.id,
        key=finding.key,
        name=words.term(finding.key),
        unit=registry().units[row.unit],
        status=finding.status,
        language=language,
    )


def printed_tokens(said: Statement) -> dict[str, str]:
    """What stands in a printed statement in the place of each of its slots and terms."""
    parts, tokens = _TOKEN.split(said.text), _TOKEN.findall(said.text)
    pattern = "(.+?)".join(re.escape(part) for part in parts)
    found = re.fullmatch(pattern, said.rendered, re.DOTALL | re.IGNORECASE)
    return dict(zip(tokens, found.groups(), strict=True)) if found else {}


def bound(words: str, said: Statement) -> str:
    """A person's sentence with the slots where the printed value and name still stand.

    Nothing that is read changes: only what stands word for word, and once, becomes a slot again,
    so that it follows its finding and is compared with it.

    Parameters
    ----------
    words : str
        What the person typed, slots or printed words.
    said : Statement
        The machine's statement on the same finding.
    """
    text = " ".join(words.split())
    if _TOKEN.search(text):
        return text
    for token, printed in sorted(printed_tokens(said).items(), key=lambda item: -len(item[1])):
        whole = rf"(?<![\w.]){re.escape(printed)}(?![\w])"
        sure = re.IGNORECASE if token.startswith("{T:") else 0
        if len(re.findall(whole, text, sure)) == 1:
            text = re.sub(whole, lambda _, t=token: t, text, flags=sure)
    return text


def printed(text: str, said: Statement, case: CaseFindings, language: str = "en") -> str:
    """A person's sentence as it is printed; a slot of no finding stays as it was typed."""
    known = printed_tokens(said)
    filled = _TOKEN.sub(lambda m: known.get(m[0], m[0]), text)
    if SLOT.search(filled) or TERM.search(filled):
        try:
            filled = render_text(filled, case, language)
        except PathaiError:  # the check flags it; what was typed is shown as it is
            return filled
    return filled[:1].upper() + filled[1:]


def spoken(
    number: str, edit: Edit, said: Statement, case: CaseFindings, language: str
) -> Statement:
    """A person's statement with what the verifier says to it; its words are never changed."""
    finding = case.finding(edit.finding)
    if finding is None or edit.text is None:
        raise PathaiError("E203", f"{number} stands on no finding")
    problems = check_words(edit.text, line_of(number, finding, language), case)
    flags = tuple(dict.fromkeys(problem.code for problem in problems))
    flags += (OUTLIVED,) if outlived(edit, finding) else ()
    return said.model_copy(
        update={
            "id": number,
            "text": edit.text,
            "rendered": printed(edit.text, said, case, language),
            "source": "human",
            "verdict": "flag" if flags else "pass",
            "flags": flags,
            "refused": "",
            "notes": () if number.startswith("A") else said.notes,
        }
    )


def fits(edit: Edit, case: CaseFindings) -> bool:
    """Whether an edit still stands on the kind of finding that it was written for."""
    finding = case.finding(edit.finding)
    return finding is not None and (finding.key, finding.status) == (edit.key, edit.status)


def outlived(edit: Edit, finding: Finding) -> bool:
    """Whether the finding has another value now than when a person wrote, or deleted, the words."""
    return edit.value not in ("", value_digest(finding))


def value_digest(finding: Finding) -> str:
    """What tells a finding's value from another one: 16 hex digits."""
    value = finding.value.model_dump_json() if finding.value else ""
    return sha256(value.encode()).hexdigest()[:16]


def overlaid(draft: Draft, case: CaseFindings, state: State) -> Draft:
    """The draft as it stands with a person's edits, deletions and additions."""
    sections = tuple(_section(section, case, state, draft.language) for section in draft.sections)
    said = [statement for section in sections for statement in section.statements]
    problems = dict(draft.verification.problems)
    for flag in (
        flag for statement in said if statement.source == "human" for flag in statement.flags
    ):
        problems[flag] = problems.get(flag, 0) + 1
    made = draft.model_copy(
        update={
            "sections": sections,
            "verification": Verification(
                statements=len(said),
                accepted=sum(s.verdict == "pass" for s in said),
                fallback=sum(s.verdict == "fallback" for s in said),
                problems=dict(sorted(problems.items())),
            ),
        }
    )
    digest = sha256(canonical(made, exclude={"digest"}).encode()).hexdigest()
    return made.model_copy(update={"digest": digest})


def left_out(edit: Edit, language: str) -> Brief:
    """The line that says which finding's sentence a person took out, and why."""
    words = catalog(language)
    text = words.phrase(
        "left_out", reader=edit.reader, what=words.term(edit.key), reason=edit.reason.rstrip(". ")
    )
    return Brief(text=words.typeset(text), findings=())  # what is added on it is printed still


def _section(section: Section, case: CaseFindings, state: State, language: str) -> Section:
    out: list[Statement] = []
    gone: list[Brief] = []
    for said in section.statements:
        edit = state.edits.get(said.finding)
        if edit is None or not fits(edit, case):
            out.append(said)
        elif edit.text is not None:
            out.append(spoken(said.id, edit, said, case, language))
        else:
            gone.append(left_out(edit, language))
        for number, added in state.added.items():
            if added.finding == said.finding and fits(added, case):
                out.append(spoken(number, added, said, case, language))
    touched = state.edits.keys() | {edit.finding for edit in state.added.values()}
    briefs = tuple(b for b in section.briefs if touched.isdisjoint(b.findings))
    return section.model_copy(update={"statements": tuple(out), "briefs": (*briefs, *gone)})
