"""Blur, folds, bubbles, coverslip edges and quality figures on images whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from pathai.config import TileConfig
from pathai.errors import PathaiError
from pathai.readers import open_slide
from pathai.store.commit import Skipped
from pathai.store.pyramid import read_qc, read_tissue, write_tissue
from pathai.store.records import (
    BACKGROUND,
    BLUR,
    BUBBLE,
    EDGE,
    FOLD,
    PEN,
    TISSUE,
    TISSUE_NAMES,
    Qc,
    TissueMap,
)
from pathai.testing.synthetic import Recipe, synthetic_field, write_slide
from pathai.testing.truth import Truth
from pathai.tiling import require_tissue
from pathai.tissue import Overview, examine, overview, tissue_map
from pathai.tissue.blur import edge_width
from pathai.tissue.grain import box_mean, grain_of
from pathai.tissue.parts import Parts, closed, dilated, without_small_holes
from pathai.units import Box, Mpp, Size

CLASSES = {"pen": PEN, "blur": BLUR, "fold": FOLD, "bubble": BUBBLE}


def examined(path: Path, section: TileConfig | None = None) -> tuple[TissueMap, Qc]:
    slide = open_slide(path)
    levels = list(zip(slide.facts.level_dimensions, slide.facts.level_downsamples, strict=True))
    mpp = slide.facts.mpp
    assert mpp is not None
    view = overview(slide.read_level, levels, mpp, 8.0)
    found = examine(view, slide.read_level, levels, mpp, section or TileConfig(), stain="H&E")
    slide.close()
    return found


def on_map(mask: np.ndarray, truth: Truth, tissue: TissueMap) -> np.ndarray:
    step = tissue.downsample / truth.map_downsample
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * step).astype(int), limit - 1)
        for n, limit in zip(tissue.classes.shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A slide with one of each artefact, apart from each other."""
    path = tmp_path_factory.mktemp("slide") / "spoiled.svs"
    recipe = Recipe(seed=1504, width=3000, height=2800, mpp=0.25, artefacts=tuple(CLASSES))
    return path, write_slide(path, recipe)


def test_every_artefact_is_found_where_it_is(spoiled: tuple[Path, Truth]) -> None:
    path, truth = spoiled
    tissue, qc = examined(path)
    inside = on_map(truth.tissue, truth, tissue)
    masks = {name: on_map(truth.artefact(name), truth, tissue) for name in CLASSES}
    for name, least in (("pen", 0.9), ("blur", 0.75), ("fold", 0.7), ("bubble", 0.9)):
        true, found = masks[name], tissue.classes == CLASSES[name]
        if name in ("blur", "fold"):
            free = inside & ~masks["pen"] & ~masks["bubble"]
            true, found = true & free, found & free
        score = 2 * (true & found).sum() / (true.sum() + found.sum())
        assert score >= least, name
    spoiled_mm2 = sum(qc.artefact_mm2.values())
    assert qc.tissue_mm2 + spoiled_mm2 == pytest.approx(qc.found_mm2)
    assert qc.tissue_mm2 == pytest.approx(tissue.area_mm2(TISSUE))
    assert 0 < qc.share("blur") < 0.5
    assert qc.usable == pytest.approx(1 - sum(map(qc.share, CLASSES)))


def test_every_artefact_can_be_turned_off(spoiled: tuple[Path, Truth]) -> None:
    off = TileConfig(pen=False, coverslip=False, blur_um=0, fold=0, bubble=0)
    tissue, qc = examined(spoiled[0], off)
    assert set(np.unique(tissue.classes)) <= {BACKGROUND, TISSUE}
    assert qc.usable == 1


def test_the_same_slide_gives_the_same_map_and_figures(spoiled: tuple[Path, Truth]) -> None:
    (one, first), (other, second) = examined(spoiled[0]), examined(spoiled[0])
    assert np.array_equal(one.classes, other.classes)
    assert first == second


@pytest.mark.parametrize(("seed", "stain"), [(1400, "H&E"), (1401, "H&E"), (1403, "Ki-67")])
def test_clean_slides_have_no_artefacts(tmp_path: Path, seed: int, stain: str) -> None:
    recipe = Recipe(seed=seed, width=1500, height=1300, stain=stain)
    write_slide(tmp_path / "clean.svs", recipe)
    tissue, qc = examined(tmp_path / "clean.svs")
    assert set(np.unique(tissue.classes)) == {BACKGROUND, TISSUE}
    assert qc.focus_um is not None
    assert 0.6 < qc.focus_um < 1.6


def test_a_slide_out_of_focus_all_over_is_blurred(tmp_path: Path) -> None:
    import tifffile

    picture, _ = synthetic_field(7, width=1600, height=1600)
    soft = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(3.5 / 0.5)))
    text = "Aperio Image Library v1\r\n1600x1600 (256x256)|AppMag = 20|MPP = 0.5"
    path = tmp_path / "soft.svs"
    tifffile.imwrite(
        path, soft, tile=(256, 256), photometric="rgb", description=text, metadata=None
    )
    _, qc = examined(path)
    assert qc.share("blur") > 0.8
    assert qc.focus_um is not None
    assert qc.focus_um > 2.5


@pytest.mark.parametrize("um", [0.25, 0.5, 1.0])
def test_edge_width_follows_the_blur(um: float) -> None:
    picture, _ = synthetic_field(3, width=512, height=512, mpp=um)
    image = Image.fromarray(picture)
    widths = [
        edge_width(np.asarray(image.filter(ImageFilter.GaussianBlur(add / um))), um)
        for add in (0, 1.5, 3, 4.5)
    ]
    known = [w for w in widths if w is not None]
    assert len(known) == 4
    assert known == sorted(known)
    assert known[0] < 1.6
    assert known[2] == pytest.approx(3, rel=0.35)


def test_edge_width_of_glass_is_unknown() -> None:
    assert edge_width(np.full((96, 96, 3), 240, np.uint8), 1.0) is None


@pytest.mark.parametrize(("size", "um"), [((1, 1), 29.0), ((3, 2), 29.0), ((9, 9), 0.25)])
def test_edge_width_of_a_few_pixels_is_unknown(size: tuple[int, int], um: float) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    assert edge_width(picture, um) is None


def line_view(color: tuple[int, int, int], width: int) -> tuple[Overview, np.ndarray]:
    rng = np.random.default_rng(0)
    rgb = np.clip(243 + rng.normal(0, 1.5, (200, 240, 3)), 0, 255).astype(np.uint8)
    y, x = np.mgrid[:200, :240]
    rgb[(y - 100) ** 2 + (x - 120) ** 2 < 60**2] = (228, 150, 190)
    line = np.abs(x - 100 - 0.2 * y) < width / 2
    rgb[line] = color
    return Overview(rgb, np.ones((200, 240), np.float32), 16.0, Mpp(8, 8)), line


@pytest.mark.parametrize("color", [(150, 151, 149), (205, 204, 206)])
def test_a_long_gray_line_is_the_edge_of_a_coverslip(color: tuple[int, int, int]) -> None:
    view, line = line_view(color, 5)
    classes = tissue_map(view).classes
    assert (classes[line] == EDGE).mean() > 0.9
    assert (classes == EDGE).sum() < 2.2 * line.sum()


def test_a_black_stroke_is_ink_not_an_edge() -> None:
    view, line = line_view((35, 33, 36), 12)
    assert (tissue_map(view).classes[line] == PEN).mean() > 0.9


def figures(**areas: float) -> Qc:
    empty = dict.fromkeys(("pen", "edge", "blur", "fold", "bubble"), 0.0)
    usable = areas.pop("tissue", 0.0)
    return Qc(
        tissue_mm2=usable, found_mm2=usable + sum(areas.values()), artefact_mm2=empty | areas,
        focus_um=None, white=(240, 240, 240), stains={}, stains_estimated=False,
    )  # fmt: skip


def test_a_slide_that_artefacts_empty_says_so() -> None:
    tissue = TissueMap(np.zeros((9, 9), np.uint8), 16.0, Mpp(8, 8))
    with pytest.raises(Skipped) as caught:
        require_tissue(tissue, figures(tissue=0.03, blur=0.85, fold=0.02), TileConfig())
    assert caught.value.code == "E149"
    assert caught.value.message == "0.9 mm² of tissue, of it 0.85 mm² blurred, 0.02 mm² folded"
    with pytest.raises(Skipped) as caught:
        require_tissue(tissue, figures(tissue=0.01), TileConfig())
    assert caught.value.code == "E145"
    require_tissue(tissue, figures(tissue=0.06, blur=3.0), TileConfig())


def test_quality_is_stored_with_the_map(tmp_path: Path) -> None:
    tissue = TissueMap(np.full((9, 9), BUBBLE, np.uint8), 16.0, Mpp(8, 8))
    qc = figures(tissue=0.5, blur=0.25)
    write_tissue(tmp_path / "tissue.zarr", tissue, qc)
    assert read_qc(tmp_path / "tissue.zarr") == qc
    assert (read_tissue(tmp_path / "tissue.zarr").classes == BUBBLE).all()
    write_tissue(tmp_path / "plain.zarr", tissue)
    assert read_qc(tmp_path / "plain.zarr") is None
    with pytest.raises(PathaiError, match="E164"):
        read_qc(tmp_path / "none.zarr")


def test_windows_that_cannot_be_read_are_left_out() -> None:
    picture, _ = synthetic_field(5, width=1024, height=1024)

    def read(box: Box, level: int) -> tuple[np.ndarray, np.ndarray]:
        if box.width < 500:  # the sparse looks at finer levels
            raise PathaiError("E162", "broken")
        x, y, w, h = (round(v) for v in (box.x, box.y, box.width, box.height))
        return picture[y : y + h, x : x + w], np.ones((h, w), bool)

    levels = [(Size(1024, 1024), 1.0)]
    view = overview(read, levels, Mpp(0.5, 0.5), 8.0)
    _, qc = examine(view, read, levels, Mpp(0.5, 0.5), TileConfig(), stain="no such stain")
    assert qc.focus_um is None
    assert qc.stains == {}
    assert qc.found_mm2 > 0.2


def test_values_of_classes_never_change() -> None:
    names = ("background", "tissue", "pen", "dark", "unreadable", "edge", "blur", "fold", "bubble")
    assert names == TISSUE_NAMES


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.95])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 1), (60, 71)])
def test_parts_and_morphology_are_those_of_scipy(shape: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(shape[0] * 100 + int(100 * share))
    mask, values = rng.random(shape) < share, rng.integers(-9, 99, shape).astype(np.int16)
    labels, count = ndimage.label(mask)
    parts, index = Parts(mask), np.arange(1, count + 1)
    assert parts.count == count
    assert sorted(parts.areas) == sorted(np.bincount(labels.ravel())[1:])
    assert sorted(parts.sums(values)) == sorted(ndimage.sum(values, labels, index))
    assert sorted(parts.peaks(values)) == sorted(ndimage.maximum(values, labels, index))
    boxes = {(s[0].start, s[0].stop, s[1].start, s[1].stop) for s in ndimage.find_objects(labels)}
    assert {tuple(box) for box in parts.boxes().tolist()} == boxes
    for k in range(parts.count):
        rows, columns, piece = parts.piece(k)
        alone = np.zeros_like(mask)
        alone[rows, columns] = piece
        assert np.array_equal(alone, parts.select(np.arange(parts.count) == k))
    for radius in (1, 2, 5):
        square = np.ones((2 * radius + 1,) * 2)
        assert np.array_equal(dilated(mask, radius), ndimage.binary_dilation(mask, square))
        assert np.array_equal(
            closed(mask, radius), mask | ndimage.binary_closing(np.pad(mask, 9), square)[9:-9, 9:-9]
        )
    assert np.array_equal(without_small_holes(mask, 1e9), ndimage.binary_fill_holes(mask))


def test_box_mean_is_that_of_scipy() -> None:
    image = np.random.default_rng(0).random((20, 33)).astype(np.float32)
    for radius in (1, 2):
        wanted = ndimage.uniform_filter(image, 2 * radius + 1, mode="nearest")
        assert np.abs(box_mean(image, radius) - wanted).max() < 1e-5


@pytest.mark.parametrize("zoom", [1, 4])
@pytest.mark.parametrize("beyond", [1, 2])
def test_a_last_band_of_a_few_rows_has_a_grain_too(zoom: int, beyond: int) -> None:
    """Slides whose height lies just above a multiple of the bands'."""
    height = 2 * zoom * 32 + beyond
    fine = np.random.default_rng(0).integers(0, 255, (height + 60, 24, 3), dtype=np.uint8)

    def of(rows: int) -> np.ndarray:
        small = np.zeros((-(-rows // zoom), 24 // zoom, 3), np.uint8)
        valid = np.ones(small.shape[:2], np.float32)
        grain = grain_of(Overview(small, valid, 16.0, Mpp(8, 8), fine=fine[:rows], zoom=zoom))
        return np.stack([grain.slope, grain.finest])

    short, tall = of(height), of(height + 60)
    assert short.shape[1] == 33
    assert np.isfinite(short).all()
    assert np.array_equal(short[:, :32], tall[:, :32])
