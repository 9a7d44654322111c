"""One statement: everything that can be wrong with a text for a line of the plan."""

import re

from pathai.drafters.base import CITE, Line
from pathai.finding import CaseFindings
from pathai.report.check.form import check_form
from pathai.report.check.lexicon import lexicon
from pathai.report.check.numbers import check_numbers
from pathai.report.check.printed import filled, term_words
from pathai.report.check.slots import check_slots
from pathai.report.check.words import check_words
from pathai.report.records import Problem


def check_text(text: str, line: Line, case: CaseFindings) -> list[Problem]:
    """What is wrong with a drafter's text for ``line``; an empty list lets it pass.

    Parameters
    ----------
    text : str
        Words and slots.
    line : Line
        The planned line; its finding is the only evidence the text may use.
    case : CaseFindings
        All findings of the case.
    """
    return check_statement(text, line, case)


def check_statement(
    text: str, line: Line, case: CaseFindings, *, human: bool = False
) -> list[Problem]:
    """What is wrong with a text for ``line``, by a drafter or by a person.

    Parameters
    ----------
    text : str
        Words and slots. A person may write out the display name instead of its ``{T:key}``.
    line : Line
        The planned line; its finding is the only evidence the text may use.
    case : CaseFindings
        All findings of the case.
    human : bool
        A person has more words, letters and marks; whatever is not known to say nothing of the
        case is a flag, which that person may acknowledge.

    Returns
    -------
    list of Problem
        Flags, the first reason only; the text is never changed.
    """
    finding = case.finding(line.finding)
    if finding is None or finding.key != line.key:
        return [Problem(code="unknown_id", message=f"{line.finding} is not this finding")]
    if line.status not in (finding.status, finding.phrased):
        return [Problem(code="unknown_id", message=f"{line.finding} is not this finding")]
    book = lexicon(line.language)
    if human:
        text = _with_term(text, line)
    problems = check_form(text, book, human=human) or check_slots(text, line, finding, case)
    problems = problems or check_words(text, finding, case, book, human=human)
    if problems:
        return problems
    return check_numbers(filled(CITE.sub("", text), case, line.language), finding, line.language)


def _with_term(text: str, line: Line) -> str:
    """The text with its own display name, if it is written out, as the slot of that name."""
    slot = f"{{T:{line.key}}}"
    if slot in text:
        return text
    name = re.escape(term_words(line.key, line.language))
    return re.sub(rf"(?<!\w){name}(?!\w)", lambda _: slot, text, count=1, flags=re.IGNORECASE)
