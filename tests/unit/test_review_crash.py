"""A log that is killed, cut, changed, full or read-only."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pathai import review_log
from pathai.errors import PathaiError
from pathai.review import Case, CellEdit, ReviewSession, Statement, audit
from pathai.review.audit import read_kept
from pathai.review_log import append_synced, parse, read_log
from pathai.units import Box

CASES = [
    Case(name, "f" * 64, "d" * 64, (Statement("S0", "The area is “small”."),))
    for name in ("C01", "C02")
]
SQUARE = ((0, 0), (10, 0), (10, 10), (0, 10))
CHILD = """
import sys
from pathlib import Path
from pathai.review import Case, CellEdit, ReviewSession
one = ReviewSession(Path(sys.argv[1]), "dr-a", [Case("C01")])
one.open("C01")
for i in range(1_000_000):
    rows = tuple(range(i % 2, 4000, 2))
    one.correct_cells(CellEdit("A1", "d", "s", rows, tuple((0.0, 1.0 * r) for r in rows), f"c{i}"))
    print(i + 2, flush=True)
"""


def session(folder: Path, reader: str = "dr-a") -> ReviewSession:
    return ReviewSession(folder, reader, CASES, now=lambda: "2026-01-01", blind=False)


def written(folder: Path) -> Path:
    """A log with an event of each kind."""
    one = ReviewSession(folder, "dr-a", CASES, now=lambda: "2026-01-01")
    one.open("C01")
    one.give_impression("benign", {"tumor": "no"})
    one.accept("S0")
    one.correct_cells(CellEdit("A1", "d", "s", (3, 4), ((1.5, 2.0), (3.0, 4.0)), ""))
    one.set_region("A1", "", "tumor", [SQUARE])
    one.undo()
    one.redo()
    one.seen("A1", Box(0, 0, 5, 5))
    one.close()
    return one.log_path("C01")


def refused(code: str):
    return pytest.raises(PathaiError, match=code)


def test_a_kill_loses_at_most_the_action_in_flight(tmp_path):
    draw = random.Random(8)
    for round_ in range(4):
        folder = tmp_path / str(round_)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True
        )
        told = [child.stdout.readline() for _ in range(draw.randrange(1, 12))]
        child.send_signal(signal.SIGKILL)
        told += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        kept, saved = read_log(folder / "C01" / "dr-a.jsonl"), int(told[-1])
        assert saved <= len(kept) <= saved + 1
        one = session(folder)
        one.open("C01")  # the lock went with the child
        assert set(one.state.cells["A1"]) <= set(range(4000))
        one.close()


def test_every_changed_byte_is_found(tmp_path):
    data = written(tmp_path).read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= (1, 2, 32, 128)[place % 4]
        with refused("E210"):
            parse(bytes(changed), "C01", "dr-a")


def test_an_audit_names_the_line_that_was_altered(tmp_path):
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    other = session(tmp_path, "dr-b")
    other.open("C02")
    other.close()
    assert [(c.events, c.problem) for c in audit(tmp_path)] == [(len(lines), ""), (2, "")]
    for number in range(1, len(lines) + 1):
        altered = [*lines]
        altered[number - 1] = altered[number - 1].replace(b'"time":"2026', b'"time":"2025')
        path.write_bytes(b"".join(altered))
        first, second = audit(tmp_path)
        assert (first.line, first.events, second.problem) == (number, number - 1, "")
        assert f"line {number} is altered" in first.told()


def test_lines_cut_from_the_end_are_found_by_the_audit_before(tmp_path):
    path = written(tmp_path)
    data = path.read_bytes()
    kept = audit(tmp_path)
    assert audit(tmp_path, kept) == kept
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
    assert not audit(tmp_path)[0].problem  # from the file alone it cannot be known
    assert "at the audit before" in audit(tmp_path, kept)[0].problem
    path.write_bytes(data + data.splitlines(keepends=True)[-1][:30])
    half = audit(tmp_path, kept)[0]
    assert half.unfinished
    assert not half.problem
    path.unlink()
    assert audit(tmp_path, kept)[0].problem == "the log is gone"
    (tmp_path / "kept.json").write_text("{}")
    with refused("E193"):
        read_kept(tmp_path / "kept.json")


def test_a_broken_case_does_not_stop_the_others(tmp_path):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"benign", b"malign"))
    one = session(tmp_path)
    rows = one.worklist()
    assert "line 2" in rows[0].problem
    assert not rows[1].problem
    assert one.next_unreviewed() == "C02"
    with refused("E210"):
        one.open("C01")
    one.open("C02")
    one.close()


def test_a_folder_that_cannot_be_written_says_where_to_write_instead(tmp_path, monkeypatch):
    (tmp_path / "reviews").write_text("a file where the folder would be")
    one = session(tmp_path / "reviews")
    with refused("E160.*--reviews FOLDER"):
        one.open("C01")

    def read_only(*_, **__):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with refused("E160.*Read-only file system.*--reviews FOLDER"):
        session(tmp_path / "elsewhere").open("C01")


@pytest.mark.parametrize(("number", "code"), [(28, "E161"), (122, "E161"), (5, "E160")])
def test_a_write_that_fails_leaves_log_and_state_as_they_were(tmp_path, monkeypatch, number, code):
    one = session(tmp_path)
    one.open("C01")
    one.correct_cells(CellEdit("A1", "d", "s", (1,), ((0.0, 0.0),), "tumor"))
    before, head = one.log_path("C01").read_bytes(), one.state.value("case")

    def full(path, data):
        append_synced(path, data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(review_log, "append_synced", full)
    rows = tuple(range(1000))
    for act in (
        lambda: one.correct_cells(CellEdit("A1", "d", "s", rows, ((0.0, 0.0),) * 1000, "stroma")),
        one.undo,
        lambda: one.give_impression("benign"),
    ):
        with refused(code):
            act()
        assert one.log_path("C01").read_bytes() == before
        assert one.state.cells == {"A1": {1: "tumor"}}
        assert one.state.value("case") == head
    monkeypatch.undo()
    assert one.undo() == "cells:A1"
    one.close()
    assert not audit(tmp_path)[0].problem
