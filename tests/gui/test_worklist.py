"""The worklist: what it says of every case, and how a reader gets about in it."""

import gc
import json

import numpy as np
import pytest

from pathai.review_log import read_log


@pytest.fixture
def window(run_folder, qtbot):
    """The window on the run, with the pictures of the worklist made."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    viewer, dock = open_window(run_folder, "dr-a")
    qtbot.waitUntil(lambda: len(dock.worklist.table._pictures) == 2)
    yield viewer, dock
    viewer.close()
    QApplication.processEvents()
    gc.collect()


def press(widget, key, modifier="No"):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    held = getattr(Qt.KeyboardModifier, f"{modifier}Modifier")
    QTest.keyClick(widget, getattr(Qt.Key, f"Key_{key}"), held)


def cells(dock, column):
    """What one column of the list says, from the top."""
    table = dock.worklist.table
    return [table.index(row, column).data() for row in range(table.rowCount())]


def read(dock):
    """Decide on everything in the open case."""
    for sentence in dock.review.case.sentences:
        dock.review.session.accept(sentence.id)
    dock.review.mark_reviewed()


@pytest.mark.gui
def test_every_case_has_picture_status_count_and_flags(window):
    from qtpy.QtCore import Qt

    _, dock = window
    table = dock.worklist.table
    assert cells(dock, 1) == ["C01", "C02", "C03"]
    assert cells(dock, 2) == ["◐ in review", "○ unread", "○ unread"]
    assert cells(dock, 4) == ["", "", "1 without pixels · no draft"]
    role = Qt.ItemDataRole.DecorationRole
    icons = [table.index(row, 0).data(role) for row in range(3)]
    assert icons[2] is None
    for icon, slide in zip(icons, ("S01", "S02"), strict=False):
        picture = dock.worklist.thumbnails.known[slide]
        sizes = [(size.width(), size.height()) for size in icon.availableSizes()]
        assert sizes == [(64, 64)]
        assert picture.shape == (256, 256, 3)
    assert "3 cases, 3 to read" in dock.worklist.count.text()
    read(dock)
    assert cells(dock, 2)[0] == "● reviewed"
    count = len(dock.review.case.sentences)
    assert cells(dock, 3)[0] == f"{count} of {count}"
    assert "2 to read" in dock.worklist.count.text()


@pytest.mark.gui
def test_a_picture_is_the_slide_made_smaller(window, run_folder):
    from pathai.viewer.thumbnails import small

    _, dock = window
    pixels = dock.review.run.slide("S01").open_tiles().dask()[0].compute()
    exact = pixels.reshape(256, 4, 256, 4, 3).mean(axis=(1, 3))
    shown = dock.worklist.thumbnails.known["S01"].astype(float)
    assert np.abs(shown - exact).mean() < 3
    wide = small(np.full((300, 900, 3), 7, np.uint8))
    assert wide.shape == (85, 256, 3)
    assert (wide == 7).all()


@pytest.mark.gui
def test_w_opens_the_list_arrows_and_enter_a_case_and_w_goes_back(window):
    _, dock = window
    view = dock.worklist.view
    assert dock.tabs.currentIndex() == 1
    press(dock.window(), "W")
    assert dock.tabs.currentIndex() == 0
    assert view.currentIndex().row() == 0
    press(view, "Down")
    press(view, "Return")
    assert dock.review.case.case_id == "C02"
    assert dock.tabs.currentIndex() == 1
    press(dock.window(), "W")
    assert view.currentIndex().row() == 1
    press(dock.window(), "W")
    assert dock.tabs.currentIndex() == 1
    press(dock.window(), "W")
    press(view, "N")  # a letter belongs to the review, not to the table
    assert dock.review.case.case_id == "C03"


@pytest.mark.gui
def test_a_click_opens_a_case(window, qtbot):
    from qtpy.QtCore import Qt

    _, dock = window
    dock.tabs.setCurrentIndex(0)
    view = dock.worklist.view
    place = view.visualRect(dock.worklist.table.index(1, 1)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert dock.review.case.case_id == "C02"
    assert "C02" in dock.title.text()


@pytest.mark.gui
def test_the_filter_narrows_the_list_and_n_stays_in_it(window):
    _, dock = window
    dock.tabs.setCurrentIndex(0)
    box = dock.worklist.filter
    box.setFocus()
    for key in ("N", "O", "Space", "D", "R", "A", "F", "T"):
        press(box, key)
    assert box.text() == "no draft"
    assert cells(dock, 1) == ["C03"]
    assert "1 of 3 cases" in dock.worklist.count.text()
    assert dock.review.case.case_id == "C01"  # letters in the box are no commands
    dock.review.next_case()
    assert dock.review.case.case_id == "C03"
    dock.review.next_case()
    assert dock.review.case.case_id == "C03"
    assert "of the list" in dock.message.text()
    box.clear()
    status = dock.worklist.status
    status.setCurrentIndex(status.findData("reviewed"))
    assert cells(dock, 1) == []
    status.setCurrentIndex(status.findData("unread"))
    assert cells(dock, 1) == ["C02"]
    status.setCurrentIndex(0)
    assert cells(dock, 1) == ["C01", "C02", "C03"]


@pytest.mark.gui
def test_titles_sort_and_n_follows_the_order_shown(window):
    _, dock = window
    head = dock.worklist.view.horizontalHeader()
    head.sectionClicked.emit(1)
    head.sectionClicked.emit(1)
    assert cells(dock, 1) == ["C03", "C02", "C01"]
    press(dock.window(), "N", "Shift")
    assert dock.review.case.case_id == "C02"
    head.sectionClicked.emit(4)
    assert cells(dock, 1)[0] == "C03"
    head.sectionClicked.emit(2)
    assert cells(dock, 2)[-1] != "○ unread"
    head.sectionClicked.emit(0)
    assert cells(dock, 1) == ["C01", "C02", "C03"]


@pytest.mark.gui
def test_n_goes_round_the_cases_that_are_left(window, run_folder):
    _, dock = window
    read(dock)
    for wanted in ("C02", "C03", "C02"):
        press(dock.window(), "N")
        assert dock.review.case.case_id == wanted
    assert read_log(run_folder / "reviews/C02/dr-a.jsonl")[0].kind == "open"


@pytest.mark.gui
def test_signed_cases_say_so_and_are_passed_over(window, run_folder):
    from life_cases import sign_off

    from pathai.report.life import open_case

    _, dock = window
    life = open_case(run_folder / "reviews", "C02", results=run_folder / "results")
    life.submit("dr-b")
    dock.review.changed.emit()
    assert cells(dock, 2)[1] == "○ unread"
    sign_off(life, "dr-b")
    dock.review.changed.emit()
    assert cells(dock, 2)[1] == "◆ signed"
    press(dock.window(), "N")
    assert dock.review.case.case_id == "C03"
    dock.review.open_case("C02")
    assert "signed" in dock.title.text()
    life.amend("dr-b", "a typing error")
    dock.review.changed.emit()
    assert "signed" not in dock.title.text()


@pytest.mark.gui
def test_readers_who_differ_are_flagged_only_when_this_one_is_done(window, run_folder):
    from pathai.review import ReviewSession

    _, dock = window
    cases = [case.record for case in dock.review.run.cases.values()]
    other = ReviewSession(run_folder / "reviews", "dr-b", cases, blind=False)
    other.open("C01")
    for sentence in dock.review.case.sentences:
        other.reject(sentence.id)
    other.mark_reviewed()
    other.close()
    dock.review.changed.emit()
    assert cells(dock, 4)[0] == ""
    read(dock)
    assert cells(dock, 4)[0] == "readers differ"


@pytest.mark.gui
def test_a_broken_log_is_shown_and_the_other_cases_can_be_read(run_folder, qtbot):
    from pathai.viewer.app import open_window

    log = run_folder / "reviews" / "C02" / "dr-a.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({"number": 1}) + "\n")
    viewer, dock = open_window(run_folder, "dr-a")
    assert cells(dock, 2)[1] == "○ log is broken"
    press(dock.window(), "N")
    assert dock.review.case.case_id == "C03"
    dock.review.open_case("C02")
    assert "E210" in dock.message.text()
    assert dock.review.case.case_id == "C03"
    viewer.close()
