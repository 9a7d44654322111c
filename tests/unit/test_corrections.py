"""Readers' answers become labels: of real logs, made through the review."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from pathai.cli import app
from pathai.corrections import Asked, corrected, write_sheet
from pathai.errors import PathaiError
from pathai.review import Case, ReviewSession, Statement
from pathai.review_log import ADJUDICATION
from pathai.sheet import load_sheet

TUMOR = Asked("tumor", "tumor", ("no", "yes"))
PER_SLIDE = Asked("tumor", "tumor", ("no", "yes"), "slide")
SHEET = """\
slide_id\tpath\tcase_id\tpatient_id\tmpp\ttumor\tnote
A1\ta1.svs\tCA\tPA\t0.50\tno\tfirst
A2\ta2.svs\tCA\tPA\t0.25\tno\t

B1\tb1.svs\tCB\tPB\t\tyes\tsecond
C1\tc1.svs\tCC\tPC\t\t\tno label
D1\td1.svs\tCD\tPD\t\tno
D2\td2.svs\tCE\tPD\t\tno\tother case of PD
"""
CASES = {name: Case(name, "f", "d", (Statement("S1", "Tumor is predicted."),)) for name in
         ("CA", "CB", "CC", "CD", "CE", "CX")}  # fmt: skip


@pytest.fixture
def sheet(tmp_path):
    path = tmp_path / "slides.tsv"
    path.write_text(SHEET)
    return load_sheet(path)


@pytest.fixture
def reviews(tmp_path):
    return tmp_path / "reviews"


def say(reviews, reader, case, value, slide="", task="tumor"):
    session = ReviewSession(reviews, reader, list(CASES.values()))
    session.open(case)
    session.answer(task, value, slide)
    session.close()


def labels(rows):
    return {row.slide_id: row.labels["tumor"] for row in rows}


ORIGINAL = {"A1": "no", "A2": "no", "B1": "yes", "C1": "", "D1": "no", "D2": "no"}


def test_an_answer_overrides_the_label_of_every_slide_of_the_patient(sheet, reviews):
    say(reviews, "dr-a", "CA", "yes")
    say(reviews, "dr-a", "CB", "yes")
    say(reviews, "dr-a", "CC", "no")
    say(reviews, "dr-a", "CD", "yes")  # a patient with a slide in another case
    rows, report = corrected(sheet.rows, TUMOR, reviews)
    assert [r.slide_id for r in rows] == [r.slide_id for r in sheet.rows]
    assert labels(rows) == {
        "A1": "yes", "A2": "yes", "B1": "yes", "C1": "no", "D1": "yes", "D2": "yes",
    }  # fmt: skip
    assert {r.slide_id: r.labels["tumor.before"] for r in rows} == ORIGINAL
    assert [(c.slide_id, c.before, c.after, c.by) for c in report.changed] == [
        ("A1", "no", "yes", ("CA/dr-a",)),
        ("A2", "no", "yes", ("CA/dr-a",)),
        ("C1", "", "no", ("CC/dr-a",)),
        ("D1", "no", "yes", ("CD/dr-a",)),
        ("D2", "no", "yes", ("CD/dr-a",)),
    ]
    assert report.confirmed == ("B1",)
    assert report.conflicts == ()


def test_only_answers_are_labels(sheet, reviews):
    session = ReviewSession(reviews, "dr-a", list(CASES.values()), blind=False)
    session.open("CA")
    session.reject("S1")
    session.mark_reviewed()
    session.open("CB")
    session.accept("S1")
    session.answer("tumor", "no")
    session.undo()
    session.answer("grade", "3")  # another task's question
    session.close()
    rows, report = corrected(sheet.rows, TUMOR, reviews)
    assert labels(rows) == ORIGINAL
    assert not report.changed
    assert not report.confirmed


def test_per_slide_a_slides_own_answer_goes_before_its_cases(sheet, reviews):
    say(reviews, "dr-a", "CA", "yes")
    say(reviews, "dr-a", "CA", "no", slide="A2")
    say(reviews, "dr-a", "CD", "yes")
    rows, _ = corrected(sheet.rows, PER_SLIDE, reviews)
    assert labels(rows) == ORIGINAL | {"A1": "yes", "D1": "yes"}  # D2 lies in another case
    _, report = corrected(sheet.rows, TUMOR, reviews)  # but a patient has one label
    assert [c.slides for c in report.conflicts] == [("A1", "A2")]


def test_readers_who_disagree_change_nothing_until_it_is_adjudicated(sheet, reviews):
    say(reviews, "dr-a", "CA", "yes")
    say(reviews, "dr-b", "CA", "no")
    say(reviews, "dr-a", "CD", "yes")
    say(reviews, "dr-a", "CE", "no")  # the same reader of two cases of one patient
    rows, report = corrected(sheet.rows, TUMOR, reviews)
    assert labels(rows) == ORIGINAL
    assert [(c.slides, c.answers) for c in report.conflicts] == [
        (("A1", "A2"), (("CA/dr-a", "yes"), ("CA/dr-b", "no"))),
        (("D1", "D2"), (("CD/dr-a", "yes"), ("CE/dr-a", "no"))),
    ]
    assert "left as it was: A1, A2; CA/dr-a says yes, CA/dr-b says no" in "\n".join(report.lines())
    say(reviews, ADJUDICATION, "CA", "yes")
    rows, report = corrected(sheet.rows, TUMOR, reviews)
    assert labels(rows) == ORIGINAL | {"A1": "yes", "A2": "yes"}
    assert report.changed[0].by == (f"CA/{ADJUDICATION}",)
    assert [c.slides for c in report.conflicts] == [("D1", "D2")]


def test_readers_who_agree_are_one_answer(sheet, reviews):
    say(reviews, "dr-a", "CA", "yes")
    say(reviews, "dr-b", "CA", "yes")
    _, report = corrected(sheet.rows, TUMOR, reviews)
    assert report.changed[0].by == ("CA/dr-a", "CA/dr-b")


def test_an_answer_outlives_the_draft_it_was_given_on(sheet, reviews):
    say(reviews, "dr-a", "CA", "yes")
    later = ReviewSession(reviews, "dr-a", [Case("CA", "new", "new")])
    later.open("CA")
    later.close()
    assert labels(corrected(sheet.rows, TUMOR, reviews)[0])["A1"] == "yes"
    later.open("CA")
    later.withdraw("tumor")
    later.close()
    assert labels(corrected(sheet.rows, TUMOR, reviews)[0]) == ORIGINAL


def test_a_log_that_was_tampered_with_is_an_error(sheet, reviews):
    say(reviews, "dr-a", "CA", "no")
    log = reviews / "CA" / "dr-a.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"answer":"no"', b'"answer":"yes"'))
    with pytest.raises(PathaiError, match=r"E210: CA/dr-a.jsonl: line 2"):
        corrected(sheet.rows, TUMOR, reviews)
    shutil.copytree(reviews / "CA", reviews / "CB")
    shutil.rmtree(reviews / "CA")
    with pytest.raises(PathaiError, match=r"E210: CB/dr-a"):  # a log fits one case
        corrected(sheet.rows, TUMOR, reviews)


def test_an_answer_that_the_task_does_not_allow_is_an_error(sheet, reviews):
    say(reviews, "dr-a", "CA", "maybe")
    with pytest.raises(PathaiError, match=r"E184: CA/dr-a: answer 'maybe' to tumor, not no, yes"):
        corrected(sheet.rows, TUMOR, reviews)
    count = Asked("cells", "tumor")
    say(reviews, "dr-a", "CB", "1200", task="cells")
    assert labels(corrected(sheet.rows, count, reviews)[0])["B1"] == "1200"
    say(reviews, "dr-a", "CB", "many", task="cells")
    with pytest.raises(PathaiError, match=r"E184: .*'many' to cells is no number"):
        corrected(sheet.rows, count, reviews)


def test_cases_without_a_row_are_listed_and_no_reviews_are_no_error(sheet, reviews):
    assert labels(corrected(sheet.rows, TUMOR, reviews)[0]) == ORIGINAL
    say(reviews, "dr-a", "CX", "yes")
    _, report = corrected(sheet.rows, TUMOR, reviews)
    assert report.unknown_cases == ("CX",)


# --- the sheet -------------------------------------------------------------------------------


def test_the_new_sheet_differs_in_the_labels_alone(sheet, reviews, tmp_path):
    say(reviews, "dr-a", "CA", "yes")
    say(reviews, "dr-a", "CC", "yes")
    rows, _ = corrected(sheet.rows, TUMOR, reviews)
    out = tmp_path / "new.tsv"
    write_sheet(sheet, rows, out)
    assert (tmp_path / "slides.tsv").read_text() == SHEET
    assert out.read_text() == (
        "slide_id\tpath\tcase_id\tpatient_id\tmpp\ttumor\tnote\ttumor.before\n"
        "A1\ta1.svs\tCA\tPA\t0.50\tyes\tfirst\tno\n"
        "A2\ta2.svs\tCA\tPA\t0.25\tyes\t\tno\n"
        "B1\tb1.svs\tCB\tPB\t\tyes\tsecond\tyes\n"
        "C1\tc1.svs\tCC\tPC\t\tyes\tno label\t\n"
        "D1\td1.svs\tCD\tPD\t\tno\t\tno\n"
        "D2\td2.svs\tCE\tPD\t\tno\tother case of PD\tno\n"
    )
    for again in (out, tmp_path / "slides.tsv"):
        with pytest.raises(PathaiError, match="E193"):
            write_sheet(sheet, rows, again)
    with pytest.raises(PathaiError, match=r"E193: .*beside slides.tsv"):
        write_sheet(sheet, rows, tmp_path / "elsewhere" / "new.tsv")
    # Corrected once more, the column before still holds what the sheet said at first.
    say(reviews, "dr-a", "CA", "no")
    newer, _ = corrected(load_sheet(out).rows, TUMOR, reviews)
    assert {r.slide_id: r.labels["tumor.before"] for r in newer} == ORIGINAL
    assert labels(newer)["A1"] == "no"


def test_the_verbs(tiny_copy):
    root, run = tiny_copy(), CliRunner()
    answer = ["answer", str(root), "--task", "tumor", "--reader", "dr-a", "--case"]
    assert run.invoke(app, [*answer, "C-PA", "--answer", "yes"]).exit_code == 0
    new = root / "new.tsv"
    call = ["labels", str(root), "--task", "tumor", "-o", str(new), "--json"]
    done = run.invoke(app, call)
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)[0]["changed"] == [
        {"slide_id": "T1", "before": "no", "after": "yes", "by": ["C-PA/dr-a"]}
    ]
    assert load_sheet(new)["T1"].labels["tumor"] == "yes"
    assert load_sheet(root / "slides.tsv")["T1"].labels["tumor"] == "no"
    assert "E193" in str(run.invoke(app, call).exception)  # it exists
    for wrong, code in (
        (["C-PA", "--answer", "maybe"], "E193"),
        (["C-XX", "--answer", "yes"], "E191"),
        (["C-PA", "--answer", "yes", "--slide", "T2"], "E191"),
    ):
        assert code in str(run.invoke(app, [*answer, *wrong]).exception)
    assert run.invoke(app, [*answer, "C-PA", "--withdraw"]).exit_code == 0
    rest = ["labels", str(root), "--task", "tumor", "-o", str(root / "b.tsv"), "--json"]
    assert json.loads(run.invoke(app, rest).stdout)[0]["changed"] == []
