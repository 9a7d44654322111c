"""Two readers of one case, who settles it, and the worklist of one of them."""

import json
from pathlib import Path

import pytest
from run_folder import make_run
from typer.testing import CliRunner

from pathai.cli import app
from pathai.errors import PathaiError
from pathai.review import (
    Case,
    CellEdit,
    ReviewSession,
    Row,
    Statement,
    audit,
    compare,
    filtered,
    ordered,
    readings,
)
from pathai.review.worklist import next_row
from pathai.review_log import ADJUDICATION
from pathai.units import Box
from pathai.viewer.runs import Run

CASE = Case("C01", "f" * 64, "d" * 64, tuple(Statement(f"S{i}", f"Words {i}.") for i in range(3)))
IDS = [s.id for s in CASE.statements]
WHOLE = Box(0, 0, 1000, 1000)


def square(x: float, y: float, side: float) -> tuple[tuple[float, float], ...]:
    return ((x, y), (x + side, y), (x + side, y + side), (x, y + side))


def reader(folder: Path, name: str, **settings) -> ReviewSession:
    one = ReviewSession(folder, name, [CASE], now=lambda: "2026-01-01", blind=False, **settings)
    one.open("C01")
    return one


def edit(rows, after: str) -> CellEdit:
    return CellEdit("A1", "d", "s", tuple(rows), tuple((r * 10.0, 5.0) for r in rows), after)


@pytest.fixture
def two(tmp_path):
    both = reader(tmp_path, "dr-a"), reader(tmp_path, "dr-b")
    yield both
    for one in both:
        one.close()


@pytest.fixture
def judge(tmp_path):
    one = reader(tmp_path, ADJUDICATION)
    yield one
    one.close()


def told(folder: Path) -> list[tuple]:
    return [(d.kind, d.what, d.slide_id, dict(d.said), d.settled) for d in compare(folder, CASE)]


# --- two readers -----------------------------------------------------------------------------


def test_readers_who_say_the_same_do_not_disagree(two, tmp_path):
    for one in two:
        one.accept("S0")
        one.answer("tumor", "yes")
        one.correct_cells(edit((1, 2), "tumor"))
        one.set_region("A1", "", "tumor", [square(0, 0, 100)])
    two[0].reject("S1")  # the other one has not come to it yet
    assert told(tmp_path) == []


def test_sentences_that_are_decided_differently(two, judge, tmp_path):
    a, b = two
    a.accept("S0")
    b.reject("S0")
    a.edit("S1", "Words one.")
    b.edit("S1", "Words two.")
    said = {"dr-a": "edited to 'Words one.'", "dr-b": "edited to 'Words two.'"}
    first = ("sentence", "S0", "", {"dr-a": "accepted", "dr-b": "rejected"})
    assert told(tmp_path) == [(*first, ""), ("sentence", "S1", "", said, "")]
    judge.accept("S0")
    assert told(tmp_path)[0] == (*first, "accepted")
    later = Case("C01", "f" * 64, "e" * 64, CASE.statements)
    assert compare(tmp_path, later) == []  # what was decided on another draft


def test_an_answer_to_a_slide_is_compared_with_one_to_the_case(two, judge, tmp_path):
    a, b = two
    a.answer("tumor", "yes")
    b.answer("tumor", "yes")
    b.answer("tumor", "no", slide_id="A1")
    judge.answer("tumor", "no")
    said = {"dr-a": "yes", "dr-b": "no"}
    assert told(tmp_path) == [("answer", "answer:tumor:A1", "A1", said, "no")]


def test_nuclei_are_compared_where_both_looked(two, judge, tmp_path):
    a, b = two
    a.correct_cells(edit((1, 2, 3), "tumor"))
    a.correct_cells(edit((50,), ""))
    b.correct_cells(edit((2, 3), "stroma"))
    found = compare(tmp_path, CASE)
    assert [(d.rows, dict(d.said)) for d in found] == [
        ((2, 3), {"dr-a": "tumor", "dr-b": "stroma"})
    ]
    b.seen("A1", Box(0, 0, 100, 10))  # row 1 at x 10, and not row 50 at x 500
    judge.correct_cells(edit((3,), "tumor"))
    found = {(d.rows, d.said[1][1], d.settled) for d in compare(tmp_path, CASE)}
    assert found == {
        ((1,), "left as detected", ""),
        ((2,), "stroma", ""),
        ((3,), "stroma", "tumor"),
    }
    b.seen("A1", Box(400, 0, 200, 10))
    gone = next(d for d in compare(tmp_path, CASE) if d.rows == (50,))
    assert dict(gone.said) == {"dr-a": "no nucleus", "dr-b": "left as detected"}
    assert (gone.xy_px0, gone.store, gone.what) == (((500.0, 5.0),), "s", "d")


def test_added_nuclei_are_the_same_where_their_outlines_meet(two, judge, tmp_path):
    a, b = two
    a.add_cell("A1", "d", square(0, 0, 10), "tumor")
    b.add_cell("A1", "d", square(2, 1, 10), "tumor")
    a.add_cell("A1", "d", square(100, 0, 10), "tumor")
    b.add_cell("A1", "d", square(101, 1, 10), "stroma")
    a.add_cell("A1", "d", square(300, 0, 10), "tumor")
    said = {"dr-a": "tumor", "dr-b": "stroma"}
    assert told(tmp_path) == [("cells", "d", "A1", said, "")]
    b.seen("A1", Box(250, 0, 100, 100))
    judge.seen("A1", Box(250, 0, 100, 100))
    judge.add_cell("A1", "d", square(100, 0, 10), "tumor")
    assert told(tmp_path) == [
        ("cells", "d", "A1", said, "tumor"),
        ("cells", "d", "A1", {"dr-a": "tumor", "dr-b": "no nucleus"}, "no nucleus"),
    ]


def test_regions_of_one_name_are_compared_together(two, judge, tmp_path):
    a, b = two
    a.set_region("A1", "", "tumor", [square(0, 0, 100)])
    b.set_region("A1", "", "tumor", [((0, 0), (50, 0), (50, 100), (0, 100))])
    b.set_region("A1", "", "tumor", [((50, 0), (90, 0), (90, 100), (50, 100))])
    a.set_region("A1", "", "necrosis", [square(0, 0, 10)])
    assert told(tmp_path) == []  # 0.9 of one another; necrosis: the other may not be there yet
    for statement in IDS:
        b.accept(statement)
    b.mark_reviewed()
    only = compare(tmp_path, CASE)
    assert [(d.what, d.iou, d.said) for d in only] == [
        ("necrosis", 0.0, (("dr-a", "100 px²"), ("dr-b", "not drawn")))
    ]
    b.undo()
    b.remove_region("A1", "r2")
    bow = [((0, 0), (100, 100), (100, 0), (0, 100))]  # crosses itself: half of the square
    judge.set_region("A1", "", "tumor", bow)
    [found] = compare(tmp_path, CASE)
    assert (found.what, found.iou, found.settled) == ("tumor", 0.5, "5000 px²")


def test_a_reader_is_blind_to_the_others_until_the_case_is_reviewed(two, judge):
    a, b = two
    a.accept("S0")
    for statement in IDS:
        b.reject(statement)
    assert (a.others(), b.others(), judge.others()) == ((), (), ())
    assert b.disagreements() == []
    b.mark_reviewed()
    assert b.others() == (ADJUDICATION, "dr-a")
    assert [d.what for d in b.disagreements()] == ["S0"]
    assert a.disagreements() == []
    assert judge.others() == ("dr-b",)
    b.undo()
    assert b.others() == ()


def test_a_broken_log_is_named_and_the_others_are_compared(two, tmp_path):
    a, b = two
    third = reader(tmp_path, "dr-c")
    third.close()
    a.accept("S0")
    b.reject("S0")
    path = third.log_path("C01")
    path.write_bytes(path.read_bytes().replace(b"2026", b"2025"))
    found = readings(tmp_path, CASE)
    assert [(one.reader, bool(one.problem)) for one in found] == [
        ("dr-a", False), ("dr-b", False), ("dr-c", True),
    ]  # fmt: skip
    assert len(compare(tmp_path, CASE)) == 1
    assert compare(tmp_path, CASE, ["dr-a", "dr-c"]) == []


# --- the worklist ----------------------------------------------------------------------------

ROWS = [
    Row("C10", "in review", 1, 3, flags=("stat", "few nuclei")),
    Row("C2", "signed", 3, 3),
    Row("C1", "unread", 0, 3, problem="E210: broken"),
    Row("C3", "unread", 0, 9, flags=("stat",)),
]


def ids(rows) -> list[str]:
    return [row.case_id for row in rows]


@pytest.mark.parametrize(
    ("words", "statuses", "wanted"),
    [
        ("", (), ["C10", "C2", "C1", "C3"]),
        ("STAT nuclei", (), ["C10"]),
        ("stat", ("unread",), ["C3"]),
        ("broken", (), ["C1"]),
        ("c1", (), ["C10", "C1"]),
        ("stat broken", (), []),
    ],
)
def test_rows_are_filtered_by_words_and_status(words, statuses, wanted):
    assert ids(filtered(ROWS, words, statuses)) == wanted


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("sheet", ["C10", "C2", "C1", "C3"]),
        ("case", ["C1", "C2", "C3", "C10"]),
        ("status", ["C1", "C3", "C10", "C2"]),
        ("flags", ["C10", "C1", "C3", "C2"]),
        ("undecided", ["C3", "C1", "C10", "C2"]),
    ],
)
def test_rows_are_ordered(by, wanted):
    assert ids(ordered(ROWS, by)) == wanted
    assert sorted(ids(ordered(ROWS, by, backwards=True))) == sorted(wanted)
    assert ids(ordered(ROWS, "case", backwards=True)) == ["C10", "C3", "C2", "C1"]


def test_the_next_row_is_one_that_can_be_read():
    assert next_row(ROWS).case_id == "C10"
    assert next_row(ROWS, "C10").case_id == "C3"
    assert next_row(ROWS, "C10", -1).case_id == "C3"
    assert next_row(ROWS[1:3]) is None
    assert next_row([]) is None


def test_signed_comes_from_the_report_and_flags_from_the_caller(tmp_path):
    cases = [Case(f"C{i}", "f", "d") for i in range(3)]
    signed = {"C1"}
    for source in (signed, lambda case_id: case_id in signed):
        one = ReviewSession(tmp_path, "dr-a", cases, signed=source, flags={"C0": ["stat"]})
        assert [(r.status, r.flags) for r in one.worklist()] == [
            ("unread", ("stat",)), ("signed", ()), ("unread", ()),
        ]  # fmt: skip
        assert one.next_unreviewed() == "C0"
    one.open("C0")
    assert one.next_unreviewed() == "C2"
    signed.add("C2")
    assert one.next_unreviewed() is None
    one.close()


# --- the command -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("run") / "run")
    records = [case.record for case in Run(folder).cases.values()]
    for name, act in (("dr-a", "accept"), ("dr-b", "reject")):
        one = ReviewSession(folder / "reviews", name, records)
        one.open("C01")
        one.give_impression("tumor", {"tumor": "yes"})
        getattr(one, act)(one.undecided()[0])
        one.close()
    return folder


def test_the_command_tells_readers_and_disagreements(run):
    done = CliRunner().invoke(app, ["readers", str(run), "--json"])
    assert done.exit_code == 0
    found = {one["case"]: one for one in json.loads(done.stdout)}
    assert [r["reader"] for r in found["C01"]["readers"]] == ["dr-a", "dr-b"]
    assert all(r["blind"] and r["status"] == "in review" for r in found["C01"]["readers"])
    assert [d["kind"] for d in found["C01"]["disagreements"]] == ["sentence"]
    assert found["C02"]["readers"] == []
    text = CliRunner().invoke(app, ["readers", str(run), "--case", "C01"])
    assert "C01: 2 readers, 1 disagreements" in text.stderr
    assert "dr-a: accepted, dr-b: rejected" in text.stderr


def test_a_broken_chain_makes_the_command_fail_and_is_named(run, tmp_path):
    reviews = tmp_path / "reviews"
    (reviews / "C01").mkdir(parents=True)
    kept = CliRunner().invoke(app, ["readers", str(run), "--audit", "--json"])
    assert kept.exit_code == 0
    (tmp_path / "kept.json").write_text(kept.stdout)
    for name in ("dr-a", "dr-b"):
        data = (run / "reviews" / "C01" / f"{name}.jsonl").read_bytes()
        (reviews / "C01" / f"{name}.jsonl").write_bytes(data)
    log = reviews / "C01" / "dr-b.jsonl"
    data = log.read_bytes()
    options = ["readers", str(run), "--reviews", str(reviews)]
    log.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
    cut = [*options, "--audit", "--kept", str(tmp_path / "kept.json")]
    assert CliRunner().invoke(app, cut).exit_code == 1
    log.write_bytes(data.replace(b'"tumor":"yes"', b'"tumor":"no!"'))
    told = CliRunner().invoke(app, options)
    assert told.exit_code == 1
    assert "dr-b: E210: C01/dr-b.jsonl: line 2" in told.stderr
    audited = CliRunner().invoke(app, [*options, "--audit"])
    assert audited.exit_code == 1
    assert "C01/dr-b.jsonl: line 2 is altered" in audited.stderr
    assert [c.line for c in audit(reviews)] == [0, 2]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--case", "C99"], "E191"),
        (["--audit", "--case", "C01"], "E193"),
        (["--kept", "nothing.json"], "E193"),
        (["--audit", "--kept", "nothing.json"], "E193"),
    ],
)
def test_a_wrong_call_is_told(run, options, code):
    done = CliRunner().invoke(app, ["readers", str(run), *options])
    assert isinstance(done.exception, PathaiError)
    assert done.exception.code == code
