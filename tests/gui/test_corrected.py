"""Corrections count in the report from the window, without holding it up."""

import pytest
from corrected_cases import CASE, DETECTOR, make_run, nuclei
from napari.components import ViewerModel

from pathai.corrected.applied import report_of
from pathai.edits import CellEdit
from pathai.errors import PathaiError
from pathai.viewer.corrected import Corrected
from pathai.viewer.presenter import Review
from pathai.viewer.runs import Run


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def review(plan, tmp_path):
    one = Review(ViewerModel(), Run(plan.root, tmp_path / "reviews"), "dr-a")
    one.session.open(CASE)
    yield one
    one.session.close()


def now(work, done, failed):
    """At once, in this thread."""
    try:
        made = work()
    except PathaiError as error:
        failed(error)
    else:
        done(made)


def reject(review, plan, *rows):
    folder = plan.results.slide("S1")
    places = tuple(map(tuple, nuclei(plan, "S1").xy_px0[list(rows)].tolist()))
    store = folder.cells_digest(DETECTOR)
    review.session.correct_cells(CellEdit("S1", DETECTOR, store, rows, places, ""))


def count(review, plan):
    case = report_of(plan, CASE, review.run.reviews).findings()
    found = (f for f in case.findings if f.key == "cells.count")
    return int(next(f for f in found if f.evidence[0].slide_id == "S1").value.value)


def test_the_report_follows_the_corrections_when_it_is_told_to(review, plan):
    part, told = Corrected(review, now), []
    review.told.connect(told.append)
    before = count(review, plan)
    assert not part.pending()
    reject(review, plan, 3, 4)
    assert part.pending()
    assert count(review, plan) == before  # nothing changes behind the reader's back
    part.update()
    assert count(review, plan) == before - 2
    assert (part.working, part.last.by_hand, part.pending()) == ("", 2, False)
    assert told[-1].startswith(f"{CASE}: counted again")
    review.session.undo()
    assert part.pending()
    part.update()
    assert count(review, plan) == before
    assert not part.pending()


def test_a_refusal_is_told_and_the_next_try_is_free(review, plan):
    part, told = Corrected(review, now), []
    review.told.connect(told.append)
    reject(review, plan, 3)
    life = report_of(plan, CASE, review.run.reviews)
    for item in life.items():
        life.acknowledge("dr-a", item.id, "seen")
    life.submit("dr-a")
    life.sign("dr-a", "pathologist")
    part.update()
    assert "E206" in told[-1] or "signed" in told[-1]
    assert part.working == ""


def test_without_a_case_nothing_is_counted(review):
    part, told = Corrected(review, now), []
    review.told.connect(told.append)
    review.session.close()
    part.update()
    assert told == ["no case is open"]
    assert not part.pending()


def test_counting_runs_beside_the_window(review, plan, qtbot):
    part = review.part("corrected")
    assert isinstance(part, Corrected)
    reject(review, plan, 7)
    before = count(review, plan)
    part.update()
    assert part.working == CASE
    qtbot.waitUntil(lambda: not part.working, timeout=20000)
    assert count(review, plan) == before - 1
