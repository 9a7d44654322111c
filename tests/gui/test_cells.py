"""Nuclei in the window: hidden, chosen, corrected, added, undone; what is shown follows the log."""

import gc

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pathai.errors import PathaiError
from pathai.review_log import read_log
from pathai.store.folders import ResultsFolder
from pathai.viewer.class_raster import ClassRaster, PatchedLevel

KI67 = "S03"

pytestmark = pytest.mark.slow


def bring_forward(panel):
    from pathai.viewer.controls import bring_forward as bring

    bring(panel)


@pytest.fixture
def window(run_folder, qtbot):
    """The window on the slide with Ki-67, near enough to see single nuclei."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    draw_raster(run_folder)
    viewer, dock = open_window(run_folder, "dr-a")
    dock.review.open_case("C02")
    dock.review.show_slide(KI67)
    for _ in range(5):
        QApplication.processEvents()
    yield viewer, dock
    viewer.close()
    QApplication.processEvents()
    gc.collect()


def stored(run_folder):
    return ResultsFolder(run_folder / "results").slide(KI67).read_cells("classical")


def draw_raster(run_folder):
    """Store the raster as stage cells draws it; that of the small run follows another rule."""
    import zarr

    from pathai.store.cell_store import halved

    cells = stored(run_folder)
    path = ResultsFolder(run_folder / "results").slide(KI67).cells("classical")
    level = raster_of(cells.class_, cells)
    group = zarr.open_group(path, mode="r+")
    for number in range(len(cells.raster)):
        group[f"raster/{number}"][:] = level
        level = halved(level)


def look_at(dock, xy_px0, zoom=5.0):
    """Bring a place to the middle of the canvas."""
    from qtpy.QtWidgets import QApplication

    review = dock.review
    camera = review.viewer.scene.camera
    camera.zoom = zoom
    camera.center = (float(xy_px0[1]) * review.slide.mpp.y, float(xy_px0[0]) * review.slide.mpp.x)
    for _ in range(3):
        QApplication.processEvents()
    review.refresh_view()


def click_middle(viewer, qtbot, dx=0):
    """A real click in the middle of the canvas."""
    from qtpy.QtCore import QPoint, Qt

    canvas = viewer.window._qt_viewer.canvas.native
    at = QPoint(canvas.width() // 2 + dx, canvas.height() // 2)
    qtbot.mouseMove(canvas, at)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=at)


def drag_middle(viewer, steps):
    """A real drag from the middle of the canvas, by steps in px."""
    from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    last = len(steps) - 1
    events = [(QEvent.Type.MouseButtonPress, left, left, 0)]
    events += [(QEvent.Type.MouseMove, none, left, i) for i in range(1, len(steps))]
    events += [(QEvent.Type.MouseButtonRelease, left, none, last)]
    for kind, button, buttons, i in events:
        at = middle + QPoint(*steps[i])
        where = QPointF(at), QPointF(canvas.mapToGlobal(at))
        event = QMouseEvent(kind, *where, button, buttons, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(canvas, event)
        QApplication.processEvents()


def press(dock, key, *, control=False, alt=False, shift=False):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    modifier = Qt.KeyboardModifier.NoModifier
    for wanted, one in ((control, "Control"), (alt, "Alt"), (shift, "Shift")):
        modifier |= getattr(Qt.KeyboardModifier, f"{one}Modifier") if wanted else modifier
    QTest.keyClick(dock.window(), getattr(Qt.Key, f"Key_{key}"), modifier)


def lonely(cells):
    """Row of a nucleus far from others and from the edge."""
    away = np.hypot(*(cells.xy_px0[:, None] - cells.xy_px0[None]).transpose(2, 0, 1))
    np.fill_diagonal(away, np.inf)
    inner = ((cells.xy_px0 > 150) & (cells.xy_px0 < 850)).all(axis=1)
    return int(np.argmax(np.where(inner, away.min(axis=1), 0)))


def raster_of(classes, cells):
    """The raster drawn from scratch by stage cells' own code."""
    from pathai.cells.raster import strips

    value = (np.asarray(classes) + 1).astype(np.uint8)
    use = np.flatnonzero(value)
    lines = [cells.outline_px0[a:b] for a, b in zip(cells.outline_start, cells.outline_start[1:],
                                                     strict=False)]  # fmt: skip

    def outlines(first, stop):
        own = [lines[use[i]] for i in range(first, stop)]
        return np.concatenate(own), np.cumsum([0, *map(len, own)])

    drawn = strips(cells.xy_px0[use], value[use], outlines, 200, cells.raster[0].shape, 1.0)
    return np.concatenate(list(drawn))


# --- the raster with corrections over it -----------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_a_patched_level_reads_like_the_array_it_stands_for(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(1, 2600, 2))
    truth = rng.integers(0, 9, shape).astype(np.uint8)
    level, before = PatchedLevel(truth.copy()), truth.copy()
    for _ in range(rng.integers(0, 4)):
        y, x = (int(rng.integers(0, n)) for n in shape)
        part = rng.integers(0, 9, rng.integers(1, 1500, 2)).astype(np.uint8)
        part = part[: shape[0] - y, : shape[1] - x]
        truth[y : y + part.shape[0], x : x + part.shape[1]] = part
        level.draw(x, y, part)
    assert np.array_equal(np.asarray(level), truth)
    assert np.array_equal(level._stored, before)  # what is stored is never written to
    a, b, c, d = (int(v) for v in rng.integers(-3000, 3000, 4))
    step = int(rng.integers(1, 5))
    keys = (np.s_[a:b, c:d], np.s_[a:b:step, ::-step], np.s_[a:b], np.s_[..., c:d], np.s_[0], 0)
    for key in keys:
        assert np.array_equal(level[key], truth[key]), key
    assert level[shape[0] - 1, -1] == truth[-1, -1]
    with pytest.raises(IndexError):
        level[shape[0], 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_coarser_levels_are_those_of_the_corrected_finest(seed):
    from pathai.store.cell_store import halved

    rng = np.random.default_rng(seed)
    finest = rng.integers(0, 3, rng.integers(40, 1300, 2)).astype(np.uint8)
    levels = [finest]
    while max(levels[-1].shape) > 30:
        levels.append(halved(levels[-1]))
    raster = ClassRaster(levels, 2.0)
    low = rng.uniform(0, 2.0 * np.array(finest.shape[::-1]), 2)
    window = raster.window((*low, *(low + rng.uniform(1, 300, 2))))
    empty = np.zeros((0, 2), np.float32), np.zeros(1, np.int64)
    raster.redraw(window, np.zeros((0, 2)), np.zeros(0, np.uint8), *empty)
    truth = finest.copy()
    truth[window[1] : window[3], window[0] : window[2]] = 0
    for level in raster.levels:
        assert np.array_equal(np.asarray(level), truth)
        truth = halved(truth)


# --- choosing and correcting -----------------------------------------------------------------


@pytest.mark.gui
def test_a_click_chooses_a_nucleus_and_keys_correct_it(window, run_folder, qtbot):
    viewer, dock = window
    review, cells = dock.review, stored(run_folder)
    part = review.part("cells")
    row = lonely(cells)
    was, other = int(cells.class_[row]), 1 - int(cells.class_[row])
    look_at(dock, cells.xy_px0[row])
    click_middle(viewer, qtbot)
    assert part.selected == row
    shown = viewer.layers["nuclei, selected"].data
    first, last = cells.outline_start[row : row + 2]
    line = cells.outline_px0[first:last, ::-1] * review.slide.mpp.x
    assert np.allclose(shown[0], line)
    counts = part.counts()
    press(dock, str(other + 1), control=True)  # give it the other class
    names = cells.attrs.classes
    assert part.class_of(row) == names[other]
    after = part.counts()
    assert after[names[other]] == counts[names[other]] + 1
    assert after[names[was]] == counts[names[was]] - 1
    x, y = (int(v) for v in cells.xy_px0[row])
    assert viewer.layers["nuclei"].data[0][y, x] == other + 1
    press(dock, "U")
    assert part.class_of(row) == names[was]
    assert part.counts() == counts
    press(dock, "U", shift=True)
    assert part.class_of(row) == names[other]
    press(dock, "J", control=True)  # it is none
    assert part.class_of(row) == ""
    assert part.selected is None
    assert viewer.layers["nuclei"].data[0][y, x] == 0
    assert sum(part.counts().values()) == len(cells.xy_px0) - 1
    click_middle(viewer, qtbot)
    assert part.selected != row  # a rejected nucleus is no longer there
    events = read_log(run_folder / "reviews" / "C02" / "dr-a.jsonl")
    assert [e.kind for e in events if e.kind in ("cells", "undo", "redo")] == [
        "cells", "undo", "redo", "cells",
    ]  # fmt: skip


@pytest.mark.gui
def test_confirming_is_an_event_that_changes_no_count(window, run_folder, qtbot):
    viewer, dock = window
    review, cells = dock.review, stored(run_folder)
    part, row = review.part("cells"), lonely(cells)
    press(dock, "K", control=True)
    assert "Click a nucleus" in dock.message.text()
    look_at(dock, cells.xy_px0[row])
    click_middle(viewer, qtbot)
    counts = part.counts()
    press(dock, "K", control=True)
    assert part.counts() == counts
    name = cells.attrs.classes[cells.class_[row]]
    given_ = review.session.state.classes(KI67, "classical", part.nuclei.store)
    assert given_ == {row: name}


@pytest.mark.gui
def test_a_drag_moves_the_view_and_chooses_nothing(window, run_folder, qtbot):
    viewer, dock = window
    cells = stored(run_folder)
    look_at(dock, cells.xy_px0[lonely(cells)])
    before = viewer.scene.camera.center
    drag_middle(viewer, [(0, 0), (10, 10), (30, 30), (60, 60)])
    assert dock.review.part("cells").selected is None
    assert viewer.scene.camera.center != before


@pytest.mark.gui
def test_all_in_a_region_at_once_is_one_event_and_one_undo(window, run_folder):
    viewer, dock = window
    review, cells = dock.review, stored(run_folder)
    part = review.part("cells")
    shape = shapely.Polygon([(300, 250), (800, 300), (700, 800), (250, 700)])
    inside = shapely.contains_xy(shape, *cells.xy_px0.astype(float).T)
    wanted = inside & (cells.class_ == 1)
    assert wanted.sum() > 5
    events = len(read_log(run_folder / "reviews" / "C02" / "dr-a.jsonl"))
    assert part.classify_all(shape, "negative", of="positive") == wanted.sum()
    now = np.where(wanted, 0, cells.class_)
    assert np.array_equal(part.index.class_, now)
    assert len(read_log(run_folder / "reviews" / "C02" / "dr-a.jsonl")) == events + 1
    assert np.array_equal(np.asarray(viewer.layers["nuclei"].data[0]), raster_of(now, cells))
    part.classify_all(shape, "")
    now = np.where(inside, -1, cells.class_.astype(int))
    assert np.array_equal(part.index.class_, now)
    assert np.array_equal(np.asarray(viewer.layers["nuclei"].data[0]), raster_of(now, cells))
    review.undo()
    review.undo()
    assert np.array_equal(part.index.class_, cells.class_)
    assert np.array_equal(
        np.asarray(viewer.layers["nuclei"].data[0]), raster_of(cells.class_, cells)
    )
    assert part.classify_all(shapely.box(-9, -9, -5, -5), "negative") == 0
    assert "No nucleus" in dock.message.text()


@pytest.mark.gui
def test_corrections_are_there_again_when_the_case_is_opened_anew(window, run_folder):
    viewer, dock = window
    review = dock.review
    part = review.part("cells")
    shape = shapely.box(200, 200, 800, 800)
    part.classify_all(shape, "positive")
    part.add(((20.0, 20.0), (40.0, 20.0), (40.0, 40.0), (20.0, 40.0)), "positive")
    now, shown = part.index.class_.copy(), np.asarray(viewer.layers["nuclei"].data[0])
    counts = part.counts()
    before = {str(p): p.read_bytes() for p in (run_folder / "results").rglob("*") if p.is_file()}
    review.open_case("C01")
    assert "positive" not in part.counts()
    review.open_case("C02")
    review.show_slide(KI67)
    assert np.array_equal(part.index.class_, now)
    assert part.counts() == counts
    assert np.array_equal(np.asarray(viewer.layers["nuclei"].data[0]), shown)
    after = {str(p): p.read_bytes() for p in (run_folder / "results").rglob("*") if p.is_file()}
    assert before == after  # results are never written


@pytest.mark.gui
def test_an_added_nucleus_is_counted_drawn_chosen_and_taken_away(window, run_folder, qtbot):
    viewer, dock = window
    review, cells = dock.review, stored(run_folder)
    part = review.part("cells")
    counts = part.counts()
    free = next(
        (x, y)
        for x in range(100, 900, 20)
        for y in range(100, 900, 20)
        if np.hypot(*(cells.xy_px0 - (x, y)).T).min() > 40
    )
    x, y = free
    part.add(((x - 12, y - 9), (x + 12, y - 9), (x + 12, y + 9), (x - 12, y + 9)), "positive")
    assert part.selected == "n1"
    assert part.counts()["positive"] == counts["positive"] + 1
    assert viewer.layers["nuclei"].data[0][y, x] == 2
    look_at(dock, free)
    assert [x * 0.5, y * 0.5][::-1] in viewer.layers["nuclei, centers"].data.round(3).tolist()
    part.select(None)
    click_middle(viewer, qtbot)
    assert part.selected == "n1"
    press(dock, "1", control=True)
    assert part.counts()["negative"] == counts["negative"] + 1
    assert viewer.layers["nuclei"].data[0][y, x] == 1
    press(dock, "J", control=True)
    assert part.counts() == counts
    assert viewer.layers["nuclei"].data[0][y, x] == 0


@pytest.mark.gui
def test_a_class_of_the_readers_own_gets_a_color_and_a_count(window, run_folder):
    viewer, dock = window
    part = dock.review.part("cells")
    cells = stored(run_folder)
    part.select(lonely(cells))
    part.classify("mitosis")
    assert part.classes == ("negative", "positive", "mitosis")
    assert part.counts()["mitosis"] == 1
    assert len(set(part.colors.values())) == 3
    x, y = (int(v) for v in cells.xy_px0[part.selected])
    assert viewer.layers["nuclei"].data[0][y, x] == 3
    color = viewer.layers["nuclei"].colormap.color_dict[3]
    assert np.allclose(color[3], 1)


@pytest.mark.gui
def test_a_class_is_hidden_and_shown_by_key(window, run_folder):
    viewer, dock = window
    part, cells = dock.review.part("cells"), stored(run_folder)
    look_at(dock, (500, 500))
    every = len(viewer.layers["nuclei, centers"].data)
    press(dock, "2", alt=True)
    assert part.hidden == {"positive"}
    assert viewer.layers["nuclei"].colormap.color_dict[2][3] == 0
    fewer = len(viewer.layers["nuclei, centers"].data)
    field = dock.review.field()
    assert 0 < fewer < every
    colors = {tuple(np.round(c, 3)) for c in viewer.layers["nuclei, centers"].face_color}
    assert len(colors) == 1
    row = next(
        i
        for i in np.flatnonzero(cells.class_ == 1)
        if field.x < cells.xy_px0[i, 0] < field.right
        and field.y < cells.xy_px0[i, 1] < field.bottom
    )
    assert part.at(*cells.xy_px0[row]) != row  # what is hidden is not chosen
    press(dock, "2", alt=True)
    assert part.hidden == set()
    assert len(viewer.layers["nuclei, centers"].data) == every
    press(dock, "9", alt=True)  # there is no ninth class
    assert part.hidden == set()


@pytest.mark.gui
def test_the_legend_counts_and_hides(window, qtbot):
    from qtpy.QtCore import QPoint, Qt

    from pathai.viewer.cells_panel import CellsPanel

    _, dock = window
    panel = next(p for p in dock._panels if isinstance(p, CellsPanel))
    bring_forward(panel)
    part = dock.review.part("cells")
    counts = part.counts()
    assert [row.name for row in panel.rows] == list(counts)
    assert [row.number.text() for row in panel.rows] == [f"{n:,}" for n in counts.values()]
    qtbot.mouseClick(panel.rows[1].shown, Qt.MouseButton.LeftButton, pos=QPoint(8, 10))
    assert part.hidden == {"positive"}
    assert not panel.rows[1].shown.isChecked()
    part.select(0)
    assert "negative" in panel.chosen.text() or "positive" in panel.chosen.text()
    qtbot.mouseClick(panel.reject, Qt.MouseButton.LeftButton)
    assert part.class_of(0) == ""
    assert sum(part.counts().values()) == sum(counts.values()) - 1


@pytest.mark.gui
def test_many_nuclei_are_never_points_or_shapes(window, monkeypatch):
    from pathai.viewer import layers

    viewer, dock = window
    part = dock.review.part("cells")
    monkeypatch.setattr(layers, "TOO_MANY", 50)
    monkeypatch.setattr(layers, "MOST_OUTLINES", 20)
    for zoom in (0.3, 1.0, 1.5, 3.0, 8.0, 20.0):
        look_at(dock, (500, 500), zoom)
        drawn = len(viewer.layers["nuclei, centers"].data)
        assert drawn <= 50
        assert viewer.layers["nuclei"].visible or viewer.layers["nuclei, outlines"].visible
        assert not (viewer.layers["nuclei, outlines"].visible and drawn > 20)
        assert len(viewer.layers["nuclei, selected"].data) <= 1
    assert part.view.near


@pytest.mark.gui
def test_napari_has_our_keys_free():
    """Neither napari's shortcuts nor its menus know them."""
    from app_model.types import KeyBinding
    from napari._app_model import get_app_model
    from napari.utils.shortcuts import default_shortcuts

    from pathai.viewer.keys import KEYS

    taken = {str(key) for found in default_shortcuts.values() for key in found}
    taken |= {str(b.keybinding) for b in get_app_model().keybindings}
    ours = [k for name, k in KEYS.items() if name.startswith(("class", "give", "nucleus"))]
    assert len(ours) > 15
    for key in ours:
        spelled = str(KeyBinding.from_str(key.napari.replace("Control", "Ctrl").replace("-", "+")))
        assert spelled not in taken, key.napari


@pytest.mark.gui
def test_corrections_count_in_the_report_at_a_click(window, qtbot):
    """What comes out of the counting is tested where it is made, `tests/unit/test_corrected.py`."""
    from qtpy.QtCore import Qt

    from pathai.viewer.cells_panel import CellsPanel

    _, dock = window
    panel = next(p for p in dock._panels if isinstance(p, CellsPanel))
    bring_forward(panel)
    corrected, begun = dock.review.part("corrected"), []
    corrected._start = lambda work, done, failed: begun.append((work, done, failed))
    dock.review.part("cells").select(0)
    dock.review.part("cells").reject()
    qtbot.mouseClick(panel.count, Qt.MouseButton.LeftButton)
    assert corrected.working == dock.review.case.case_id
    ((work, _, failed),) = begun
    with pytest.raises(PathaiError, match="E212") as error:
        work()  # this small run has no manifests
    failed(error.value)
    assert corrected.working == ""
    assert "run pathai run first" in dock.message.text()
