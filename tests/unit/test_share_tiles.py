"""The tiles of a share bundle lie where the store's pixels lie."""

import weakref
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from store_cases import picture, store

from pathai.share import nuclei, overlays
from pathai.share.pixels import step_for, write_pixels
from pathai.share.walk import Levels, halved, walk
from pathai.store.cell_store import CellsFile
from pathai.store.folders import SlideFolder
from pathai.store.pyramid import Pyramid
from pathai.store.records import PEN, TISSUE, TissueMap
from pathai.units import Mpp, Size

WIDTH, HEIGHT, STEP = 1500, 1100, 4
MPP = Mpp(0.25, 0.25)


def assembled(tiles, levels, level, channels=3, blank=255):
    """One level of what was emitted, as a whole."""
    size = levels.size_of(level)
    out = np.full((size.height, size.width, channels), blank, np.uint8)
    for place, pixels in tiles:
        if place.level == level:
            assert pixels.shape == (place.height, place.width, channels)
            out[place.y : place.y + place.height, place.x : place.x + place.width] = pixels
    return out


@given(
    st.integers(1, 45), st.integers(1, 45), st.sampled_from([2, 4, 8]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_level_is_the_one_below_halved(width, height, tile, seed):
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    levels, tiles = Levels(Size(width, height), tile), []
    gone = rng.random(levels.shape(levels.finest)) < 0.3

    def leaf(place):
        part = whole[place.y : place.y + place.height, place.x : place.x + place.width]
        if gone[place.row, place.column]:
            part[...] = 255
            return None
        return part

    walk(levels, leaf, lambda place, pixels: tiles.append((place, pixels.copy())), blank=255)
    assert len({(p.level, p.column, p.row) for p, _ in tiles}) == len(tiles)
    expected = whole
    for level in range(levels.finest, -1, -1):
        assert (assembled(tiles, levels, level) == expected).all()
        expected = halved(expected)
    assert levels.size_of(0) == Size(1, 1)


def test_full_tiles_are_let_go_at_once():
    levels, alive, most = Levels(Size(64, 512), 8), set(), 0

    def leaf(place):
        nonlocal most
        made = np.zeros((place.height, place.width, 3), np.uint8)
        alive.add(id(made))
        weakref.finalize(made, alive.discard, id(made))
        most = max(most, len(alive))
        return made

    walk(levels, leaf, lambda place, pixels: None, blank=255)
    assert most <= 3


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A store whose right third is glass, with a pen mark in its tissue."""
    image = picture(WIDTH, HEIGHT, seed=3)
    image[400:416, 600:632] = (250, 10, 10)
    classes = np.zeros((HEIGHT // STEP, WIDTH // STEP), np.uint8)
    classes[:, : WIDTH // STEP // 3 * 2] = TISSUE
    classes[25:50, 25:50] = PEN
    tissue = TissueMap(classes, float(STEP), MPP.scaled(STEP))
    path = tmp_path_factory.mktemp("pixels") / "tiles.zarr"

    def read(box):
        part = image[int(box.y) : int(box.bottom), int(box.x) : int(box.right)]
        return part, np.ones(part.shape[:2], bool)

    store(path, read, Size(WIDTH, HEIGHT), MPP, tissue)
    return Pyramid(path), tissue


def written(slide, **options):
    files = {}
    shown = write_pixels(*slide, "s", files.__setitem__, quality=92, **options)
    return shown, files


def whole_level(shown, files, level):
    size = shown.levels.size_of(level)
    out = np.full((size.height, size.width, 3), 255, np.uint8)
    rows, columns = shown.levels.shape(level)
    for row in range(rows):
        for column in range(columns):
            data = files.get(f"s/slide_files/{level}/{column}_{row}.jpg")
            assert bool(data) == bool(shown.levels.there[level][row, column])
            if data:
                place = shown.levels.place(level, column, row)
                pixels = np.asarray(Image.open(BytesIO(data)))
                out[place.y : place.y + place.height, place.x : place.x + place.width] = pixels
    return out


def test_a_known_pixel_lies_in_the_right_tile(slide):
    shown, files = written(slide)
    assert shown.step == 1
    finest = shown.levels.finest
    tile = np.asarray(Image.open(BytesIO(files[f"s/slide_files/{finest}/1_0.jpg"])))
    x, y = 616 - 512, 408
    assert tile[y, x, 0] > 200
    assert tile[y, x, 1] < 60
    assert np.abs(tile[y, x].astype(int) - (250, 10, 10)).max() < 30
    coarse = np.asarray(Image.open(BytesIO(files[f"s/slide_files/{finest - 2}/0_0.jpg"])))
    assert np.abs(coarse[408 // 4, 616 // 4].astype(int) - (250, 10, 10)).max() < 60


def test_every_pixel_is_the_stores_but_ink_which_is_white(slide):
    shown, files = written(slide)
    pyramid, tissue = slide
    expected = pyramid.levels[0].read_px(0, 0, WIDTH, HEIGHT).astype(int)
    ink = np.s_[100:200, 100:200]  # of the map 25 to 50, 4 px each
    assert expected[ink].min() < 250
    expected[ink] = 255
    found = whole_level(shown, files, shown.levels.finest).astype(int)
    assert np.abs(found - expected).mean() < 4
    assert found[110:190, 110:190].min() > 245
    assert tissue.classes[30, 30] == PEN


def test_glass_is_absent_and_takes_its_own_color(slide):
    shown, files = written(slide, glass=(243, 244, 245))
    assert not shown.levels.there[shown.levels.finest][:, -1].any()
    found = whole_level(shown, files, shown.levels.finest)
    assert np.abs(found[150, 150].astype(int) - (243, 244, 245)).max() <= 3  # under ink
    top = np.asarray(Image.open(BytesIO(files[f"s/slide_files/{shown.levels.finest - 2}/0_0.jpg"])))
    assert np.abs(top[100, -10].astype(int) - (243, 244, 245)).max() <= 3


@pytest.mark.parametrize("mpp", [0.5, 1.0, 2.0])
def test_ink_is_covered_at_every_size(slide, mpp):
    shown, files = written(slide, finest_mpp=mpp, glass=(243, 244, 245))
    found = whole_level(shown, files, shown.levels.finest)
    ink = found[150 // shown.step, 150 // shown.step]
    assert np.abs(ink.astype(int) - (243, 244, 245)).max() <= 3


def test_pixels_are_no_finer_than_asked(slide):
    assert [step_for(MPP, m) for m in (0, 0.25, 0.4, 0.5, 0.51, 2.0)] == [1, 1, 2, 2, 4, 8]
    shown, files = written(slide, finest_mpp=0.5)
    assert shown.step == 2
    assert shown.levels.size == Size(WIDTH // 2, HEIGHT // 2)
    found = whole_level(shown, files, shown.levels.finest).astype(int)
    fine = whole_level(*written(slide), 11).astype(int)
    mean = fine.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(found - mean).mean() < 4
    fewer, whole = (sum(map(len, f.values())) for f in (files, written(slide)[1]))
    assert fewer < 0.7 * whole


def test_jpegs_hold_pictures_and_nothing_else(slide):
    _, files = written(slide)
    for name, data in files.items():
        if name.endswith(".jpg"):
            assert kinds(data) <= {0xE0, 0xDB, 0xC0, 0xC2, 0xC4, 0xDD}
            assert data.endswith(b"\xff\xd9")


def kinds(data: bytes) -> set[int]:
    """Markers of the segments before the scan."""
    found, at = set(), 2
    while data[at + 1] != 0xDA:
        found.add(data[at + 1])
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from run_folder import make_run

    root = make_run(tmp_path_factory.mktemp("run"), side=1024)
    return SlideFolder(root / "results" / "slides" / "S03")


def test_nuclei_are_drawn_where_they_lie_in_the_color_of_their_class(folder):
    cells = CellsFile(folder.cells("classical"))
    pyramid, files = folder.open_tiles(), {}
    colors = {"negative": "#0072b2", "positive": "#f0e442"}
    drawn = nuclei.write_nuclei(cells, pyramid.size, pyramid.mpp, colors, "s", files.__setitem__)
    assert drawn.step == 1
    assert drawn.classes == cells.attrs.classes
    xy, kind = cells.read("xy_px0"), cells.read("class_")
    layers = [whole_png(drawn, files, i) for i in range(2)]
    inside = np.floor(xy).astype(int)
    ok = (inside < 1024).all(axis=1) & (inside >= 0).all(axis=1)
    hit = [layers[k][y, x, 3] > 0 for (x, y), k in zip(inside[ok], kind[ok], strict=True)]
    assert np.mean(hit) > 0.99
    for i, name in enumerate(drawn.classes):
        seen = layers[i][..., 3] > 0
        assert {tuple(c) for c in layers[i][seen][:, :3].tolist()} == {
            tuple(bytes.fromhex(colors[name][1:]))
        }
        other = xy[kind != i]
        alone = [layers[i][int(y), int(x), 3] == 0 for x, y in other]
        assert np.mean(alone) > 0.9  # nuclei of two classes may lie upon one another
    far = png_at(drawn, files, 1, drawn.levels[1].finest - 3)
    assert far[..., 3].max() > 60  # seen from far, too
    assert any(name.startswith("s/nuclei_files/0/") for name in files)


def whole_png(drawn, files, number):
    return png_at(drawn, files, number, drawn.levels[number].finest)


def png_at(drawn, files, number, level):
    levels = drawn.levels[number]
    size = levels.size_of(level)
    out = np.zeros((size.height, size.width, 4), np.uint8)
    rows, columns = levels.shape(level)
    for row in range(rows):
        for column in range(columns):
            data = files.get(f"s/nuclei_files/{number}/{level}/{column}_{row}.png")
            if data:
                place = levels.place(level, column, row)
                pixels = np.asarray(Image.open(BytesIO(data)).convert("RGBA"))
                out[place.y : place.y + place.height, place.x : place.x + place.width] = pixels
    return out


def test_attention_is_strongest_where_the_model_looked_most(folder):
    folder = SlideFolder(folder.path.parent / "S01")
    found = folder.read_prediction("tumor")
    features = folder.read_features(found.attrs.encoder)
    made = overlays.attention(features, found.attention)
    picture = np.asarray(Image.open(BytesIO(made.png)))
    best, worst = int(np.argmax(found.attention)), int(np.argmin(found.attention))
    size = features.size_px0

    def opacity(tile):
        x, y = features.xy_px0[tile] + size / 2
        column = (x - made.box.x) / made.box.width * picture.shape[1]
        row = (y - made.box.y) / made.box.height * picture.shape[0]
        return picture[int(row), int(column), 3]

    assert opacity(best) == picture[..., 3].max()
    assert opacity(worst) < 40
    lowest = features.xy_px0.min(axis=0)
    assert (made.box.x, made.box.y) == pytest.approx(tuple(map(float, lowest)), abs=1)
    assert overlays.attention(features, found.attention[:0]) is None


def test_outlines_enclose_the_tissue(slide):
    import shapely

    used, left = overlays.outlines(slide[1])
    area = sum(shapely.Polygon(ring).area for ring in used)
    assert len(used) == 2  # tissue, and the hole of the pen mark
    assert len(left) == 1
    pen = shapely.Polygon(left[0])
    assert pen.area == pytest.approx(100 * 100, rel=0.05)
    assert pen.bounds == pytest.approx((100, 100, 200, 200), abs=STEP)
    assert area == pytest.approx(1000 * HEIGHT + 100 * 100, rel=0.05)
