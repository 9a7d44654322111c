"""Every nucleus once, only on tissue, with an interval that means something."""

from pathlib import Path

import numpy as np
import pytest
from folder_cases import make_folder
from scipy.spatial import cKDTree
from shapely.geometry import Polygon

from pathai.cells import run
from pathai.config import CellsConfig
from pathai.errors import PathaiError
from pathai.quantities.counting import COVERS, count_interval, per_mm2
from pathai.quantities.squares import square_counts
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder
from pathai.store.records import Cells, TissueMap
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

HALF = Mpp(0.5, 0.5)
OUTPUTS = ("classical.zarr", "classical.summary.json", "classical.regions.csv")


def cells_of(folder: SlideFolder, workers: int = 1, **section: object) -> Cells:
    out = Commit(folder.base("cells", "classical"), OUTPUTS)
    settings = CellsConfig.model_validate({"detector": "classical", **section})
    run(folder, settings, out, workers=workers)
    out.finish()
    return folder.read_cells("classical")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SlideFolder:
    image, _ = synthetic_field(11, width=1200, height=900)
    classes = np.ones((57, 75), np.uint8)
    classes[:, :10] = 0  # glass
    classes[:20, 60:] = 2  # pen
    classes[40:, 60:] = 4  # unreadable
    return make_folder(tmp_path_factory.mktemp("cells") / "s1", image, HALF, classes)


def test_only_tissue_is_counted_and_areas_are_stated(folder: SlideFolder) -> None:
    cells, tissue = cells_of(folder), folder.read_tissue()
    assert len(cells.xy_px0) > 300
    px_mm2 = (16 * 0.5) ** 2 / 1e6
    assert cells.attrs.analyzed_mm2 == pytest.approx((tissue.classes == 1).sum() * px_mm2)
    assert cells.attrs.excluded_mm2 == pytest.approx((20 * 15 + 17 * 15) * px_mm2)
    column, row = (cells.xy_px0 / 16).astype(int).T
    assert (tissue.classes[row, column] == 1).mean() > 0.98  # the anchor decides, not the centroid
    assert sum(cells.attrs.class_counts) == len(cells.xy_px0) == cells.attrs.count.value
    assert cells.attrs.classes == ("nucleus",)
    density = cells.attrs.density_per_mm2
    assert density.value == pytest.approx(len(cells.xy_px0) / cells.attrs.analyzed_mm2)
    assert density.low < density.value < density.high
    assert cells.attrs.count.covers == COVERS
    assert not np.isin(cells.dab_od, 0, invert=True).any()


def test_blocks_and_workers_change_nothing(folder: SlideFolder) -> None:
    whole = cells_of(folder, block_px=4096)
    order = np.lexsort((whole.xy_px0[:, 0], whole.xy_px0[:, 1]))
    assert (order == np.arange(len(order))).all()
    for block, workers in ((256, 1), (300, 2)):
        other = cells_of(folder, workers=workers, block_px=block)
        assert other.attrs == whole.attrs
        for name in ("xy_px0", "class_", "prob", "dab_od", "outline_px0", "outline_start"):
            assert np.array_equal(getattr(other, name), getattr(whole, name)), name
        assert all(map(np.array_equal, other.raster, whole.raster))


def test_raster_shows_every_nucleus(folder: SlideFolder) -> None:
    cells = cells_of(folder)
    step = cells.attrs.raster_downsample0
    assert step == 4
    assert cells.raster[0].shape == (225, 300)
    column, row = (cells.xy_px0 / step).astype(int).T
    assert (cells.raster[0][row, column] == 1).all()
    covered = (cells.raster[0] > 0).sum() * step**2
    outlines = np.split(cells.outline_px0, cells.outline_start[1:-1])
    area = sum(Polygon(outline).area for outline in outlines)
    assert covered == pytest.approx(area, rel=0.2)


@pytest.mark.parametrize("mpp", [0.5, 0.25, 0.2])
def test_positions_at_any_resolution(tmp_path: Path, mpp: float) -> None:
    size = int(180 / mpp)
    y, x = np.mgrid[:size, :size] + 0.5
    image = np.full((size, size, 3), 243, np.uint8)
    truth = [(cx, cy) for cx in range(40, 170, 30) for cy in range(25, 170, 30)]
    for cx, cy in truth:
        image[np.hypot(x * mpp - cx, y * mpp - cy) < 3.5] = (96, 70, 140)
    cells = cells_of(make_folder(tmp_path / "s", image, Mpp(mpp, mpp)))
    away, which = cKDTree(np.array(truth)).query(cells.xy_px0 * mpp)
    assert away.max() < 0.3  # µm
    assert sorted(which) == list(range(len(truth)))


def test_dab_slide_has_two_classes_and_a_stated_cutoff(tmp_path: Path) -> None:
    image, truth = synthetic_field(5, width=900, height=800, stain="Ki-67")
    folder = make_folder(tmp_path / "k", image, HALF, stain="Ki-67")
    cells = cells_of(folder)
    assert cells.attrs.classes == ("negative", "positive")
    share = cells.attrs.class_counts[1] / len(cells.class_)
    assert share == pytest.approx(truth.positive.mean(), abs=0.08)
    # float16 rounds what was compared in float32
    assert ((cells.dab_od.astype(float) > 0.151) <= (cells.class_ == 1)).all()
    strict = cells_of(folder, dab_cutoff_od=5.0)
    assert strict.attrs.class_counts == (len(cells.class_), 0)
    assert strict.attrs.detector_digest != cells.attrs.detector_digest


def test_tissue_without_nuclei(tmp_path: Path) -> None:
    image = np.full((600, 700, 3), (235, 190, 215), np.uint8)
    cells = cells_of(make_folder(tmp_path / "e", image, HALF))
    assert cells.xy_px0.shape == (0, 2)
    assert cells.outline_start.tolist() == [0]
    assert cells.attrs.class_counts == (0,)
    assert cells.attrs.count.low == 0
    assert cells.attrs.count.high == pytest.approx(3.689, abs=1e-3)


@pytest.mark.parametrize(("mpp", "stain", "code"), [(2.0, "H&E", "E131"), (0.5, "PAS", "E142")])
def test_slides_that_do_not_fit_are_refused(
    tmp_path: Path, mpp: float, stain: str, code: str
) -> None:
    image = np.full((600, 700, 3), 200, np.uint8)
    folder = make_folder(tmp_path / "r", image, Mpp(mpp, mpp), stain=stain)
    with pytest.raises(PathaiError, match=code):
        cells_of(folder)


def test_squares_hold_every_nucleus_and_all_tissue() -> None:
    rng = np.random.default_rng(0)
    classes = (rng.random((90, 130)) < 0.7).astype(np.uint8)
    tissue = TissueMap(classes, 16.0, Mpp(8.0, 8.0))
    row, column = np.nonzero(classes)
    pick = rng.integers(0, len(row), 500)
    xy = (np.stack([column, row], axis=1)[pick] + rng.random((500, 2))) * 16
    counts, areas = square_counts(xy.astype(np.float32), tissue)
    assert counts.sum() == 500
    assert areas.sum() == pytest.approx(tissue.area_mm2(1))
    assert areas.min() > 0
    assert len(counts) == 3 * 5  # 31 map px of 8 µm


def test_interval_covers_what_it_says() -> None:
    rng = np.random.default_rng(1)
    areas = rng.uniform(0.02, 0.0625, 40)
    hits, trials = 0, 400
    for _ in range(trials):
        # density varies from square to square with a coefficient of variation of 0.6
        rate = 3000 * rng.gamma(1 / 0.36, 0.36, len(areas))
        found = count_interval(rng.poisson(rate * areas), areas)
        hits += found.low <= 3000 * areas.sum() <= found.high
    assert 0.92 <= hits / trials <= 0.985


def test_interval_is_poisson_at_least_and_exact_for_one_square() -> None:
    even = count_interval(np.full(16, 25), np.full(16, 0.06))
    assert even.high - even.low >= 2 * 1.96 * 20
    one = count_interval(np.array([10]), np.array([0.06]))
    assert (one.low, one.high) == pytest.approx((4.795, 18.39), abs=0.01)
    spread = count_interval(np.array([0, 50] * 8), np.full(16, 0.06))
    assert spread.high > even.high
    assert spread.low > 0
    none = count_interval(np.empty(0, np.int64), np.empty(0))
    assert (none.value, none.low) == (0, 0)
    assert per_mm2(none, 0.0).high == 0


def test_stain_vectors_of_the_sheet_or_fixed_ones_decide_the_result(tmp_path: Path) -> None:
    image, _ = synthetic_field(5, width=320, height=320)
    folder = make_folder(tmp_path / "v", image, HALF)

    def digest(vectors: str = "", **section: object) -> str:
        out = Commit(folder.base("cells", "classical"), OUTPUTS)
        settings = CellsConfig.model_validate({"detector": "classical", **section})
        run(folder, settings, out, vectors=vectors)
        out.finish()
        return folder.read_cells("classical").attrs.detector_digest

    given = digest("0.65 0.70 0.29 0.2 0.8 0.55")
    assert len({digest(), digest(stain_vectors="fixed"), given}) == 3
    with pytest.raises(PathaiError, match="E142"):
        digest("0.65 0.70 0.29 0.65 0.70 0.29")


def test_figures_lie_beside_the_nuclei_and_agree_with_them(folder: SlideFolder) -> None:
    cells = cells_of(folder)
    made = folder.read_cells_summary("classical")
    assert made is not None
    assert made.slide.count == cells.attrs.count
    assert made.slide.count.value == len(cells.xy_px0)
    assert made.slide.tissue_mm2 == pytest.approx(cells.attrs.analyzed_mm2)
    assert folder.cells("classical").with_name("classical.regions.csv").is_file()
