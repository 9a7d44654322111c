"""A reader's session: which cases there are, what was decided, and how to take it back.

The session knows neither Qt nor napari. Its state is a function of the event log alone:
``replay(events)`` gives the same state after any crash and on any machine. Decisions hold for
the findings and the draft that the reader saw; when either changes, they stay in the log but
count no longer. A reader's own answers to a task's question are about the slides, so they hold
until they are taken back.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pathai.config import ID_PATTERN
from pathai.errors import PathaiError
from pathai.review_log import (
    Event,
    Kind,
    Log,
    Value,
    answer_event,
    answer_now,
    is_question,
    question,
    read_log,
)

Status = Literal["unread", "in review", "reviewed"]
Verdict = Literal["accepted", "rejected", "edited"]
CASE = "case"
_VERDICTS: dict[Kind, Verdict] = {"accept": "accepted", "reject": "rejected", "edit": "edited"}


@dataclass(frozen=True)
class Statement:
    """A sentence of the draft, as the reader sees it."""

    id: str
    text: str


@dataclass(frozen=True)
class Case:
    """What there is to decide on a case.

    ``findings`` and ``draft`` are digests; both are empty while there is no draft.
    """

    case_id: str
    findings: str = ""
    draft: str = ""
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What became of a sentence, and its words at that moment."""

    verdict: Verdict
    text: str


@dataclass
class State:
    """What a log says about one draft.

    ``answers`` are the reader's own, by question; ``undoable`` holds the numbers of the events
    that an undo can take back, last one last; ``outdated`` says that decisions on another draft
    or on other findings were left out.
    """

    opened: bool = False
    reviewed: bool = False
    outdated: bool = False
    decisions: dict[str, Decision] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    undoable: list[Event] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """Unread until opened, reviewed once the reader says so."""
        if self.reviewed:
            return "reviewed"
        return "in review" if self.opened else "unread"

    def value(self, what: str) -> Value:
        """The decision on a statement or on the case, as it stands in an event."""
        if what == CASE:
            return {"status": self.status}
        if is_question(what):
            return {"answer": self.answers[what]} if what in self.answers else None
        found = self.decisions.get(what)
        return {"verdict": found.verdict, "text": found.text} if found else None


def replay(events: Iterable[Event], case: Case) -> State:
    """State after these events.

    Parameters
    ----------
    events : iterable of Event
        Of one log, in order.
    case : Case
        The draft and findings as they are now.

    Raises
    ------
    PathaiError
        E210 if an event does not follow from the ones before it.
    """
    state, events = State(), list(events)
    for event in events:
        if (event.findings, event.draft) != (case.findings, case.draft):
            given = answer_event(event, events)
            if given is not None:
                answer_now(state.answers, given.what, event, case.case_id)
            state.outdated |= event.kind != "open" and given is None
            state.opened = True
            continue
        _apply(state, event, case.case_id)
    return state


def _apply(state: State, event: Event, case_id: str) -> None:
    undone = state.undoable[-1] if state.undoable and event.kind == "undo" else None
    what = undone.what if undone else event.what
    fits = event.before == state.value(what)
    if event.kind == "undo":
        fits &= undone is not None and event.what == str(undone.number)
        fits &= undone is not None and event.after == undone.before
    if not fits:
        message = f"{case_id}: event {event.number} does not follow from the events before it"
        raise PathaiError("E210", message)
    if is_question(what):
        answer_now(state.answers, what, event, case_id)
    else:
        _set(state, what, event.after, event.number, case_id)
    if undone:
        state.undoable.pop()
    elif event.kind != "open":
        state.undoable.append(event)


def _set(state: State, what: str, value: Value, number: int, case_id: str) -> None:
    if what == CASE:
        status = (value or {}).get("status")
        state.reviewed, state.opened = status == "reviewed", status != "unread"
        return
    state.decisions.pop(what, None)
    if value is None:
        return
    verdict = next((v for v in _VERDICTS.values() if v == value.get("verdict")), None)
    if verdict is None or "text" not in value:
        raise PathaiError("E210", f"{case_id}: event {number} holds no decision")
    state.decisions[what] = Decision(verdict, value["text"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Row:
    """One line of the worklist."""

    case_id: str
    status: Status
    decided: int
    statements: int
    outdated: bool = False
    problem: str = ""


class ReviewSession:
    """The worklist of one reader, one case open at a time.

    Parameters
    ----------
    reviews : Path
        Folder of the logs, outside of the results.
    reader : str
        Id of the reader, as it stands in the log's name.
    cases : sequence of Case
        In the order of the worklist.
    now : callable
        Time of day for the log.

    Raises
    ------
    PathaiError
        E193 if the reader's id is not usable, E212 if there is no case.
    """

    def __init__(
        self,
        reviews: Path,
        reader: str,
        cases: Sequence[Case],
        now: Callable[[], str] = _now,
    ) -> None:
        if not re.fullmatch(ID_PATTERN, reader) or ".." in reader:
            remedy = "give --reader with letters, digits, dot, dash or underscore"
            raise PathaiError("E193", f"reader {reader!r} cannot name a log", remedy)
        if not cases:
            raise PathaiError("E212", "the run has no case")
        self.reviews, self.reader, self.now = reviews, reader, now
        self.cases = {case.case_id: case for case in cases}
        self.case: Case | None = None
        self.state = State()
        self._log: Log | None = None
        self._rows = {case.case_id: self._row(case) for case in cases}

    def log_path(self, case_id: str) -> Path:
        """Where this reader's decisions on a case lie."""
        return self.reviews / case_id / f"{self.reader}.jsonl"

    def worklist(self) -> list[Row]:
        """Every case with its status, in order."""
        if self.case is not None:
            self._rows[self.case.case_id] = _row(self.case, self.state)
        return [self._rows[case_id] for case_id in self.cases]

    def _row(self, case: Case) -> Row:
        """Status of a case that is not open; a broken log is shown, not hidden."""
        try:
            return _row(case, replay(read_log(self.log_path(case.case_id)), case))
        except PathaiError as error:
            return Row(case.case_id, "unread", 0, len(case.statements), problem=str(error))

    def next_unreviewed(self, step: int = 1) -> str | None:
        """The next (or with ``step`` -1 the previous) case that is not reviewed, round and round.

        None when every other case is reviewed.
        """
        rows = self.worklist()
        current = self.case.case_id if self.case else ""
        here = next((i for i, row in enumerate(rows) if row.case_id == current), -(step > 0))
        for k in range(1, len(rows) + 1):
            row = rows[(here + k * step) % len(rows)]
            if row.status != "reviewed" and row.case_id != current:
                return row.case_id
        return None

    def open(self, case_id: str) -> None:
        """Open a case for this reader; the one before is closed.

        Raises
        ------
        PathaiError
            E175 if it is open elsewhere, E210 if its log is broken. The case before stays open.
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

    def close(self) -> None:
        """Close the open case; nothing is left to save, every action was saved when it was made."""
        self.worklist()
        if self._log is not None:
            self._log.close()
        self.case, self._log, self.state = None, None, State()

    def accept(self, statement: str) -> None:
        """Accept a sentence as it stands."""
        self._decide("accept", statement, self._text(statement))

    def reject(self, statement: str) -> None:
        """Reject a sentence."""
        self._decide("reject", statement, self._text(statement))

    def edit(self, statement: str, text: str) -> None:
        """Replace the words of a sentence.

        Raises
        ------
        PathaiError
            E193 if nothing is left of it; reject it instead.
        """
        words = " ".join(text.split())
        if not words:
            raise PathaiError("E193", f"{statement} would be empty", "reject it instead")
        self._decide("edit", statement, words)

    def answer(self, task: str, value: str, slide_id: str = "") -> None:
        """Give the reader's own answer to a task's question, which can train a model.

        Parameters
        ----------
        task : str
            Name of the task, or of one of its targets.
        value : str
            A class of the task, or a number.
        slide_id : str
            The slide that it is about; by default every slide of the case.

        Raises
        ------
        PathaiError
            E193 for an empty answer; `withdraw` takes one back.
        """
        words = " ".join(value.split())
        if not words:
            raise PathaiError("E193", f"the answer to {task} is empty", "withdraw it instead")
        self._answer(question(task, slide_id), {"answer": words})

    def withdraw(self, task: str, slide_id: str = "") -> None:
        """Take the reader's own answer back, whenever it was given."""
        self._answer(question(task, slide_id), None)

    def _answer(self, what: str, after: Value) -> None:
        if self.state.value(what) != after:
            self._record("answer", what, after)

    def undecided(self) -> tuple[str, ...]:
        """Ids of the open case's sentences that have no decision yet, in order."""
        ids = tuple(s.id for s in self.case.statements) if self.case else ()
        return tuple(i for i in ids if i not in self.state.decisions)

    def mark_reviewed(self) -> None:
        """Say that the case is done.

        Raises
        ------
        PathaiError
            E193 without a draft, or while a sentence has no decision.
        """
        if self.case is not None and not self.case.draft:
            raise PathaiError("E193", f"{self.case.case_id} has no draft", "run pathai run first")
        left = self.undecided()
        if left:
            message = f"{len(left)} sentences have no decision yet, first {left[0]}"
            raise PathaiError("E193", message, "accept, reject or edit them first")
        if not self.state.reviewed:
            self._record("reviewed", CASE, {"status": "reviewed"})

    def undo(self) -> str | None:
        """Take the last action back, as an action of its own.

        Returns
        -------
        str or None
            Id of the statement (or ``case``) that it concerned; None if there is nothing left.
        """
        if not self.state.undoable:
            return None
        last = self.state.undoable[-1]
        self._record("undo", str(last.number), last.before, self.state.value(last.what))
        return last.what

    def _text(self, statement: str) -> str:
        found = [s.text for s in self.case.statements if s.id == statement] if self.case else []
        if not found:
            raise PathaiError("E193", f"no statement {statement!r} in the open case")
        return found[0]

    def _decide(self, kind: Kind, statement: str, text: str) -> None:
        self._text(statement)
        after = {"verdict": _VERDICTS[kind], "text": text}
        if self.state.value(statement) != after:
            self._record(kind, statement, after)

    def _record(self, kind: Kind, what: str, after: Value, before: Value = None) -> None:
        """Write an event first, then let it count."""
        if self.case is None or self._log is None:
            raise PathaiError("E193", "no case is open", "open one from the worklist")
        event = Event(
            number=len(self._log.events) + 1,
            time=self.now(),
            kind=kind,
            what=what,
            before=before if kind == "undo" else self.state.value(what),
            after=after,
            findings=self.case.findings,
            draft=self.case.draft,
            previous=self._log.head,
        ).sealed()
        self._log.append(event)
        _apply(self.state, event, self.case.case_id)


def _row(case: Case, state: State) -> Row:
    ids = {s.id for s in case.statements}
    decided = len(ids & state.decisions.keys())
    return Row(case.case_id, state.status, decided, len(ids), state.outdated)
