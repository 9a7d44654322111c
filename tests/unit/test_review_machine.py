"""Any sequence of a reader's actions, undone, done again, cut off, reopened: one state, as told.

The model beside the session is one flat table of what stands where, and a list of what was done.
"""

import copy
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pathai.errors import PathaiError
from pathai.review import Case, CellEdit, ReviewSession, Statement, replay
from pathai.review_log import answers, question, read_log
from pathai.units import Box

TEXTS = ("Nuclei were counted.", "The area is “small”.", "Tumor: predicted.")
FIRST = Case("C01", "f" * 64, "d" * 64, tuple(Statement(f"S{i}", t) for i, t in enumerate(TEXTS)))
SECOND = Case(
    "C01", "f" * 64, "e" * 64, (*FIRST.statements[:2], Statement("S2", "Tumor: not predicted."))
)
IDS = ("S0", "S1", "S2")
SLIDES = ("A1", "A2")
LINE = ((0.0, 0.0), (9.5, 0.0), (9.5, 7.25))
VERDICTS = {"accept": "accepted", "reject": "rejected", "edit": "edited"}
ANY_DRAFT = ("cells", "cell", "region")

ids, slides = st.sampled_from(IDS), st.sampled_from(SLIDES)
names = st.sampled_from(["tumor", "lymphocyte", ""])
numbers = st.integers(1, 4)


@dataclass
class Deed:
    """One action: its key's kind, the draft it was made on, and the values before it."""

    kind: str
    draft: str
    before: dict[Any, Any]


@dataclass
class Model:
    """What stands where, and everything that was done, in order."""

    now: dict[Any, Any] = field(default_factory=dict)
    done: list[tuple[str, str, int, dict[Any, Any]]] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    shown: bool = False
    events: int = 1
    last: dict[Any, int] = field(default_factory=dict)
    impressions: list[Any] = field(default_factory=list)
    seen: dict[str, list[Box]] = field(default_factory=dict)

    def stacks(self, draft: str) -> tuple[list[int], list[tuple[int, dict[Any, Any]]]]:
        """What can be undone, and done again, on this draft: numbers of deeds."""
        past: list[int] = []
        future: list[tuple[int, dict[Any, Any]]] = []
        for step, on, deed, values in self.done:
            if on != draft and self.deeds[deed].kind not in ANY_DRAFT:
                continue
            if step == "do":
                past.append(deed)
                future.clear()
            elif step == "undo":
                past = [one for one in past if one != deed]
                future.append((deed, values))
            else:
                future = [one for one in future if one[0] != deed]
                past.append(deed)
        return past, future

    def put(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """Write values; what stood there comes back."""
        before = {key: self.now.get(key) for key in values}
        self.now |= values
        return before

    def of(self, kind: str, *key: str) -> dict[Any, Any]:
        """Everything of a kind that stands, by the last part of its key."""
        start = (kind, *key)
        return {k[-1]: v for k, v in self.now.items() if k[: len(start)] == start and v is not None}


class Machine(RuleBasedStateMachine):
    """A session and its model."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.case = FIRST
        self.model = Model()
        self.kept = {}
        self.time = 0
        self.session = None
        self.reopen()
        self.keep()

    def clock(self) -> str:
        self.time += 1
        return f"2026-01-01T00:00:{self.time:06d}"

    def reopen(self):
        if self.session is not None:
            self.session.close()
        self.session = ReviewSession(Path(self.folder.name), "dr-a", [self.case], now=self.clock)
        self.session.open("C01")

    @property
    def path(self) -> Path:
        return self.session.log_path("C01")

    @property
    def draft(self) -> str:
        return self.case.draft

    def keep(self):
        """Remember the model as it is after this many events."""
        self.kept[self.model.events] = copy.deepcopy(self.model)

    def did(self, kind: str, values: dict[Any, Any], *, changes: bool = True):
        """An action that is an event only if it changes something."""
        if all(self.model.now.get(key) == value for key, value in values.items()):
            return
        before = self.model.put(values)
        if changes:
            self.model.deeds.append(Deed(kind, self.draft, before))
            self.model.done.append(("do", self.draft, len(self.model.deeds) - 1, {}))
        self.model.events += 1
        self.keep()

    # --- sentences, answers ---------------------------------------------------------------

    @rule(verb=st.sampled_from(sorted(VERDICTS)), what=ids, text=st.text(max_size=6))
    def decide(self, verb, what, text):
        words = " ".join(text.split())
        arguments = (what, text) if verb == "edit" else (what,)
        if not self.model.shown or (verb == "edit" and not words):
            with pytest.raises(PathaiError, match="E193"):
                getattr(self.session, verb)(*arguments)
            return
        getattr(self.session, verb)(*arguments)
        own = next(s.text for s in self.case.statements if s.id == what)
        value = (VERDICTS[verb], words if verb == "edit" else own, "")
        self.did("decision", {("decision", self.draft, what): value})

    @rule(value=st.sampled_from(["yes", "no", ""]), slide=st.sampled_from(["", *SLIDES]))
    def answer(self, value, slide):
        if value:
            self.session.answer("tumor", value, slide)
        else:
            self.session.withdraw("tumor", slide)
        self.did("answer", {("answer", question("tumor", slide)): value or None})

    @rule()
    def reviewed(self):
        left = set(IDS) - set(self.model.of("decision", self.draft))
        if left:
            with pytest.raises(PathaiError, match="E193"):
                self.session.mark_reviewed()
            return
        self.session.mark_reviewed()
        self.did("reviewed", {("reviewed", self.draft, "case"): True})

    # --- blind first ----------------------------------------------------------------------

    @rule(text=st.sampled_from(["", "benign", "tumor?"]), value=st.sampled_from(["", "yes"]))
    def impression(self, text, value):
        given = {"tumor": value} if value else {}
        if not text and not value:
            with pytest.raises(PathaiError, match="E193"):
                self.session.give_impression(text, {"tumor": value})
            return
        self.session.give_impression(text, {"tumor": value})
        told = self.model.impressions
        if not told or told[-1][:2] != (text, given):
            told.append((text, given, not self.model.shown))
            self.model.shown = True
            self.model.events += 1
            self.keep()
        if value:
            self.did("answer", {("answer", question("tumor")): value})

    @rule()
    def reveal(self):
        self.session.reveal("second opinion")
        if not self.model.shown:
            self.model.shown = True
            self.model.events += 1
            self.keep()

    # --- on the slide ---------------------------------------------------------------------

    @rule(
        slide=slides,
        store=st.sampled_from(["a", "b"]),
        rows=st.lists(st.integers(0, 6), min_size=1, unique=True),
        name=names,
    )
    def cells(self, slide, store, rows, name):
        places = tuple((row * 10.04, row / 3) for row in rows)
        edit = CellEdit(slide, "classical", store, tuple(rows), places, name)
        changed = self.session.correct_cells(edit)
        values = {("cells", slide, store, row): name for row in rows}
        new = {key: v for key, v in values.items() if self.model.now.get(key) != v}
        assert changed == len(new)
        self.did("cells", new)

    @rule(slide=slides, shift=numbers)
    def add_cell(self, slide, shift):
        self.line = tuple((x + shift, y) for x, y in LINE)
        name = self.session.add_cell(slide, "classical", self.line, "tumor", "a")
        number = self.model.last.get(("cell", slide), 0) + 1
        assert name == f"n{number}"
        self.model.last["cell", slide] = number
        self.did("cell", {("cell", slide, name): (self.line, "tumor")})

    @rule(slide=slides, number=numbers, remove=st.booleans())
    def change_cell(self, slide, number, remove):
        name = f"n{number}"
        there = self.model.of("cell", slide).get(name)
        act = self.session.remove_cell if remove else self.session.change_cell
        arguments = () if remove else ("lymphocyte",)
        if there is None:
            with pytest.raises(PathaiError, match="E193"):
                act(slide, name, *arguments)
            return
        act(slide, name, *arguments)
        self.did("cell", {("cell", slide, name): None if remove else (there[0], "lymphocyte")})

    @rule(slide=slides, number=st.integers(0, 3), name=st.sampled_from(["tumor", "tissue"]))
    def region(self, slide, number, name):
        region_id = f"r{number}" if number else ""
        if region_id and region_id not in self.model.of("region", slide):
            with pytest.raises(PathaiError, match="E193"):
                self.session.set_region(slide, region_id, name, [LINE])
            return
        got = self.session.set_region(slide, region_id, name, [LINE])
        if not region_id:
            self.model.last["region", slide] = self.model.last.get(("region", slide), 0) + 1
            assert got == f"r{self.model.last['region', slide]}"
        self.did("region", {("region", slide, got): name})

    @rule(slide=slides, number=numbers)
    def remove_region(self, slide, number):
        region_id = f"r{number}"
        if region_id not in self.model.of("region", slide):
            with pytest.raises(PathaiError, match="E193"):
                self.session.remove_region(slide, region_id)
            return
        self.session.remove_region(slide, region_id)
        self.did("region", {("region", slide, region_id): None})

    @rule(slide=slides, x=st.integers(0, 2))
    def seen(self, slide, x):
        box = Box(x * 100.0, 0.0, 100.0, 80.5)
        self.session.seen(slide, box)
        fields = self.model.seen.setdefault(slide, [])
        if not fields or fields[-1] != box:
            fields.append(box)
            self.model.events += 1
            self.keep()

    # --- back and forth -------------------------------------------------------------------

    @rule()
    def undo(self):
        past, _ = self.model.stacks(self.draft)
        assert (self.session.undo() is None) == (not past)
        if past:
            deed = past[-1]
            values = self.model.put(self.model.deeds[deed].before)
            self.model.done.append(("undo", self.draft, deed, values))
            self.model.events += 1
            self.keep()

    @rule()
    def redo(self):
        _, future = self.model.stacks(self.draft)
        assert (self.session.redo() is None) == (not future)
        if future:
            deed, values = future[-1]
            self.model.put(values)
            self.model.done.append(("redo", self.draft, deed, {}))
            self.model.events += 1
            self.keep()

    # --- drafts, crashes ------------------------------------------------------------------

    @rule()
    def other_draft(self):
        """The reader's own change of the report makes another draft; S2 has other words on it."""
        old = self.model.of("decision", self.draft)
        before, self.case = self.case, SECOND if self.case is FIRST else FIRST
        self.session.renew(self.case)
        own = self.model.of("decision", self.draft)
        for statement in self.case.statements:
            made = old.get(statement.id)
            if made and statement.id not in own and made[1] == statement.text:
                value = (made[0], made[1], made[2] or before.draft)
                key = ("decision", self.draft, statement.id)
                self.did("decision", {key: value}, changes=False)

    @rule()
    def reload(self):
        self.reopen()

    @rule(data=st.data())
    def killed_in_the_last_line(self, data):
        """The copy that a kill leaves: the action in flight is lost, and nothing before it."""
        self.session.close()
        lines = self.path.read_bytes().splitlines(keepends=True)
        cut = data.draw(st.integers(0, len(lines[-1]) - 1))
        self.path.write_bytes(b"".join(lines[:-1]) + lines[-1][:cut])
        self.reopen()
        left = max(self.model.events - 1, 1)  # without any event the case is opened again
        self.model = copy.deepcopy(self.kept[left])

    @rule(data=st.data())
    @precondition(lambda self: self.model.events > 1)
    def killed_in_the_next_line(self, data):
        """The beginning of a line that was never finished is set aside."""
        self.session.close()
        line = self.path.read_bytes().splitlines()[-1]
        with self.path.open("ab") as file:
            file.write(line[: data.draw(st.integers(1, len(line)))])
        self.reopen()

    # --- what must hold -------------------------------------------------------------------

    @invariant()
    def the_log_tells_the_state(self):
        if not hasattr(self, "session"):
            return
        events = read_log(self.path)
        assert replay(events, self.case) == self.session.state
        assert answers(events, "C01") == self.session.state.answers
        assert len(events) == self.model.events

    @invariant()
    def the_state_is_the_models(self):
        if not hasattr(self, "session"):
            return
        state, model = self.session.state, self.model
        decisions = {k: (d.verdict, d.text, d.carried) for k, d in state.decisions.items()}
        assert decisions == model.of("decision", self.draft)
        assert state.answers == model.of("answer")
        assert state.reviewed == bool(model.of("reviewed", self.draft))
        assert self.session.hidden == (not model.shown)
        assert [(i.text, i.answers, i.blind) for i in state.impressions] == model.impressions
        assert state.seen == {k: v for k, v in model.seen.items() if v}
        for slide in SLIDES:
            for store in ("a", "b"):
                known = state.classes(slide, "classical", store)
                assert known == model.of("cells", slide, store)
            added = state.added_cells.get(slide, {})
            assert {k: c.class_name for k, c in added.items()} == {
                k: v[1] for k, v in model.of("cell", slide).items()
            }
            drawn = state.regions.get(slide, {})
            assert {k: d.name for k, d in drawn.items()} == model.of("region", slide)
        past, future = model.stacks(self.draft)
        assert len(state.undoable) == len(past)
        assert len(state.redoable) == len(future)

    def teardown(self):
        if getattr(self, "session", None) is not None:
            self.session.close()
            self.folder.cleanup()


Machine.TestCase.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
TestMachine = Machine.TestCase
