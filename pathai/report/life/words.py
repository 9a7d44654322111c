"""A person's words on one finding while they are typed: checked at once, stored by nobody."""

from dataclasses import dataclass

from pathai.drafters.base import Line
from pathai.finding import CaseFindings
from pathai.report.life.neighbors import check_words
from pathai.report.life.overlay import bound, line_of, printed
from pathai.report.records import Problem, Statement
from pathai.rules.entries import printed as value_text


@dataclass(frozen=True)
class Words:
    """What the verifier says to words on one finding; nothing is read again between two calls.

    Parameters
    ----------
    machine : Statement
        The machine's statement on the finding.
    line : Line
        The planned line that the words stand for.
    case : CaseFindings
        What the draft stands on.
    """

    machine: Statement
    line: Line
    case: CaseFindings

    @property
    def value(self) -> str:
        """What the finding says, as it is printed; empty where it has no value."""
        finding = self.case.finding(self.machine.finding)
        return value_text(finding) if finding and finding.value is not None else ""

    def problems(self, text: str) -> list[Problem]:
        """Empty if the words stand on their finding."""
        return check_words(bound(text, self.machine), self.line, self.case)

    def printed(self, text: str) -> str:
        """The words as they would be printed."""
        words = bound(text, self.machine)
        return printed(words, self.machine, self.case, self.line.language)


def words_on(statement: str, machine: Statement, case: CaseFindings, language: str) -> Words | None:
    """Words for a statement, None where it stands on no finding."""
    finding = case.finding(machine.finding)
    if finding is None:
        return None
    return Words(machine, line_of(statement, finding, language), case)
