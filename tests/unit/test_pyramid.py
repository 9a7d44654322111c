"""The store of pixels: what goes in comes out, what is missing is background."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from store_cases import store

from pathai.errors import PathaiError
from pathai.feed import readable
from pathai.grid import Grid
from pathai.store.chunked import KeptChunks
from pathai.store.chunks import pack_zstd, sealed, unpack, unsealed
from pathai.store.pyramid import Pyramid, read_tissue, write_tissue
from pathai.store.pyramid_writer import CHUNK
from pathai.store.records import BACKGROUND, TISSUE, TissueMap
from pathai.store.shard import shard_path
from pathai.store.tile_copy import wanted_chunks
from pathai.units import Box, Mpp, Size

SIZE = Size(2501, 2103)  # odd, and more than one shard
MPP = Mpp(0.25, 0.26)
Pixels = NDArray[np.uint8]


def make_map(size: Size, *boxes: Box, downsample: float = 16.0) -> TissueMap:
    shape = -(-size.height // int(downsample)), -(-size.width // int(downsample))
    classes = np.full(shape, BACKGROUND, np.uint8)
    for b in boxes:
        y, x = int(b.y / downsample), int(b.x / downsample)
        classes[y : int(b.bottom / downsample), x : int(b.right / downsample)] = TISSUE
    return TissueMap(classes, downsample, MPP.scaled(downsample))


TISSUE_BOXES = (Box(400, 300, 900, 700), Box(2000, 1600, 501, 503))


def reader(image: Pixels, bad: tuple[Box, ...] = ()) -> Callable[..., tuple[Pixels, NDArray]]:
    def read(box: Box) -> tuple[Pixels, NDArray]:
        x, y, w, h = (int(v) for v in (box.x, box.y, box.width, box.height))
        for b in bad:
            if x < b.right and b.x < x + w and y < b.bottom and b.y < y + h:
                raise PathaiError("E162", "broken here")
        assert 0 <= x < x + w <= image.shape[1]
        assert 0 <= y < y + h <= image.shape[0]
        return image[y : y + h, x : x + w], np.ones((h, w), bool)

    return read


@pytest.fixture(scope="module")
def image() -> Pixels:
    rng = np.random.default_rng(1)
    return rng.integers(0, 250, (SIZE.height, SIZE.width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stored(image: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "tiles.zarr"
    store(path, reader(image), SIZE, MPP, make_map(SIZE, *TISSUE_BOXES))
    return path


def kept_pixels() -> NDArray[np.bool_]:
    chunks = wanted_chunks(make_map(SIZE, *TISSUE_BOXES), SIZE, Size(CHUNK, CHUNK), 1.0)
    return np.kron(chunks, np.ones((CHUNK, CHUNK), bool))[: SIZE.height, : SIZE.width]


def test_pixels_return_unchanged_and_background_is_white(stored: Path, image: Pixels) -> None:
    found = Pyramid(stored).read(Box(0, 0, SIZE.width, SIZE.height))
    kept = kept_pixels()
    assert kept.any()
    assert not kept.all()
    assert np.array_equal(found[kept], image[kept])
    assert (found[~kept] == 255).all()


def test_every_tissue_pixel_is_kept(image: Pixels) -> None:
    kept = kept_pixels()
    for b in TISSUE_BOXES:
        x, y = int(b.x) // 16 * 16, int(b.y) // 16 * 16
        assert kept[y : int(b.bottom) // 16 * 16, x : int(b.right) // 16 * 16].all()


def test_zarr_reads_the_same(stored: Path) -> None:
    pyramid = Pyramid(stored)
    for array, level in zip(pyramid.arrays, pyramid.levels, strict=True):
        size = level.size
        assert array.shape == (3, size.height, size.width)
        plain = np.moveaxis(np.asarray(array[...]), 0, -1)
        assert np.array_equal(plain, level.read_px(0, 0, size.width, size.height))


def test_levels_are_means_of_the_level_below(stored: Path) -> None:
    levels = Pyramid(stored).levels
    assert max(levels[-1].size.width, levels[-1].size.height) <= 512
    assert len(levels) > 2
    for finer, level in itertools.pairwise(levels):
        below, size = finer.size, level.size
        fine = finer.read_px(0, 0, below.width, below.height).astype(int)
        fine = np.pad(fine, ((0, below.height % 2), (0, below.width % 2), (0, 0)), "edge")
        mean = (fine.reshape(size.height, 2, size.width, 2, 3).sum(axis=(1, 3)) + 2) // 4
        assert np.array_equal(level.read_px(0, 0, size.width, size.height), mean)


def test_ome_zarr_models_accepts_image_and_label(stored: Path, tmp_path: Path) -> None:
    from ome_zarr_models.v05 import Image, ImageLabel

    model = Image.from_zarr(zarr.open_group(stored, mode="r"))
    scale = model.attributes.ome.multiscales[0].datasets[1].coordinateTransformations[0]
    assert scale.scale == [1.0, MPP.y * 2, MPP.x * 2]
    tissue = make_map(SIZE, *TISSUE_BOXES)
    write_tissue(tmp_path / "tissue.zarr", tissue)
    ImageLabel.from_zarr(zarr.open_group(tmp_path / "tissue.zarr", mode="r"))
    found = read_tissue(tmp_path / "tissue.zarr")
    assert np.array_equal(found.classes, tissue.classes)
    assert (found.downsample, found.mpp) == (tissue.downsample, tissue.mpp)


def test_outside_is_white_and_boxes_are_exact(stored: Path, image: Pixels) -> None:
    pyramid = Pyramid(stored)
    found = pyramid.read(Box(SIZE.width - 40, SIZE.height - 30, 100, 90))
    assert found.shape == (90, 100, 3)
    assert np.array_equal(found[:30, :40], image[-30:, -40:])
    assert (found[30:] == 255).all()
    assert (found[:, 40:] == 255).all()
    assert (pyramid.read(Box(-500, -500, 200, 100)) == 255).all()
    assert np.array_equal(pyramid.read(Box(777, 555, 64, 32)), image[555:587, 777:841])


def test_dask_levels_are_y_x_c(stored: Path) -> None:
    levels = Pyramid(stored).dask()
    assert levels[0].shape == (SIZE.height, SIZE.width, 3)
    part = levels[1][300:340, 400:450].compute()
    plain = Pyramid(stored).levels[1].read_px(400, 300, 50, 40)
    assert np.array_equal(part, plain)
    assert np.array_equal(levels[1][310, 400:450:3].compute(), plain[10, ::3])
    assert levels[1][310, 420, 2].compute() == plain[10, 20, 2]


def test_kept_chunks_are_the_same_pixels_in_bounded_memory(stored: Path) -> None:
    kept = KeptChunks(mib=1)
    for plain, level in zip(Pyramid(stored).dask(), Pyramid(stored).dask(kept), strict=True):
        for _ in range(2):
            assert np.array_equal(plain.compute(), level.compute())
            assert kept.bytes <= 2**20
    assert kept.bytes > 2**20 - CHUNK * CHUNK * 3  # full


def test_the_chunk_looked_at_least_lately_is_forgotten_first() -> None:
    kept, half = KeptChunks(mib=1), np.zeros((256, 512, 3), np.uint8)
    for column in range(2):
        kept.put((0, 0, column), half)
    assert kept.get((0, 0, 0)) is not None
    kept.put((0, 0, 2), half)
    assert [kept.get((0, 0, c)) is not None for c in range(3)] == [True, False, True]
    kept.put((0, 0, 2), half)  # once more: it does not count twice
    assert kept.bytes == 2 * half.nbytes


def test_threads_may_read_a_level_that_closes_its_files(
    stored: Path, image: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dask reads in threads; a slide has more shards than files that are held open."""
    monkeypatch.setattr("pathai.store.level.OPEN_FILES", 1)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            (level, *_), kept = Pyramid(stored).dask(), kept_pixels()
            found = level.compute(scheduler="threads", num_workers=8)
            assert np.array_equal(found[kept], image[kept])
    finally:
        sys.setswitchinterval(before)


def test_read_at_whole_ratio_is_the_exact_mean(stored: Path, image: Pixels) -> None:
    pyramid = Pyramid(stored)
    box = Box(512, 512, 384, 384)
    half = image[512:896, 512:896].astype(int).reshape(192, 2, 192, 2, 3).sum(axis=(1, 3))
    assert np.array_equal(pyramid.read_at(box, Size(192, 192)), (half + 2) // 4)
    quarter = pyramid.levels[2].read_px(128, 128, 96, 96)
    assert np.array_equal(pyramid.read_at(box, Size(96, 96)), quarter)


def test_read_at_fractional_boxes_sit_where_they_should(tmp_path: Path) -> None:
    """On a ramp the resampled value is the coordinate itself, so any shift shows."""
    size = Size(640, 640)
    ramp = np.zeros((size.height, size.width, 3), np.uint8)
    ramp[..., 0] = np.clip(2 * (np.arange(640) - 200), 0, 254)
    ramp[..., 1] = np.clip(2 * (np.arange(640) - 300), 0, 254)[:, None]
    path = tmp_path / "tiles.zarr"
    store(path, reader(ramp), size, MPP, make_map(size, Box(0, 0, 640, 640)))
    pyramid = Pyramid(path)
    for scale in (1.0, 1.002, 1.13, 1.5, 2.0, 2.2016, 2.9, 0.7):
        width, height = int(100 / scale), int(90 / scale)
        for corner in (215.0, 214.0):
            box = Box(corner, corner + 103, width * scale, height * scale)
            out = pyramid.read_at(box, Size(width, height)).astype(float)
            x = corner + (np.arange(width) + 0.5) * scale - 0.5
            y = corner + 103 + (np.arange(height) + 0.5) * scale - 0.5
            off_x = out[..., 0] - 2 * (x - 200)
            off_y = out[..., 1] - 2 * (y - 300)[:, None]
            # one gray level is half a level-0 pixel (and rounding is half a gray level)
            limit = 0.6 if scale in (1.13, 1.5, 0.7) else 1.0 if scale < 2 else 2.0
            assert abs(off_x.mean()) <= limit, scale
            assert abs(off_y.mean()) <= limit, scale


def test_unreadable_parts_are_recorded_not_painted(image: Pixels, tmp_path: Path) -> None:
    bad = Box(700, 600, 50, 40)
    path = tmp_path / "tiles.zarr"
    tissue = make_map(SIZE, *TISSUE_BOXES)
    damage = store(path, reader(image, (bad,)), SIZE, MPP, tissue)
    pyramid = Pyramid(path)
    lost = np.zeros((SIZE.height, SIZE.width), bool)
    for b in pyramid.levels[0].lost:
        lost[int(b.y) : int(b.bottom), int(b.x) : int(b.right)] = True
    assert lost[600:640, 700:750].all()
    assert lost.sum() < 6 * 64 * 64
    found = pyramid.read(Box(0, 0, SIZE.width, SIZE.height))
    assert (found[lost] == 255).all()
    good = kept_pixels() & ~lost
    assert np.array_equal(found[good], image[good])
    tissue_px = (tissue.classes == TISSUE).sum() * 256
    assert damage.fraction == pytest.approx(lost.sum() / tissue_px, rel=0.05)
    corners = np.array([[600, 500], [SIZE.width - 128, 1700]], np.int32)
    tiles = Grid(corners, np.float32([256, 256]), np.float16([1, 1]), 256, 0.25, 256, "")
    shares = [1 - lost[500:756, 600:856].mean(), 0.5]
    assert readable(pyramid, tiles) == pytest.approx(shares, abs=1e-3)


def test_invalid_pixels_are_recorded_exactly(image: Pixels, tmp_path: Path) -> None:
    plain = reader(image)
    hole = np.zeros((SIZE.height, SIZE.width), bool)
    hole[610:650, 700:761] = True

    def read(box: Box) -> tuple[Pixels, NDArray]:
        x, y, w, h = (int(v) for v in (box.x, box.y, box.width, box.height))
        return plain(box)[0], ~hole[y : y + h, x : x + w]

    path = tmp_path / "tiles.zarr"
    damage = store(path, read, SIZE, MPP, make_map(SIZE, *TISSUE_BOXES))
    assert damage.boxes == [Box(700, 610, 61, 40)]
    assert Pyramid(path).levels[0].info.unreadable == ((700, 610, 61, 40),)
    assert (Pyramid(path).read(Box(700, 610, 61, 40)) == 255).all()


def test_too_much_unreadable_fails(image: Pixels, tmp_path: Path) -> None:
    read = reader(image, (Box(0, 0, SIZE.width, SIZE.height),))
    with pytest.raises(PathaiError, match=r"E113.*unreadable"):
        store(
            tmp_path / "tiles.zarr",
            read,
            SIZE,
            MPP,
            make_map(SIZE, *TISSUE_BOXES),
            limit=0.001,
        )


def test_other_errors_of_the_reader_pass_through(image: Pixels, tmp_path: Path) -> None:
    def read(box: Box) -> tuple[Pixels, NDArray]:
        raise PathaiError("E172", "the child process died of SIGSEGV")

    with pytest.raises(PathaiError, match="SIGSEGV"):
        store(tmp_path / "t", read, SIZE, MPP, make_map(SIZE, *TISSUE_BOXES))


@pytest.mark.parametrize("fault", ["flip", "truncate", "zero", "empty"])
def test_damage_is_found(stored: Path, tmp_path: Path, fault: str) -> None:
    import shutil

    copy = tmp_path / "tiles.zarr"
    shutil.copytree(stored, copy)
    shard = shard_path(copy / "0", 0, 0)
    data = bytearray(shard.read_bytes())
    if fault == "flip":
        data[len(data) // 3] ^= 4
    elif fault == "truncate":
        data = data[:-100]
    elif fault == "zero":
        data[1000:2000] = bytes(1000)
    else:
        data = bytearray()
    shard.write_bytes(data)
    with pytest.raises(PathaiError, match="E164"):
        Pyramid(copy).check()


def test_a_deleted_shard_is_found(stored: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "tiles.zarr"
    shutil.copytree(stored, copy)
    shard_path(copy / "1", 0, 0).unlink()
    with pytest.raises(PathaiError, match="E164: tiles, level 1: 0 chunks"):
        Pyramid(copy).check()
    Pyramid(stored).check()


def test_same_input_same_bytes(stored: Path, image: Pixels, tmp_path: Path) -> None:
    again = tmp_path / "tiles.zarr"
    store(again, reader(image), SIZE, MPP, make_map(SIZE, *TISSUE_BOXES))
    names = sorted(p.relative_to(stored) for p in stored.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for name in names:
        assert (stored / name).read_bytes() == (again / name).read_bytes(), name


def test_missing_store_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(PathaiError, match=r"E164.*run pathai tile"):
        Pyramid(tmp_path / "tiles.zarr")
    with pytest.raises(PathaiError, match=r"E164.*run pathai tile"):
        read_tissue(tmp_path / "tissue.zarr")


def test_chunk_checks_itself() -> None:
    block = np.random.default_rng(0).integers(0, 255, (CHUNK, CHUNK, 3), dtype=np.uint8)
    data = sealed(pack_zstd(block))
    back = np.empty_like(block)
    unpack("zstd", unsealed(data, "here"), back)
    assert np.array_equal(back, block)
    for position in (0, len(data) // 2, len(data) - 1):
        broken = bytearray(data)
        broken[position] ^= 1
        with pytest.raises(PathaiError, match="here: checksum differs"):
            unsealed(bytes(broken), "here")


def test_packing_with_loss_says_how_much(tmp_path: Path) -> None:
    """The figures in the attributes are those of the stored pixels against the read ones."""
    rng = np.random.default_rng(3)
    size = Size(700, 600)
    picture = rng.integers(60, 200, (30, 35, 3)).repeat(20, 0).repeat(20, 1).astype(np.uint8)
    tissue = make_map(size, Box(0, 0, 700, 600))
    store(tmp_path / "t", reader(picture), size, MPP, tissue, quality=80)
    level = Pyramid(tmp_path / "t").levels[0]
    assert level.info.codec == "jpeg"
    assert level.info.loss is not None
    assert level.info.loss.quality == 80
    gap = level.read_px(0, 0, 700, 600).astype(int) - picture
    assert 0 < np.abs(gap).max() <= level.info.loss.max_error
    psnr = 10 * np.log10(255**2 / (gap**2).mean())
    assert level.info.loss.psnr_db == pytest.approx(psnr, abs=2)  # measured with the padding
    array = Pyramid(tmp_path / "t").arrays[0]
    assert np.array_equal(np.moveaxis(np.asarray(array[...]).astype(int), 0, -1) - picture, gap)
