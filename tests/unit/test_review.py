"""The event log and the session: any sequence, any crash, any changed byte."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathai import review_log
from pathai.errors import PathaiError
from pathai.review import Case, Decision, ReviewSession, Statement, replay
from pathai.review_log import Log, answers, parse, question, read_log

NOW = "2026-01-01T00:00:00+00:00"
TEXTS = ("Nuclei were counted.", "The area is “small”.", "Tumor: predicted.")
CASE = Case("C01", "f" * 64, "d" * 64, tuple(Statement(f"S{i}", t) for i, t in enumerate(TEXTS)))
OTHER = Case("C02", "a" * 64, "b" * 64, (Statement("S0", "One."),))
IDS = [s.id for s in CASE.statements]


def session(folder: Path, *cases: Case, reader: str = "anna") -> ReviewSession:
    """A session with the output in view; tests/unit/test_review_blind.py hides it."""
    return ReviewSession(folder, reader, cases or (CASE, OTHER), now=lambda: NOW, blind=False)


@pytest.fixture
def opened(tmp_path):
    one = session(tmp_path)
    one.open("C01")
    yield one
    one.close()


def refused(code: str):
    return pytest.raises(PathaiError, match=code)


# --- the session -----------------------------------------------------------------------------


def test_a_case_goes_from_unread_to_reviewed(opened):
    assert [row.status for row in opened.worklist()] == ["in review", "unread"]
    with refused("E193"):
        opened.mark_reviewed()
    opened.accept("S0")
    opened.reject("S1")
    opened.edit("S2", "  Tumor:\nseen. ")
    assert opened.state.decisions["S2"] == Decision("edited", "Tumor: seen.")
    assert opened.undecided() == ()
    opened.mark_reviewed()
    row = opened.worklist()[0]
    assert (row.status, row.decided, row.statements) == ("reviewed", 3, 3)
    assert [e.kind for e in read_log(opened.log_path("C01"))] == [
        "open", "reveal", "accept", "reject", "edit", "reviewed",
    ]  # fmt: skip


def test_undo_takes_back_each_action_and_is_logged(opened):
    opened.accept("S0")
    opened.reject("S0")
    assert opened.undo() == "S0"
    assert opened.state.decisions == {"S0": Decision("accepted", TEXTS[0])}
    assert opened.undo() == "S0"
    assert opened.undo() is None
    assert opened.state.decisions == {}
    events = read_log(opened.log_path("C01"))
    assert [(e.kind, e.what) for e in events][-2:] == [("undo", "4"), ("undo", "3")]


def test_a_reviewed_case_is_reopened_by_undo(opened):
    for statement in IDS:
        opened.accept(statement)
    opened.mark_reviewed()
    opened.undo()
    assert opened.worklist()[0].status == "in review"
    assert opened.undecided() == ()


def test_the_same_decision_twice_is_one_event(opened):
    opened.accept("S0")
    opened.accept("S0")
    assert [e.kind for e in read_log(opened.log_path("C01"))] == ["open", "reveal", "accept"]


def test_next_unreviewed_goes_round_and_skips_reviewed_cases(tmp_path):
    cases = [Case(f"C{i}", "f", "d") for i in range(4)]
    one = session(tmp_path, *cases)
    assert one.next_unreviewed() == "C0"
    assert one.next_unreviewed(-1) == "C3"
    one.open("C1")
    one.mark_reviewed()
    one.open("C0")
    assert one.next_unreviewed() == "C2"
    assert one.next_unreviewed(-1) == "C3"
    for case in ("C0", "C2", "C3"):
        one.open(case)
        one.mark_reviewed()
    assert one.next_unreviewed() is None
    one.close()


def test_a_new_draft_voids_decisions_but_keeps_them_in_the_log(tmp_path):
    one = session(tmp_path)
    one.open("C01")
    for statement in IDS:
        one.accept(statement)
    one.mark_reviewed()
    one.close()
    new = Case("C01", CASE.findings, "e" * 64, CASE.statements)
    two = session(tmp_path, new)
    row = two.worklist()[0]
    assert (row.status, row.decided, row.outdated) == ("in review", 0, True)
    two.open("C01")
    assert two.undo() is None
    two.accept("S0")
    two.close()
    back = session(tmp_path).worklist()[0]  # the first draft again: its decisions count again
    assert (back.status, back.decided, back.outdated) == ("reviewed", 3, True)


def test_two_windows_cannot_write_one_log(opened, tmp_path):
    again = session(tmp_path)
    with refused("E175"):
        again.open("C01")
    again.open("C02")
    with refused("E175"):
        again.open("C01")
    assert again.case is OTHER  # the case before stays open
    again.accept("S0")
    again.close()
    other = session(tmp_path, reader="ben")
    other.open("C01")
    other.close()


def test_readers_do_not_see_each_other(opened, tmp_path):
    opened.accept("S0")
    other = session(tmp_path, reader="ben")
    assert other.worklist()[0].status == "unread"


@pytest.mark.parametrize("reader", ["", "../x", "a/b", "a b", "a..b", "x" * 65])
def test_a_reader_id_that_is_no_file_name_is_refused(tmp_path, reader):
    with refused("E193"):
        session(tmp_path, reader=reader)


def test_no_case_and_no_statement(tmp_path, opened):
    with refused("E212"):
        ReviewSession(tmp_path, "anna", [])
    with refused("E193"):
        opened.accept("S9")
    with refused("E193"):
        opened.edit("S0", "  ")
    with refused("E193"):
        session(tmp_path / "other").accept("S0")
    undrafted = session(tmp_path, Case("C09"))
    undrafted.open("C09")
    with refused("E193"):
        undrafted.mark_reviewed()
    undrafted.close()


def test_an_answer_is_about_the_slide_and_outlives_the_draft(tmp_path):
    one = session(tmp_path)
    one.open("C01")
    one.accept("S0")
    one.answer("tumor", " yes ")
    one.answer("tumor", "no", slide_id="S1")
    one.answer("grade", "3")
    assert one.undo() == question("grade")
    one.close()
    stand = {question("tumor"): "yes", question("tumor", "S1"): "no"}
    new = Case("C01", "9" * 64, "e" * 64, CASE.statements)
    two = session(tmp_path, new)
    two.open("C01")
    assert two.state.decisions == {}  # of another draft
    assert two.state.answers == stand
    assert two.undo() is None
    two.withdraw("tumor")
    with refused("E193"):
        two.answer("tumor", "  ")
    two.answer("tumor", "no", slide_id="S1")  # as it was: no event
    two.close()
    events = read_log(two.log_path("C01"))
    assert [(e.kind, e.after) for e in events][-2:] == [("undo", None), ("answer", None)]
    assert answers(events, "C01") == {question("tumor", "S1"): "no"}
    back = session(tmp_path)
    back.open("C01")
    assert back.state.answers == {question("tumor", "S1"): "no"}
    assert list(back.state.decisions) == ["S0"]
    back.close()


def test_a_case_with_answers_alone_is_not_outdated(tmp_path):
    one = session(tmp_path)
    one.open("C02")
    one.answer("tumor", "yes")
    one.close()
    new = Case("C02", "9" * 64, "e" * 64, OTHER.statements)
    assert not session(tmp_path, new).worklist()[0].outdated


# --- the log ---------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "accept",
                "reject",
                "edit",
                "answer",
                "withdraw",
                "undo",
                "reviewed",
                "reload",
                "crash",
            ]
        ),
        st.sampled_from(IDS),
        st.text(max_size=12),
    ),
    max_size=25,
)


def act(one: ReviewSession, kind: str, what: str, text: str) -> None:
    with contextlib.suppress(PathaiError):  # a refused action must change nothing either
        if kind == "edit":
            one.edit(what, text)
        elif kind == "reviewed":
            one.mark_reviewed()
        elif kind == "undo":
            one.undo()
        elif kind == "answer":
            one.answer("tumor", text, slide_id=what)
        elif kind == "withdraw":
            one.withdraw("tumor", slide_id=what)
        else:
            getattr(one, kind)(what)


@given(actions=ACTIONS, cut=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_actions_and_reloads_gives_the_same_state(actions, cut):
    with tempfile.TemporaryDirectory() as name:
        one = session(Path(name))
        one.open("C01")
        for kind, what, text in actions:
            if kind in ("reload", "crash"):
                before = one.state
                one.close()
                if kind == "crash":  # the beginning of a line that never was finished
                    path = one.log_path("C01")
                    line = path.read_bytes().splitlines()[-1]
                    with path.open("ab") as file:
                        file.write(line[: min(cut, len(line))])
                one = session(Path(name))
                one.open("C01")
                assert one.state == before
            else:
                act(one, kind, what, text)
            events = read_log(one.log_path("C01"))
            assert replay(events, CASE) == one.state
            assert answers(events, "C01") == one.state.answers
        one.close()


@pytest.fixture(scope="module")
def log_bytes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    one = session(folder)
    one.open("C01")
    one.accept("S0")
    one.edit("S1", "The area is “tiny”.")
    one.undo()
    one.close()
    return one.log_path("C01").read_bytes()


def test_every_changed_byte_is_found(log_bytes):
    for place in range(len(log_bytes)):
        for change in (1, 32, 128, log_bytes[place] ^ 0x0A, log_bytes[place] ^ 0x20):
            if change:
                broken = bytearray(log_bytes)
                broken[place] ^= change
                with refused("E210"):
                    parse(bytes(broken), "C01", "anna")


def test_every_lost_doubled_or_swapped_line_is_found(log_bytes):
    lines = log_bytes.splitlines(keepends=True)
    for i in range(len(lines)):
        if i < len(lines) - 1:
            with refused("E210"):
                parse(b"".join(lines[:i] + lines[i + 1 :]), "C01", "anna")
            swapped = [*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]]
            with refused("E210"):
                parse(b"".join(swapped), "C01", "anna")
        with refused("E210"):
            parse(b"".join([*lines[: i + 1], lines[i], *lines[i + 1 :]]), "C01", "anna")


def test_a_log_of_another_case_or_reader_is_found(log_bytes):
    for case, reader in (("C02", "anna"), ("C01", "ben")):
        with refused("E210"):
            parse(log_bytes, case, reader)


def test_a_log_cut_anywhere_opens_with_what_was_whole(tmp_path, log_bytes):
    path = tmp_path / "C01" / "anna.jsonl"
    path.parent.mkdir()
    for length in range(len(log_bytes)):
        path.write_bytes(log_bytes[:length])
        path.with_suffix(".aside").unlink(missing_ok=True)
        whole = log_bytes[:length].count(b"\n")
        assert len(list(read_log(path))) == whole
        assert path.read_bytes() == log_bytes[:length]  # reading changes nothing
        log = Log(path)
        log.close()
        assert len(log.events) == whole
        kept = path.read_bytes()
        tail = log_bytes[len(kept) : length]
        assert log_bytes.startswith(kept)
        if tail:
            assert path.with_suffix(".aside").read_bytes() == tail + b"\n"


def test_a_full_disk_leaves_the_log_as_it_was(opened, monkeypatch):
    opened.accept("S0")
    path = opened.log_path("C01")
    before, state = path.read_bytes(), dict(opened.state.decisions)

    def full(target, data):
        with target.open("ab") as file:
            file.write(data[:10])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(review_log, "append_synced", full)
    with refused("E161"):
        opened.reject("S1")
    assert path.read_bytes() == before
    assert opened.state.decisions == state
    monkeypatch.undo()
    opened.reject("S1")
    assert [e.kind for e in read_log(path)] == ["open", "reveal", "accept", "reject"]


def test_a_broken_log_is_shown_in_the_worklist_and_never_written(tmp_path, log_bytes):
    path = tmp_path / "C01" / "anna.jsonl"
    path.parent.mkdir()
    broken = log_bytes.replace(b"tiny", b"huge")
    path.write_bytes(broken)
    one = session(tmp_path)
    assert "E210" in one.worklist()[0].problem
    with refused("E210"):
        one.open("C01")
    assert path.read_bytes() == broken
    one.open("C02")
    one.close()
