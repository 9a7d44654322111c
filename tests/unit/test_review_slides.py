"""What a reader does before and beside the sentences: first impression, nuclei, regions, fields."""

from pathlib import Path

import numpy as np
import pytest

from pathai.edits import MAX_NAME, rows_of, run_classes, spans
from pathai.errors import PathaiError
from pathai.review import Case, CellEdit, Drawn, ReviewSession, Statement, replay
from pathai.review_log import Event, answers, question, read_log
from pathai.units import Box

FIRST = Path(__file__).parent / "review_log_first.jsonl"
TEXTS = ("Nuclei were counted.", "The area is “small”.", "Tumor: predicted.")
CASE = Case("C01", "f" * 64, "d" * 64, tuple(Statement(f"S{i}", t) for i, t in enumerate(TEXTS)))
LATER = Case("C01", "a" * 64, "e" * 64, CASE.statements)
SQUARE = ((0, 0), (10, 0), (10, 10), (0, 10))
STORE = "5" * 64


def session(folder: Path, case: Case = CASE, **settings) -> ReviewSession:
    one = ReviewSession(folder, "dr-a", [case], now=lambda: "2026-01-01", **settings)
    one.open("C01")
    return one


@pytest.fixture
def blind(tmp_path):
    one = session(tmp_path)
    yield one
    one.close()


@pytest.fixture
def opened(tmp_path):
    one = session(tmp_path, blind=False)
    yield one
    one.close()


def refused(code: str = "E193"):
    return pytest.raises(PathaiError, match=code)


def edit(*rows: int, after: str = "tumor", store: str = STORE, slide: str = "A1") -> CellEdit:
    return CellEdit(
        slide, "nuclei-small", store, rows, tuple((r * 7.0, r * 3.0) for r in rows), after
    )


def events(one: ReviewSession) -> list[Event]:
    return read_log(one.log_path("C01"))


# --- blind first -----------------------------------------------------------------------------


def test_nothing_is_decided_on_a_hidden_sentence(blind):
    assert blind.hidden
    for act in (blind.accept, blind.reject, lambda s: blind.edit(s, "words")):
        with refused():
            act("S0")
    assert [e.kind for e in events(blind)] == ["open"]
    blind.correct_cells(edit(1))  # what is on the picture needs no output
    blind.answer("tumor", "yes")
    assert blind.hidden
    blind.give_impression("  looks\nbenign ", {"grade": "2", "tumor": " "})
    assert not blind.hidden
    blind.accept("S0")
    assert blind.state.impression.text == "looks benign"
    assert blind.state.impression.blind
    assert blind.state.answers == {question("tumor"): "yes", question("grade"): "2"}


def test_an_impression_cannot_be_changed_without_a_trace(blind):
    blind.give_impression("benign")
    blind.give_impression("benign")  # as it was: no event
    assert blind.undo() is None
    blind.give_impression("malignant")
    told = [(i.text, i.blind, i.number) for i in blind.state.impressions]
    assert told == [("benign", True, 2), ("malignant", False, 3)]
    last = events(blind)[-1]
    assert (last.before["text"], last.after["text"]) == ("benign", "malignant")


def test_a_reveal_needs_a_reason_and_makes_the_impression_no_longer_blind(blind):
    with refused():
        blind.reveal("  ")
    with refused():
        blind.give_impression(" ", {"tumor": ""})
    assert blind.hidden
    blind.reveal("second\topinion")
    blind.reveal("again")  # shown already: no event
    assert blind.state.revealed == "second opinion"
    blind.give_impression("benign")
    assert not blind.state.impression.blind
    assert [e.kind for e in events(blind)] == ["open", "reveal", "impression"]


def test_without_blind_reading_the_log_says_that_the_output_was_in_view(tmp_path, opened):
    assert not opened.hidden
    assert [e.kind for e in events(opened)] == ["open", "reveal"]
    assert opened.state.revealed
    opened.close()
    again = session(tmp_path, blind=False)
    assert len(events(again)) == 2  # told once
    again.close()


def test_what_was_shown_stays_shown_when_the_draft_changes(tmp_path, blind):
    blind.give_impression("benign")
    blind.close()
    later = session(tmp_path, LATER)
    assert not later.hidden
    assert later.state.impression.text == "benign"
    later.close()


# --- nuclei ----------------------------------------------------------------------------------


def test_corrections_of_nuclei_name_detector_digest_and_positions(opened):
    assert opened.correct_cells(edit(9, 3, 4, 5)) == 4
    assert opened.correct_cells(edit(3, 4)) == 0  # as they are: no event
    assert opened.correct_cells(edit(4, 6, after="")) == 2
    last = events(opened)[-1]
    assert (last.kind, last.what) == ("cells", "cells:A1")
    assert last.after == {
        "class": "", "detector": "nuclei-small", "store": STORE,
        "rows": "4,6", "xy_px0": [28.0, 12.0, 42.0, 18.0],
    }  # fmt: skip
    assert last.before == {"classes": [["tumor", 1], [None, 1]]}
    assert opened.state.cells["A1"] == {3: "tumor", 5: "tumor", 9: "tumor", 4: "", 6: ""}
    assert opened.undo() == "cells:A1"
    assert opened.state.classes("A1", "nuclei-small", STORE) == dict.fromkeys((3, 4, 5, 9), "tumor")
    assert opened.redo() == "cells:A1"
    assert opened.state.cells["A1"][4] == ""
    assert opened.redo() is None


def test_rows_of_other_cells_are_other_nuclei(opened):
    opened.correct_cells(edit(1, store="old"))
    opened.correct_cells(edit(1, 2, after="stroma"))
    assert opened.state.classes("A1", "nuclei-small", "old") == {1: "tumor"}
    assert opened.state.cells["A1"] == {1: "stroma", 2: "stroma"}  # those changed last
    kept = opened.state.cell_edits("A1", "nuclei-small")
    assert [(e.store, e.rows, e.xy_px0, e.after) for e in kept] == [
        ("old", (1,), ((7.0, 3.0),), "tumor"),
        (STORE, (1, 2), ((7.0, 3.0), (14.0, 6.0)), "stroma"),
    ]
    assert opened.state.cell_edits("A1", "other") == opened.state.cell_edits("A9") == ()


def test_fifty_thousand_nuclei_are_one_event(opened):
    rows = tuple(range(0, 100_000, 2))
    many = CellEdit("A1", "d", STORE, rows, tuple((r * 0.3, 1e5 - r) for r in rows), "tumor")
    assert opened.correct_cells(many) == len(rows)
    assert [e.kind for e in events(opened)] == ["open", "reveal", "cells"]
    size = opened.log_path("C01").stat().st_size
    assert size < 30 * len(rows)  # bytes: a row and a position, and nothing else for each
    opened.undo()
    assert opened.log_path("C01").stat().st_size < size + 2000  # the rows are not written again
    assert opened.state.cells == {}
    opened.redo()
    assert replay(events(opened), CASE).cells == {"A1": dict.fromkeys(rows, "tumor")}


def test_appending_never_reads_the_log_again(opened, monkeypatch):
    def read(*_):
        raise AssertionError("the log was read")

    monkeypatch.setattr(Path, "read_bytes", read)
    for row in range(50):
        opened.correct_cells(edit(row))
    opened.undo()
    opened.redo()
    monkeypatch.undo()
    assert len(events(opened)) == 54


def test_arrays_are_taken_as_they_are(opened):
    rows, places = np.array([5, 2]), np.array([[5.06, 1], [2, 1]], np.float32)
    opened.correct_cells(CellEdit("A1", "d", STORE, tuple(rows), tuple(map(tuple, places)), " a "))
    assert opened.state.cells["A1"] == {2: "a", 5: "a"}
    square = np.array(SQUARE, np.float32)
    opened.change_cell("A1", opened.add_cell("A1", "d", square, "a"), outline_px0=square[:3])
    assert opened.set_region("A1", "", "tumor", square[None]) == "r1"
    found = events(opened)
    assert [e.line() for e in found] == opened.log_path("C01").read_bytes().splitlines(True)
    assert opened.state == replay(found, CASE)
    assert opened.state.added_cells["A1"]["n1"].outline_px0 == SQUARE[:3]


def test_an_added_nucleus_keeps_its_id(opened):
    assert opened.add_cell("A1", "d", [*SQUARE, SQUARE[0]], " tumor ", STORE) == "n1"
    assert opened.undo() == "cell:A1:n1"
    assert opened.add_cell("A1", "d", SQUARE, "tumor") == "n2"
    opened.change_cell("A1", "n2", "stroma")
    found = opened.state.added_cells["A1"]["n2"]
    assert (found.class_name, found.outline_px0) == ("stroma", SQUARE)
    opened.remove_cell("A1", "n2")
    assert opened.state.added_cells == {}
    opened.undo()
    assert opened.state.added_cells["A1"]["n2"] == found


@pytest.mark.parametrize(
    ("rows", "places", "name"),
    [
        ((), (), "tumor"),
        ((1, 1), ((0.0, 0.0),) * 2, "tumor"),
        ((1,), (), "tumor"),
        ((-1,), ((0.0, 0.0),), "tumor"),
        ((1,), ((0.0, 0.0),), "x" * (MAX_NAME + 1)),
        ((1,), ((0.0, 0.0),), "a\x00b"),
    ],
)
def test_a_correction_that_cannot_be_is_refused(rows, places, name):
    with refused():
        CellEdit("A1", "d", STORE, rows, places, name)


def test_bad_places_and_outlines_write_nothing(opened):
    before = opened.log_path("C01").read_bytes()
    bad = [
        lambda: opened.correct_cells(CellEdit("A1", "d", STORE, (1,), ((float("nan"), 0.0),), "t")),
        lambda: opened.add_cell("A1", "d", [(0, 0), (1, 1), (0.04, 0)], "tumor"),
        lambda: opened.add_cell("A1", "d", [(0, 0), (float("inf"), 1), (5, 5)], "tumor"),
        lambda: opened.add_cell("A1", "d", SQUARE, ""),
        lambda: opened.add_cell("A:1", "d", SQUARE, "tumor"),
        lambda: opened.change_cell("A1", "n1", "tumor"),
        lambda: opened.remove_cell("A1", "n1"),
        lambda: opened.set_region("A1", "", "tumor", []),
        lambda: opened.set_region("A1", "r1", "tumor", [SQUARE]),
        lambda: opened.remove_region("A1", "r1"),
        lambda: opened.seen("A1", Box(0, 0, 0, 5)),
    ]
    for act in bad:
        with refused():
            act()
    assert opened.log_path("C01").read_bytes() == before
    opened.close()
    for act in bad[:2]:
        with refused():
            act()


@pytest.mark.parametrize("rows", [(0,), (0, 1, 2), (1, 3), (0, 1, 5, 6, 9)])
def test_rows_are_written_short_and_read_back(rows):
    assert rows_of(spans(rows)) == rows


@pytest.mark.parametrize("text", ["", "a", "3,1", "1,1", "1-1", "0,1", "4-2", "1,", "01"])
def test_rows_written_otherwise_are_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        rows_of(text)


@pytest.mark.parametrize(
    "runs", [[["a", 3]], [["a", 1]], [["a", 0], ["a", 2]], [[1, 2]], "a", [[]]]
)
def test_classes_that_do_not_fit_the_rows_are_refused(runs):
    with pytest.raises(ValueError, match=r"\w"):
        run_classes({"classes": runs}, 2)


# --- regions, fields, drafts -----------------------------------------------------------------


def test_a_region_is_drawn_changed_and_taken_away(opened):
    hole = ((2, 2), (4, 2), (4, 4))
    assert opened.set_region("A1", "", "tumor", [SQUARE, hole], store=STORE) == "r1"
    assert opened.state.regions["A1"]["r1"] == Drawn("tumor", (SQUARE, hole), STORE)
    assert opened.set_region("A1", "r1", "stroma", [SQUARE]) == "r1"
    opened.remove_region("A1", "r1")
    assert opened.state.regions == {}
    assert [opened.undo() for _ in range(4)] == ["region:A1:r1"] * 3 + [None]
    assert opened.state.regions == {}
    assert [opened.redo() for _ in range(4)] == ["region:A1:r1"] * 3 + [None]
    assert opened.set_region("A1", "", "tumor", [SQUARE]) == "r2"


def test_a_new_action_ends_what_can_be_done_again(opened):
    opened.accept("S0")
    opened.undo()
    opened.seen("A1", Box(0, 0, 5, 5))  # no action that can be undone
    assert opened.redo() == "S0"
    opened.undo()
    opened.reject("S1")
    assert opened.redo() is None


def test_a_field_that_was_seen_is_told_once_and_stays(opened):
    for x in (0, 0, 5, 0):
        opened.seen("A1", Box(x, 0, 5, 5))
    assert [b.x for b in opened.state.seen["A1"]] == [0, 5, 0]
    assert opened.undo() is None


def test_what_is_on_the_slide_holds_for_every_draft_and_can_be_undone_there(tmp_path, opened):
    opened.accept("S0")
    opened.correct_cells(edit(1))
    opened.set_region("A1", "", "tumor", [SQUARE])
    opened.seen("A1", Box(0, 0, 5, 5))
    opened.close()
    later = session(tmp_path, LATER)
    assert later.state.decisions == {}
    assert later.state.cells == {"A1": {1: "tumor"}}
    assert later.state.seen["A1"] == [Box(0, 0, 5, 5)]
    assert [later.undo(), later.undo(), later.undo()] == ["region:A1:r1", "cells:A1", None]
    assert later.redo() == "cells:A1"
    later.close()
    back = session(tmp_path)
    assert back.state.cells == {"A1": {1: "tumor"}}
    assert list(back.state.decisions) == ["S0"]
    back.close()


def test_a_readers_own_change_of_the_draft_carries_decisions_whose_words_are_the_same(opened):
    for statement in ("S0", "S1"):
        opened.accept(statement)
    opened.edit("S2", "Tumor: seen.")
    opened.mark_reviewed()
    changed = (CASE.statements[0], Statement("S1", "Other words."), Statement("S2", "Tumor: seen."))
    opened.renew(Case("C01", CASE.findings, "e" * 64, changed))
    assert not opened.state.reviewed
    assert opened.undecided() == ("S1",)
    assert opened.state.decisions["S2"].verdict == "edited"
    assert {d.carried for d in opened.state.decisions.values()} == {CASE.draft}
    assert opened.undo() is None  # what was carried over is no action of the reader
    with refused():
        opened.renew(Case("C99"))


# --- logs of before --------------------------------------------------------------------------


def test_a_log_of_the_first_format_reads_byte_for_byte(tmp_path):
    path = tmp_path / "C01" / "dr-a.jsonl"
    path.parent.mkdir()
    path.write_bytes(FIRST.read_bytes())
    found = read_log(path)
    assert b"".join(event.line() for event in found) == FIRST.read_bytes()
    state = replay(found, CASE)
    verdicts = {k: d.verdict for k, d in state.decisions.items()}
    assert verdicts == {"S0": "accepted", "S1": "edited", "S2": "accepted"}
    assert state.answers == answers(found, "C01") == {question("tumor", "S01"): "no"}
    assert (state.outdated, state.reviewed, len(state.undoable)) == (True, False, 6)
    one = session(tmp_path)
    assert not one.hidden  # its sentences were read already
    one.undo()
    one.correct_cells(edit(1))
    one.close()
    assert path.read_bytes().startswith(FIRST.read_bytes())
    assert len(read_log(path)) == len(found) + 2
