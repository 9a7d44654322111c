"""What only a person sees: the fields that a case's layout asks for, and what would follow.

Knows no Qt. A value that is typed is tried on the findings at once, with every rule, and nothing
is written before the reader says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import JsonValue

from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Contradiction, Finding, Key, Specimen, registry
from pathai.layouts import Layout, load_layout
from pathai.report.life import Life
from pathai.report.life.case import Entered
from pathai.report.life.drafting import rehearse
from pathai.report.life.events import Event
from pathai.report.life.standing import Revision
from pathai.rules import contradiction_text
from pathai.rules.entries import admits, printed, value_of
from pathai.rules.places import suiting
from pathai.viewer.presenter import Review

Kind = Literal["choice", "number", "sum"]
Where = tuple[str, str]
"""Key, and the slide or specimen that it is entered for; empty where the case has it once."""


@dataclass(frozen=True)
class Field:
    """One value that a person may enter at one place.

    ``choices`` are codes with their words. ``stands`` is what the findings hold there now, as it
    is printed; ``given`` is the value that a person entered, None where nobody did.
    """

    key: str
    place: str
    label: str
    heading: str
    kind: Kind
    hint: str
    unit: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    stands: str = ""
    given: JsonValue = None
    required: bool = False

    @property
    def where(self) -> Where:
        """What tells this field from all others."""
        return self.key, self.place


@dataclass(frozen=True)
class Preview:
    """What would follow from values that are not written yet.

    ``problem`` says which value does not fit; ``contradictions`` name both findings; ``follows``
    are values that the rules derive.
    """

    problem: str = ""
    contradictions: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()


class Entries:
    """Presenter part: the entry form of the open case.

    Parameters
    ----------
    review : Review
        Whose case is meant.
    """

    def __init__(self, review: Review) -> None:
        self.review = review
        self.more: set[tuple[str, str]] = set()
        """Keys that the reader wants beside those of the layout, by case."""

    @property
    def layout(self) -> Layout | None:
        """The layout of the case's report."""
        life = self.review.part("report").life
        return load_layout(life.section.template) if life else None

    def fields(self) -> tuple[Field, ...]:
        """What the layout asks for, at each place that it may have a value."""
        now, layout = self._now(), self.layout
        if now is None or layout is None:
            return ()
        case_id = now.case.case_id
        wanted = [*layout.asks, *(k for one, k in sorted(self.more) if one == case_id)]
        wanted += [key for key, _ in now.state.entries]
        return fields_of(now.case, now.state.entries, dict.fromkeys(wanted), layout.requires)

    def others(self) -> list[tuple[str, str]]:
        """Keys beside the form's own that a person may enter on this case, with their names."""
        now = self._now()
        if now is None:
            return []
        shown = {field.key for field in self.fields()}
        return [
            (key, row.name)
            for key, row in registry().keys.items()
            if row.enterable and "*" not in key and key not in shown
            if any(suiting(now.case, key, specimen) for specimen in now.case.specimens)
        ]

    def ask(self, key: str) -> None:
        """Put another key into the form of this case."""
        case = self.review.session.case
        if case is not None:
            self.more.add((case.case_id, key))
            self.review.changed.emit()

    def preview(self, typed: Mapping[Where, str]) -> Preview:
        """What would follow from what was typed; nothing is written.

        Parameters
        ----------
        typed : mapping
            Text by key and place.
        """
        now = self._now()
        if now is None or not typed:
            return Preview()
        layout, reader = self.layout, self.review.session.reader
        try:
            values = [(key, place, read(key, text)) for (key, place), text in typed.items()]
            requires = layout.requires if layout else ()
            then = rehearse(now.case, values, reader, requires)
        except PathaiError as error:
            return Preview(problem=error.message)
        told = tuple(text for _, text in contradictions_of(then))
        return Preview("", told, tuple(_follows(now.case, then)))

    def standing(self) -> tuple[str, ...]:
        """Contradictions that stand in the findings now."""
        now = self._now()
        return tuple(text for _, text in contradictions_of(now.case)) if now else ()

    def enter(self, typed: Mapping[Where, str]) -> bool:
        """Enter what was typed; False if it was refused, and then nothing is written."""
        report = self.review.part("report")

        def act(life: Life) -> CaseFindings:
            made = [Entered(key, read(key, text), place) for (key, place), text in typed.items()]
            return life.enter(report.reader, made)

        return report.do(act) is not None

    def withdraw(self, field: Field, reason: str = "") -> bool:
        """Take an entered value back; what the stages found stands again."""
        report, now = self.review.part("report"), self._now()
        if now is None:
            return False
        event = given_at(now.case, now.state.entries, field.key, field.place)
        if event is None:
            return False
        place = str((event.after or {})["place"])
        done = report.do(lambda life: life.withdraw(report.reader, field.key, place, reason))
        return done is not None

    def _now(self) -> Revision | None:
        if self.review.session.hidden:
            return None
        found: Revision | None = self.review.part("report").page.now
        return found


def fields_of(
    case: CaseFindings,
    entries: Mapping[Where, Event],
    wanted: Iterable[str],
    requires: Iterable[str] = (),
) -> tuple[Field, ...]:
    """Fields for keys, at each specimen or slide of a case that may have a value of them.

    Parameters
    ----------
    case : CaseFindings
        What stands.
    entries : mapping
        Entered events that count, by key and place.
    wanted : iterable of str
        Keys in the order of the form.
    requires : iterable of str
        Keys, or patterns, without which a report waits.
    """
    needed, found = tuple(requires), list[Field]()
    for key in wanted:
        row = registry().find(key)
        for specimen in case.specimens:
            slides = suiting(case, key, specimen)
            groups = [(one,) for one in slides] if row.per == "slide" else [slides]
            for group in (g for g in groups if g):
                found.append(_field(case, entries, key, row, specimen, group, needed))
    return tuple(sorted(found, key=lambda f: f.heading))


def _field(
    case: CaseFindings,
    entries: Mapping[Where, Event],
    key: str,
    row: Key,
    specimen: Specimen,
    slides: tuple[str, ...],
    requires: tuple[str, ...],
) -> Field:
    place = slides[0] if row.per == "slide" else specimen.specimen_id
    if row.per == "specimen" and len(case.specimens) == 1:
        place = ""
    given = given_at(case, entries, key, place)
    standing = _standing(case, key, specimen, slides)
    by_slide = row.per == "slide"
    heading = f"Slide {slides[0]}" if by_slide else f"Specimen {specimen.specimen_id}".strip()
    kind: Kind = "number"
    if row.type in ("category", "sum"):
        kind = "choice" if row.type == "category" else "sum"
    book = registry()
    words = book.vocabularies.get(row.vocabulary, {})
    return Field(
        key=key,
        place=place,
        label=row.name,
        heading=heading,
        kind=kind,
        hint=admits(key),
        unit=book.units[row.unit] if kind == "number" else "",
        choices=tuple((code, words.get(code, code)) for code in row.values),
        stands=printed(standing) if standing else "",
        given=(given.after or {})["value"] if given else None,
        required=any(fnmatchcase(key, pattern) for pattern in requires),
    )


def _standing(
    case: CaseFindings, key: str, specimen: Specimen, slides: tuple[str, ...]
) -> Finding | None:
    """The value of a key that stands on these slides, or on one of them alone."""
    found = [
        f
        for f in case.findings
        if f.key == key and f.value is not None and f.specimen_id == specimen.specimen_id
        if {e.slide_id for e in f.evidence} & set(slides)
    ]
    whole = [f for f in found if tuple(e.slide_id for e in f.evidence) == slides]
    return next(iter(whole or found), None)


def given_at(
    case: CaseFindings, entries: Mapping[Where, Event], key: str, place: str
) -> Event | None:
    """The entry that counts for a field, whichever way its place was named."""
    same = {place}
    for specimen in case.specimens:
        slides = suiting(case, key, specimen)
        named = {specimen.specimen_id, *(slides if len(slides) == 1 else ())}
        named |= {""} if len(case.specimens) == 1 else set()
        if place in named and (registry().find(key).per == "specimen" or len(slides) == 1):
            same |= named
    found = [event for (one, at), event in entries.items() if one == key and at in same]
    return max(found, key=lambda event: event.number, default=None)


def read(key: str, text: str) -> JsonValue:
    """What was typed as a value of a key (E204 saying what may be entered)."""
    row, words = registry().find(key), " ".join(text.split())
    value: JsonValue = words
    if row.type == "sum":
        parts = [part.strip() for part in words.split("+")]
        value = [int(p) if p.isdigit() else p for p in parts]
    elif row.type == "quantity":
        value = _number(words)
    value_of(key, row, value)
    return value


def _number(words: str) -> JsonValue:
    """A number with a point or a comma; the text itself where it is none."""
    try:
        number = Decimal(words.replace(",", "."))
    except InvalidOperation:
        return words
    if not number.is_finite():
        return words
    return int(number) if number == number.to_integral_value() else float(number)


def contradictions_of(case: CaseFindings) -> list[tuple[Contradiction, str]]:
    """Each contradiction, and its words with the findings that it stands on."""
    found = []
    for one in case.contradictions:
        named = [case.finding(finding_id) for finding_id in one.findings]
        sides = "; ".join(_said(f) for f in named if f is not None)
        found.append((one, f"{contradiction_text(one.rule)} ({sides})"))
    return found


def _said(finding: Finding) -> str:
    value = printed(finding) or finding.status.replace("_", " ")
    return f"{registry().find(finding.key).name}: {value}"


def _follows(now: CaseFindings, then: CaseFindings) -> Iterable[str]:
    """What rules would derive that does not stand yet."""
    before = {_said(f) for f in now.findings}
    for finding in then.findings:
        if finding.method.kind == "rule" and finding.value is not None:
            words = _said(finding)
            if words not in before:
                yield words
