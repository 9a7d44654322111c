"""What a log says: the state of a case as a function of its events.

Decisions hold for the findings and the draft that the reader saw; when either changes, they stay
in the log but count no longer. Everything else is about the slides and the reader - impression,
answers, nuclei, regions, fields seen - and holds whatever the findings and draft are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from pathai.edits import (
    AddedCell,
    CellEdit,
    Drawn,
    Impression,
    Json,
    Position,
    box_of,
    cell_of,
    cell_value,
    class_runs,
    drawn_of,
    drawn_value,
    edit_of,
    part_of,
    run_classes,
)
from pathai.errors import PathaiError
from pathai.review.records import CASE, VERDICTS, Case, Decision, Status
from pathai.review_log import Event, Kind, Value, action, answer_now, is_question
from pathai.units import Box

ABOUT_SLIDES: frozenset[Kind] = frozenset(
    {"impression", "reveal", "answer", "cells", "region", "seen"}
)
"""Kinds of events that hold for whatever findings and draft there are."""
UNDOABLE: frozenset[Kind] = frozenset(
    {"accept", "reject", "edit", "answer", "cells", "region", "reviewed"}
)
"""Kinds that an undo takes back. What was seen was seen: opening a case, an impression, a reveal
and a field of view cannot be undone."""
_ANY_DRAFT: frozenset[Kind] = frozenset({"cells", "region"})
"""Kinds that can be undone although the draft changed since: they are not about it."""

T = TypeVar("T")


class Store(NamedTuple):
    """Nuclei of one slide, as one detector found them: ``store`` is the digest of the cells."""

    slide_id: str
    detector: str
    store: str


@dataclass
class Nuclei:
    """Classes given to rows of a `Store` (empty: no nucleus), and where these nuclei are."""

    classes: dict[int, str] = field(default_factory=dict)
    xy_px0: dict[int, Position] = field(default_factory=dict)


@dataclass
class State:
    """What a log says about one case and its draft as it is now.

    Attributes
    ----------
    opened, reviewed : bool
        Whether the reader opened the case, and said that it is done.
    outdated : bool
        Whether decisions on another draft or on other findings were left out.
    shown : bool
        Whether the output could be read: an impression or a reveal was logged, or a decision
        on a sentence.
    revealed : str
        The reason that was given for a reveal.
    decisions : dict
        By statement.
    answers : dict
        The reader's own, by question.
    impressions : list of Impression
        Every one that was recorded, the first one first.
    nuclei : dict
        Classes given to nuclei, the cells changed last at the end.
    added_cells, regions, seen : dict
        By slide: added nuclei by id, drawn regions by id, fields in the order of looking.
    undoable : list of Event
        Actions that an undo can take back, the last one at the end.
    redoable : list of (Event, Event)
        Actions that a redo can do again, with the undo of each.
    """

    opened: bool = False
    reviewed: bool = False
    outdated: bool = False
    shown: bool = False
    revealed: str = ""
    decisions: dict[str, Decision] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    impressions: list[Impression] = field(default_factory=list)
    nuclei: dict[Store, Nuclei] = field(default_factory=dict)
    added_cells: dict[str, dict[str, AddedCell]] = field(default_factory=dict)
    regions: dict[str, dict[str, Drawn]] = field(default_factory=dict)
    seen: dict[str, list[Box]] = field(default_factory=dict)
    undoable: list[Event] = field(default_factory=list)
    redoable: list[tuple[Event, Event]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """Unread until opened, reviewed once the reader says so."""
        if self.reviewed:
            return "reviewed"
        return "in review" if self.opened else "unread"

    @property
    def impression(self) -> Impression | None:
        """The impression as it stands; `impressions` holds the earlier ones."""
        return self.impressions[-1] if self.impressions else None

    @property
    def cells(self) -> dict[str, dict[int, str]]:
        """By slide: class by row, of the cells that were changed last; empty: no nucleus."""
        return {store.slide_id: nuclei.classes for store, nuclei in self.nuclei.items()}

    def classes(self, slide_id: str, detector: str, store: str) -> dict[int, str]:
        """Class by row of exactly these cells; empty: no nucleus."""
        found = self.nuclei.get(Store(slide_id, detector, store))
        return found.classes if found else {}

    def cell_edits(self, slide_id: str, detector: str = "") -> tuple[CellEdit, ...]:
        """Corrections of a slide's nuclei as they stand, one per cells and class.

        Those of other cells are among them; their positions tell which nuclei they are about.
        """
        edits = []
        for key, nuclei in self.nuclei.items():
            if key.slide_id != slide_id or detector not in ("", key.detector):
                continue
            by_class: dict[str, list[int]] = {}
            for row, name in sorted(nuclei.classes.items()):
                by_class.setdefault(name, []).append(row)
            for name, rows in sorted(by_class.items()):
                places = tuple(nuclei.xy_px0[row] for row in rows)
                edits.append(CellEdit(*key, tuple(rows), places, name))
        return tuple(edits)

    def value(self, what: str) -> Value:
        """What stands there now, as it is written in an event."""
        if what == CASE:
            return {"status": self.status}
        if is_question(what):
            return {"answer": self.answers[what]} if what in self.answers else None
        if what == "impression":
            return self.impression.value() if self.impression else None
        if what == "reveal":
            return {"reason": self.revealed} if self.revealed else None
        kind, slide_id, name = part_of(what)
        if kind == "cell":
            cell = self.added_cells.get(slide_id, {}).get(name)
            return cell_value(cell) if cell else None
        if kind == "region":
            drawn = self.regions.get(slide_id, {}).get(name)
            return drawn_value(drawn) if drawn else None
        found = self.decisions.get(what)
        if not found:
            return None
        carried: Json = {"carried": found.carried} if found.carried else {}
        return {"verdict": found.verdict, "text": found.text, **carried}

    def value_of(self, done: Event) -> Value:
        """What stands now where an action changed something; of nuclei, the classes alone."""
        kind, slide_id, _ = part_of(done.what)
        if kind != "cells":
            return self.value(done.what)
        return self.value_of_rows(edit_of(slide_id, done.after or {}))

    def value_of_rows(self, edit: CellEdit) -> Value:
        """Classes that these nuclei have now, as they are written in an event."""
        now = self.classes(edit.slide_id, edit.detector, edit.store)
        return class_runs(now.get(row) for row in edit.rows)


def replay(events: Iterable[Event], case: Case) -> State:
    """State after these events; takes a time that grows with their number.

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
        follow(state, event, events, case)
    return state


def follow(state: State, event: Event, events: Sequence[Event], case: Case) -> None:
    """Let one more event count; ``events`` are those of the log up to it.

    Raises
    ------
    PathaiError
        E210 if it does not follow from the ones before it.
    """
    done = action(event, events)
    here = (event.findings, event.draft) == (case.findings, case.draft)
    state.shown |= done.kind in VERDICTS or event.kind in ("impression", "reveal")
    if here or done.kind in ABOUT_SLIDES:
        try:
            _apply(state, event, done, here=here)
        except (KeyError, TypeError, ValueError, PathaiError):
            message = f"{case.case_id}: event {event.number} does not follow from the events before"
            raise PathaiError("E210", f"{message} it") from None
    else:
        state.outdated |= event.kind != "open"
    state.opened |= not here


def _apply(state: State, event: Event, done: Event, *, here: bool) -> None:
    """Check an event against the state, then change it (ValueError if it does not fit)."""
    fits = event.before == state.value_of(done)
    if event.kind == "undo":
        last = state.undoable[-1].number if state.undoable else 0
        fits &= event.after == done.before and done is not event
        fits &= not here or last == done.number
    elif event.kind == "redo":
        first, undone = state.redoable[-1] if state.redoable else (event, event)
        fits &= done is not event
        fits &= not here or (first.number == done.number and event.after == undone.before)
    if not fits:
        raise ValueError("it does not follow")
    if is_question(done.what):
        answer_now(state.answers, done.what, event, "")
    else:
        _put(state, done, event)
    if here or done.kind in _ANY_DRAFT:
        _stack(state, event, done)


def _stack(state: State, event: Event, done: Event) -> None:
    """What can be undone and done again after an event."""
    if event.kind == "undo":
        _drop(state.undoable, done)
        state.redoable.append((done, event))
    elif event.kind == "redo":
        _drop(state.redoable, done)
        state.undoable.append(done)
    elif event.kind in UNDOABLE and not (event.after or {}).get("carried"):
        state.undoable.append(event)
        state.redoable.clear()


def _drop(stack: list[Event] | list[tuple[Event, Event]], done: Event) -> None:
    """Take an action off a stack; nearly always it is the last one."""
    for i in range(len(stack) - 1, -1, -1):
        one = stack[i]
        if (one[0] if isinstance(one, tuple) else one).number == done.number:
            del stack[i]
            return


def _put(state: State, done: Event, event: Event) -> None:
    """Write what an event says into the state (ValueError, KeyError if it says nothing)."""
    what, value = done.what, event.after
    kind, slide_id, name = part_of(what)
    if what == CASE:
        status = (value or {}).get("status")
        state.reviewed, state.opened = status == "reviewed", status != "unread"
    elif event.kind == "impression":
        state.impressions.append(_impression(event))
    elif event.kind == "reveal":
        state.revealed = _text((value or {})["reason"])
    elif kind == "cells":
        _classify(state, edit_of(slide_id, done.after or {}), value or {})
    elif kind == "cell":
        state.numbers[f"cell:{slide_id}"] = _last(state, "cell", slide_id, name)
        _hold(state.added_cells, slide_id, name, cell_of(value) if value else None)
    elif kind == "region":
        state.numbers[f"region:{slide_id}"] = _last(state, "region", slide_id, name)
        _hold(state.regions, slide_id, name, drawn_of(value) if value else None)
    elif kind == "seen":
        state.seen.setdefault(slide_id, []).append(box_of(value or {}))
    else:
        _decide(state, what, value)


def _last(state: State, kind: str, slide_id: str, name: str) -> int:
    """The highest number of an id so far: an id is never given twice."""
    return max(state.numbers.get(f"{kind}:{slide_id}", 0), int(name[1:]))


def _hold(found: dict[str, dict[str, T]], slide_id: str, name: str, thing: T | None) -> None:
    """Keep a thing of a slide, or no longer."""
    on_slide = found.pop(slide_id, {})
    on_slide.pop(name, None)
    if thing is not None:
        on_slide[name] = thing
    if on_slide:
        found[slide_id] = on_slide


def _classify(state: State, edit: CellEdit, value: Json) -> None:
    """Give nuclei their classes; the cells changed last go to the end."""
    count = len(edit.rows)
    classes = [edit.after] * count if "class" in value else run_classes(value, count)
    key = Store(edit.slide_id, edit.detector, edit.store)
    nuclei = state.nuclei.pop(key, None) or Nuclei()
    for row, place, name in zip(edit.rows, edit.xy_px0, classes, strict=True):
        if name is None:
            nuclei.classes.pop(row, None)
            nuclei.xy_px0.pop(row, None)
        else:
            nuclei.classes[row], nuclei.xy_px0[row] = name, place
    if nuclei.classes:
        state.nuclei[key] = nuclei


def _impression(event: Event) -> Impression:
    value = event.after or {}
    answers, blind = value["answers"], value["blind"]
    if not isinstance(answers, dict) or not isinstance(blind, bool):
        raise ValueError("no impression")
    given = {name: _text(answer) for name, answer in answers.items()}
    return Impression(_text(value["text"]), given, blind, event.number, event.time)


def _decide(state: State, what: str, value: Value) -> None:
    state.decisions.pop(what, None)
    if value is None:
        return
    verdict = next((v for v in VERDICTS.values() if v == value.get("verdict")), None)
    if verdict is None:
        raise ValueError("no decision")
    carried = _text(value.get("carried", ""))
    state.decisions[what] = Decision(verdict, _text(value["text"]), carried)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value
