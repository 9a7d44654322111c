"""Two slides side by side: they move together, and picked points align them."""

import gc
import json

import numpy as np
import pytest

from pathai.pairs import fit_pairs

FIRST = [(100.0, 100.0), (400.0, 120.0), (200.0, 420.0), (390.0, 400.0)]

pytestmark = pytest.mark.slow


@pytest.fixture
def window(run_folder, qtbot):
    """The window on the case of two slides."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    viewer, dock = open_window(run_folder, "dr-a")
    dock.review.open_case("C02")
    dock.review.session.reveal("this is a test")
    dock.review.changed.emit()
    for _ in range(5):
        QApplication.processEvents()
    yield viewer, dock
    dock.review.part("side").close()
    viewer.close()
    QApplication.processEvents()
    gc.collect()


def press(dock, key, modifier="Alt"):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    with_ = getattr(Qt.KeyboardModifier, f"{modifier}Modifier")
    QTest.keyClick(dock.window(), getattr(Qt.Key, f"Key_{key}"), with_)


def turned(points, degrees=90.0, shift=(600.0, 40.0)):
    a = np.deg2rad(degrees)
    matrix = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return [tuple(p) for p in (np.array(points) @ matrix.T + shift).tolist()]


def test_a_slide_is_placed_so_that_picked_places_coincide():
    from pathai.viewer.side import placement

    second = turned(FIRST, 130)
    matrix = placement(fit_pairs(FIRST, second))
    yx1 = np.column_stack([np.array(second)[:, ::-1], np.ones(len(second))])
    assert np.allclose((yx1 @ matrix.T)[:, :2], np.array(FIRST)[:, ::-1], atol=1e-6)


@pytest.mark.gui
def test_the_other_slide_opens_beside_by_key_and_both_move_together(window):
    viewer, dock = window
    part = dock.review.part("side")
    press(dock, "B")
    assert part.slide_id == "S03"
    other = part.viewer
    from pathai.viewer.side_panel import Panel

    panel = next(one for one in dock._panels if isinstance(one, Panel))
    assert not panel.canvas.isHidden()
    assert panel.canvas.viewer is other
    viewer.scene.camera.center = (123.0, 234.0)
    viewer.scene.camera.zoom = 3.0
    assert np.allclose(other.scene.camera.center[-2:], (123, 234))
    assert other.scene.camera.zoom == pytest.approx(3)
    other.scene.camera.center = (200.0, 210.0)
    other.scene.camera.zoom = 1.5
    assert np.allclose(viewer.scene.camera.center[-2:], (200, 210))
    assert viewer.scene.camera.zoom == pytest.approx(1.5)
    panel.linked.click()
    viewer.scene.camera.zoom = 4.0
    assert other.scene.camera.zoom == pytest.approx(1.5)
    panel.linked.click()
    assert other.scene.camera.zoom == pytest.approx(4.0)
    press(dock, "B")
    assert part.viewer is None
    assert panel.canvas is None
    viewer.scene.camera.zoom = 2.0
    press(dock, "N")  # the next case has one slide, or none that is left to show


@pytest.mark.gui
def test_picked_pairs_turn_the_other_slide_and_are_kept(window, run_folder):
    _, dock = window
    part = dock.review.part("side")
    part.toggle()
    second = turned(FIRST)
    for pair in zip(FIRST[:2], second[:2], strict=True):
        part.add_pair(*pair)
    slide = part.viewer.layers["slide"]
    assert np.allclose(np.asarray(slide.affine), np.eye(3))
    for pair in zip(FIRST[2:], second[2:], strict=True):
        part.add_pair(*pair)
    assert part.fit.residual_um == pytest.approx(0, abs=1e-6)
    for (x1, y1), (x2, y2) in zip(FIRST, second, strict=True):
        px0 = np.array([y2, x2]) / 0.5 - 0.5  # middle of pixel 0 is at a quarter of a µm
        assert np.allclose(slide.data_to_world(px0), (y1, x1), atol=1e-4)
    file = run_folder / "reviews" / "C02" / "dr-a.pairs.json"
    kept = json.loads(file.read_bytes())
    assert np.allclose(kept["S02 S03"], [[*a, *b] for a, b in zip(FIRST, second, strict=True)])
    part.close()
    part.open("S03")
    assert part.fit.number == 4
    for _ in range(4):
        part.drop_pair()
    assert part.fit.number == 0
    for x in (10.0, 20.0, 30.0):
        part.add_pair((x, x), (x, x))
    assert "one line" in dock.message.text()
    assert part.fit.number == 0
    assert dock.review.session.worklist()  # the sidecar is no log, and nothing takes it for one


@pytest.mark.gui
def test_clicks_on_both_slides_make_a_pair(window):
    part = window[1].review.part("side")
    part.toggle()
    part.pick()

    class Event:
        type = "mouse_press"
        position = (50.0, 60.0)

    for viewer, place in ((window[0], (50.0, 60.0)), (part.viewer, (80.0, 90.0))):
        event = Event()
        event.position = place
        act = viewer.mouse_drag_callbacks[-1](viewer, event)
        next(act)
        event.type = "mouse_release"
        assert next(act, None) is None
    assert part.pairs == [((60.0, 50.0), (90.0, 80.0))]
    part.pick()
    assert not part.picking
