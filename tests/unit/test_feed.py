"""Grids in µm and the pixels of their tiles."""

import multiprocessing
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from store_cases import decoded, picture, store, write_tiff

from pathai.errors import PathaiError
from pathai.feed import batches, readable
from pathai.grid import grid
from pathai.store.chunked import ChunkCache
from pathai.store.pyramid import Pyramid, write_metadata
from pathai.store.records import PEN, SlideInfo, TissueMap
from pathai.store.shard import ShardWriter, shard_path
from pathai.tiling import copy
from pathai.units import Box, Mpp, Size


def slide(width: int, height: int, mpp: Mpp) -> SlideInfo:
    return SlideInfo(
        slide_id="s", sha256="0" * 64, width=width, height=height, mpp_x=mpp.x, mpp_y=mpp.y,
        mpp_source="file", reader="openslide", level_downsamples=(1.0,), stain="H&E",
    )  # fmt: skip


def tissue_of(info: SlideInfo, downsample: float, fill: int = 1) -> TissueMap:
    shape = int(np.ceil(info.height / downsample)), int(np.ceil(info.width / downsample))
    return TissueMap(np.full(shape, fill, np.uint8), downsample, info.mpp.scaled(downsample))


@pytest.mark.parametrize("mpp", [Mpp(0.5, 0.5), Mpp(0.2271, 0.2271), Mpp(0.499, 0.251)])
@pytest.mark.parametrize(("tile_px", "wanted"), [(256, 0.5), (224, 0.5), (512, 0.25), (100, 1.3)])
def test_grid_is_exact_in_um(mpp: Mpp, tile_px: int, wanted: float) -> None:
    info = slide(20_011, 9_973, mpp)
    tiles = grid(tissue_of(info, 16.0), info, tile_px, wanted, 0.0, tolerance=1.0)
    edge_um = tile_px * wanted
    assert tiles.size_px0 * [mpp.x, mpp.y] == pytest.approx([edge_um, edge_um], rel=1e-6)
    x = np.unique(tiles.xy_px0[:, 0])
    true = np.arange(len(x)) * edge_um / mpp.x
    assert np.abs(x - true).max() <= 0.5  # never drifts
    count = int(np.ceil(info.width * mpp.x / edge_um - 1e-3))
    assert len(x) == count
    order = tiles.xy_px0[:, ::-1].tolist()
    assert order == sorted(order)


def test_tissue_share_is_exact_at_fractional_edges() -> None:
    info = slide(1000, 1000, Mpp(0.5, 0.5))
    classes = np.zeros((100, 100), np.uint8)
    classes[:, 30:] = 1  # tissue from x = 300 on
    classes[60:, :] = 2  # pen is not tissue
    tissue = TissueMap(classes, 10.0, Mpp(5, 5))
    tiles = grid(tissue, info, 256, 0.5, 0.0)
    share = {tuple(p): float(t) for p, t in zip(tiles.xy_px0.tolist(), tiles.tissue, strict=True)}
    assert (0, 0) not in share  # no tissue at all: never a tile
    assert share[256, 0] == pytest.approx((512 - 300) / 256, abs=1e-3)
    assert share[512, 512] == pytest.approx((600 - 512) / 256, abs=1e-3)
    few = grid(tissue, info, 256, 0.5, 0.5)
    assert [t >= 0.5 for t in few.tissue.astype(float)] == [True] * len(few)
    assert len(few) == sum(t >= 0.5 for t in share.values())


def test_digest_names_the_grid() -> None:
    info = slide(3000, 3000, Mpp(0.5, 0.5))
    tissue = tissue_of(info, 16.0)
    one = grid(tissue, info, 256, 0.5, 0.5)
    assert one.digest == grid(tissue, info, 256, 0.5, 0.5).digest
    others = [grid(tissue, info, 256, 0.51, 0.5), grid(tissue, info, 224, 0.5, 0.5)]
    tissue.classes[:40] = 0
    others.append(grid(tissue, info, 256, 0.5, 0.5))
    assert len({one.digest, *(o.digest for o in others)}) == 4


def test_no_tissue_is_an_empty_grid() -> None:
    info = slide(3000, 3000, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0, fill=0), info, 256, 0.5, 0.0)
    assert len(tiles) == 0
    assert tiles.xy_px0.shape == (0, 2)


def test_tile_below_a_pixel_is_refused() -> None:
    info = slide(100, 100, Mpp(5.0, 5.0))
    with pytest.raises(PathaiError, match="E193"):
        grid(tissue_of(info, 16.0), info, 1, 0.5, 0.0)


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Pyramid:
    path = tmp_path_factory.mktemp("feed") / "tiles.zarr"
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (1500, 2300, 3), dtype=np.uint8)
    info = slide(2300, 1500, Mpp(0.5, 0.5))

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        x, y, w, h = (int(v) for v in (box.x, box.y, box.width, box.height))
        valid = np.ones((h, w), bool)
        valid[max(600 - y, 0) : max(632 - y, 0), max(300 - x, 0) : max(364 - x, 0)] = False
        return image[y : y + h, x : x + w], valid

    store(path, read, Size(2300, 1500), Mpp(0.5, 0.5), tissue_of(info, 16.0))
    return Pyramid(path)


@pytest.mark.parametrize(("tile_px", "mpp"), [(256, 0.5), (224, 0.5), (128, 1.0), (150, 0.81)])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_tiles_equal_direct_reads(pyramid: Pyramid, tile_px: int, mpp: float, batch: int) -> None:
    info = slide(2300, 1500, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0), info, tile_px, mpp, 0.0)
    found = [(p.copy(), v) for p, v in batches(pyramid, tiles, batch)]
    pixels = np.concatenate([p for p, _ in found])
    valid = np.concatenate([v for _, v in found])
    assert all(len(p) <= batch for p, _ in found)
    assert len(pixels) == len(valid) == len(tiles)
    for i in range(0, len(tiles), 5):
        box = tiles.box(i)
        assert np.array_equal(pixels[i], pyramid.read_at(box, Size(tile_px, tile_px)))
        if mpp == 0.5:
            assert np.array_equal(pixels[i], pyramid.read(box))
        inside = min(box.right, 2300) - box.x, min(box.bottom, 1500) - box.y
        share = inside[0] * inside[1] / (box.width * box.height)
        assert valid[i] <= share + 1e-3


def test_valid_counts_unreadable_and_outside(pyramid: Pyramid) -> None:
    info = slide(2300, 1500, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0), info, 256, 0.5, 0.0)
    valid = np.concatenate([v for _, v in batches(pyramid, tiles, 16)]).astype(float)
    share = dict(zip(map(tuple, tiles.xy_px0.tolist()), valid, strict=True))
    assert share[256, 512] == pytest.approx(1 - 32 * 64 / 256**2, abs=1e-3)
    assert share[0, 0] == 1
    assert share[2048, 0] == pytest.approx((2300 - 2048) / 256, abs=1e-3)


@pytest.mark.parametrize(("tile_px", "mpp"), [(224, 0.5), (256, 0.5), (150, 0.81), (100, 0.53)])
def test_each_chunk_is_decoded_once(
    pyramid: Pyramid, monkeypatch: pytest.MonkeyPatch, tile_px: int, mpp: float
) -> None:
    seen = decoded(monkeypatch)
    info = slide(2300, 1500, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0), info, tile_px, mpp, 0.0)
    for _ in batches(pyramid, tiles, 8):
        pass
    assert len(seen) == len(set(seen))
    if tile_px in (224, 256):
        assert len(seen) == pyramid.levels[0].info.chunks


@pytest.mark.parametrize(("tile_px", "mpp"), [(224, 0.5), (150, 0.81)])
def test_memory_is_fixed_and_too_little_only_costs_decodes(
    pyramid: Pyramid, monkeypatch: pytest.MonkeyPatch, tile_px: int, mpp: float
) -> None:
    info = slide(2300, 1500, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0), info, tile_px, mpp, 0.0)
    wanted = [p.copy() for p, _ in batches(pyramid, tiles, 2)]
    monkeypatch.setattr("pathai.tile_reader.ChunkCache", partial(ChunkCache, 1))
    monkeypatch.setattr("pathai.tile_reader.RING_MIB", 0)
    seen = decoded(monkeypatch)
    found = [p.copy() for p, _ in batches(pyramid, tiles, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert len(seen) > len(set(seen))


def test_the_cache_keeps_the_last_chunks() -> None:
    cache = ChunkCache(1)
    for row in range(40):
        cache.put((0, row, 0), Size(256, 256))
    assert [cache.get((0, row, 0)) is not None for row in range(40)] == [False] * 35 + [True] * 5


@pytest.mark.parametrize("tile", [240, 256])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_cut_tiles_equal_resampled_ones(tmp_path: Path, tile: int, factor: int) -> None:
    """Means of whole pixels, at the slide's edges and around holes too."""
    size = Size(1111, 905)
    path = write_tiff(tmp_path / "s.tif", picture(size.width, size.height), tile=tile)
    info = slide(size.width, size.height, Mpp(0.5, 0.5))
    tissue = tissue_of(info, 16.0)
    tissue.classes[16:40, 20:45] = 0
    stored, _ = copy(path, "tiled-tiff", tmp_path / "t", tissue, 0.0)
    assert stored is not None
    write_metadata(tmp_path / "t", Mpp(0.5, 0.5), stored.levels[:1], {})
    pyramid = Pyramid(tmp_path / "t")
    tiles = grid(tissue, info, 112, 0.5 * factor, 0.0)
    found = np.concatenate([p.copy() for p, _ in batches(pyramid, tiles, 5)])
    for i in range(len(tiles)):
        wanted = pyramid.read_at(tiles.box(i), Size(112, 112))
        assert np.array_equal(found[i], wanted), tiles.box(i)


@pytest.mark.parametrize("workers", [2, 3])
def test_several_processes_give_the_same_batches(pyramid: Pyramid, workers: int) -> None:
    info = slide(2300, 1500, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0), info, 224, 0.5, 0.0)
    one = [(p.copy(), v) for p, v in batches(pyramid, tiles, 7, change=inverted)]
    many = [(p.copy(), v) for p, v in batches(pyramid, tiles, 7, workers=workers, change=inverted)]
    assert len(one) == len(many) > 5
    for (a, valid_a), (b, valid_b) in zip(one, many, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(valid_a, valid_b)
    assert (one[0][0] == 0).any()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("tile_px", "mpp"), [(224, 0.5), (150, 0.81)])
def test_a_feed_may_begin_anywhere(
    pyramid: Pyramid, workers: int, tile_px: int, mpp: float
) -> None:
    """At a multiple of the batch the batches are the same, elsewhere the tiles are."""
    info = slide(2300, 1500, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0), info, tile_px, mpp, 0.0)
    whole = [(p.copy(), v) for p, v in batches(pyramid, tiles, 7)]
    for first in (14, 35, len(tiles) - 1, len(tiles)):
        rest = [(p.copy(), v) for p, v in batches(pyramid, tiles, 7, workers=workers, first=first)]
        for i in (0, 1):
            wanted = np.concatenate([b[i] for b in whole])[first:]
            found = np.concatenate([wanted[:0], *(b[i] for b in rest)])
            assert np.array_equal(found, wanted)
        if first % 7 == 0:
            assert [len(p) for p, _ in rest] == [len(p) for p, _ in whole[first // 7 :]]


def inverted(pixels: np.ndarray) -> np.ndarray:
    return 255 - pixels


def test_an_error_in_a_worker_is_ours(pyramid: Pyramid, tmp_path: Path) -> None:
    """A damaged chunk ends the feed with its own code, and no process is left."""
    copy = tmp_path / "tiles.zarr"
    shutil.copytree(pyramid.path, copy)
    shard = shard_path(copy / "0", 0, 0)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    info = slide(2300, 1500, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0), info, 224, 0.5, 0.0)
    with pytest.raises(PathaiError, match="E164"):
        list(batches(Pyramid(copy), tiles, 7, workers=2))
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_noticed_at_once(
    pyramid: Pyramid, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = slide(2300, 1500, Mpp(0.5, 0.5))
    tiles = grid(tissue_of(info, 16.0), info, 224, 0.5, 0.0)
    monkeypatch.setattr("pathai.feed._work", sys.exit)  # with what a worker is given
    with pytest.raises(PathaiError, match="E172"):
        list(batches(pyramid, tiles, 7, workers=2))
    assert not multiprocessing.active_children()


def test_a_chunk_that_is_no_picture_is_unreadable_not_white(tmp_path: Path) -> None:
    """Its checksum is right, so the slide is to blame: tiles say how much of them is real."""
    size = Size(512, 512)
    info = slide(512, 512, Mpp(0.5, 0.5))
    tissue = tissue_of(info, 16.0)

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        shape = (int(box.height), int(box.width))
        return np.full((*shape, 3), 120, np.uint8), np.ones(shape, bool)

    store(tmp_path / "t", read, size, Mpp(0.5, 0.5), tissue, quality=90)
    level = Pyramid(tmp_path / "t").levels[0]
    packed = {place: level.packed(*place) for place in level.stored()}
    packed[0, 1] = b"no picture"
    with ShardWriter(level.path, level.info.per_shard) as writer:
        for place, data in packed.items():
            writer.add(*place, data or b"")
    tiles = grid(tissue, info, 200, 0.5, 0.0)
    pyramid = Pyramid(tmp_path / "t")
    before = readable(pyramid, tiles)
    ((pixels, valid),) = [(p.copy(), v) for p, v in batches(pyramid, tiles, 100)]
    for i, (x, y) in enumerate(tiles.xy_px0.tolist()):
        share = max(min(x + 200, 512) - max(x, 256), 0) * max(min(y + 200, 256) - y, 0) / 200**2
        assert before[i] - valid[i] == pytest.approx(share, abs=2e-3)
        assert (pixels[i] == 255).any() == (share > 0 or x + 200 > 512 or y + 200 > 512)


def test_stride_and_artefact_limit() -> None:
    info = slide(1000, 900, Mpp(0.5, 0.5))
    tissue = tissue_of(info, 10.0)
    tiles = grid(tissue, info, 100, 0.5, 0.0, stride_px=50)
    steps = np.unique(np.diff(np.unique(tiles.xy_px0[:, 0])))
    assert set(steps.tolist()) == {50}
    assert tiles.digest != grid(tissue, info, 100, 0.5, 0.0).digest
    classes = tissue.classes.copy()
    classes[20:30, 20:24] = PEN
    inked = replace(tissue, classes=classes)
    strict = grid(inked, info, 100, 0.5, 0.0, max_artefact=0.3)
    loose = grid(inked, info, 100, 0.5, 0.0, max_artefact=0.5)
    gone = {tuple(c) for c in loose.xy_px0.tolist()} - {tuple(c) for c in strict.xy_px0.tolist()}
    assert gone == {(200, 200)}


def test_detail_is_not_invented() -> None:
    info = slide(1000, 900, Mpp(0.55, 0.5))
    tissue = tissue_of(info, 10.0)
    assert len(grid(tissue, info, 100, 0.5, 0.0, tolerance=0.11))
    with pytest.raises(PathaiError, match=r"E143.*0\.525 µm/px.*at 0\.5"):
        grid(tissue, info, 100, 0.5, 0.0, tolerance=0.05)


@pytest.mark.real
@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_coordinates_are_exact_on_xyc(test_data: Path, tmp_path: Path, mpp: float) -> None:
    """Every 8 x 8 block of the picture encodes its own place: no shift, no swapped axes."""
    from PIL import Image

    from pathai.readers import open_slide

    folder = test_data / "slides" / "xyc"
    truth = np.asarray(Image.open(folder / "XYC.png").convert("RGB"))
    source = open_slide(folder / "XYC-half-mpp.tiff")
    info = slide(512, 512, Mpp(0.5, 0.5))
    tissue = tissue_of(info, 16.0)
    store(tmp_path / "t", source.read_level, Size(512, 512), Mpp(0.5, 0.5), tissue)
    source.close()
    tiles = grid(tissue, info, 64, mpp, 0.0)
    step = round(mpp / 0.5)
    found = np.concatenate([p.copy() for p, _ in batches(Pyramid(tmp_path / "t"), tiles, 9)])
    for i, tile in enumerate(found):
        x, y = tiles.xy_px0[i]
        part = truth[y : y + 64 * step, x : x + 64 * step].astype(int)
        mean = part.reshape(64, step, 64, step, 3).sum(axis=(1, 3))
        assert np.array_equal(tile, (mean + step * step // 2) // step**2)
