"""What a reader may point at: runs, results, slides of a run, loose slides, slide files."""

import gc
import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pathai.errors import PathaiError
from pathai.units import Box
from pathai.viewer.plain import LevelOf, Source, levels_of, plain_layer
from pathai.viewer.reader import get_reader, get_slide_reader, layers_of
from pathai.viewer.runs import Run, find_config, loose_slide

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(qtbot):
    """Opens windows, and closes them."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer import app

    there = []

    def open_one(path, *args, **options):
        make = app.open_window if args or options else app.open_slide_window
        there.append(make(path, *args, **options))
        for _ in range(5):
            QApplication.processEvents()
        return there[-1]

    yield open_one
    for viewer, _ in there:
        viewer.close()
    QApplication.processEvents()
    gc.collect()


# --- what belongs to a run -------------------------------------------------------------------


def test_a_run_is_found_from_anything_in_it(run_folder, monkeypatch):
    slide = run_folder / "results" / "slides" / "S02"
    for given in (
        run_folder,
        run_folder / "config.yaml",
        run_folder / "results",
        slide,
        slide / "tiles.zarr",
    ):
        assert find_config(given) == run_folder / "config.yaml"
        assert not loose_slide(given)
    monkeypatch.chdir(slide)
    assert find_config(Path("tiles.zarr")) == run_folder / "config.yaml"
    above = run_folder.parent
    assert find_config(above) == run_folder / "config.yaml"  # the only run there
    (above / "second" / "results").mkdir(parents=True)
    (above / "second" / "config.yaml").touch()
    for other in (run_folder / "results" / "cases" / "C01", above):
        with pytest.raises(PathaiError, match="E212"):
            find_config(other)


@pytest.mark.gui
def test_a_slide_of_a_run_opens_its_case(run_folder, opened):
    _, dock = opened(run_folder / "results" / "slides" / "S03", "dr-a")
    assert dock.review.case.case_id == "C02"
    assert dock.review.slide.slide_id == "S03"


@pytest.mark.gui
def test_a_slide_without_a_run_is_shown_with_map_scale_and_keys(run_folder, tmp_path, opened):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    loose = tmp_path / "elsewhere" / "S01"
    shutil.copytree(run_folder / "results" / "slides" / "S01", loose)
    assert loose_slide(loose)
    assert loose_slide(loose / "tiles.zarr")
    viewer, window = opened(loose)
    assert {"slide", "tissue"} <= {layer.name for layer in viewer.layers}
    assert viewer.canvas.overlays.scale_bar.visible
    assert window.overview.isVisible()
    main = window.overview.window()
    QTest.keyClick(main, Qt.Key.Key_9)
    assert viewer.scene.camera.zoom == pytest.approx(4)
    QTest.keyClick(main, Qt.Key.Key_F1)
    assert window.key_list.isVisible()
    assert "accept" not in "".join(window.key_list.halves())
    assert not (tmp_path / "elsewhere" / "reviews").exists()


# --- slide files -----------------------------------------------------------------------------


MICRONS = {
    "slides/CMU-1-Small-Region.svs": (2220, 2967, 0.499),
    "slides/OS-1-detail_HE.ome.tif": (1101, 1101, 0.2271),
    "slides/test3-TRITC 2 (560).ndpi": (3968, 4864, 0.22818),
    "slides/xyc/XYC-half-mpp.tiff": (512, 512, 0.5),
}
PIXELS = {
    "slides/TCGA-CR-7395-01A-01-TS1.svs": "no µm per pixel",
    "slides/CMU-1-Small-Region.jpeg.tiff": "0.00499 µm per pixel, which cannot be right",
    "slides/li_yb10kx5k.zstd.tiff": "352.9 µm per pixel, which cannot be right",
}


@pytest.mark.real
@pytest.mark.parametrize("name", [*MICRONS, *PIXELS])
def test_a_slide_file_opens_at_its_size_in_its_unit(name, test_data):
    path = test_data / name
    read = get_slide_reader(str(path))
    assert read is not None
    (data, options, kind), note = plain_layer(path)
    levels = data if options.get("multiscale") else [data]
    assert kind == "image"
    assert options["rgb"]
    assert all(level.dtype == np.uint8 and level.shape[2] == 3 for level in levels)
    if name in MICRONS:
        width, height, mpp = MICRONS[name]
        assert levels[0].shape == (height, width, 3)
        assert options["units"] == ("um", "um")
        assert np.allclose(options["scale"], mpp, rtol=1e-3)
        assert np.allclose(options["translate"], np.array(options["scale"]) / 2)
        assert note == ""
    else:
        assert options["units"] == ("pixel", "pixel")
        assert "scale" not in options
        assert PIXELS[name] in note
    for finer, coarser in pairwise(levels):
        assert finer.shape[0] > coarser.shape[0]


@pytest.mark.real
def test_pixels_of_a_slide_file_are_those_of_its_reader_wherever_they_are_asked_for(test_data):
    from pathai.readers import open_slide

    path = test_data / "slides/test3-TRITC 2 (560).ndpi"
    slide = open_slide(path)
    levels = levels_of(slide)
    for number in (0, 2, 5):
        height, width = levels[number].shape[:2]
        down = slide.facts.size.width / width
        for y, x in ((0, 0), (height // 3, width // 2), (height - 20, width - 17)):
            box = Box(x * down, y * down, 17 * down, 20 * down)
            wanted, _ = slide.read_level(box, number)
            found = levels[number][y : y + 20, x : x + 17].compute()
            assert np.array_equal(found, wanted)
    xyc = plain_layer(test_data / "slides/xyc/XYC_zlib.ome.tiff")[0][0]
    from PIL import Image

    truth = np.asarray(Image.open(test_data / "slides/xyc/XYC.png").convert("RGB"))
    assert np.array_equal(xyc.compute(), truth)


@pytest.mark.real
def test_one_level_is_made_into_several_and_each_pixel_is_the_mean_of_four(test_data):
    levels, options = plain_layer(test_data / "slides/CMU-1-Small-Region.svs")[0][:2]
    assert options["multiscale"]
    first = levels[0].compute().astype(float)[:2966]
    mean = first.reshape(1483, 2, 1110, 2, 3).mean(axis=(1, 3))
    assert np.abs(levels[1].compute() - mean).max() <= 0.5


def test_only_what_is_asked_for_is_read():
    from pathai.readers.base import Facts
    from pathai.units import Size

    class Noted:
        def __init__(self):
            self.asked = []

        facts = Facts(Size(100_000, 80_000), (Size(100_000, 80_000), Size(6250, 5000)), (1, 16))

        def close(self):
            self.asked.append("closed")

        def read_level(self, box, level):
            self.asked.append((box, level))
            size = self.facts.level_dimensions[level]
            down = self.facts.size.width / size.width
            shape = (round(box.height / down), round(box.width / down), 3)
            return np.zeros(shape, np.uint8), np.ones(shape[:2], bool)

    slide = Noted()
    levels = levels_of(slide)
    assert not slide.asked
    assert [level.shape[:2] for level in levels] == [
        (80_000, 100_000), (5000, 6250), (2500, 3125), (1250, 1562),
    ]  # fmt: skip
    levels[0][40_000:40_100, 70_000:70_100].compute()
    assert sum(box.width * box.height for box, _ in slide.asked) <= 4 * 512 * 512
    del levels
    gc.collect()
    assert slide.asked[-1] == "closed"
    assert LevelOf(Source(slide), 1).shape == (5000, 6250, 3)


@pytest.mark.real
def test_what_is_no_slide_is_left_to_others_or_says_why(test_data):
    """``get_reader`` never raises; the reader itself says what is wrong with a slide's file."""
    for name in ("slides/xyc/XYC.png", "broken/zero_size.tif", "slides/camelyon_overview_jpeg.dcm"):
        assert get_slide_reader(str(test_data / name)) is None
    for name, said in (
        ("broken/lfs_pointer.ndpi", "Git LFS pointer"),
        ("broken/random_bytes.svs", "E1"),
        ("broken/CMU-1-Saved-1_16.mrxs", "E135"),
    ):
        read = get_slide_reader(str(test_data / name))
        with pytest.raises(PathaiError, match=said):
            read(str(test_data / name))
    for odd in ("", "nowhere.tif", "nowhere.svs", "a\0b.tif", "/", "x" * 5000):
        get_reader(odd)
        get_slide_reader(odd)
    assert get_reader(["a", "b"]) is None
    assert get_slide_reader(["a.svs", "b.svs"]) is None


@pytest.mark.gui
@pytest.mark.real
def test_napari_itself_opens_slide_files_and_results_that_are_dropped(run_folder, qtbot, test_data):
    import npe2
    from napari.layers import Layer

    slide = run_folder / "results" / "slides" / "S01"
    for path, count in ((slide, 4), (slide / "tiles.zarr", 1)):
        data = npe2.read([str(path)], stack=False, plugin_name="pathai")
        assert len(data) == count
    path = test_data / "slides/CMU-1-Small-Region.svs"
    data = npe2.read([str(path)], stack=False, plugin_name="pathai")
    layer = Layer.create(*data[0])
    assert layer.multiscale
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]


@pytest.mark.gui
@pytest.mark.real
def test_a_slide_without_microns_opens_in_pixels_and_says_so(opened, monkeypatch, test_data):
    from napari.utils import notifications

    said = []
    monkeypatch.setattr(notifications, "show_info", said.append)
    viewer, window = opened(test_data / "slides/TCGA-CR-7395-01A-01-TS1.svs")
    assert "no µm per pixel" in " ".join(said)
    assert not viewer.canvas.overlays.scale_bar.visible
    before = viewer.scene.camera.zoom
    window.looking.magnify(40)
    assert viewer.scene.camera.zoom == before  # a magnification would be a guess
    assert "no magnification" in said[-1]
    assert window.overview.isVisible()


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.gui
def test_a_missing_store_and_one_of_another_version_are_told(run_folder, opened):
    _, dock = opened(run_folder, "dr-a")
    slides = run_folder / "results" / "slides"
    attributes = slides / "S02" / "tiles.zarr" / "zarr.json"
    attributes.write_text(attributes.read_text().replace('"schema": 2', '"schema": 99'))
    assert '"schema": 99' in attributes.read_text()
    dock.review.open_case("C02")
    assert "E165" in dock.message.text()
    assert "S02" in dock.message.text()
    assert dock.review.slide is None
    dock.review.show_slide("S03")  # the other slide of the case is all right
    assert dock.review.slide.slide_id == "S03"
    shutil.rmtree(slides / "S01" / "tiles.zarr")
    dock.review.open_case("C01")
    assert "no slide of this case" in dock.message.text()
    with pytest.raises(PathaiError, match="E165"):
        layers_of(slides / "S02")


@pytest.mark.gui
def test_results_that_are_being_written_open_as_far_as_they_are_finished(run_folder, opened):
    _, dock = opened(run_folder, "dr-a")
    cells = run_folder / "results" / "slides" / "S02" / "cells"
    (cells / "classical.zarr").rename(cells / "classical.zarr.part")
    lock = run_folder / ".pathai" / "lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("4711\n")
    dock.review.open_case("C02")
    assert "A run is writing results of S02" in dock.message.text()
    assert dock.review.slide.slide_id == "S02"
    assert dock.review.slide.cells is None
    assert dock.review.layer("tissue") is not None
    (cells / "classical.zarr.part").rename(cells / "classical.zarr")
    lock.unlink()
    dock.review.open_case("C01")
    dock._tell("")
    dock.review.open_case("C02")
    assert "writing" not in dock.message.text()
    assert dock.review.slide.cells is not None


@pytest.mark.gui
def test_reviews_go_to_a_chosen_folder_where_the_run_cannot_be_written(
    run_folder, tmp_path, opened
):
    blocked = run_folder / "reviews"
    blocked.write_text("a file stands where the folder would be")
    _, dock = opened(run_folder, "dr-a")
    assert "E160" in dock.message.text()
    assert "--reviews" in dock.message.text()
    assert dock.review.case is None
    before = {p: os.stat(p).st_mtime_ns for p in run_folder.rglob("*")}
    _, dock = opened(run_folder, "dr-a", tmp_path / "own")
    assert dock.review.case.case_id == "C01"
    assert (tmp_path / "own" / "C01" / "dr-a.jsonl").is_file()
    assert {p: os.stat(p).st_mtime_ns for p in run_folder.rglob("*")} == before


@pytest.mark.gui
def test_a_case_that_is_open_elsewhere_is_told(run_folder, opened):
    from pathai.review import ReviewSession

    run = Run(run_folder)
    other = ReviewSession(run.reviews, "dr-a", [c.record for c in run.cases.values()])
    other.open("C02")
    _, dock = opened(run_folder, "dr-a")
    dock.review.open_case("C02")
    assert "E175" in dock.message.text()
    assert dock.review.case.case_id == "C01"
    other.close()
    dock.review.open_case("C02")
    assert dock.review.case.case_id == "C02"


def test_the_command_line_passes_every_choice_on(run_folder, monkeypatch):
    from typer.testing import CliRunner

    from pathai import cli
    from pathai.viewer import app

    asked = []
    monkeypatch.setattr(app, "review", lambda *given, **named: asked.append((given, named)))
    run = str(run_folder)
    for options, wanted in (
        ([], (("", None), None)),
        (["--reader", "dr-a", "--no-blind"], (("dr-a", None), False)),
        (["--reviews", "own", "--blind"], (("", Path("own")), True)),
    ):
        result = CliRunner().invoke(cli.app, ["review", run, *options])
        assert result.exit_code == 0, result.output
        given, named = asked.pop()
        assert (given, named) == ((Path(run), *wanted[0]), {"blind": wanted[1]})


def test_the_only_run_below_is_found_and_two_are_not_guessed(written_run):
    from pathai.errors import PathaiError
    from pathai.viewer.runs import find_config

    assert find_config(written_run.parent) == written_run / "config.yaml"
    other = written_run.parent / "other"
    (other / "results").mkdir(parents=True)
    (other / "config.yaml").write_text("")
    try:
        with pytest.raises(PathaiError, match=r"E212.*there are 2"):
            find_config(written_run.parent)
    finally:
        import shutil

        shutil.rmtree(other)
