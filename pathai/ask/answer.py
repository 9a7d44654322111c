"""The answer to a query: from findings alone, with ids; what was not assessed is no *no*."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pathai.ask.query import (
    All,
    Any,
    Between,
    Compare,
    Condition,
    From,
    Not,
    Query,
    Says,
    Stands,
)
from pathai.ask.vocabulary import same_name
from pathai.finding import (
    CaseFindings,
    Category,
    Finding,
    PredictedNumber,
    Prediction,
    Quantity,
    Sum,
    plain,
    registry,
)

Truth = bool | None
"""None where a finding that could tell was not assessed."""


@dataclass(frozen=True)
class Told:
    """A finding that an answer stands on."""

    finding: str
    key: str
    status: str
    value: str
    slides: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One case of an answer, with the findings that tell."""

    case_id: str
    revision: int
    findings: tuple[Told, ...]


@dataclass(frozen=True)
class Answer:
    """Cases of which the query holds, those that could not answer, and how many were asked."""

    query: str
    asked: int
    cases: tuple[Row, ...]
    unknown: tuple[Row, ...]
    groups: dict[str, tuple[str, ...]]

    @property
    def no(self) -> int:
        """How many cases say no."""
        return self.asked - len(self.cases) - len(self.unknown)


def answer(
    query: Query, cases: Iterable[CaseFindings], shown: Callable[[Finding], str] = str
) -> Answer:
    """Answer a query.

    Parameters
    ----------
    query : Query
        Checked already.
    cases : iterable of CaseFindings
        Latest revision of each.
    shown : callable
        Prints a finding's value.
    """
    yes, unknown, asked = list[Row](), list[Row](), list[CaseFindings]()
    groups: dict[str, list[str]] = {}
    for case in sorted(cases, key=lambda c: c.case_id):
        asked.append(case)
        truth: Truth = True if query.where is None else holds(query.where, case)
        if truth is False:
            continue
        row = Row(case.case_id, case.revision, _told(query.keys(), case, shown))
        (unknown if truth is None else yes).append(row)
        if truth:
            for name in names_of(case, query.by) if query.by != "case" else ():
                groups.setdefault(name, []).append(case.case_id)
    named = {name: tuple(ids) for name, ids in sorted(groups.items())}
    return Answer(query.text(), len(asked), tuple(yes), tuple(unknown), named)


def holds(condition: Condition, case: CaseFindings) -> Truth:
    """Whether a condition holds of a case, in Kleene's logic of three values.

    References
    ----------
    Kleene SC. Introduction to Metamathematics. North-Holland 1952, section 64.
    """
    if isinstance(condition, All | Any):
        parts = [holds(part, case) for part in condition.parts]
        decisive = isinstance(condition, Any)
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    if isinstance(condition, Not):
        inner = holds(condition.part, case)
        return None if inner is None else not inner
    if isinstance(condition, From):
        names = names_of(case, condition.part)
        return any(same_name(name, wanted) for name in names for wanted in condition.names)
    found = [f for f in case.findings if f.key == condition.key]
    if isinstance(condition, Stands):
        return _stands(condition, found)
    told = [_one(condition, finding) for finding in found]
    if True in told:
        return True
    return None if not told or None in told or False not in told else False


def _stands(condition: Stands, found: Sequence[Finding]) -> bool:
    valued = any(f.value is not None and not _abstained(f) for f in found)
    if condition.status == "valued":
        return valued
    if condition.status == "unvalued":
        return not valued
    return any(f.status == condition.status for f in found)


def _abstained(finding: Finding) -> bool:
    return isinstance(finding.value, Prediction | PredictedNumber) and finding.value.abstained


def _one(condition: Compare | Between | Says, finding: Finding) -> Truth | str:
    """What one finding says; an empty text where it could never tell (a stain of another kind)."""
    if finding.value is None or _abstained(finding):
        return None if could_tell(finding) else ""
    if isinstance(condition, Says):
        code = finding.value.code if isinstance(finding.value, Category) else ""
        label = finding.value.label if isinstance(finding.value, Prediction) else ""
        return (code or label) in condition.codes
    number = printed_number(finding)
    if number is None:
        return None
    if isinstance(condition, Between):
        return condition.low <= number <= condition.high
    return {
        "<": number < condition.value,
        "<=": number <= condition.value,
        ">": number > condition.value,
        ">=": number >= condition.value,
        "=": number == condition.value,
        "!=": number != condition.value,
    }[condition.sign]


def could_tell(finding: Finding) -> bool:
    """Whether a finding without a value might have had one on this slide's stain."""
    book = registry()
    row = book.find(finding.key)
    own = book.markers.get(finding.key.split(".")[0])
    if own and finding.stain and plain(finding.stain) not in {plain(s) for s in own}:
        return False
    return not (row.stains and finding.stain and book.family(finding.stain) not in row.stains)


def printed_number(finding: Finding) -> Decimal | None:
    """The number that a reader sees, so that an answer never contradicts what it prints."""
    value, row = finding.value, registry().find(finding.key)
    if isinstance(value, Quantity):
        return row.rounded(value.value)
    if isinstance(value, PredictedNumber) and value.value is not None:
        return round(value.value, value.decimals)
    if isinstance(value, Prediction):
        return value.probability
    if isinstance(value, Sum):
        return Decimal(value.total)
    if isinstance(value, Category):
        digits = re.search(r"[0-9]+", value.code)
        return Decimal(digits[0]) if digits else None
    return None


def names_of(case: CaseFindings, part: str) -> tuple[str, ...]:
    """Stains, sites or sides of a case, or its id."""
    if part == "case":
        return (case.case_id,)
    if part == "stain":
        return tuple(dict.fromkeys(f.stain for f in case.findings if f.stain))
    return tuple(dict.fromkeys(n for s in case.specimens if (n := str(getattr(s, part)))))


def _told(
    keys: Sequence[str], case: CaseFindings, shown: Callable[[Finding], str]
) -> tuple[Told, ...]:
    return tuple(
        Told(
            finding.id,
            key,
            finding.status,
            shown(finding),
            tuple(dict.fromkeys(e.slide_id for e in finding.evidence)),
        )
        for key in keys
        for finding in case.findings
        if finding.key == key and (finding.value is not None or could_tell(finding))
    )
