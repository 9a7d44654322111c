"""The worklist: one row for each case, and what can be asked of the rows."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pathai.review.records import STATUSES, Case, Status
from pathai.review.state import State

By = Literal["sheet", "case", "status", "flags", "undecided"]
"""What rows can be ordered by; ``sheet`` is the order in which the cases were given."""


@dataclass(frozen=True)
class Row:
    """One line of the worklist.

    ``flags`` are short words given by whoever made the worklist; ``problem`` says why a case
    cannot be opened.
    """

    case_id: str
    status: Status
    decided: int
    statements: int
    outdated: bool = False
    problem: str = ""
    flags: tuple[str, ...] = ()

    @property
    def undecided(self) -> int:
        """Sentences without a decision."""
        return self.statements - self.decided

    @property
    def done(self) -> bool:
        """Whether nothing is left to read."""
        return self.status in ("reviewed", "signed")


def row_of(case: Case, state: State, problem: str = "") -> Row:
    """Row of a case in this state."""
    ids = {s.id for s in case.statements}
    decided = len(ids & state.decisions.keys())
    return Row(case.case_id, state.status, decided, len(ids), state.outdated, problem)


def filtered(
    rows: Iterable[Row], words: str = "", statuses: Collection[Status] = ()
) -> tuple[Row, ...]:
    """Rows that hold every word, in their id, status, flags or problem, whatever its case.

    Parameters
    ----------
    rows : iterable of Row
        The worklist.
    words : str
        Parts of words, separated by blanks; none: every row.
    statuses : collection of str
        Only these; none: every status.
    """
    wanted = words.casefold().split()
    kept = []
    for row in rows:
        text = " ".join((row.case_id, row.status, row.problem, *row.flags)).casefold()
        if all(word in text for word in wanted) and (not statuses or row.status in statuses):
            kept.append(row)
    return tuple(kept)


def ordered(rows: Iterable[Row], by: By = "sheet", *, backwards: bool = False) -> tuple[Row, ...]:
    """Rows in another order; equal ones stay as they were.

    Parameters
    ----------
    rows : iterable of Row
        The worklist.
    by : str
        ``case`` counts numbers in ids as numbers (C2 before C10); ``status`` is from unread to
        signed; ``flags`` and ``undecided`` have the most first.
    backwards : bool
        The other way round.
    """
    found = list(rows)
    if by == "case":
        found.sort(key=lambda row: _natural(row.case_id), reverse=backwards)
    elif by == "status":
        found.sort(key=lambda row: STATUSES.index(row.status), reverse=backwards)
    elif by == "flags":
        found.sort(key=lambda row: len(row.flags) + bool(row.problem), reverse=not backwards)
    elif by == "undecided":
        found.sort(key=lambda row: row.undecided, reverse=not backwards)
    elif backwards:
        found.reverse()
    return tuple(found)


def next_row(rows: Sequence[Row], current: str = "", step: int = 1) -> Row | None:
    """The next (or with ``step`` -1 the previous) row that is not done, round and round.

    A case that cannot be opened is passed over. None when no other row is left to read.
    """
    here = next((i for i, row in enumerate(rows) if row.case_id == current), -(step > 0))
    for k in range(1, len(rows) + 1):
        row = rows[(here + k * step) % len(rows)]
        if not row.done and row.case_id != current and not row.problem:
            return row
    return None


def _natural(text: str) -> list[tuple[int, str]]:
    """Numbers as numbers, and before letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(int(p), "") if p.isdecimal() else (1 << 62, p.casefold()) for p in parts]
