"""The tabs of report and entry: real keys and clicks, from the first sentence to the signature."""

import gc
import shutil
from pathlib import Path

import pytest

from pathai.report.life import open_case
from pathai.review_log import read_log

pytestmark = [pytest.mark.gui, pytest.mark.slow]


def bring_forward(panel):
    from pathai.viewer.controls import bring_forward as bring

    bring(panel)


@pytest.fixture(scope="module")
def prostate(tmp_path_factory):
    """A run with a layout of the prostate; nobody may write to it."""
    from run_folder import make_run

    folder = tmp_path_factory.mktemp("run") / "demo"
    return make_run(folder, side=512, template="prostate_core")


@pytest.fixture
def folder(prostate, tmp_path):
    """A copy of one's own."""
    return Path(shutil.copytree(prostate, tmp_path / "demo"))


@pytest.fixture
def window(folder, qtbot):
    """The window on the run, with the report in view."""
    from pathai.viewer.app import open_window

    viewer, dock = open_window(folder, "dr-a")
    settle()
    press(dock, "Q")
    yield viewer, dock
    viewer.close()
    settle()
    gc.collect()


def settle():
    """Let Qt do what is waiting."""
    from qtpy.QtWidgets import QApplication

    for _ in range(5):
        QApplication.processEvents()


def press(dock, key, shift=False):
    """A real key event, sent to where the focus of the window would be."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
    QTest.keyClick(dock.window(), getattr(Qt.Key, f"Key_{key}"), modifier)
    settle()


def click(widget):
    """A real click in the middle of a widget."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)
    settle()


def write(widget, text):
    """Real keys, one for each letter, in the place of what stands there."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    QTest.keyClick(widget, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(widget, text)
    settle()


def panels(dock):
    """The panels of report and entry."""
    from pathai.viewer.entry_panel import EntryPanel
    from pathai.viewer.report_panel import ReportPanel

    return dock.findChild(ReportPanel), dock.findChild(EntryPanel)


def card_on(panel, key):
    """The card of the sentence on the finding of a key."""
    now = panel.report.page.now
    ids = {f.id for f in now.case.findings if f.key == key}
    return next(c for c in panel.cards.values() if c.row.sentence.finding in ids)


def answer(panel, item):
    """Answer for an open item with a reason, as the reader would."""
    click(panel.open.buttons[item])
    dialog = panel.dialog
    assert not dialog.done_button.isEnabled()
    write(dialog.reason, "seen on the slide")
    click(dialog.done_button)


def close_all(panel):
    """Answer for whatever may be answered for, then accept what has no decision."""
    for one in panel.report.page.open:
        if one.how == "acknowledge":
            panel.report.acknowledge(one.id, "seen on the slide")
    for statement in panel.review.session.undecided():
        panel.review.session.accept(statement)
    panel.review.changed.emit()
    settle()


def test_q_brings_the_report_and_a_click_flies_to_the_evidence(window):
    viewer, dock = window
    panel, _ = panels(dock)
    assert panel.isVisible()
    card = card_on(panel, "tumor.probability")
    viewer.scene.camera.center = (1e4, 1e4)
    panel.sentences.ensureWidgetVisible(card)
    settle()
    click(card.text)
    assert dock.review.selected == card.id
    box = card.row.sentence.evidence[0].boxes[0]
    field = dock.review.field()
    assert field.x < box.x < field.x + field.width
    assert field.y < box.y < field.y + field.height
    place = card.chip.text()
    click(card.text)
    assert card.chip.text() != place  # the next place of the same sentence


def test_verdicts_of_the_keys_are_shown(window):
    _, dock = window
    panel, _ = panels(dock)
    first, second = list(panel.cards)[:2]
    press(dock, "K")
    press(dock, "K")
    press(dock, "J")
    assert "accepted" in panel.cards[first].verdict.text()
    assert "rejected" in panel.cards[second].verdict.text()
    assert f"rejected:{second}" in {one.id for one in panel.report.page.open}
    assert not panel.signing.sign.isEnabled()
    press(dock, "U")
    assert "no decision" in panel.cards[second].verdict.text()


def test_words_are_checked_while_they_are_typed_and_no_key_of_the_window_acts(window, folder):
    _, dock = window
    panel, _ = panels(dock)
    card = card_on(panel, "cells.count")
    dock.review.select(card.id)
    before = read_log(folder / "reviews" / "C01" / "dr-a.jsonl")
    press(dock, "K", shift=True)
    editor = card.editor
    assert editor is not None
    assert "✓" in editor.says.text()
    write(editor.text, "junk: hundreds of nuclei knew 99999.")
    assert editor.text.toPlainText() == "junk: hundreds of nuclei knew 99999."
    assert "⚑" in editor.says.text()
    assert "The finding says" in editor.says.text()
    assert read_log(folder / "reviews" / "C01" / "dr-a.jsonl") == before
    words = card.row.sentence.text.replace("Number", "Counted number")
    write(editor.text, words)
    assert "✓" in editor.says.text()
    click(editor.save)
    card = card_on(panel, "cells.count")
    assert card.editor is None
    assert card.row.sentence.text == words
    assert "edited" in card.verdict.text()
    assert open_case(folder / "reviews", "C01").revision().draft.statements()


def test_leave_delete_restore_and_add(window, folder):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    _, dock = window
    panel, _ = panels(dock)
    card = card_on(panel, "cells.count")
    click(card.text)
    click(card.edit)
    write(card.editor.text, "other words")
    QTest.keyClick(card.editor.text, Qt.Key.Key_Escape)
    settle()
    assert card.editor is None
    assert not (folder / "reviews" / "C01" / "report").exists()
    click(card.delete)
    assert not panel.dialog.done_button.isEnabled()
    write(panel.dialog.reason, "not needed")
    click(panel.dialog.done_button)
    card = card_on(panel, "cells.count")
    assert card.row.mark == "deleted"
    assert "not needed" in card.says.text()
    click(card.restore)
    assert card_on(panel, "cells.count").row.mark == ""
    click(panel.add)
    dialog = panel.dialog
    dialog.findings.setCurrentIndex(dialog.findings.findData(card.row.sentence.finding))
    write(dialog.editor.text, card.row.sentence.text)
    assert "✓" in dialog.editor.says.text()
    click(dialog.editor.save)
    assert "A1" in panel.cards
    assert panel.cards["A1"].row.mark == "edited"


@pytest.mark.slow
def test_a_change_elsewhere_does_not_take_the_words_from_under_the_pen(window, folder):
    _, dock = window
    panel, _ = panels(dock)
    card = card_on(panel, "cells.count")
    click(card.text)
    click(card.edit)
    write(card.editor.text, "half a sen")
    other = card_on(panel, "tissue.area_mm2")
    dock.review.run.life("C01").delete("dr-b", other.id, "no use")
    panel.report.look()
    settle()
    card = card_on(panel, "cells.count")
    assert card.editor.text.toPlainText() == "half a sen"
    assert card_on(panel, "tissue.area_mm2").row.mark == "deleted"


def test_the_form_tells_what_follows_before_it_writes(window, folder):
    _, dock = window
    panel, form = panels(dock)
    bring_forward(form)
    settle()
    rows = {where[0]: row for where, row in form.rows.items()}
    assert not form.enter.isEnabled()
    rows["gleason.primary"].control.setCurrentIndex(2)
    rows["gleason.secondary"].control.setCurrentIndex(1)
    write(rows["prostate.cores"].control, "6")
    write(rows["prostate.cores_positive"].control, "9")
    assert "Grade Group 3" in form.says.text()
    assert "Contradiction" in form.says.text()
    assert not (folder / "reviews" / "C01" / "report").exists()
    write(rows["prostate.cores"].control, "many")
    assert not form.enter.isEnabled()
    write(rows["prostate.cores"].control, "12")
    assert "Contradiction" not in form.says.text()
    click(form.enter)
    assert "not assessed" not in card_on_hidden(panel, "gleason.grade_group")
    row = form.rows["gleason.primary", ""]
    assert row.withdraw.isVisibleTo(form)
    click(row.withdraw)
    assert form.rows["gleason.primary", ""].field.given is None


def card_on_hidden(panel, key):
    """Text of the sentence on the finding of a key, whether or not its tab is in view."""
    now = panel.report.page.now
    ids = {f.id for f in now.case.findings if f.key == key}
    return next(r.sentence.text for r in panel.report.page.rows if r.sentence.finding in ids)


def test_signing_waits_for_all_that_is_open_and_for_who_signs(window, folder):
    _, dock = window
    panel, form = panels(dock)
    sign = panel.signing.sign
    assert not sign.isEnabled()
    assert "no decision" in sign.toolTip() or "not assessed" in sign.toolTip()
    click(panel.open.more)
    answer(panel, next(o.id for o in panel.report.page.open if o.how == "acknowledge"))
    close_all(panel)
    assert sign.isEnabled()
    press(dock, "J") if dock.review.selected else dock.review.select(next(iter(panel.cards)))
    press(dock, "J")
    assert not sign.isEnabled()
    assert "rejected" in sign.toolTip()
    press(dock, "U")
    close_all(panel)
    click(sign)
    dialog = panel.signing.dialog
    assert not dialog.sign.isEnabled()
    click_box(dialog.mine)
    click_box(dialog.read)
    assert not dialog.sign.isEnabled()  # as what?
    write(dialog.role.lineEdit(), "pathologist")
    assert dialog.sign.isEnabled()
    click(dialog.sign)
    signed = open_case(folder / "reviews", "C01").signed()
    assert (signed.reader, signed.role) == ("dr-a", "pathologist")
    for ending in ("pdf", "fhir.json", "json"):
        path = folder / "reviews" / "C01" / "report" / f"signed-1.{ending}"
        assert path.stat().st_size
        assert str(path) in panel.signing.paths.text()
    assert not sign.isVisibleTo(panel)
    assert dock.review.session.worklist()[0].status == "signed"
    bring_forward(form)
    settle()
    assert not form.form.isEnabled()
    press(dock, "Q")
    click(panel.signing.amend)
    write(panel.signing.dialog.reason, "a second look")
    click(panel.signing.dialog.done_button)
    assert "version 2" in panel.state.text()
    assert open_case(folder / "reviews", "C01").audit().faults == ()


def click_box(box):
    """A real click on the mark of a check box."""
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    settle()


def test_every_key_of_the_report_is_free_in_napari():
    from napari.components import ViewerModel
    from napari.settings import get_settings

    from pathai.viewer.keys import KEYS

    taken = {str(k) for keys in get_settings().shortcuts.shortcuts.values() for k in keys}
    taken |= {str(key) for key in ViewerModel.class_keymap}
    assert not {KEYS["report"].shown, KEYS["edit"].shown} & taken
