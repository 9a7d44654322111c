"""The review window: layers where they belong, keys and clicks that do what they say."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

from pathai.errors import PathaiError
from pathai.review_log import read_log
from pathai.store.folders import ResultsFolder
from pathai.units import Box, Mpp

MPP = Mpp(0.5, 0.5)


@pytest.fixture
def window(run_folder, qtbot):
    """The window on the run, drawn and with the keys at work."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    viewer, dock = open_window(run_folder, "anna")
    for _ in range(5):
        QApplication.processEvents()
    yield viewer, dock
    viewer.close()
    QApplication.processEvents()
    gc.collect()


def press(dock, key, shift=False):
    """A real key event, sent to where the focus of the window would be."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
    QTest.keyClick(dock.window(), getattr(Qt.Key, f"Key_{key}"), modifier)


def results(run_folder: Path) -> ResultsFolder:
    return ResultsFolder(run_folder / "results")


def log(run_folder: Path, case: str) -> list[tuple[str, str]]:
    events = read_log(run_folder / "reviews" / case / "anna.jsonl")
    return [(event.kind, event.what) for event in events]


def on_disk(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- what is drawn where ---------------------------------------------------------------------


def test_manifest_is_valid_and_its_commands_exist():
    import pathai.viewer

    manifest = PluginManifest.from_file(Path(pathai.viewer.__file__).parent / "napari.yaml")
    manifest.validate_imports()
    assert manifest.contributions.widgets[0].display_name == "pathai review"
    titles = [command.title for command in manifest.contributions.commands]
    assert all(title.startswith("pathai: ") for title in titles)
    assert len(set(titles)) == len(titles)


@pytest.mark.gui
def test_every_layer_is_in_micrometers_and_the_scale_bar_shows(window):
    viewer, _ = window
    names = [layer.name for layer in viewer.layers]
    assert names == [
        "slide", "attention: tumor", "tissue", "seen", "attention, outline", "nuclei",
        "nuclei, outlines", "nuclei, centers", "nuclei, selected", "evidence",
        "regions", "ruler", "tissue regions", "nuclei, added", "outline",
    ]  # fmt: skip
    for layer in viewer.layers:
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"], layer.name
    assert viewer.canvas.overlays.scale_bar.visible
    slide = viewer.layers["slide"]
    assert slide.multiscale
    assert slide.rgb
    assert np.allclose(slide.scale, (MPP.y, MPP.x))
    height, width = slide.data[0].shape[:2]
    low, high = slide.extent.world
    assert np.allclose(high - low, ((height - 1) * MPP.y, (width - 1) * MPP.x))


@pytest.mark.gui
def test_a_place_of_the_store_lies_on_the_same_pixel_of_every_layer(window, run_folder):
    viewer, _ = window
    folder = results(run_folder).slide("S01")
    features = folder.read_features("morphology")
    prediction = folder.read_prediction("tumor")
    attention, nuclei = viewer.layers["attention: tumor"], viewer.layers["nuclei"]
    size = features.size_px0
    for weight, xy in zip(prediction.attention, features.xy_px0, strict=True):
        for share in (0.05, 0.5, 0.95):  # three places inside of the tile
            world = ((xy + share * size) * (MPP.x, MPP.y))[::-1]
            shown = attention.get_value(world, world=True)
            assert shown == pytest.approx(weight * len(features.xy_px0), rel=1e-5)
    cells = folder.read_cells("classical")
    world = [(y * MPP.y, x * MPP.x) for x, y in cells.xy_px0]
    places = [tuple(np.rint(nuclei.world_to_data(one)).astype(int)) for one in world]
    labels = np.array([np.asarray(nuclei.data[0])[one] for one in places])
    assert (labels == cells.class_ + 1).mean() > 0.95  # few centers lie outside of their nucleus
    tissue, found = folder.read_tissue(), viewer.layers["tissue"]
    rows, columns = np.nonzero(tissue.classes)
    for row, column in list(zip(rows, columns, strict=True))[::97]:
        world = ((row + 0.5) * tissue.mpp.y, (column + 0.5) * tissue.mpp.x)
        assert found.get_value(world, world=True) == tissue.classes[row, column]


@pytest.mark.gui
def test_pixels_are_those_of_the_slide(window, run_folder):
    viewer, _ = window
    pyramid = results(run_folder).slide("S01").open_tiles()
    x, y = 300, 420
    value = viewer.layers["slide"].data[0][y, x].compute()
    assert np.array_equal(value, pyramid.read(Box(x, y, 1, 1))[0, 0])


def test_attention_grid_of_odd_tiles_has_every_tile_once():
    from pathai.store.records import Features, FeaturesAttrs
    from pathai.viewer.layers import attention_grid

    width, height = 226.7, 219.3
    columns, rows = np.meshgrid(np.arange(3, 40), np.arange(2, 30))
    keep = (columns + rows) % 3 > 0
    xy = np.stack([columns[keep] * width, rows[keep] * height], axis=1)
    attrs = FeaturesAttrs(
        encoder="e", encoder_digest="", grid_digest="", tile_px=112, stride_px=112, mpp=0.5
    )
    n = len(xy)
    ones = np.ones(n, np.float16)
    size = np.array([width, height], np.float32)
    corners = np.floor(xy + 0.5).astype(np.int32)
    features = Features(np.zeros((n, 1), np.float16), corners, size, ones, ones, attrs)
    weights = np.arange(1, n + 1, dtype=np.float32)
    grid, box = attention_grid(features, weights / weights.sum())
    assert np.isfinite(grid).sum() == n
    assert np.isfinite(grid).sum() == keep.sum()
    assert np.array_equal(np.isfinite(grid), keep[: grid.shape[0], : grid.shape[1]])
    assert (box.x, box.y) == pytest.approx((3 * width, 2 * height), abs=0.01)
    known = grid[np.isfinite(grid)]
    assert known.mean() == pytest.approx(1, rel=1e-4)
    assert np.all(np.diff(known) > 0)  # rows stay in order


# --- keys and clicks -------------------------------------------------------------------------


@pytest.mark.gui
def test_keys_decide_undo_and_move(window, run_folder):
    _, dock = window
    review = dock.review
    before = on_disk(run_folder / "results")
    press(dock, "K")  # the first press selects: nobody decides on what is not marked
    first = review.case.sentences[0].id
    assert review.selected == first
    begun = [("open", "case"), ("reveal", "reveal")]  # not read blind: that is logged, too
    assert log(run_folder, "C01") == begun
    press(dock, "K")
    second = review.case.sentences[1].id
    assert review.selected == second
    press(dock, "J")
    assert {k: v.verdict for k, v in review.session.state.decisions.items()} == {
        first: "accepted",
        second: "rejected",
    }
    press(dock, "U")
    assert review.selected == second
    assert set(review.session.state.decisions) == {first}
    assert log(run_folder, "C01")[2:] == [("accept", first), ("reject", second), ("undo", "4")]
    press(dock, "N")
    assert review.case.case_id == "C02"
    press(dock, "N", shift=True)
    assert review.case.case_id == "C01"
    assert on_disk(run_folder / "results") == before


@pytest.mark.gui
def test_magnification_keys_follow_from_micrometers(window):
    viewer, dock = window
    camera = viewer.scene.camera
    press(dock, "0")
    fitted = camera.zoom
    press(dock, "9")
    assert camera.zoom == pytest.approx(4.0)  # 40x: 0.25 µm per screen pixel
    press(dock, "8")
    assert camera.zoom == pytest.approx(2.0)
    assert dock.review.magnification == pytest.approx(20)
    press(dock, "0")
    assert camera.zoom == pytest.approx(fitted)


@pytest.mark.gui
def test_h_hides_every_overlay_but_not_the_slide(window):
    viewer, dock = window
    press(dock, "H")
    assert {layer.name for layer in viewer.layers if layer.visible} <= {"slide", "ruler"}
    press(dock, "N")  # it stays so on the next case
    assert {layer.name for layer in viewer.layers if layer.visible} <= {"slide", "ruler"}
    press(dock, "H")
    shown = {layer.name for layer in viewer.layers if layer.visible}
    assert {"slide", "attention: tumor", "tissue", "nuclei, centers", "evidence"} <= shown
    assert shown & {"nuclei", "nuclei, outlines"}
    dock.overlays.boxes["nuclei"].click()
    shown = {layer.name for layer in viewer.layers if layer.visible}
    assert {"slide", "attention: tumor", "tissue", "evidence"} <= shown
    assert not [name for name in shown if name.startswith("nuclei")]


@pytest.mark.gui
def test_a_click_on_a_sentence_flies_to_each_place_in_turn(window, qtbot):
    from qtpy.QtCore import Qt

    viewer, dock = window
    review = dock.review
    card = next(c for c in dock._cards if c.sentence.places == 3)
    boxes = card.sentence.evidence[0].boxes
    for turn in range(4):
        qtbot.mouseClick(card, Qt.MouseButton.LeftButton)
        box = boxes[turn % 3]
        middle = ((box.y + box.height / 2) * MPP.y, (box.x + box.width / 2) * MPP.x)
        assert np.allclose(viewer.scene.camera.center[-2:], middle)
        seen = review.field()
        assert seen.x <= box.x
        assert seen.y <= box.y
        assert seen.right >= box.right
        assert seen.bottom >= box.bottom
        assert f"place {turn % 3 + 1} of 3" in card.chip.text()
    shown = viewer.layers["evidence"].data
    wanted = [[(b.y * MPP.y, b.x * MPP.x), (b.bottom * MPP.y, b.right * MPP.x)] for b in boxes]
    assert np.allclose([(s.min(axis=0), s.max(axis=0)) for s in shown], wanted)


@pytest.mark.gui
def test_a_sentence_on_another_slide_opens_that_slide(window):
    viewer, dock = window
    review = dock.review
    review.open_case("C02")
    assert review.slide.slide_id == "S02"
    other = next(s for s in review.case.sentences if s.evidence[0].slide_id == "S03")
    review.select(other.id)
    assert review.slide.slide_id == "S03"
    assert "Ki-67" in dock.facts.text()
    assert "positive" in dock.overlays.legend.text()
    assert "attention: tumor" not in viewer.layers


@pytest.mark.gui
def test_outlines_and_centers_are_drawn_only_in_view_and_only_when_close(window, run_folder):
    viewer, dock = window
    review = dock.review
    cells = results(run_folder).slide("S01").read_cells("classical")
    raster, lines = viewer.layers["nuclei"], viewer.layers["nuclei, outlines"]
    viewer.scene.camera.zoom = 0.5
    review.refresh_view()
    assert len(viewer.layers["nuclei, centers"].data) == 0
    assert (raster.visible, lines.visible) == (True, False)
    far = viewer.layers["attention: tumor"].opacity
    viewer.scene.camera.center = (256, 256)
    viewer.scene.camera.zoom = 5
    review.refresh_view()
    field, (x, y) = review.field(), cells.xy_px0.T
    inside = (x >= field.x) & (x <= field.right) & (y >= field.y) & (y <= field.bottom)
    shown = {tuple(point) for point in viewer.layers["nuclei, centers"].data}
    wanted = {tuple(point) for point in cells.xy_px0[inside][:, ::-1].astype(float) * MPP.x}
    assert wanted
    assert wanted <= shown
    assert len(shown) < len(cells.xy_px0)
    assert (raster.visible, lines.visible) == (False, True)
    assert viewer.layers["attention: tumor"].opacity < far
    for row in np.flatnonzero(inside):  # every corner of an outline lies on the drawn line
        first, last = cells.outline_start[row : row + 2]
        for px0 in cells.outline_px0[first:last]:
            if field.x < px0[0] < field.right and field.y < px0[1] < field.bottom:
                at = np.rint(lines.world_to_data((px0 * (MPP.x, MPP.y))[::-1])).astype(int)
                near = lines.data[at[0] - 2 : at[0] + 3, at[1] - 2 : at[1] + 3, 3]
                assert near.max() == 255


@pytest.mark.gui
def test_a_case_is_read_marked_and_left(window, run_folder):
    _, dock = window
    review = dock.review
    sentences = [s.id for s in review.case.sentences]
    assert not dock.done.isEnabled()
    assert "DRAFT" in dock.banner.text()
    for _ in range(len(sentences) + 1):
        press(dock, "K")
    assert dock.done.isEnabled()
    dock.done.click()
    assert "reviewed" in dock.title.text()
    assert review.session.worklist()[0].status == "reviewed"
    assert log(run_folder, "C01")[-1] == ("reviewed", "case")
    review.edit("other words")  # the last one is still selected
    card = next(c for c in dock._cards if c.sentence.id == review.selected)
    assert "Other words" in card.text.text()  # printed like a sentence
    assert "words of a person" in card.source.text()
    assert "flagged" in card.verdict.text()  # they say nothing that the finding holds


@pytest.mark.gui
def test_what_is_not_there_is_said_not_hidden(window, run_folder):
    _, dock = window
    review = dock.review
    review.open_case("C03")
    assert review.slide is None
    assert "no slide" in dock.message.text()
    assert not dock.done.isEnabled()
    review.open_case("C01")
    (run_folder / "results/slides/S02/cells/classical.zarr/zarr.json").write_text("{")
    review.open_case("C02")
    assert "nuclei not shown" in dock.message.text()
    assert review.layer("slide") is not None


@pytest.mark.gui
def test_a_second_window_is_refused_kindly_and_a_closed_one_lets_go(window, run_folder):
    from pathai.review import ReviewSession
    from pathai.viewer.runs import Run

    viewer, dock = window
    run = Run(run_folder)
    other = ReviewSession(run.reviews, "anna", [c.record for c in run.cases.values()])
    with pytest.raises(PathaiError, match="E175"):
        other.open("C01")
    dock.close()
    other.open("C01")
    other.close()
    assert "K" not in [str(key) for key in viewer.keymap]


@pytest.mark.gui
def test_the_plugin_opens_folders_and_tiles(run_folder, qtbot):
    from napari.components import ViewerModel
    from napari.layers import Layer

    from pathai.viewer.reader import get_reader

    folder = results(run_folder).slide("S01").path
    for path, count in ((folder, 4), (folder / "tiles.zarr", 1)):
        read = get_reader(str(path))
        viewer = ViewerModel()
        for data in read(str(path)):
            viewer.add_layer(Layer.create(*data))
        assert len(viewer.layers) == count
    for other in (run_folder, run_folder / "nothing.zarr", folder / "tissue.zarr"):
        assert get_reader(str(other)) is None
    assert get_reader([str(folder)]) is None


@pytest.mark.gui
def test_the_plugin_without_a_run_offers_to_open_one(run_folder, qtbot, monkeypatch):
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QFileDialog

    from pathai.viewer import commands
    from pathai.viewer.dock import ReviewDock

    said = []
    monkeypatch.setattr(commands, "show_info", said.append)
    commands.accept()
    assert "No review is open" in said[0]
    dock = ReviewDock(ViewerModel())
    qtbot.addWidget(dock)
    dock.show()
    assert dock.open_button.isVisible()
    assert not dock.done.isVisible()
    chosen = [str(run_folder / "results" / "cases"), str(run_folder)]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: chosen.pop(0))
    dock.open_button.click()
    assert "E212" in dock.message.text()
    dock.open_button.click()
    assert not dock.open_button.isVisible()
    assert dock.review.case.case_id == "C01"
    commands.accept()
    assert dock.review.selected == dock.review.case.sentences[0].id
    commands.accept()
    assert len(dock.review.session.state.decisions) == 1
    dock.stop()
    commands.accept()
    assert len(said) == 2


# --- before the window -----------------------------------------------------------------------


def test_no_run_no_display_no_napari(tmp_path, run_folder, monkeypatch):
    from pathai.viewer import app

    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(PathaiError, match=r"E212.*config\.yaml"):
        app.review(tmp_path / "nothing", "anna")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PathaiError, match="E211"):
        app.review(run_folder, "anna")
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(PathaiError, match="E211"):
        app.review(run_folder / "results", "anna")
    monkeypatch.setattr(app, "_version", lambda name: "6.12.0")
    monkeypatch.setattr("sys.version_info", (3, 11, 7))
    with pytest.raises(PathaiError, match=r"E194.*PySide6-Essentials<6\.12"):
        app.require_napari()
    monkeypatch.setattr("sys.version_info", (3, 12, 1))
    app.require_napari()
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    with pytest.raises(PathaiError, match=r"E194.*pathai\[viewer\]"):
        app.review(run_folder, "anna")


def test_runs_that_cannot_be_reviewed(run_folder):
    from pathai.viewer.runs import Run

    config = run_folder / "config.yaml"
    text = config.read_text()
    config.write_text(text + "reviews: results/reviews\n")
    with pytest.raises(PathaiError, match="E190"):
        Run(run_folder)
    config.write_text(text + "results: elsewhere\n")
    with pytest.raises(PathaiError, match="E212"):
        Run(run_folder)


def test_a_damaged_or_foreign_draft_is_a_problem_of_its_case_only(run_folder):
    from pathai.viewer.runs import Run

    case = results(run_folder).case("C01")
    draft = json.loads(case.draft("json").read_text())
    for change, code in ({"findings_digest": "0" * 64}, "E166"), ({"status": "final"}, "E164"):
        case.draft("json").write_text(json.dumps({**draft, **change}))
        run = Run(run_folder)
        assert code in run.cases["C01"].problem
        assert run.cases["C01"].sentences == ()
        assert run.cases["C02"].problem == ""


# --- models of other kinds -------------------------------------------------------------------


@pytest.mark.gui
def test_numbers_and_survival_have_cards_and_attention(tmp_path, qtbot):
    """A model that counts, and one question more: sentences, places and heatmap as ever."""
    from qtpy.QtWidgets import QApplication
    from run_folder import in_numbers, make_run

    from pathai.viewer.app import open_window

    viewer, dock = open_window(make_run(tmp_path / "run", change=in_numbers), "anna")
    for _ in range(5):
        QApplication.processEvents()
    told = [card.sentence for card in dock._cards]
    number = next(s for s in told if "1,240 cells" in s.text)
    assert number.text.endswith("tumor: 1,240 cells (90% interval 830 to 1,900).")
    assert number.places == 3
    assert any("“no event within 60 months” with probability 0.68" in s.text for s in told)
    assert any("attention" in layer.name for layer in viewer.layers)
    viewer.close()
    QApplication.processEvents()
    gc.collect()
