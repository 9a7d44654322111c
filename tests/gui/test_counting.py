"""Regions and ruler in the window: drawn by mouse, dropped by key, counted live, saved, undone."""

import gc

import numpy as np
import pytest
import shapely

from pathai.review_log import read_log
from pathai.store.folders import ResultsFolder
from pathai.units import Mpp

KI67 = "S03"
MPP = Mpp(0.5, 0.5)

pytestmark = pytest.mark.slow


def bring_forward(panel):
    from pathai.viewer.controls import bring_forward as bring

    bring(panel)


@pytest.fixture
def window(run_folder, qtbot):
    """The window on the slide with Ki-67, its tab of counting in front."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window
    from pathai.viewer.counting_panel import CountingPanel

    viewer, dock = open_window(run_folder, "dr-a")
    dock.review.open_case("C02")
    dock.review.show_slide(KI67)
    panel = next(p for p in dock._panels if isinstance(p, CountingPanel))
    bring_forward(panel)
    for _ in range(5):
        QApplication.processEvents()
    yield viewer, dock, panel
    viewer.close()
    QApplication.processEvents()
    gc.collect()


def stored(run_folder):
    return ResultsFolder(run_folder / "results").slide(KI67).read_cells("classical")


def press(dock, key, shift=True):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
    QTest.keyClick(dock.window(), getattr(Qt.Key, f"Key_{key}"), modifier)


def drag(viewer, world):
    """A real drag of the mouse through places of the world, (y, x) in µm."""
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    canvas = viewer.window._qt_viewer.canvas.native
    camera = viewer.scene.camera
    middle = np.array([canvas.height(), canvas.width()]) / 2
    places = [middle + (np.array(one) - camera.center[-2:]) * camera.zoom for one in world]
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    events = [(QEvent.Type.MouseMove, none, none, places[0])]
    events += [(QEvent.Type.MouseButtonPress, left, left, places[0])]
    events += [(QEvent.Type.MouseMove, none, left, at) for at in places[1:]]
    events += [(QEvent.Type.MouseButtonRelease, left, none, places[-1])]
    for kind, button, buttons, (y, x) in events:
        at = QPointF(float(x), float(y))
        where = at, QPointF(canvas.mapToGlobal(at.toPoint()))
        event = QMouseEvent(kind, *where, button, buttons, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(canvas, event)
        QApplication.processEvents()


def circle_of(center, radius, n=40):
    angle = np.linspace(0, 2 * np.pi, n)
    return [(center[0] + radius * np.sin(a), center[1] + radius * np.cos(a)) for a in angle]


def events(run_folder, kind="region"):
    found = read_log(run_folder / "reviews" / "C02" / "dr-a.jsonl")
    return [(e.kind, e.what) for e in found if e.kind in (kind, "undo", "redo")]


@pytest.mark.gui
def test_a_region_is_drawn_with_the_mouse_counted_and_saved(window, run_folder):
    viewer, dock, panel = window
    review, part, cells = dock.review, dock.review.part("counting"), stored(run_folder)
    review.fit()
    press(dock, "D")
    assert str(viewer.layers["regions"].mode) == "add_polygon_lasso"
    drag(viewer, circle_of((256, 256), 110))
    assert list(part.regions) == ["r1"]
    assert part.chosen == "r1"
    assert str(viewer.layers["regions"].mode) == "pan_zoom"  # the mouse moves the view again
    assert viewer.layers.selection.active.name == "slide"
    shape = shapely.Polygon(part.regions["r1"].rings_px0[0])
    assert shape.area * 0.25 == pytest.approx(np.pi * 110**2, rel=0.05)
    inside = shapely.contains_xy(shape, *cells.xy_px0.astype(float).T)
    counts = part.counts()
    assert counts.total == inside.sum() > 10
    assert panel.table.item(2, 1).text() == f"{inside.sum():,}"
    assert "mm²" in panel.size.text()
    assert "analyzed tissue" in panel.size.text()
    assert "Ki-67 positive" in panel.positive.text()
    share = counts.positive.analyzed
    assert f"{100 * share.value:.1f} %" in panel.positive.text()
    assert f"({100 * share.low:.1f} to {100 * share.high:.1f} %)" in panel.positive.text()
    assert events(run_folder) == [("region", f"region:{KI67}:r1")]
    assert str(viewer.layers["regions"].units[0]) == "micrometer"
    press(dock, "U", shift=False)
    assert part.regions == {}
    assert len(viewer.layers["regions"].data) == 0
    assert part.counts().total == len(cells.xy_px0)
    press(dock, "U")
    assert list(part.regions) == ["r1"]
    assert len(viewer.layers["regions"].data) == 1


@pytest.mark.gui
def test_counts_follow_corrections_at_once(window, run_folder):
    _, dock, panel = window
    review, part = dock.review, dock.review.part("counting")
    part.drop((500.0, 500.0))
    before = part.counts()
    number = review.part("cells").classify_all(part.shape(), "positive")
    assert number == before.by_class["negative"] > 0
    after = part.counts()
    assert after.by_class == {"negative": 0, "positive": before.total}
    assert panel.table.item(0, 1).text() == "0"
    assert "100.0 %" in panel.positive.text()
    press(dock, "U", shift=False)
    assert part.counts() == before
    assert panel.table.item(0, 1).text() == f"{before.by_class['negative']:,}"


@pytest.mark.gui
def test_a_region_of_a_fixed_area_is_dropped_by_key(window):
    viewer, dock, panel = window
    part = dock.review.part("counting")
    for area, form in ((0.25, "circle"), (1.0, "square"), (2.0, "circle"), (2.0, "square")):
        panel.area.setCurrentText(f"{area:g} mm²")
        panel.form.setCurrentText(form)
        panel._chose_form()
        press(dock, "C")
        drawn = part.regions[part.chosen]
        assert drawn.name == f"{area:g} mm²"
        shape = part.shape()
        assert shape.area * 0.25 / 1e6 == pytest.approx(area, rel=1e-3)
        field = dock.review.field()
        middle = (field.x + field.width / 2, field.y + field.height / 2)
        assert (shape.centroid.x, shape.centroid.y) == pytest.approx(middle, abs=0.2)
        assert len(drawn.rings_px0[0]) == (96 if form == "circle" else 4)
        line = viewer.layers["regions"].data[-1]
        edge = 1000 * np.sqrt(area) if form == "square" else 2000 * np.sqrt(area / np.pi)
        assert np.allclose(line.max(axis=0) - line.min(axis=0), edge, rtol=2e-3)


@pytest.mark.gui
def test_regions_come_back_with_the_slide_and_are_renamed_and_removed(window, run_folder):
    viewer, dock, panel = window
    review, part = dock.review, dock.review.part("counting")
    part.drop((400.0, 400.0))
    part.rename("spot")
    part.drop((600.0, 600.0))
    review.show_slide("S02")
    assert part.regions == {}
    assert part.chosen == ""
    part.drop((100.0, 100.0))
    review.show_slide(KI67)
    assert [d.name for d in part.regions.values()] == ["spot", "1 mm²"]
    assert list(viewer.layers["regions"].features["label"]) == ["spot", "1 mm²"]
    part.choose("r1")
    assert panel.regions.currentText() == "spot  (r1)"
    part.remove()
    assert list(part.regions) == ["r2"]
    assert part.chosen == ""
    review.undo()
    assert [d.name for d in part.regions.values()] == ["1 mm²", "spot"] or len(part.regions) == 2


@pytest.mark.gui
def test_a_moved_corner_is_saved(window, run_folder):
    viewer, dock, _ = window
    part = dock.review.part("counting")
    dock.review.fit()
    part.area_mm2, part.round = 0.04, False
    part.drop((500.0, 500.0))
    (region_id,) = part.regions
    corner = np.array(part.regions[region_id].rings_px0[0][0])[::-1] * 0.5
    part.reshape()
    drag(viewer, [(250, 250), (250, 250)])  # a click chooses the region
    assert part.chosen == region_id
    drag(viewer, [tuple(corner), tuple(corner + 8), tuple(corner + 20), tuple(corner + 30)])
    moved = np.array(part.regions[region_id].rings_px0[0][0])[::-1] * 0.5
    assert np.hypot(*(moved - corner)) > 15
    assert list(part.regions) == [region_id]


@pytest.mark.gui
def test_a_length_is_measured_in_micrometers(window):
    viewer, dock, panel = window
    part = dock.review.part("counting")
    dock.review.fit()
    press(dock, "M")
    drag(viewer, [(100, 100), (150, 200), (220, 260)])
    assert part.length_um == pytest.approx(200.0, abs=3)  # 120 down, 160 to the right
    assert "µm" in panel.length.text()
    assert len(viewer.layers["ruler"].data) == 1
    press(dock, "M")
    drag(viewer, [(100, 100), (100, 120), (100, 140)])
    assert part.length_um == pytest.approx(40.0, abs=2)
    assert len(viewer.layers["ruler"].data) == 1
    assert str(viewer.layers["ruler"].mode) == "pan_zoom"


@pytest.mark.gui
def test_the_hottest_window_is_found_beside_the_window_and_flown_to(window, run_folder, qtbot):
    from qtpy.QtCore import Qt

    from pathai.quantities.hotspots import densest_circle

    _, dock, panel = window
    part, cells = dock.review.part("counting"), stored(run_folder)
    part.area_mm2 = 0.02
    panel.of.setCurrentText("positive")
    qtbot.mouseClick(panel.find, Qt.MouseButton.LeftButton)
    assert not panel.find.isEnabled()
    qtbot.waitUntil(lambda: bool(part.regions), timeout=20_000)
    qtbot.waitUntil(panel.find.isEnabled, timeout=5_000)
    best = densest_circle(cells.xy_px0[cells.class_ == 1].astype(float) * 0.5, 0.02)
    assert panel.hot.text() == f"{best.count:,} positive: no other place holds more."
    drawn = part.regions[part.chosen]
    assert drawn.name == "hottest 0.02 mm², positive"
    middle = np.array([best.x_um, best.y_um]) * 2
    assert np.allclose(part.shape().centroid.coords[0], middle, atol=0.5)
    assert part.counts().by_class["positive"] == pytest.approx(best.count, abs=2)
    seen = dock.review.field()
    assert seen.x < middle[0] < seen.right
    assert seen.y < middle[1] < seen.bottom


def test_words_of_lengths_areas_and_searches():
    from pathai.quantities.hotspots import Circle
    from pathai.viewer.counting import length_words
    from pathai.viewer.counting_panel import area_words, hot_words, share_words

    assert [length_words(v) for v in (84.24, 999.9, 1250)] == ["84.2 µm", "999.9 µm", "1.25 mm"]
    assert [area_words(v) for v in (0.0042, 1.0, 250.4)] == ["4,200 µm²", "1.00 mm²", "250 mm²"]
    assert share_words(None, None) == "–"
    assert share_words(0.25, None) == "25.0 %"
    short = hot_words(Circle(0, 0, 1, 100, 103), "nuclei")
    assert "more than 103" in short
    assert "3.0 % more" in short
