"""Tissue, ink and dark fill on images whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.records import BACKGROUND, DARK, PEN, TISSUE, UNREADABLE, TissueMap
from pathai.tissue import Overview, dark_background, overview, tissue_map
from pathai.units import Box, Mpp, Size

GLASS = (243, 242, 244)
COLORS = {
    "eosin": (228, 150, 190),
    "hematoxylin": (120, 85, 150),
    "dab": (150, 105, 75),
    "blue counterstain": (175, 185, 215),
    "pale stroma": (236, 218, 230),
    "lymphocytes": (95, 75, 140),
}
INKS = {
    "green": (40, 140, 110),
    "blue": (35, 70, 180),
    "red": (205, 25, 45),
    "black": (35, 33, 36),
}


def view(size: tuple[int, int] = (200, 240), seed: int = 0) -> Overview:
    rng = np.random.default_rng(seed)
    rgb = np.clip(np.array(GLASS) + rng.normal(0, 1.5, (*size, 3)), 0, 255).astype(np.uint8)
    return Overview(rgb, np.ones(size, np.float32), 16.0, Mpp(8.0, 8.0))


def disk(shape: tuple[int, int], y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def paint(
    one: Overview, mask: NDArray[np.bool_], color: tuple[int, int, int], seed: int = 1
) -> None:
    noise = np.random.default_rng(seed).normal(0, 5, (int(mask.sum()), 3))
    one.rgb[mask] = np.clip(np.array(color) + noise, 0, 255)


@pytest.mark.parametrize("color", COLORS.values(), ids=COLORS)
def test_every_stain_is_tissue(color: tuple[int, int, int]) -> None:
    one = view()
    truth = disk((200, 240), 100, 110, 50)
    paint(one, truth, color)
    found = tissue_map(one).classes == TISSUE
    assert found[truth].mean() >= 0.99
    assert (found & ~truth).sum() <= 0.08 * truth.sum()


@pytest.mark.parametrize("ink", INKS.values(), ids=INKS)
def test_ink_is_pen_beside_and_on_tissue(ink: tuple[int, int, int]) -> None:
    one = view()
    truth = disk((200, 240), 100, 80, 40)
    paint(one, truth, COLORS["eosin"])
    stroke = np.zeros((200, 240), bool)
    stroke[20:180, 110:118] = True
    paint(one, stroke, ink)
    classes = tissue_map(one).classes
    assert (classes[stroke] == PEN).mean() >= 0.95
    assert (classes[truth & ~stroke] == TISSUE).mean() >= 0.9
    assert (classes == PEN).sum() <= 2 * stroke.sum()


def test_glass_alone_is_background() -> None:
    assert (tissue_map(view()).classes == BACKGROUND).all()


def test_tinted_and_dim_glass_is_background() -> None:
    one = view()
    one.rgb[...] = np.clip(one.rgb * [0.9, 0.92, 0.86], 0, 255).astype(np.uint8)
    assert (tissue_map(one).classes == BACKGROUND).all()


def test_gray_shadow_is_not_tissue() -> None:
    one = view()
    one.rgb[60:70] = (205, 204, 206)  # edge of the cover slip
    assert (tissue_map(one).classes == TISSUE).mean() < 0.001


def test_specks_go_and_small_holes_fill() -> None:
    one = view()
    truth = disk((200, 240), 100, 110, 50)
    paint(one, truth, COLORS["eosin"])
    small, large = disk((200, 240), 90, 95, 6), disk((200, 240), 110, 125, 20)
    one.rgb[small | large] = GLASS
    speck = disk((200, 240), 20, 200, 3)
    paint(one, speck, COLORS["hematoxylin"])
    classes = tissue_map(one).classes
    assert (classes[small] == TISSUE).all()
    assert (classes[disk((200, 240), 110, 125, 17)] == BACKGROUND).all()
    assert (classes[speck] == BACKGROUND).all()


def test_tissue_up_to_every_border() -> None:
    one = view()
    paint(one, np.ones((200, 240), bool), COLORS["eosin"])
    assert (tissue_map(one).classes == TISSUE).all()


def test_black_fill_is_dark_not_tissue_or_pen() -> None:
    one = view()
    paint(one, disk((200, 240), 100, 60, 30), COLORS["eosin"])
    one.rgb[:, 150:] = 0
    classes = tissue_map(one).classes
    assert (classes[:, 150:] == DARK).all()
    assert not (classes[:, :145] == DARK).any()
    assert not dark_background(one)


def test_bright_on_dark_is_flagged() -> None:
    one = view()
    one.rgb[...] = np.random.default_rng(0).integers(0, 12, one.rgb.shape)
    one.rgb[disk((200, 240), 100, 100, 30)] = (20, 40, 180)
    assert dark_background(one)
    assert not dark_background(view())


def test_missing_pixels_are_unreadable_unless_the_format_is_sparse() -> None:
    one = view()
    one.valid[10:30, 40:60] = 0
    classes = tissue_map(one).classes
    assert (classes == UNREADABLE).sum() == 400
    assert (classes[10:30, 40:60] == UNREADABLE).all()
    assert not (tissue_map(one, sparse=True).classes == UNREADABLE).any()


LEVELS = [(Size(1003, 777), 1.0)]


def image_reader(image: NDArray[np.uint8], bad: Box | None = None):
    def read(box: Box, level: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        x, y, w, h = (round(v) for v in (box.x, box.y, box.width, box.height))
        if bad and x < bad.right and bad.x < x + w and y < bad.bottom and bad.y < y + h:
            raise PathaiError("E162", "broken")
        return image[y : y + h, x : x + w], np.ones((h, w), bool)

    return read


def test_overview_is_the_mean_and_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 255, (777, 1003, 3), dtype=np.uint8)
    whole = overview(image_reader(image), LEVELS, Mpp(0.5, 0.5), 8.0)
    assert whole.downsample == 16.0
    assert whole.mpp == Mpp(8.0, 8.0)
    assert whole.rgb.shape == (49, 63, 3)
    mean = image[16:32, 32:48].reshape(-1, 3).mean(axis=0)
    assert np.abs(whole.rgb[1, 2] - mean).max() <= 0.51
    edge = image[768:, 992:].reshape(-1, 3).mean(axis=0)
    assert np.abs(whole.rgb[-1, -1] - edge).max() <= 0.51
    assert (whole.valid == 1).all()
    monkeypatch.setattr("pathai.tissue.reading.BLOCK_PX", 128)
    assert np.array_equal(overview(image_reader(image), LEVELS, Mpp(0.5, 0.5), 8.0).rgb, whole.rgb)


def test_overview_leaves_out_only_what_cannot_be_read() -> None:
    image = np.full((777, 1003, 3), 100, np.uint8)
    found = overview(image_reader(image, Box(500, 300, 20, 20)), LEVELS, Mpp(0.5, 0.5), 8.0)
    lost = found.valid == 0
    assert lost[300 // 16, 500 // 16]
    assert 0 < lost.sum() <= 4 * 64
    assert (found.rgb[lost] == 255).all()
    assert (found.rgb[~lost] == 100).all()


def test_overview_takes_the_coarsest_fine_enough_level() -> None:
    seen = []

    def read(box: Box, level: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        seen.append(level)
        w, h = round(box.width / (1, 4.001, 16.01)[level]), round(box.height / (1, 4, 16)[level])
        return np.zeros((h, w, 3), np.uint8), np.ones((h, w), bool)

    levels = [(Size(4001, 4000), 1.0), (Size(1000, 1000), 4.0005), (Size(250, 250), 16.002)]
    found = overview(read, levels, Mpp(0.25, 0.25), 8.0)
    assert set(seen) == {2}
    assert found.downsample == pytest.approx(32.004)
    assert found.rgb.shape == (125, 125, 3)


@pytest.mark.real
@pytest.mark.parametrize("name", ["pen_green_he", "pen_black"])
def test_real_pen_strokes_are_pen(test_data: Path, name: str) -> None:
    from PIL import Image

    rgb = np.asarray(Image.open(test_data / "qc" / f"{name}.png").convert("RGB"))
    mask = np.asarray(Image.open(test_data / "qc" / f"{name}_mask.png").convert("L")) > 0
    one = Overview(rgb, np.ones(mask.shape, np.float32), 16.0, Mpp(8.0, 8.0))
    assert (tissue_map(one).classes[mask] == PEN).mean() > 0.9


@pytest.mark.parametrize(
    ("stain", "artefact", "cover", "spill"),
    [("H&E", "", 0.99, 0.08), ("Ki-67", "", 0.99, 0.08), ("H&E", "pen", 0.97, 0.08)],
)
def test_synthetic_slides_are_covered(
    tmp_path: Path, stain: str, artefact: str, cover: float, spill: float
) -> None:
    from pathai.readers import open_slide
    from pathai.testing.synthetic import Recipe, write_slide

    names = (artefact,) if artefact else ()
    recipe = Recipe(seed=104, width=1500, height=1300, stain=stain, artefacts=names)
    truth = write_slide(tmp_path / "made.svs", recipe)
    slide = open_slide(tmp_path / "made.svs")
    facts = slide.facts
    levels = list(zip(facts.level_dimensions, facts.level_downsamples, strict=True))
    assert facts.mpp is not None
    found = tissue_map(overview(slide.read_level, levels, facts.mpp, 8.0))
    slide.close()
    step = found.downsample / truth.map_downsample
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * step).astype(int), limit - 1)
        for n, limit in zip(found.classes.shape, truth.tissue.shape, strict=True)
    )
    tissue = truth.tissue[np.ix_(rows, columns)]
    ink = truth.artefact("pen")[np.ix_(rows, columns)]
    mine = found.classes == TISSUE
    assert mine[tissue & ~ink].mean() >= cover
    assert (mine & ~tissue & ~ink).sum() <= spill * tissue.sum()
    if ink.any():
        assert (found.classes[ink] == PEN).mean() >= 0.9


def test_the_box_of_a_class_is_around_its_outermost_pixels():
    classes = np.zeros((6, 9), np.uint8)
    classes[2, 3] = classes[4, 5] = TISSUE
    classes[0, 8] = PEN
    tissue = TissueMap(classes, 16.0, Mpp(8.0, 8.0))
    assert tissue.box(TISSUE) == Box(48.0, 32.0, 48.0, 48.0)
    assert tissue.box(PEN) == Box(128.0, 0.0, 16.0, 16.0)
    assert TissueMap(classes * 0, 16.0, Mpp(8.0, 8.0)).box(TISSUE) is None
