"""How far a signed report is from its first draft, in words, statements, slots and values."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pathai.drafters.base import SLOT, TERM
from pathai.finding import CaseFindings, Finding, Frozen, canonical
from pathai.report.records import Draft, Statement

What = Literal["kept", "revalued", "edited", "deleted", "added", "drafted"]
POLARITY = re.compile(
    r"\b(no|not|without|absent|absence|negative|positive|present|detected|identified|never|none"
    r"|left|right|bilateral|pas|sans|absente?|négati\w+|positi\w+|présente?|gauche|droite?"
    r"|ausente|sin|negativ\w+|izquierd\w+|derech\w+|presente)\b",
    re.IGNORECASE,
)
"""Words that turn a sentence around, or move it to the other side."""


class Change(Frozen):
    """One statement, before and after."""

    statement: str
    finding: str
    what: What
    before: str = ""
    after: str = ""
    distance: int = 0
    relevant: bool = False


class Correction(Frozen):
    """One value that a person changed or entered."""

    finding: str
    key: str
    before: str
    status_before: str
    status: str
    corrected: bool
    """Whether a value stood there; else it was entered where nothing was known."""


class Changes(Frozen):
    """From the first draft of a version to what was signed.

    ``word_distance`` is the Levenshtein distance in words, summed over statements.
    ``relevant`` counts statements whose slot, number, polarity or side changed, deleted ones that
    had a value, and corrected values.

    References
    ----------
    Levenshtein VI. Binary codes capable of correcting deletions, insertions and reversals.
    Soviet Physics Doklady 1966;10:707-710.
    """

    words_draft: int
    words_signed: int
    word_distance: int
    kept: int
    revalued: int
    edited: int
    deleted: int
    added: int
    drafted: int
    slots: int
    values: int
    entered: int
    relevant: int
    statements: tuple[Change, ...]
    corrections: tuple[Correction, ...]

    def figures(self) -> dict[str, int]:
        """The counts alone."""
        return self.model_dump(exclude={"statements", "corrections"})


def word_distance(before: str, after: str) -> int:
    """Levenshtein distance in words: insertions, deletions and substitutions count 1 each."""
    a, b = before.split(), after.split()
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, start=1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            cost = min(row[j] + 1, row[j - 1] + 1, corner + (word != other))
            corner, row[j] = row[j], cost
    return row[-1]


def changes(
    first: Draft, signed: Draft, first_case: CaseFindings, signed_case: CaseFindings
) -> Changes:
    """Compare the first draft with the signed one, statement by statement, by finding."""
    rows = _statements(first, signed, first_case)
    values = _values(first_case, signed_case)
    count = Counter(row.what for row in rows)
    slots = sum(_slots_differ(row, first, signed) for row in rows)
    return Changes(
        words_draft=sum(len(s.rendered.split()) for s in first.statements()),
        words_signed=sum(len(s.rendered.split()) for s in signed.statements()),
        word_distance=sum(row.distance for row in rows),
        kept=count["kept"],
        revalued=count["revalued"],
        edited=count["edited"],
        deleted=count["deleted"],
        added=count["added"],
        drafted=count["drafted"],
        slots=slots,
        values=sum(value.corrected for value in values),
        entered=sum(not value.corrected for value in values),
        relevant=sum(row.relevant for row in rows) + sum(v.corrected for v in values),
        statements=tuple(rows),
        corrections=tuple(values),
    )


def _statements(first: Draft, signed: Draft, case: CaseFindings) -> list[Change]:
    old = {s.finding: s for s in first.statements()}
    new: dict[str, Statement] = {}
    added: list[Statement] = []
    for said in signed.statements():
        if said.id.startswith("A"):
            added.append(said)
        else:
            new[said.finding] = said
    rows = [_change(before, new.get(finding), case) for finding, before in old.items()]
    rows += [_new(said, "drafted") for finding, said in new.items() if finding not in old]
    return rows + [_new(said, "added") for said in added]


def _change(before: Statement, after: Statement | None, case: CaseFindings) -> Change:
    finding = case.finding(before.finding)
    fields = {"statement": before.id, "finding": before.finding, "before": before.rendered}
    if after is None:
        lost = bool(finding and finding.value is not None)
        size = len(before.rendered.split())
        return Change(what="deleted", distance=size, relevant=lost, **fields)
    fields |= {"after": after.rendered}
    distance = word_distance(before.rendered, after.rendered)
    if after.source == "human":
        turned = _meaning(before) != _meaning(after)
        return Change(what="edited", distance=distance, relevant=turned, **fields)
    return Change(what="revalued" if distance else "kept", distance=distance, **fields)


def _meaning(said: Statement) -> tuple[object, ...]:
    """Slots, free numbers, and words of polarity and side, each with how often."""
    bare = TERM.sub(" ", SLOT.sub(" ", said.text))
    words = Counter(word.lower() for word in POLARITY.findall(bare))
    numbers = tuple(re.findall(r"[0-9]+(?:[.,][0-9]+)*", bare))
    return Counter(SLOT.findall(said.text)), words, numbers


def _new(said: Statement, what: What) -> Change:
    return Change(
        statement=said.id,
        finding=said.finding,
        what=what,
        after=said.rendered,
        distance=len(said.rendered.split()),
        relevant=what == "added",
    )


def _slots_differ(row: Change, first: Draft, signed: Draft) -> bool:
    if row.what != "edited":
        return False
    tokens = [
        Counter(SLOT.findall(s.text) + TERM.findall(s.text))
        for draft in (first, signed)
        for s in draft.statements()
        if s.finding == row.finding and not s.id.startswith("A")
    ]
    return tokens[0] != tokens[1]


def _values(first: CaseFindings, signed: CaseFindings) -> list[Correction]:
    return [
        Correction(
            finding=after.id,
            key=after.key,
            before=after.entry.before if after.entry else "",
            status_before=before.status if before else "",
            status=after.status,
            corrected=bool(before and before.value is not None),
        )
        for after in signed.findings
        if after.entry is not None
        for before in [first.finding(after.id)]
        if before is None or _value(before) != _value(after)
    ]


def _value(finding: Finding) -> tuple[str, str]:
    return finding.status, canonical(finding.value) if finding.value is not None else ""


def lines(found: Changes) -> Sequence[str]:
    """The changes for a terminal."""
    out = [
        f"{found.word_distance} words changed between draft ({found.words_draft} words) and "
        f"report ({found.words_signed} words)",
        f"statements: {found.kept} kept, {found.revalued} with a new value, {found.edited} edited, "
        f"{found.deleted} deleted, {found.added} added, {found.drafted} new",
        f"{found.values} values corrected, {found.entered} entered, {found.slots} slots changed; "
        f"{found.relevant} clinically relevant",
    ]
    for row in found.statements:
        if row.what != "kept":
            out += [f"{row.what} {row.statement} ({row.finding})"]
            out += [f"  - {row.before}"] if row.before else []
            out += [f"  + {row.after}"] if row.after else []
    for value in found.corrections:
        before = value.before or value.status_before.replace("_", " ")
        out.append(f"{value.finding} {value.key}: {before} → {value.status}")
    return out
