"""The window around the slide: what it tells its parts, its keys, pages, map and preferences."""

import gc
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

from pathai.review_log import read_log
from pathai.viewer.keymap import keymap, spelled

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def opened(run_folder, **options):
    """A window on the run, drawn and with the keys at work."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    viewer, dock = open_window(run_folder, "dr-a", **options)
    for _ in range(5):
        QApplication.processEvents()
    return viewer, dock


@pytest.fixture
def window(run_folder, qtbot):
    """As a reader finds it, or with everything in view, as the mark of the test says."""
    from qtpy.QtWidgets import QApplication

    viewer, dock = opened(run_folder)
    yield viewer, dock
    viewer.close()
    QApplication.processEvents()
    gc.collect()


OWN = ("regions", "ruler", "tissue regions", "outline", "seen")
"""Layers of what the reader draws and has seen."""


def press(dock, key, modifier="No", at=None):
    """A real key event, sent to where the focus of the window would be."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    held = getattr(Qt.KeyboardModifier, f"{modifier}Modifier")
    QTest.keyClick(at or dock.window(), getattr(Qt.Key, f"Key_{key}"), held)


def kinds(run_folder, case):
    return [event.kind for event in read_log(run_folder / "reviews" / case / "dr-a.jsonl")]


def words_in(widget):
    """Everything that can be read in the window now."""
    from qtpy.QtWidgets import QAbstractButton, QLabel, QTableView

    found = [
        part.text()
        for kind in (QLabel, QAbstractButton)
        for part in widget.findChildren(kind)
        if part.isVisible()
    ]
    for table in widget.findChildren(QTableView):
        model = table.model()
        if table.isVisible() and model is not None:
            found += [
                str(model.index(row, column).data())
                for row in range(model.rowCount())
                for column in range(model.columnCount())
            ]
    return " ".join(found)


# --- signals ---------------------------------------------------------------------------------


@pytest.mark.gui
def test_parts_are_told_of_slides_and_of_the_camera_at_rest(window, qtbot):
    viewer, dock = window
    review, told = dock.review, []
    review.slide_shown.connect(lambda: told.append(("shown", review.slide.slide_id)))
    review.slide_cleared.connect(lambda: told.append(("cleared", review.slide)))
    review.at_rest.connect(lambda: told.append("rest"))
    review.open_case("C02")
    assert [one for one in told if one != "rest"] == [("cleared", None), ("shown", "S02")]
    told.clear()
    review.show_slide("S03")
    assert [one for one in told if one != "rest"] == [("cleared", None), ("shown", "S03")]
    qtbot.wait(300)  # let the camera come to rest
    told.clear()
    for zoom in (1.0, 2.0, 3.0):
        viewer.scene.camera.zoom = zoom
    qtbot.waitUntil(lambda: bool(told))
    assert told == ["rest"]  # once for a move, not once for each step of it
    review.open_case("C03")  # nothing to see in it
    assert ("cleared", None) in told
    assert not any(isinstance(one, tuple) and one[0] == "shown" for one in told)


# --- blind first -----------------------------------------------------------------------------


@pytest.mark.gui
@pytest.mark.blind
def test_nothing_of_the_ai_is_seen_before_the_first_impression(window, run_folder):
    from napari.layers import Labels

    viewer, dock = window
    review = dock.review
    assert review.blind
    texts = [sentence.text for sentence in review.case.sentences]
    numbers = [str(n) for n in review.slide.cells.attrs.class_counts]

    def hidden():
        assert {layer.name for layer in viewer.layers if layer.visible} <= {"slide", *OWN}
        assert not [name for name in OWN if len(viewer.layers[name].data) and name != "seen"]
        for seen in (words_in(dock), words_in(dock.window())):
            assert not [t for t in texts if t in seen]
            assert not [n for n in numbers if n in seen]
            assert "0.94" not in seen

    hidden()
    assert "first impression" in words_in(dock)
    for key, held in (("H", "No"), ("K", "No"), ("J", "No"), ("9", "No"), ("W", "No"), ("W", "No")):
        press(dock, key, held)
        hidden()
    assert review.magnification == pytest.approx(40)  # the slide itself can be read
    press(dock, "H")
    assert "stay hidden" in dock.message.text()
    review.show_overlay("nuclei", shown=True)
    review.select(review.case.sentences[0].id)
    review.mark_reviewed()
    viewer.layers["nuclei"].visible = True  # by whatever means
    late = Labels(np.ones((4, 4), np.uint8), name="added late", metadata={"pathai": True})
    viewer.add_layer(late)
    late.visible = True
    review.changed.emit()
    hidden()
    own = Labels(np.ones((4, 4), np.uint8), name="drawn", metadata={"pathai": True, "own": True})
    viewer.add_layer(own)
    assert own.visible  # what the reader has drawn is no result
    viewer.layers.remove("drawn")
    viewer.layers.remove("added late")
    assert not review.selected
    assert not dock.done.isEnabled()
    assert kinds(run_folder, "C01") == ["open"]


@pytest.mark.gui
@pytest.mark.blind
def test_a_recorded_impression_opens_the_curtain_for_this_case_only(window, run_folder):
    viewer, dock = window
    page = dock.impression
    page.record.click()  # nothing said
    assert dock.review.blind
    assert "E193" in dock.message.text()
    page.text.setPlainText("invasive, I think")
    choice = page.answers["tumor"]
    choice.setCurrentIndex(choice.findData("yes"))
    page.record.click()
    assert not dock.review.blind
    assert any(layer.visible for layer in viewer.layers if layer.name != "slide")
    assert dock.review.case.sentences[0].text in words_in(dock)
    assert kinds(run_folder, "C01") == ["open", "impression", "answer"]
    event = read_log(run_folder / "reviews/C01/dr-a.jsonl")[1]
    assert event.after["text"] == "invasive, I think"
    assert event.after["blind"] is True
    press(dock, "N")
    assert dock.review.case.case_id == "C02"
    assert dock.review.blind
    assert not page.text.toPlainText()
    assert page.given() == {}
    press(dock, "N", "Shift")
    assert not dock.review.blind  # once said, it is said


@pytest.mark.gui
@pytest.mark.blind
def test_a_reveal_is_logged_with_its_reason(window, run_folder, monkeypatch):
    from qtpy.QtWidgets import QInputDialog

    _, dock = window
    given = [("", False), ("teaching", True)]
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: given.pop(0))
    dock.impression.reveal.click()
    assert dock.review.blind  # thought better of it
    dock.impression.reveal.click()
    assert not dock.review.blind
    event = read_log(run_folder / "reviews/C01/dr-a.jsonl")[-1]
    assert (event.kind, event.after) == ("reveal", {"reason": "teaching"})


@pytest.mark.gui
@pytest.mark.blind
def test_letters_typed_as_an_impression_are_no_commands(window):
    _, dock = window
    page, case = dock.impression, dock.review.case.case_id
    page.text.setFocus()
    for key in "NKJU9":
        press(dock, key, at=page.text)
    assert page.text.toPlainText() == "nkju9"
    assert dock.review.case.case_id == case


@pytest.mark.gui
@pytest.mark.blind
def test_the_preference_or_the_call_switches_blind_reading_off(run_folder, qtbot):
    from napari.settings import get_plugin_settings

    reading = get_plugin_settings("pathai").reading
    assert reading.blind_first is True  # unless a reader says otherwise
    viewer, dock = opened(run_folder, blind=False)
    assert not dock.review.blind
    assert kinds(run_folder, "C01") == ["open", "reveal"]
    viewer.close()


# --- keys, commands, preferences -------------------------------------------------------------


def test_keys_are_spelled_one_way_and_wishes_that_clash_are_told():
    assert [spelled(t) for t in ("n", "shift-N", "ALT+5", "f1", "Shift", "", "bogus", "+")] == [
        "N", "Shift+N", "Alt+5", "F1", "", "", "", "",
    ]  # fmt: skip
    odd = ("Control-1", "Alt-,", ".", "Shift-Enter", "PageUp", "page up")
    assert [spelled(t) for t in odd] == ["Ctrl+1", "Alt+,", ".", "Shift+Enter", "PageUp", ""]
    usual = {"next": "N", "accept": "K", "reject": "J"}
    assert keymap(usual, {"accept": "J", "reject": "K"}) == (
        {"next": "N", "accept": "J", "reject": "K"}, [],
    )  # fmt: skip
    for wishes, wrong in (
        ({"accept": "N"}, "N already does 'next'"),
        ({"accept": "L"}, "L belongs to napari"),
        ({"accept": "nonsense"}, "is no key"),
        ({"next": "G", "accept": "G"}, "G already does 'next'"),
    ):
        found, told = keymap(usual, wishes, taken=("L", "Space"))
        assert found["accept"] == "K"
        assert len(told) == 1
        assert wrong in told[0]
        assert "accept stays on K" in told[0]
    found, told = keymap(usual, {"accept": "N", "next": "K", "reject": "K"}, ())
    assert sorted(found.values()) == sorted(set(found.values()))
    assert told


def test_our_keys_are_free_in_napari():
    from pathai.viewer.keys import KEYS, napari_keys

    ours = [spelled(key.shown) for key in KEYS.values()]
    assert all(ours)
    assert len(set(ours)) == len(ours)
    taken = {spelled(key) for key in napari_keys()}
    assert {"Space", "1", "Escape"} <= taken
    assert sorted(taken & set(ours)) == []
    for key in KEYS.values():
        assert spelled(key.napari) == spelled(key.shown)


def test_the_manifest_follows_from_the_list_of_keys():
    from pathai.viewer import commands
    from pathai.viewer.keys import KEYS

    spec = spec_from_file_location("manifest", ROOT / "docs" / "manifest.py")
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.FILE.read_text("utf-8") == made.text(), "run python docs/generate.py"
    manifest = PluginManifest.from_file(made.FILE)
    manifest.validate_imports()
    ids = {command.id for command in manifest.contributions.commands}
    assert {f"pathai.{commands.named(name)}" for name in KEYS} <= ids
    kept = manifest.contributions.configurations
    assert len(kept["keys"].properties) == len(KEYS)
    assert commands.named("class 1") == "class_1"  # a name in Python, whatever an action's is
    with pytest.raises(AttributeError):
        commands.no_such_thing  # noqa: B018


@pytest.mark.gui
def test_keys_can_be_chosen_and_tooltips_help_and_hints_follow(run_folder, qtbot):
    from napari.settings import get_plugin_settings

    from pathai.viewer import keys

    kept = get_plugin_settings("pathai").keys
    kept.key_accept, kept.key_reject, kept.key_next = "Alt+K", "Space", "Alt+N"
    kept.key_hide = "Ctrl+O"
    try:
        viewer, dock = opened(run_folder)
    finally:
        kept.key_accept, kept.key_reject, kept.key_next = "K", "J", "N"
        kept.key_hide = "H"
    try:
        assert "Space belongs to napari; reject stays on J." in dock.message.text()
        assert "accept" not in dock.message.text()
        assert "Ctrl+O belongs to napari; hide stays on H." in dock.message.text()  # a menu's
        assert "Alt+K" in dock.sentences.accept.text()
        assert "(Alt+K)" in dock.sentences.accept.toolTip()
        assert "Alt+N" in dock.next.text()
        press(dock, "F1")
        assert "<b>Alt+K</b>" in "".join(dock.key_list.halves())
        press(dock, "K", "Alt")
        press(dock, "K")  # no longer ours
        assert dock.review.selected == dock.review.case.sentences[0].id
        press(dock, "K", "Alt")
        assert len(dock.review.session.state.decisions) == 1
        press(dock, "N", "Alt")
        assert dock.review.case.case_id == "C02"
    finally:
        viewer.close()
        assert keys.choose({}) == []
    assert keys.shown("accept") == "K"


@pytest.mark.gui
def test_the_list_of_keys_names_every_key_and_closes(window, qtbot):
    from qtpy.QtCore import Qt

    from pathai.viewer.keys import KEYS

    _, dock = window
    press(dock, "F1")
    shown = dock.key_list
    assert shown.isVisible()
    words = "".join(column.text() for column in shown.columns)
    for key in KEYS.values():
        assert f"<b>{key.shown}</b>" in words
        assert key.title in words
    for column in shown.columns:  # nothing is cut off
        assert column.height() >= column.sizeHint().height()
    press(dock, "F1")
    assert not shown.isVisible()
    press(dock, "F1")
    qtbot.mouseClick(shown, Qt.MouseButton.LeftButton)
    assert not shown.isVisible()


@pytest.mark.gui
def test_magnification_by_keys_and_the_header_tells_it(window, qtbot):
    viewer, dock = window
    for key, held, wanted in (("5", "Alt", 5), ("0", "Alt", 10), ("8", "No", 20), ("9", "No", 40)):
        press(dock, key, held)
        assert viewer.scene.camera.zoom == pytest.approx(wanted / 10)  # pixels per µm
        qtbot.waitUntil(lambda wanted=wanted: f"{wanted}" in dock.header.magnification.text())


@pytest.mark.gui
def test_sizes_and_opacity_are_preferences(run_folder, qtbot):
    from napari.settings import get_plugin_settings

    kept = get_plugin_settings("pathai")
    kept.overlays.opacity, kept.worklist.thumbnail_px, kept.window.dock_px = 0.5, 40, 520
    try:
        viewer, dock = opened(run_folder)
        usual = {"tissue": 0.5, "nuclei": 0.6}
        viewer.scene.camera.zoom = 0.3
        for name, opacity in usual.items():
            assert viewer.layers[name].opacity == pytest.approx(opacity / 2)
        assert viewer.layers["slide"].opacity == 1
        assert dock.worklist.table.edge == 40
        assert abs(dock.width() - 520) < 20
        dock.window().resize(1300, 800)
        dock.close()
        assert kept.window.width_px == dock.window().width()
        viewer.close()
    finally:
        kept.overlays.opacity, kept.worklist.thumbnail_px, kept.window.dock_px = 1.0, 64, 460
        kept.window.width_px, kept.window.height_px = 1500, 940


@pytest.mark.gui
def test_what_was_undone_is_done_again(window, run_folder):
    _, dock = window
    review = dock.review
    first = review.case.sentences[0].id
    press(dock, "K")
    press(dock, "K")
    press(dock, "U")
    assert first not in review.session.state.decisions
    press(dock, "U", "Shift")
    assert review.session.state.decisions[first].verdict == "accepted"
    assert kinds(run_folder, "C01")[-3:] == ["accept", "undo", "redo"]
    press(dock, "U", "Shift")
    assert "Nothing to do again" in dock.message.text()


# --- the map ---------------------------------------------------------------------------------


@pytest.mark.gui
def test_the_map_shows_where_the_view_is_and_a_click_goes_there(window, qtbot):
    from qtpy.QtCore import QPoint, Qt

    viewer, dock = window
    shown, camera = dock.overview, viewer.scene.camera
    assert shown.isVisible()
    inner = np.array([shown.height(), shown.width()]) - 6
    press(dock, "9")
    for share in ((0.25, 0.75), (0.8, 0.3)):
        place = QPoint(round(3 + share[1] * inner[1]), round(3 + share[0] * inner[0]))
        qtbot.mouseClick(shown, Qt.MouseButton.LeftButton, pos=place)
        side = 1024 * 0.5  # µm
        assert np.allclose(camera.center[-2:], np.array(share) * side, atol=0.01 * side)
        mark = shown.mark()
        assert abs(mark.center().x() - place.x()) < 2
        assert abs(mark.center().y() - place.y()) < 2
        canvas = np.asarray(viewer.canvas.size, float)
        wanted = canvas / camera.zoom / side * inner  # the part of the slide that is in view
        assert np.allclose((mark.height(), mark.width()), np.maximum(wanted, 6), atol=1)
    press(dock, "W", "Shift")
    assert not shown.isVisible()
    press(dock, "W", "Shift")
    assert shown.isVisible()
    dock.review.open_case("C03")  # nothing to see
    assert not shown.isVisible()


@pytest.mark.gui
def test_the_header_is_there_on_every_tab(window):
    _, dock = window
    for place in range(dock.tabs.count()):
        dock.tabs.setCurrentIndex(place)
        assert dock.header.isVisible()
        seen = words_in(dock.header)
        for word in ("C01", "SP1", "A1", "left", "H&amp;E"):
            assert word in seen
