"""From a reader's log to what counts: undo, two readers, adjudication."""

import json
import re
import zipfile

import pytest
from corrected_cases import CASE, DETECTOR, edit, make_run, nuclei

from pathai.corrected import made_case
from pathai.corrected.applied import apply, counted_in, report_of
from pathai.corrected.logs import corrections_of, read_corrections
from pathai.edits import CellEdit
from pathai.errors import PathaiError
from pathai.review import Case, ReviewSession
from pathai.review_log import ADJUDICATION, read_log
from pathai.share import Pseudonyms, Wanted, share_case

SQUARE = ((100.0, 100.0), (112.0, 100.0), (112.0, 112.0), (100.0, 112.0))


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def session(tmp_path):
    opened = []

    def make(reader):
        one = ReviewSession(tmp_path / "reviews", reader, [Case(CASE)], blind=False)
        one.open(CASE)
        opened.append(one)
        return one

    yield make
    for one in opened:
        one.close()


def an_edit(plan, rows, after, slide_id="S1"):
    one = edit(plan, slide_id, rows[0], after)
    places = tuple(map(tuple, nuclei(plan, slide_id).xy_px0[list(rows)].tolist()))
    return CellEdit(slide_id, DETECTOR, one.store, tuple(rows), places, after)


def test_what_stands_in_the_log_is_what_counts(plan, session, tmp_path):
    one = session("dr-a")
    one.correct_cells(an_edit(plan, (3, 4, 9), ""))
    one.add_cell("S1", DETECTOR, SQUARE, "nucleus")
    one.set_region("S1", "", "exclude", [((0, 0), (64, 0), (64, 64), (0, 64))])
    given = read_corrections(tmp_path / "reviews", CASE)
    events = read_log(tmp_path / "reviews" / CASE / "dr-a.jsonl")
    assert given == corrections_of("dr-a", one.state, events)
    assert given.reader == "dr-a"
    slide = given.of("S1")
    assert [(e.row, e.after) for e in slide.edits] == [(3, ""), (4, ""), (9, "")]
    assert slide.added[0].outline_px0 == SQUARE
    assert slide.excluded.area == 64 * 64
    kinds = {e.sha256: e.kind for e in events}
    assert [kinds[sha] for sha in given.events] == ["cells", "cells", "region"]
    made = made_case(plan, CASE, given)
    assert made.by_hand == 4
    assert made.case.events == given.events


def test_what_was_taken_back_does_not_count(plan, session, tmp_path):
    one = session("dr-a")
    one.correct_cells(an_edit(plan, (3, 4), ""))
    one.correct_cells(an_edit(plan, (4,), "nucleus"))
    one.undo()
    stands = read_corrections(tmp_path / "reviews", CASE).of("S1").edits
    assert [e.after for e in stands] == ["", ""]
    one.undo()
    given = read_corrections(tmp_path / "reviews", CASE)
    assert not given
    assert len(given.events) == 4  # what was done and undone stays named
    assert made_case(plan, CASE, given).by_hand == 0


def test_of_two_readers_one_must_be_named(plan, session, tmp_path):
    session("dr-a").correct_cells(an_edit(plan, (3,), ""))
    session("dr-c")  # only looked
    assert read_corrections(tmp_path / "reviews", CASE).reader == "dr-a"
    session("dr-b").correct_cells(an_edit(plan, (5,), ""))
    with pytest.raises(PathaiError) as error:
        read_corrections(tmp_path / "reviews", CASE)
    assert error.value.code == "E193"
    assert "dr-a, dr-b" in str(error.value)
    found = read_corrections(tmp_path / "reviews", CASE, "dr-b")
    assert [e.row for e in found.of("S1").edits] == [5]
    with pytest.raises(PathaiError) as error:
        read_corrections(tmp_path / "reviews", CASE, "dr-z")
    assert error.value.code == "E193"


def test_the_adjudication_has_the_last_word(plan, session, tmp_path):
    one, last = session("dr-a"), session(ADJUDICATION)
    one.correct_cells(an_edit(plan, (3, 4), ""))
    one.add_cell("S1", DETECTOR, SQUARE, "nucleus")
    one.set_region("S1", "", "tumor", [((0, 0), (64, 0), (64, 64), (0, 64))])
    last.correct_cells(an_edit(plan, (4,), "nucleus"))
    last.add_cell("S1", DETECTOR, [(x + 1, y) for x, y in SQUARE], "nucleus")
    last.set_region("S1", "", "Tumor", [((0, 0), (32, 0), (32, 32), (0, 32))])
    given = read_corrections(tmp_path / "reviews", CASE, "dr-a")
    slide = given.of("S1")
    assert {e.row: e.after for e in slide.edits} == {3: "", 4: "nucleus"}
    assert len(slide.added) == 1
    assert [r.shape.area for r in slide.regions] == [32 * 32]
    assert given.reader == "dr-a, adjudication"
    assert made_case(plan, CASE, given).by_hand == 2  # row 4 is a nucleus again
    alone = read_corrections(tmp_path / "reviews", CASE, ADJUDICATION)
    assert [e.row for e in alone.of("S1").edits] == [4]


def test_a_case_that_nobody_opened_has_no_corrections(tmp_path):
    assert not read_corrections(tmp_path / "reviews", CASE)


def test_training_says_that_regions_are_no_labels(plan, session, tmp_path, capsys):
    from pathai.model_verbs import _corrected
    from pathai.task import Task

    square = [((0, 0), (64, 0), (64, 64), (0, 64))]
    session("dr-a").set_region("S1", "", "tumor", square)
    session("dr-b").set_region("S1", "", "tumor", square)
    task = Task(name="msi", question="MSI?", kind="binary", label="msi", classes=("no", "yes"))
    rows = [row.model_copy(update={"labels": {"msi": "no"}}) for row in plan.sheet.rows]
    sheet = type(plan.sheet)(rows, plan.sheet.folder, plan.sheet.name)
    _corrected(sheet, task, tmp_path / "reviews")
    assert "2 drawn regions are no labels: msi asks of a" in capsys.readouterr().err


def shared(plan, tmp_path, given):
    """Data of the page by slide, and what was told."""
    out = tmp_path / "shared.zip"
    wanted = Wanted(detector=DETECTOR, corrected=given)
    names = Pseudonyms(b"0123456789abcdef")
    rows = plan.sheet.cases()[CASE]
    made = share_case(rows, plan.results, None, out, names, wanted, overwrite=True)
    with zipfile.ZipFile(out) as archive:
        text = archive.read("index.html").decode()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    return [slide["nuclei"] for slide in json.loads(found[1])["slides"]], made.notes


def test_a_share_bundle_draws_what_the_report_counts(plan, session, tmp_path):
    """As it was counted: what is corrected afterwards is not in it, and neither is a name."""
    reviews = tmp_path / "reviews"
    one = session("dr-a")
    one.correct_cells(an_edit(plan, (3, 4, 9), ""))
    one.add_cell("S1", DETECTOR, ((300.0, 300.0), (312.0, 300.0), (312.0, 312.0)), "nucleus")
    life = report_of(plan, CASE, reviews)
    life.draft()
    assert counted_in(life, reviews) is None
    given = read_corrections(reviews, CASE, "dr-a")
    apply(plan, life, "dr-a", given)
    one.correct_cells(an_edit(plan, (20, 21), ""))
    assert counted_in(life, reviews) == given
    plain, none = shared(plan, tmp_path, None)
    assert [slide["by_hand"] for slide in plain] == [-1, -1]
    slides, notes = shared(plan, tmp_path, counted_in(life, reviews))
    counts = [sum(one["count"] for one in slide["classes"]) for slide in slides]
    before = [sum(one["count"] for one in slide["classes"]) for slide in plain]
    assert counts == [before[0] - 3 + 1, before[1]]
    assert [slide["by_hand"] for slide in slides] == [4, -1]
    assert set(notes) - set(none) == {
        "Slide 1 shows its nuclei as a person corrected them, 4 by hand."
    }
    drawn = [[c["masks"] for c in slide["classes"]] for slide in (slides[1], plain[1])]
    assert drawn[0] == drawn[1]


def open_items(plan, tmp_path):
    life = report_of(plan, CASE, tmp_path / "reviews")
    return life, [item for item in life.items() if item.id.startswith("uncounted:")]


def test_nobody_signs_without_knowing_of_corrections_that_do_not_count(plan, session, tmp_path):
    one = session("dr-a")
    assert open_items(plan, tmp_path)[1] == []
    one.set_region("S1", "", "reviewed", [((0, 0), (64, 0), (64, 64), (0, 64))])
    assert open_items(plan, tmp_path)[1] == []  # it changes no count
    one.correct_cells(an_edit(plan, (3, 4), ""))
    life, (item,) = open_items(plan, tmp_path)
    assert "dr-a corrected" in item.message
    apply(plan, life, "dr-a", read_corrections(tmp_path / "reviews", CASE))
    assert open_items(plan, tmp_path)[1] == []
    one.correct_cells(an_edit(plan, (7,), ""))
    life, (later,) = open_items(plan, tmp_path)
    assert later.id != item.id
    life.acknowledge("dr-a", later.id, "not of this report")
    assert open_items(plan, tmp_path)[1] == []
    other = session("dr-b")
    other.correct_cells(an_edit(plan, (9,), ""))
    assert len(open_items(plan, tmp_path)[1]) == 1
    other.undo()
    assert open_items(plan, tmp_path)[1] == []
    one.undo()  # the later one, which never counted
    assert open_items(plan, tmp_path)[1] != []  # whoever looks at the log sees something new
    one.undo()  # the one that the report stands on
    life, (_,) = open_items(plan, tmp_path)
    apply(plan, life, "dr-a", read_corrections(tmp_path / "reviews", CASE))
    assert life.findings() == life.pipeline()
