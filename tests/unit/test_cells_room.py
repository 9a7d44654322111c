"""The room of cells: blocks of any size, killed jobs, workers, and what must not be counted."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from folder_cases import make_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from pathai.cells import run
from pathai.cells.blocks import detect_slide
from pathai.config import CellsConfig
from pathai.detectors import DETECTORS
from pathai.detectors.base import Detections
from pathai.detectors.classical import Classical
from pathai.store.commit import Commit, Key, manifest_path, run_stage
from pathai.store.damage import Damage
from pathai.store.folders import SlideFolder, cells_files
from pathai.store.level import Level
from pathai.store.manifest import Manifest, read_manifest
from pathai.store.pyramid import write_metadata
from pathai.store.pyramid_writer import write_pyramid
from pathai.store.records import Cells, TissueMap
from pathai.testing.picture import synthetic_field
from pathai.units import Box, Mpp, Size

HALF = Mpp(0.5, 0.5)
FIELDS = ("centers", "score", "class_", "prob", "dab_od", "outline", "outline_start")
WIDTH, HEIGHT = 820, 680


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return synthetic_field(21, width=WIDTH, height=HEIGHT)[0]


@pytest.fixture(scope="module")
def tissue() -> TissueMap:
    """Ragged tissue with holes and an edge, in pixels of 8 µm that do not fit the picture."""
    rng = np.random.default_rng(3)
    classes = np.kron(rng.random((10, 12)) < 0.7, np.ones((6, 6))).astype(np.uint8)
    return TissueMap(classes[:43, :52].copy(), 16.0, Mpp(8.0, 8.0))


@pytest.fixture(scope="module")
def whole(image: np.ndarray, tissue: TissueMap) -> Detections:
    fitted = Classical().for_slide(image)
    found = detect_slide(image, HALF, tissue, fitted, 8192)
    assert len(found) > 150
    return found


@given(
    block=st.integers(1, 1400),
    offset=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    workers=st.integers(1, 3),
)
@settings(max_examples=10, deadline=None, derandomize=True)
def test_every_nucleus_exactly_once_whatever_the_blocks(
    image: np.ndarray,
    tissue: TissueMap,
    whole: Detections,
    block: int,
    offset: tuple[int, int],
    workers: int,
) -> None:
    fitted = Classical().for_slide(image)
    cut = detect_slide(image, HALF, tissue, fitted, block, offset=offset, workers=workers)
    for name in FIELDS:
        assert np.array_equal(getattr(cut, name), getattr(whole, name)), name


@given(dx=st.integers(0, 120), dy=st.integers(0, 120))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_a_cropped_picture_has_the_same_nuclei_away_from_its_border(
    image: np.ndarray, dx: int, dy: int
) -> None:
    """In step with the detector's grid of two px to the bit; else nearly all, as near as labels."""
    fitted = Classical().for_slide(image)
    everywhere = TissueMap(np.ones((43, 52), np.uint8), 16.0, Mpp(8.0, 8.0))
    plain = detect_slide(image, HALF, everywhere, fitted, 384).centers
    for x, y, in_step in ((dx * 2, dy * 2, True), (dx * 2 + 1, dy * 2 + 1, False)):
        part = detect_slide(image[y:, x:], HALF, everywhere, fitted, 256).centers
        part = part + np.float32([x, y])
        low, high = np.array([x, y]) + 100, np.array([WIDTH, HEIGHT])
        one, two = (xy[((xy >= low) & (xy < high)).all(axis=1)] for xy in (plain, part))
        if in_step:
            assert np.array_equal(one, two)
        else:
            away, _ = cKDTree(plain).query(two)
            assert (away < 6.6).mean() > 0.85
            assert abs(len(one) - len(two)) <= 0.06 * len(one)


# --- a slide's stage --------------------------------------------------------------------------


@dataclass(frozen=True)
class Dots(Classical):
    """Counts its blocks, and may fail in one of them."""

    def detect(self, rgb: np.ndarray, mpp: Mpp) -> Detections:
        SEEN.append(rgb.shape)
        if len(SEEN) == FAIL[0]:
            raise KeyboardInterrupt
        return change(super().detect(rgb, mpp), rgb)


SEEN: list[tuple[int, ...]] = []
FAIL = [0]


def change(found: Detections, rgb: np.ndarray) -> Detections:
    return found


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plain, names = DETECTORS.load, DETECTORS.names
    monkeypatch.setattr(DETECTORS, "names", lambda: [*names(), *MADE])
    monkeypatch.setattr(DETECTORS, "load", lambda name: MADE[name] if name in MADE else plain(name))
    SEEN.clear()
    FAIL[0] = 0
    return


MADE: dict[str, type] = {"dots": Dots}


def stage(folder: SlideFolder, base: str = "dots", **more: object) -> Manifest:
    """The stage as the chain runs it."""
    section = CellsConfig.model_validate({"detector": base, "block_px": 256, **more})
    key = Key("cells", 1, section.model_copy(update={"workers": 1}).digest(), cells_files(base))

    def work(out: Commit) -> None:
        run(folder, section, out, section.workers, scheduler=section.scheduler)

    parents = {"tile": folder.base("tile")}
    if not manifest_path(parents["tile"]).exists():
        run_stage(parents["tile"], folder.slide_id, Key("tile", 1, "", ()), {}, lambda out: None)
    return run_stage(folder.base("cells", base), folder.slide_id, key, parents, work)


def bits(folder: SlideFolder, base: str = "dots") -> dict[str, str]:
    root = folder.cells(base)
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def slide(tmp_path: Path, image: np.ndarray, tissue: TissueMap) -> SlideFolder:
    return make_folder(tmp_path / "S1", image, HALF, tissue.classes)


def test_a_killed_job_goes_on_and_gives_the_same_bits(slide: SlideFolder) -> None:
    stage(slide)
    golden, blocks = bits(slide), len(SEEN)
    assert blocks > 6
    for stop in (1, 4):
        stage_files = slide.base("cells", "dots").parent
        manifest_path(slide.base("cells", "dots")).unlink()
        SEEN.clear()
        FAIL[0] = stop
        with pytest.raises(KeyboardInterrupt):
            stage(slide)
        assert not slide.cells("dots").exists()
        begun = len(SEEN)
        FAIL[0] = 0
        SEEN.clear()
        stage(slide)
        again = len(SEEN)
        assert bits(slide) == golden
        # what was in flight is sought again, what was written is not
        assert blocks - begun <= again <= blocks - stop + 1
        assert [p.name for p in stage_files.glob("*.part")] == []


def test_a_changed_setting_takes_up_nothing(slide: SlideFolder) -> None:
    stage(slide)
    blocks = len(SEEN)
    manifest_path(slide.base("cells", "dots")).unlink()
    SEEN.clear()
    FAIL[0] = 4
    with pytest.raises(KeyboardInterrupt):
        stage(slide)
    FAIL[0] = 0
    SEEN.clear()
    stage(slide, dab_cutoff_od=0.2)
    assert len(SEEN) == blocks


def test_workers_change_no_bit(slide: SlideFolder) -> None:
    stage(slide)
    golden = bits(slide)
    manifest_path(slide.base("cells", "dots")).unlink()
    stage(slide, workers=3)
    assert bits(slide) == golden


def test_progress_names_blocks_and_cells(
    slide: SlideFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = itertools.count(0.0, 10.0)
    monkeypatch.setattr("pathai.progress.time.monotonic", lambda: next(now))
    stage(slide)
    lines = capsys.readouterr().err.splitlines()
    total = len(SEEN)
    assert lines[0].startswith(f"S1: 1 of {total} blocks, 0.1 blocks/s, ")
    assert " cells, " in lines[0]
    assert lines[0].endswith(" left")
    assert " cells/s, " in lines[0]
    assert lines[-1].endswith("0:00:00 left")


# --- what must not be counted -----------------------------------------------------------------


def everywhere(found: Detections, rgb: np.ndarray, left: int) -> Detections:
    """The nuclei found, and an object on every second pixel that is pure green."""
    green = (rgb == [0, 255, 0]).all(axis=2)[::2, ::2]
    y, x = (2 * n.astype(np.float32) + 1 for n in np.nonzero(green))
    extra = np.stack([x, y], axis=1)
    count = len(extra)
    corners = (extra[:, None] + np.float32([(-1, -1), (1, -1), (0, 1)])).reshape(-1, 2)
    return Detections(
        centers=np.concatenate([found.centers, extra]),
        anchors=np.concatenate([found.anchors, extra]),
        score=np.concatenate([found.score, np.ones(count, np.float32)]),
        class_=np.concatenate([found.class_, np.zeros(count, np.uint8)]),
        prob=np.concatenate([found.prob, np.ones((count, 1), np.float32)]),
        dab_od=np.concatenate([found.dab_od, np.zeros(count, np.float32)]),
        outline=np.concatenate([found.outline, corners]),
        outline_start=np.concatenate(
            [found.outline_start, found.outline_start[-1] + 3 * np.arange(1, count + 1)]
        ),
    )


def test_millions_of_false_objects_are_bounded_and_flagged(
    tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = image.copy()
    spoiled[256:640, 384:700] = (0, 255, 0)
    folder = make_folder(tmp_path / "spoiled", spoiled, HALF)
    stage(folder)
    plain = folder.read_cells("dots")
    manifest_path(folder.base("cells", "dots")).unlink()
    monkeypatch.setitem(globals(), "change", lambda found, rgb: everywhere(found, rgb, 0))
    results = []
    for block in (256, 1024):
        manifest = stage(folder, block_px=block)
        results.append(folder.read_cells("dots"))
        assert manifest.status == "degraded"
        assert [p.code for p in manifest.problems] == ["E144"]
    cells = results[0]
    for other in results[1:]:
        assert other.attrs == cells.attrs
        assert np.array_equal(other.xy_px0, cells.xy_px0)
    squares = 3 * 3  # of 64 µm, the last column of them cut by the edge of the ink
    assert cells.attrs.implausible_mm2 == pytest.approx(squares * 0.064**2)
    assert cells.attrs.implausible == pytest.approx(384 * 316 / 4, rel=0.02)
    assert cells.attrs.excluded_mm2 == pytest.approx(cells.attrs.implausible_mm2)
    whole = (43 * 52) * (16 * 0.5) ** 2 / 1e6
    assert cells.attrs.analyzed_mm2 == pytest.approx(whole - cells.attrs.implausible_mm2)
    inside = ((cells.xy_px0 > [384 + 8, 256 + 8]) & (cells.xy_px0 < [700, 640])).all(axis=1)
    assert not inside.any()
    # elsewhere nothing is lost
    left = [xy[xy[:, 0] < 384 - 16] for xy in (plain.xy_px0, cells.xy_px0)]
    assert len(left[0]) > 50
    assert np.array_equal(*left)


def test_unreadable_pixels_are_left_out_with_their_area(tmp_path: Path, image: np.ndarray) -> None:
    folder = make_folder(tmp_path / "S", image, HALF)
    stage(folder)
    before = folder.read_cells("dots")
    bad = Box(300, 200, 250, 190)

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        x, y, w, h = (int(v) for v in (box.x, box.y, box.width, box.height))
        part = image[y : y + h, x : x + w].copy()
        ys, xs = np.mgrid[y : y + part.shape[0], x : x + part.shape[1]]
        valid = ~((xs >= bad.x) & (xs < bad.right) & (ys >= bad.y) & (ys < bad.bottom))
        part[~valid] = 255
        return part, valid

    damage = Damage(folder.read_tissue(), 1.0)
    levels = write_pyramid(folder.tiles, read, Size(WIDTH, HEIGHT), damage, None)
    write_metadata(folder.tiles, HALF, levels, {})
    manifest_path(folder.base("cells", "dots")).unlink()
    assert stage(folder).status == "ok"  # the tile stage has told of it
    cells = folder.read_cells("dots")
    columns, rows = -(-550 // 16) - 300 // 16, -(-390 // 16) - 200 // 16
    area = columns * rows * 0.008**2
    assert cells.attrs.unreadable_mm2 == pytest.approx(area)
    assert cells.attrs.analyzed_mm2 == pytest.approx(before.attrs.analyzed_mm2 - area)
    x, y = cells.xy_px0.T
    assert not (
        (x > bad.x + 8) & (x < bad.right - 8) & (y > bad.y + 8) & (y < bad.bottom - 8)
    ).any()
    far = [c.xy_px0[c.xy_px0[:, 0] > 700] for c in (before, cells)]
    assert np.array_equal(*far)


def test_pixels_that_turn_out_undecodable_are_told(
    slide: SlideFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(slide)
    before = slide.read_cells("dots")
    plain = Level.decode

    def decode(self: Level, row: int, column: int, out: np.ndarray) -> bool:
        if (row, column) == (1, 1):
            self._lose(row, column)
            return False
        return plain(self, row, column, out)

    monkeypatch.setattr(Level, "decode", decode)
    chunk = slide.open_tiles().levels[0].chunk
    for stop in (0, 4):  # undisturbed, and killed in between
        manifest_path(slide.base("cells", "dots")).unlink()
        SEEN.clear()
        FAIL[0] = stop
        if stop:
            with pytest.raises(KeyboardInterrupt):
                stage(slide)
            FAIL[0] = 0
        manifest = stage(slide)
        assert manifest.status == "degraded"
        assert [p.code for p in manifest.problems] == ["E121"]
        cells = slide.read_cells("dots")
        tissue = slide.read_tissue().classes
        lost = tissue[chunk.height // 16 : chunk.height // 8, chunk.width // 16 : chunk.width // 8]
        assert cells.attrs.unreadable_mm2 == pytest.approx((lost == 1).sum() * 0.008**2)
        assert cells.attrs.analyzed_mm2 + cells.attrs.unreadable_mm2 == pytest.approx(
            before.attrs.analyzed_mm2
        )
        assert len(cells.xy_px0) < len(before.xy_px0)


@pytest.mark.parametrize("classes", [0, 2])
def test_no_tissue_is_no_cell_on_no_area(tmp_path: Path, image: np.ndarray, classes: int) -> None:
    folder = make_folder(tmp_path / "S", image, HALF, np.full((43, 52), classes, np.uint8))
    assert stage(folder).status == "ok"
    cells = folder.read_cells("dots")
    assert SEEN == []
    assert cells.attrs.analyzed_mm2 == 0
    assert (cells.attrs.excluded_mm2 > 0) == (classes == 2)
    assert (cells.attrs.count.value, cells.attrs.density_per_mm2.value) == (0, 0)
    assert cells.xy_px0.shape == (0, 2)


def test_one_cell_is_one_cell(tmp_path: Path) -> None:
    image = np.full((600, 700, 3), 243, np.uint8)
    y, x = np.mgrid[:600, :700] + 0.5
    image[np.hypot(x - 256, y - 256) < 7] = (96, 70, 140)  # on the corner of four blocks
    folder = make_folder(tmp_path / "S", image, HALF)
    stage(folder)
    cells = folder.read_cells("dots")
    assert cells.attrs.count.value == len(cells.xy_px0) == 1
    assert np.hypot(*(cells.xy_px0[0] - 256)) < 1
    assert cells.raster[0][64, 64] == 1
    assert cells.attrs.count.low < 1 < cells.attrs.count.high


def test_a_foreign_detector_that_breaks_its_promise_is_named(
    slide: SlideFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        globals(), "change", lambda found, rgb: replace(found, score=found.score * np.float32(9))
    )
    manifest = stage(slide)
    assert manifest.status == "failed"
    (problem,) = manifest.problems
    assert problem.code == "E186"
    assert "detector dots: score lies outside of 0 to 1" in problem.message


def test_outlines_that_are_none_are_counted(
    slide: SlideFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(found: Detections, rgb: np.ndarray) -> Detections:
        return replace(
            found, outline=found.outline[:0], outline_start=np.zeros_like(found.outline_start)
        )

    stage(slide)
    before = slide.read_cells("dots")
    monkeypatch.setitem(globals(), "change", empty)
    stage(slide, block_px=384)
    cells = slide.read_cells("dots")
    assert cells.attrs.mended == len(cells.xy_px0) == len(before.xy_px0)
    assert len(cells.outline_px0) == 0
    column, row = (cells.xy_px0 / cells.attrs.raster_downsample0).astype(int).T
    assert (cells.raster[0][row, column] == 1).all()  # they still show


# --- what others add --------------------------------------------------------------------------


class Two:
    """Two measures of each nucleus."""

    MEASURES = ("x in the slide (px)", "redness")

    @staticmethod
    def measure(rgb: np.ndarray, mpp: Mpp, background: object, found: Detections) -> np.ndarray:
        assert background is not None
        column, row = found.centers.astype(int).T
        red = rgb[row, column, 0]
        return np.stack([found.score, red], axis=1)


class Redder:
    """Classes from a measure."""

    classes = ("pale", "dark", "none")
    class_error = record = None

    def __call__(self, xy_um: np.ndarray, measures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert (np.diff(xy_um[:, 1]) >= 0).all()
        class_ = (measures[:, 1] < 120).astype(np.uint8)
        return class_, np.eye(3, dtype=np.float32)[class_]


def test_measures_and_classes_are_those_of_their_nuclei(
    slide: SlideFolder, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Cells] = []
    monkeypatch.setattr("pathai.cells.measure", Two.measure)
    monkeypatch.setattr("pathai.cells.search.MEASURES", Two.MEASURES)
    for block, classifier in ((256, Redder()), (1024, None)):
        monkeypatch.setattr("pathai.cells.chosen", lambda *_, given=classifier: given)
        stage(slide, block_px=block)
        found.append(slide.read_cells("dots"))
    cells, plain = found
    assert cells.attrs.measures == Two.MEASURES
    column, row = cells.xy_px0.astype(int).T
    assert np.array_equal(cells.measures[:, 1], image[row, column, 0])
    assert np.array_equal(cells.measures[:, 0].astype(np.float16), cells.score)
    assert np.array_equal(plain.measures, cells.measures)
    assert cells.attrs.classes == Redder.classes
    assert np.array_equal(cells.class_, cells.measures[:, 1] < 120)
    assert cells.attrs.class_counts == (*np.bincount(cells.class_, minlength=2), 0)
    assert np.array_equal(cells.prob.argmax(axis=1), cells.class_)
    place = (cells.xy_px0 / cells.attrs.raster_downsample0).astype(int)
    assert (cells.raster[0][place[:, 1], place[:, 0]] >= cells.class_ + 1).all()
    assert set(np.unique(cells.raster[0])) == {0, 1, 2}
    assert plain.attrs.classes == ("nucleus",)


def test_wrong_measures_are_refused(slide: SlideFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(rgb: object, mpp: object, background: object, found: Detections) -> np.ndarray:
        return np.zeros((len(found), 1), np.float32)

    monkeypatch.setattr("pathai.cells.measure", measure)
    manifest = stage(slide)
    assert manifest.status == "failed"
    assert manifest.problems[0].code == "E186"
    assert read_manifest(manifest_path(slide.base("cells", "dots"))).status == "failed"
