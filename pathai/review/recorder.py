"""One reader's cases, one of them open at a time: every action is in its log before it counts."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pathai.config import ID_PATTERN
from pathai.edits import Json
from pathai.errors import PathaiError
from pathai.review.records import CASE, Case, Decision, Statement, Status
from pathai.review.state import State, follow, replay
from pathai.review.worklist import Row, next_row, row_of
from pathai.review_log import Event, Kind, Log, Value, read_log

Signed = Collection[str] | Callable[[str], bool]
"""Ids of the cases whose report is signed, or what tells it of one."""
NOT_BLIND = "blind reading is off"
"""Reason of the reveal that is logged when a case is opened with its output in view."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Recorder:
    """Worklist and open case of a reader; see `pathai.review.ReviewSession`.

    Attributes
    ----------
    source : str
        SHA-256 of the file that the next actions are read from; empty for a person's own.
    """

    def __init__(
        self,
        reviews: Path,
        reader: str,
        cases: Sequence[Case],
        now: Callable[[], str] = _now,
        *,
        blind: bool = True,
        signed: Signed = (),
        flags: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if not re.fullmatch(ID_PATTERN, reader) or ".." in reader:
            remedy = "give --reader with letters, digits, dot, dash or underscore"
            raise PathaiError("E193", f"reader {reader!r} cannot name a log", remedy)
        if not cases:
            raise PathaiError("E212", "the run has no case")
        self.reviews, self.reader, self.now = reviews, reader, now
        self.blind, self.signed, self.flags = blind, signed, dict(flags or {})
        self.cases = {case.case_id: case for case in cases}
        self.source = ""
        self.case: Case | None = None
        self.state = State()
        self._log: Log | None = None
        self._rows = {case.case_id: self._read(case) for case in cases}

    def log_path(self, case_id: str) -> Path:
        """Where this reader's decisions on a case lie."""
        return self.reviews / case_id / f"{self.reader}.jsonl"

    # --- the worklist ---------------------------------------------------------------------

    def worklist(self) -> list[Row]:
        """Every case with its status, in order."""
        if self.case is not None:
            self._rows[self.case.case_id] = row_of(self.case, self.state)
        return [self._shown(self._rows[case_id]) for case_id in self.cases]

    def _shown(self, row: Row) -> Row:
        """A row with what the log does not know: whether it is signed, and its flags."""
        told = self.signed
        signed = told(row.case_id) if callable(told) else row.case_id in told
        status: Status = "signed" if signed else row.status
        flags = tuple(self.flags.get(row.case_id, ()))
        return replace(row, status=status, flags=flags)

    def _read(self, case: Case) -> Row:
        """Status of a case that is not open; a broken log is shown, not hidden."""
        try:
            return row_of(case, replay(read_log(self.log_path(case.case_id)), case))
        except PathaiError as error:
            return row_of(case, State(), problem=str(error))

    def next_unreviewed(self, step: int = 1) -> str | None:
        """The next (or with ``step`` -1 the previous) case that is not done, round and round.

        None when every other case is reviewed, signed or broken.
        """
        found = next_row(self.worklist(), self.case.case_id if self.case else "", step)
        return found.case_id if found else None

    # --- the open case --------------------------------------------------------------------

    @property
    def hidden(self) -> bool:
        """Whether the output of the open case must not be shown yet (blind-first reading)."""
        return self.blind and self.case is not None and not self.state.shown

    def open(self, case_id: str) -> None:
        """Open a case for this reader; the one before is closed.

        Raises
        ------
        PathaiError
            E175 if it is open elsewhere, E210 if its log is broken, E160 if nothing can be saved
            in this folder of reviews. The case before stays open.
        """
        case = self.cases[case_id]
        if self.case is not None and self.case.case_id == case_id:
            return
        log = Log(self.log_path(case_id))
        try:
            state = replay(log.events, case)
        except PathaiError:
            log.close()
            raise
        self.close()
        self.case, self.state, self._log = case, state, log
        if not state.opened:
            self._record("open", CASE, {"status": "in review"})
        if not self.blind and not state.shown:
            self._record("reveal", "reveal", {"reason": NOT_BLIND})

    def close(self) -> None:
        """Close the open case; nothing is left to save, every action was saved when it was made."""
        self.worklist()
        if self._log is not None:
            self._log.close()
        self.case, self._log, self.state = None, None, State()

    def renew(self, case: Case, same: Mapping[str, str] | None = None) -> None:
        """Go on with another draft of a case, which the reader's own change of the report made.

        Decisions on sentences whose words are the same in both are carried over, whatever
        their ids, which are places in the draft: each is an event that names the draft on which
        it was made. All others wait for a new decision, and the case is no longer marked
        reviewed.

        Parameters
        ----------
        case : Case
            The new draft.
        same : mapping of str to str, optional
            Statement of the new draft to the one of the old draft that stands on the same
            finding; by default sentences are known by their words.

        Raises
        ------
        PathaiError
            E193 if it is no case of this session, E160 or E161 if nothing can be saved.
        """
        if case.case_id not in self.cases:
            raise PathaiError("E193", f"no case {case.case_id!r} in this session")
        self.cases[case.case_id] = case
        if self.case is None or self._log is None or self.case.case_id != case.case_id:
            self._rows[case.case_id] = self._read(case)
            return
        before, old = self.case, self.state.decisions
        self.case, self.state = case, replay(self._log.events, case)
        kinds: dict[str, Kind] = {"accepted": "accept", "rejected": "reject", "edited": "edit"}
        for statement in case.statements:
            made = _same_words(statement, case, old, same)
            if statement.id in self.state.decisions or made is None:
                continue
            value: Json = {"verdict": made.verdict, "text": made.text}
            carried = made.carried or before.draft
            self._record(kinds[made.verdict], statement.id, {**value, "carried": carried})

    def _record(
        self, kind: Kind, what: str, after: Value, before: Value | Literal["look"] = "look"
    ) -> None:
        """Write an event first, then let it count; what stood there is looked up by default."""
        if self.case is None or self._log is None:
            raise PathaiError("E193", "no case is open", "open one from the worklist")
        event = Event(
            number=len(self._log.events) + 1,
            time=self.now(),
            kind=kind,
            what=what,
            before=self.state.value(what) if before == "look" else before,
            after=after,
            findings=self.case.findings,
            draft=self.case.draft,
            source=self.source,
            previous=self._log.head,
        ).sealed()
        self._log.append(event)
        follow(self.state, event, self._log.events, self.case)


def _same_words(
    statement: Statement, case: Case, old: Mapping[str, Decision], same: Mapping[str, str] | None
) -> Decision | None:
    """The decision on a sentence of the draft before that had the same words.

    Without ``same``, where words stand several times, only the one in the same place is sure to
    be the same.
    """
    here = old.get(statement.id if same is None else same.get(statement.id, ""))
    if here is not None and here.text == statement.text:
        return here
    if same is not None:
        return None
    made = [one for one in old.values() if one.text == statement.text]
    again = [one for one in case.statements if one.text == statement.text]
    return made[0] if len(made) == len(again) == 1 else None
