"""Overlays, gallery, screening, drawing: what a reader sees of a slide and does on it."""

import gc
from itertools import pairwise

import numpy as np
import pytest

from pathai.store.folders import ResultsFolder
from pathai.units import Mpp

MPP = Mpp(0.5, 0.5)

pytestmark = pytest.mark.slow


@pytest.fixture
def window(run_folder, qtbot):
    """The window on the run, drawn and with the keys at work."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    viewer, dock = open_window(run_folder, "dr-a")
    for case_id in ("C02", "C01"):
        dock.review.open_case(case_id)
        dock.review.session.reveal("this is a test")
    dock.review.changed.emit()
    for _ in range(5):
        QApplication.processEvents()
    yield viewer, dock
    viewer.close()
    QApplication.processEvents()
    gc.collect()


def press(target, key, modifier="No"):
    """A real key event, sent to where the focus of the window would be."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    with_ = getattr(Qt.KeyboardModifier, f"{modifier}Modifier")
    QTest.keyClick(target, getattr(Qt.Key, f"Key_{key}"), with_)


def panel(dock, title):
    from pathai.viewer import panels
    from pathai.viewer.controls import bring_forward

    titles = [tab.title for tab in panels.TABS]
    found = dock._panels[titles.index(title)]
    bring_forward(found)
    assert found.isVisible()
    return found


# --- overlays --------------------------------------------------------------------------------


def test_a_contour_is_the_edge_between_chosen_and_other_tiles():
    from pathai.viewer.overlays import contour

    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    mask[3, 4] = True  # touches at a corner only
    lines = contour(mask, np.array([100.0, 50.0]), np.array([10.0, 20.0]))
    found = {tuple(line) for line in lines.tolist()}
    assert found == {
        (110, 70, 140, 70), (110, 110, 150, 110), (110, 70, 110, 110), (140, 70, 140, 130),
        (140, 130, 150, 130), (150, 110, 150, 130),
    }  # fmt: skip


@pytest.mark.gui
def test_keys_and_sliders_set_opacity_and_threshold_of_the_attention(window, run_folder):
    viewer, dock = window
    layer = viewer.layers["attention: tumor"]
    viewer.scene.camera.zoom = 0.5
    before = layer.opacity
    press(dock.window(), "Comma")
    assert layer.opacity == pytest.approx(before - 0.1)
    press(dock.window(), "Period")
    press(dock.window(), "Period")
    assert layer.opacity == pytest.approx(before + 0.1)
    viewer.scene.camera.zoom = 3
    assert layer.opacity == pytest.approx((before + 0.1) / 3)
    viewer.scene.camera.zoom = 0.5
    assert layer.opacity == pytest.approx(before + 0.1)
    weights = ResultsFolder(run_folder / "results").slide("S01").read_prediction("tumor").attention
    for _ in range(5):
        press(dock.window(), "Period", "Alt")
    shown = np.isfinite(layer.data)
    top = np.sort(weights)[::-1][: shown.sum()] * len(weights)
    assert shown.sum() == pytest.approx(len(weights) / 2, abs=1)
    assert np.allclose(np.sort(layer.data[shown])[::-1], top)
    tab = panel(dock, "Overlays")
    assert tab.threshold.value() == 50
    tab.threshold.setValue(0)
    assert np.isfinite(layer.data).sum() == len(weights)
    tab.attention.setValue(30)
    assert layer.opacity == pytest.approx(0.3)
    press(dock.window(), "N")  # what is set holds on the next slide
    near = viewer.scene.camera.zoom >= 1
    assert viewer.layers["attention: tumor"].opacity == pytest.approx(0.1 if near else 0.3)


@pytest.mark.gui
def test_outlines_alone_surround_just_the_tiles_above_the_threshold(window, run_folder):
    viewer, dock = window
    press(dock.window(), "H", "Shift")
    line, area = viewer.layers["attention, outline"], viewer.layers["attention: tumor"]
    assert line.visible
    assert not area.visible
    assert panel(dock, "Overlays").outlines.isChecked()
    folder = ResultsFolder(run_folder / "results").slide("S01")
    features, weights = (
        folder.read_features("morphology"),
        folder.read_prediction("tumor").attention,
    )
    held = weights >= np.quantile(weights, 0.8)

    def drawn(x, y):
        at = np.rint(line.world_to_data((y * MPP.y, x * MPP.x))).astype(int)
        return line.data[at[0] - 3 : at[0] + 4, at[1] - 3 : at[1] + 4, 3].max() == 255

    places = {tuple(xy): bool(one) for xy, one in zip(features.xy_px0.tolist(), held, strict=True)}
    size = float(features.size_px0[0])
    checked = 0
    for (x, y), own in places.items():
        beside = places.get((x + int(size), y))
        if beside is None or not (x + size) * MPP.x < viewer.layers["slide"].extent.world[1, 1]:
            continue
        assert drawn(x + size, y + size / 2) == (own != beside)
        assert not drawn(x + size / 2, y + size / 2)
        checked += 1
    assert checked > 10
    press(dock.window(), "H", "Shift")
    assert not line.visible
    assert area.visible


# --- gallery ---------------------------------------------------------------------------------


@pytest.mark.gui
def test_the_gallery_shows_the_top_tiles_of_the_case_and_enter_goes_there(window, run_folder):
    _, dock = window
    review = dock.review
    press(dock.window(), "G")
    tab = next(one for one in dock._panels if one.isVisible())
    folder = ResultsFolder(run_folder / "results").slide("S01")
    features, weights = (
        folder.read_features("morphology"),
        folder.read_prediction("tumor").attention,
    )
    order = np.argsort(-weights, kind="stable")[:24]
    wanted = [(float(x), float(y)) for x, y in features.xy_px0[order]]
    assert [(item.box.x, item.box.y) for item in tab.items] == wanted
    assert [item.rank for item in tab.items] == list(range(1, len(wanted) + 1))
    assert tab.items[0].score == pytest.approx(weights.max() * len(weights), rel=1e-5)
    assert tab.list.item(0).text().startswith("1 · ")
    pixels = folder.open_tiles().read(tab.items[0].box)
    assert np.abs(review.part("gallery").picture(tab.items[0]).astype(int) - pixels).max() <= 1
    press(tab.list, "Right")
    press(tab.list, "Return")
    assert tab.list.currentRow() == 1
    box, seen = tab.items[1].box, review.field()
    assert seen.x <= box.x
    assert seen.right >= box.right
    assert seen.y <= box.y
    assert seen.bottom >= box.bottom


@pytest.mark.gui
def test_the_gallery_spans_the_slides_of_a_case_and_jumps_between_them(window, qtbot):
    from qtpy.QtCore import Qt

    _, dock = window
    review = dock.review
    review.open_case("C02")
    other = next(row.slide_id for row in review.case.rows if row.slide_id != review.slide.slide_id)
    review.show_slide(other)  # Ki-67, on which no model looked
    press(dock.window(), "G")
    tab = next(one for one in dock._panels if one.isVisible())
    assert {item.slide_id for item in tab.items} == {"S02"}
    place = tab.list.visualItemRect(tab.list.item(0)).center()
    qtbot.mouseClick(tab.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert review.slide.slide_id == "S02"
    review.show_slide(other)
    tab.kind.textActivated.emit("nuclei: positive")
    assert tab.items
    cells = review.slide.cells
    centers = {tuple(xy) for xy in cells.xy_px0[cells.class_ == 1].tolist()}
    for item in tab.items:
        middle = (item.box.x + item.box.width / 2, item.box.y + item.box.height / 2)
        assert any(np.allclose(middle, one, atol=1e-3) for one in centers)


# --- screening -------------------------------------------------------------------------------


@pytest.mark.gui
def test_enter_walks_over_all_tissue_and_all_is_seen(window, run_folder):
    from pathai.review_log import read_log

    viewer, dock = window
    review, part = dock.review, dock.review.part("screening")
    time = [0.0]
    part.clock = lambda: time[0]
    part.set_magnification(40)
    panel(dock, "Screening")
    shares = []
    for _ in range(200):
        press(dock.window(), "F", "Shift")
        if part.at is None or (shares and part.share == 1.0):
            break
        assert viewer.scene.camera.zoom == pytest.approx(4.0)
        box, seen = part.fields[part.at].box, review.field()
        assert (seen.x, seen.y) == pytest.approx((box.x, box.y), abs=0.5)
        assert (seen.width, seen.height) == pytest.approx((box.width, box.height), abs=0.5)
        time[0] += 1.0
        shares.append(part.share)
    assert part.share == 1.0
    assert shares == sorted(shares)
    assert len(shares) >= len(part.fields) > 1
    classes = review.slide.tissue.classes
    assert np.array_equal(viewer.layers["seen"].data > 0, classes == 1)
    events = read_log(run_folder / "reviews" / "C01" / "dr-a.jsonl")
    logged = [event for event in events if event.kind == "seen"]
    assert 0 < len(logged) <= len(part.fields)


@pytest.mark.gui
def test_a_glance_does_not_count_and_screening_goes_on_where_it_stopped(window):
    viewer, dock = window
    review, part = dock.review, dock.review.part("screening")
    time = [0.0]
    part.clock = lambda: time[0]
    part.set_magnification(40)
    for _ in range(3):
        press(dock.window(), "F", "Shift")
        time[0] += 0.1  # too short to see anything
    assert part.share == 0
    press(dock.window(), "B", "Shift")
    at = part.at
    assert at == 1
    time[0] += 1
    part.settle()
    assert part.share > 0
    viewer.scene.camera.zoom = 0.5  # from afar nothing more is seen
    review.refresh_view()
    before = part.share
    time[0] += 5
    part.settle()
    assert part.share == before
    review.open_case("C02")
    assert part.share == 0
    review.open_case("C01")
    assert part.share == before
    press(dock.window(), "F", "Shift")
    assert part.at == at + 1
    assert "%" in panel(dock, "Screening").words.text()


# --- drawing ---------------------------------------------------------------------------------


def click(dock, review, x_px0, y_px0, double=False):
    """A click on the slide, at a place in level-0 px.

    The events go to the canvas itself: the pointer of the display is shared, and its own moves
    come late on a busy machine.
    """
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication, QWidget

    canvas = next(w for w in dock.window().findChildren(QWidget) if "Canvas" in type(w).__name__)
    field = review.field()
    scale = canvas.width() / field.width
    place = QPointF(round((x_px0 - field.x) * scale), round((y_px0 - field.y) * scale))
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    press, release = QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonRelease
    events = [(QEvent.Type.MouseMove, none, none), (press, left, left), (release, left, none)]
    if double:
        events += [(QEvent.Type.MouseButtonDblClick, left, left), (release, left, none)]
    for kind, button, buttons in events:
        where = place, QPointF(canvas.mapToGlobal(place))
        event = QMouseEvent(kind, *where, button, buttons, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(canvas, event)
        QApplication.processEvents()


@pytest.mark.gui
def test_a_polygon_drawn_with_the_mouse_becomes_a_region_and_undo_takes_it_back(window):
    viewer, dock = window
    review, part = dock.review, dock.review.part("drawing")
    tab = panel(dock, "Regions")
    heard = []
    part.corrected.connect(heard.append)
    press(dock.window(), "R", "Alt")
    assert viewer.layers["tissue regions"].mode == "add_polygon"
    corners = [(300, 300), (600, 280), (620, 420), (340, 430)]  # beside the map
    for x, y in corners:
        click(dock, review, x, y)
    press(dock.window(), "Return")  # ends the polygon, and does not screen on
    (region,) = part.regions()
    assert region.name == "tumor"
    assert np.allclose(region.rings[0], corners, atol=3)
    assert review.part("screening").at is None
    assert heard == ["S01"]
    assert review.session.state.regions["S01"]["r1"].name == "tumor"
    area = part.area_mm2(region)
    assert f"{area:.3f} mm²" in tab.list.item(0).text()
    press(dock.window(), "R", "Alt")
    assert viewer.layers.selection.active.name == "slide"
    part.choose("necrosis")
    part.rename(0, "necrosis")
    assert part.regions()[0].name == "necrosis"
    press(dock.window(), "U")
    press(dock.window(), "U")
    assert part.regions() == ()
    assert len(viewer.layers["tissue regions"].data) == 0


@pytest.mark.gui
def test_regions_of_the_run_are_the_start_and_a_moved_corner_makes_them_the_readers(
    window, run_folder
):
    import json

    viewer, dock = window
    review, part = dock.review, dock.review.part("drawing")
    square = [[100, 100], [400, 100], [400, 400], [100, 400], [100, 100]]
    hole = [[200, 200], [250, 200], [250, 250], [200, 250], [200, 200]]
    feature = {
        "type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square, hole]},
        "properties": {"classification": {"name": "tumor"}},
    }  # fmt: skip
    triangle = [[500, 500], [600, 500], [550, 600], [500, 500]]
    other = {
        "type": "Feature", "geometry": {"type": "Polygon", "coordinates": [triangle]},
        "properties": {"name": "exclude"},
    }  # fmt: skip
    (run_folder / "regions").mkdir()
    file = run_folder / "regions" / "S01.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature, other]}))
    before = file.read_bytes()
    review.show_slide("S01")
    assert [(one.id, one.name, len(one.rings)) for one in part.regions()] == [
        ("", "tumor", 2),
        ("", "exclude", 1),
    ]
    assert part.area_mm2(part.regions()[0]) == pytest.approx((300**2 - 50**2) * 0.25 / 1e6)
    layer = viewer.layers["tissue regions"]
    moved = [one.copy() for one in layer.data]
    k = int(np.argmax((moved[0] == (200.0, 200.0)).all(axis=1)))
    moved[0][k] = (250.0, 260.0)  # y, x in µm
    layer.data = [(one, "polygon") for one in moved]  # as the mouse would, with its event
    regions = part.regions()
    assert [(one.id, one.name) for one in regions] == [("", "exclude"), ("r1", "tumor")]
    assert (520.0, 500.0) in regions[1].rings[0]
    assert len(regions[1].rings) == 2, "its hole stays"
    assert file.read_bytes() == before
    told = []
    review.told.connect(told.append)
    part.remove(0)  # the run's own stays: it counts until the reader has one of its name
    assert len(part.regions()) == 2
    assert "stands until you draw one" in told[-1]
    review.open_case("C02")
    review.open_case("C01")
    assert [(one.id, one.name) for one in part.regions()] == [("", "exclude"), ("r1", "tumor")]
    assert len(viewer.layers["tissue regions"].data) == 2
    part.remove(1)
    assert [(one.id, one.name) for one in part.regions()] == [("", "tumor"), ("", "exclude")]


@pytest.mark.gui
def test_a_nucleus_under_the_mouse_is_outlined_and_kept(window):
    viewer, dock = window
    review, part = dock.review, dock.review.part("segmenting")
    cells = review.slide.cells
    points, start = cells.outlines(np.arange(len(cells)))
    ends = pairwise(start)
    areas = np.array([np.ptp(points[first:last, 0]) for first, last in ends])
    row = int(np.argsort(areas)[len(areas) // 2])
    x, y = (float(v) for v in cells.xy_px0[row])
    viewer.cursor.position = (y * MPP.y, x * MPP.x)
    press(dock.window(), "A", "Alt")
    assert "No outline" in dock.message.text()
    press(dock.window(), "D", "Alt")
    assert part.proposal is not None
    assert len(viewer.layers["outline"].data) == 1
    press(dock.window(), "A", "Alt")
    added = review.session.state.added_cells["S01"]["n1"]
    assert added.class_name == "nucleus"
    ring = np.array(added.outline_px0)
    assert ring[:, 0].min() < x < ring[:, 0].max()
    assert ring[:, 1].min() < y < ring[:, 1].max()
    assert len(viewer.layers["nuclei, added"].data) == 1
    assert len(viewer.layers["outline"].data) == 0
    press(dock.window(), "U")
    assert not review.session.state.added_cells.get("S01")
    assert len(viewer.layers["nuclei, added"].data) == 0


@pytest.mark.gui
def test_a_box_outlines_a_larger_object_as_a_region(window):
    viewer, dock = window
    review, part = dock.review, dock.review.part("segmenting")
    press(dock.window(), "X", "Alt")
    assert not viewer.scene.camera.mouse_pan
    box = review.slide.tissue.box(1)
    part.toggle_box()
    assert viewer.scene.camera.mouse_pan
    part.within(box)
    assert part.proposal is not None
    part.keep_region()
    (region,) = review.part("drawing").regions()
    tissue = review.slide.tissue.area_mm2(1)
    assert review.part("drawing").area_mm2(region) == pytest.approx(tissue, rel=0.2)
