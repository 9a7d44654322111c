"""The report side of the review window without a window: what stands, what is open, signing."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from life_cases import documents
from run_folder import make_run

from pathai.finding import load_findings
from pathai.report.life import neighbors
from pathai.report.life.case import Entered
from pathai.report.life.trail import LOCK
from pathai.report.records import WATERMARK
from pathai.review_log import lock_file
from pathai.store.manifest import canonical

os.environ.setdefault("NAPARI_CONFIG", "")  # napari's settings stay in memory

from napari.components import ViewerModel

from pathai.viewer.preferences import Preferences
from pathai.viewer.presenter import Review
from pathai.viewer.runs import Run

OPENED = []


@pytest.fixture(autouse=True)
def _closed():
    """Let go of every log."""
    yield
    while OPENED:
        OPENED.pop().close()


class Quiet(Review):
    """A review that draws no slide."""

    def show_slide(self, slide_id):
        """Nothing to look at."""

    def _go_to_slide(self, slide_id):
        """Nothing to look at."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run with a layout of the prostate; nobody may write to it."""
    folder = tmp_path_factory.mktemp("run") / "demo"
    return make_run(folder, side=512, template="prostate_core")


def review_of(folder, reviews, case="C01", reader="dr-a", *, blind=False):
    """The review of a case and its report part; decisions go to a folder of the test."""
    review = Quiet(ViewerModel(), Run(folder, reviews), reader, Preferences(blind=blind))
    OPENED.append(review)
    review.heard = []
    review.told.connect(review.heard.append)
    review.open_case(case)
    return review, review.part("report")


@pytest.fixture
def desk(written, tmp_path):
    """Review and report of the first case."""
    return review_of(written, tmp_path / "reviews")


def accept_all(review):
    """Accept what has no decision yet."""
    for statement in review.session.undecided():
        review.session.accept(statement)
    review.changed.emit()


def answer_for_all(report):
    """Answer for every item that may be answered for."""
    for one in report.page.open:
        if one.how == "acknowledge":
            assert report.acknowledge(one.id, "seen on the slide")


def by_key(report, key):
    """The sentence on the finding of a key."""
    now = report.page.now
    ids = [f.id for f in now.case.findings if f.key == key]
    return next(r for r in report.page.rows if r.sentence.finding in ids)


# --- what is shown ---------------------------------------------------------------------------


def test_looking_writes_no_trail(desk, tmp_path):
    _, report = desk
    assert report.page.state == "draft"
    assert report.page.rows
    assert not (tmp_path / "reviews" / "C01" / "report").exists()


def test_sentences_are_those_of_the_trail_with_the_places_of_their_findings(
    desk, written, tmp_path
):
    review, report = desk
    before = by_key(report, "cells.count").sentence
    assert before.places
    life = review.run.life("C01")
    life.edit("dr-b", before.id, before.text.replace("Number", "Here the number"))
    assert report.look()  # another program did this
    after = by_key(report, "cells.count").sentence
    assert after.text.startswith("Here the number")
    assert (after.source, after.evidence) == ("human", before.evidence)
    assert review.sentence(after.id) == after  # cards and flight have the same
    assert not report.look()
    again, _ = review_of(written, tmp_path / "reviews", reader="dr-c")
    assert again.sentence(after.id) == after


def test_accepted_sentences_stay_accepted_when_a_value_is_entered(desk):
    review, report = desk
    accept_all(review)
    texts = {row.sentence.finding: row.sentence.text for row in report.page.rows}
    assert review.part("entry").enter(
        {("gleason.primary", ""): "p3", ("gleason.secondary", ""): "p4"}
    )
    rows = {row.sentence.finding: row for row in report.page.rows}
    same = [i for i, row in rows.items() if texts.get(i) == row.sentence.text]
    assert 0 < len(same) < len(rows)
    for name, row in rows.items():
        assert row.mark == ("accepted" if name in same else ""), name


# --- verdicts and words ----------------------------------------------------------------------


def test_a_rejected_sentence_is_open_until_it_is_mended(desk):
    review, report = desk
    accept_all(review)
    said = by_key(report, "cells.count").sentence
    for mend in (
        lambda: report.edit(said.id, said.text.replace("Number", "Counted number")),
        lambda: report.delete(said.id, "not needed"),
        lambda: review.session.accept(said.id),
    ):
        review.session.reject(said.id)
        assert f"rejected:{said.id}" in {one.id for one in report.page.open}
        mend()
        assert not [one for one in report.page.open if one.statement == said.id]
        if review.session.state.decisions.get(said.id) is None or said.source == "template":
            report.restore(said.id)
            if by_key(report, "cells.count").mark == "":
                assert f"open:{said.id}" in {one.id for one in report.page.open}
                review.session.accept(said.id)


def test_words_are_checked_at_once_and_never_changed(desk):
    _, report = desk
    said = by_key(report, "cells.count").sentence
    words = report.words(said.id)
    assert words.problems(said.text) == []
    assert words.value in said.text
    wrong = "The number of nuclei in the analyzed tissue is 999999."
    assert words.problems(wrong)
    assert report.edit(said.id, wrong)
    row = by_key(report, "cells.count")
    assert (row.sentence.text, row.mark) == (wrong, "flagged")
    assert row.says
    found = next(one for one in report.page.open if one.statement == said.id)
    assert found.how == "acknowledge"
    assert report.acknowledge(found.id, "counted by hand")
    assert by_key(report, "cells.count").mark == "edited"


def test_added_sentences_stand_beside_their_finding(desk):
    _, report = desk
    finding = by_key(report, "cells.count").sentence.finding
    assert finding in dict(report.findings())
    made = report.add(finding, by_key(report, "cells.count").sentence.text)
    row = next(r for r in report.page.rows if r.sentence.id == made)
    assert (row.mark, row.sentence.finding) == ("edited", finding)
    assert report.restore(made)
    assert made not in {r.sentence.id for r in report.page.rows}


def test_undo_takes_the_verdict_back_and_leaves_the_words(desk):
    review, report = desk
    said = by_key(report, "cells.count").sentence
    words = said.text.replace("Number", "Counted number")
    report.edit(said.id, words)
    review.undo()
    row = by_key(report, "cells.count")
    assert (row.mark, row.sentence.text) == ("", words)


# --- entering --------------------------------------------------------------------------------


def test_the_form_asks_what_the_layout_asks_and_tells_contradictions_before_writing(desk, tmp_path):
    review, report = desk
    form = review.part("entry")
    asked = [field.key for field in form.fields()]
    assert asked[:3] == ["diagnosis.category", "gleason.primary", "gleason.secondary"]
    typed = {("prostate.cores", ""): "6", ("prostate.cores_positive", ""): "9"}
    found = form.preview(typed)
    assert len(found.contradictions) == 1
    assert "9" in found.contradictions[0]
    assert "6" in found.contradictions[0]
    assert form.preview({("prostate.cores", ""): "many"}).problem
    grades = {("gleason.primary", ""): "p4", ("gleason.secondary", ""): "p3"}
    assert any("Grade Group 3" in one for one in form.preview(grades).follows)
    assert not (tmp_path / "reviews" / "C01" / "report").exists()
    assert form.enter(typed)
    mend = [one for one in report.page.open if one.how == "mend"]
    assert len(mend) == 1
    assert form.standing() == found.contradictions
    cores = next(f for f in form.fields() if f.key == "prostate.cores")
    assert (cores.given, cores.stands) == (6, "6")
    assert form.withdraw(cores)
    assert not [one for one in report.page.open if one.how == "mend"]
    cores = next(f for f in form.fields() if f.key == "prostate.cores")
    assert (cores.given, cores.stands) == (None, "")


def test_a_value_that_does_not_fit_writes_nothing(desk):
    review, report = desk
    assert not review.part("entry").enter({("gleason.primary", ""): "p9"})
    assert "E204" in review.heard[-1]
    assert not report.page.now.state.entries


@pytest.mark.parametrize("place", ["", "SP1", "S01"])
def test_what_was_entered_elsewhere_can_be_withdrawn_in_the_form(desk, place):
    review, report = desk
    assert not report.page.now.state.entries
    review.run.life("C01").enter("dr-b", [Entered("gleason.primary", "p3", place)])
    assert report.look()
    form = review.part("entry")
    field = next(f for f in form.fields() if f.key == "gleason.primary")
    assert field.given == "p3"
    assert form.withdraw(field)
    assert not report.page.now.state.entries


def test_a_value_per_slide_has_a_field_for_each_slide_that_suits(written, tmp_path):
    review, _ = review_of(written, tmp_path / "reviews", case="C02")
    form = review.part("entry")
    assert "ki67.positive_percent" in dict(form.others())
    form.ask("ki67.positive_percent")
    found = [f for f in form.fields() if f.key == "ki67.positive_percent"]
    assert [f.place for f in found] == ["S03"]  # S02 is stained with hematoxylin and eosin
    assert form.enter({("ki67.positive_percent", "S03"): "14,5"})
    now = next(f for f in form.fields() if f.key == "ki67.positive_percent")
    assert now.given == 14.5


# --- signing ---------------------------------------------------------------------------------


def test_sign_when_nothing_is_open_and_amend_with_a_reason(desk, written, tmp_path):
    review, report = desk
    assert report.sign("pathologist") == []
    assert "Not signed" in review.heard[-1]
    answer_for_all(report)
    accept_all(review)
    assert report.page.signable
    assert WATERMARK in review.run.life("C01").document("html").decode()
    found = report.sign("pathologist")
    assert [p.name for p in found[:3]] == ["signed-1.pdf", "signed-1.fhir.json", "signed-1.json"]
    assert all(p.stat().st_size for p in found)
    page = report.page
    assert (page.state, page.closed, page.signable, page.open) == ("signed", True, False, ())
    assert (page.signed.reader, page.signed.role) == ("dr-a", "pathologist")
    html = review.run.life("C01").document("html").decode()
    assert WATERMARK not in html
    assert "name and role" in html
    assert review.session.worklist()[0].status == "signed"
    assert not report.edit(page.rows[0].sentence.id, "Other words.")
    assert "E206" in review.heard[-1]
    assert report.amend("a second look")
    assert (report.page.state, report.page.version) == ("draft", 2)
    assert report.page.signable  # nothing has changed, and every word was accepted
    assert review.session.worklist()[0].status != "signed"
    assert review.run.life("C01").audit().faults == ()


def test_nobody_signs_what_was_changed_since_it_was_read(desk, monkeypatch):
    review, report = desk
    answer_for_all(report)
    accept_all(review)
    page = report.page
    said = by_key(report, "cells.count").sentence
    review.run.life("C01").edit("dr-b", said.id, said.text.replace("Number", "Counted number"))
    monkeypatch.setattr(type(report), "page", property(lambda self: page))  # not looked again
    assert report.sign("pathologist") == []
    assert "changed since it was read" in review.heard[-1]
    assert review.run.life("C01").state != "signed"


def test_new_findings_are_told_with_the_way_out(written, tmp_path, monkeypatch):
    import shutil

    folder = Path(shutil.copytree(written, tmp_path / "demo"))
    review, report = review_of(folder, tmp_path / "reviews")
    said = by_key(report, "tissue.area_mm2").sentence
    words = said.text.replace("Tissue", "Measured tissue")
    assert report.edit(said.id, words)
    path = review.run.plan.results.case("C01").findings
    case = load_findings(path.read_text("utf-8"))
    kept = tuple(f for f in case.findings if f.key != "cells.density_per_mm2")
    assert len(kept) < len(case.findings)
    made = case.model_copy(update={"findings": kept, "digest": ""}).sealed()
    path.write_bytes(canonical(made.model_dump(mode="json")))
    assert report.page.stale
    assert "stale" in {one.id for one in report.page.open}
    assert not report.delete(said.id, "no use")
    assert "redraft" in review.heard[-1]
    assert report.redraft(), review.heard
    assert not report.page.stale
    assert by_key(report, "tissue.area_mm2").sentence.text == words


# --- trouble ---------------------------------------------------------------------------------


def test_a_report_that_another_program_writes_is_told_calmly(desk, tmp_path):
    review, report = desk
    said = report.page.rows[0].sentence
    folder = tmp_path / "reviews" / "C01" / "report"
    folder.mkdir(parents=True)
    with (folder / LOCK).open("ab") as held:
        lock_file(held)
        assert not report.delete(said.id, "no use")
    assert "E175" in review.heard[-1]
    assert not (folder / "audit.jsonl").exists()
    assert report.delete(said.id, "no use")


def test_reviews_that_cannot_be_written_are_told(desk, tmp_path):
    review, report = desk
    said = report.page.rows[0].sentence
    (tmp_path / "reviews" / "C01" / "report").write_text("not a folder")
    assert not report.delete(said.id, "no use")
    assert "E160" in review.heard[-1]


def test_a_broken_trail_is_told_and_nothing_can_be_signed(desk, tmp_path):
    _, report = desk
    assert report.delete(report.page.rows[0].sentence.id, "no use")
    log = tmp_path / "reviews" / "C01" / "report" / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"no use", b"no Use"))
    head = log.with_name("audit.head")
    head.write_bytes(head.read_bytes() + b" ")
    assert "E207" in report.page.problem
    assert not report.page.signable
    assert report.sign("pathologist") == []


def test_a_hidden_report_can_neither_be_changed_nor_signed(written, tmp_path):
    review, report = review_of(written, tmp_path / "reviews")
    review.session.close()
    review.session.blind = True
    review.session.reader = "dr-b"
    review.session.open("C01")
    assert review.session.hidden
    assert report.page.open[0].how == "wait"
    assert not report.delete(report.page.rows[0].sentence.id, "no use")
    assert report.sign("pathologist") == []
    review.session.give_impression("looks like adenocarcinoma")
    assert "blind" not in {one.id for one in report.page.open}


# --- whatever is done ------------------------------------------------------------------------

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["accept", "reject", "undo", "good", "bad", "delete", "restore", "add", "answer",
             "enter", "withdraw", "all", "redraft"]
        ),
        st.integers(0, 30),
    ),
    min_size=3,
    max_size=12,
)  # fmt: skip


def act(review, report, what, number):
    """One action on one of the sentences, as the panel would do it."""
    row = report.page.rows[number % len(report.page.rows)]
    said = row.sentence
    if what in ("accept", "reject"):
        if row.mark != "deleted":
            getattr(review.session, what)(said.id)
    elif what == "undo":
        review.undo()
    elif what == "good":
        report.edit(said.id, said.text)
    elif what == "bad":
        report.edit(said.id, f"It is {number + 1000}.")
    elif what == "delete":
        report.delete(said.id, "no use")
    elif what == "restore":
        report.restore(said.id)
    elif what == "add":
        report.add(said.finding, said.text)
    elif what == "answer":
        answer_for_all(report)
    elif what == "enter":
        review.part("entry").enter({("prostate.cores", ""): str(5 + number)})
    elif what == "withdraw":
        given = [f for f in review.part("entry").fields() if f.given is not None]
        for field in given[:1]:
            review.part("entry").withdraw(field)
    elif what == "redraft":
        report.redraft()
    else:
        accept_all(review)
        answer_for_all(report)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS)
def test_whatever_is_done_the_trail_is_whole_and_only_a_closed_list_is_signed(
    written, monkeypatch, actions
):
    monkeypatch.setattr(neighbors, "documents", documents)
    with tempfile.TemporaryDirectory() as folder:
        reviews = Path(folder) / "reviews"
        review, report = review_of(written, reviews)
        for what, number in actions:
            act(review, report, what, number)
        life = review.run.life("C01")
        assert life.audit().faults == ()
        now, made = life.revision(), review.session.state.decisions
        read = all(
            said.id in made
            and made[said.id].text == said.rendered
            and made[said.id].verdict != "rejected"
            for said in now.draft.statements()
        )
        free = read and not life.items() and not life.stale()
        assert report.page.signable == free
        assert bool(report.sign("pathologist")) == free
        assert (life.state == "signed") == free
        assert life.audit().faults == ()
        again, other = review_of(written, reviews.parent / "reviews", reader="dr-b")
        assert {r.sentence.text for r in other.page.rows if r.mark != "deleted"} == {
            said.rendered for said in now.draft.statements()
        }
        again.close()
        review.close()
