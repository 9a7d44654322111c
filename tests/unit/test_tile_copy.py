"""Copying a slide's compressed tiles: same bytes, same pixels, damage found, no text taken."""

import errno
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from store_cases import decoded, picture, write_tiff

from pathai.errors import PathaiError
from pathai.readers import reopen
from pathai.readers.tiled_tiff import TiledTiffReader
from pathai.source import read_at
from pathai.store.damage import Damage
from pathai.store.level import Level
from pathai.store.pyramid import Pyramid, write_metadata
from pathai.store.records import TISSUE, TissueMap
from pathai.store.tile_check import CannotCopy, TileCheck, jpeg_header
from pathai.store.tile_copy import build_level, copy_level, wanted_chunks
from pathai.tiling import copy
from pathai.units import Box, Mpp, Size

MPP = Mpp(0.5, 0.5)
REAL = {
    "CMU-1-Small-Region.svs": ("openslide", "jpeg"),
    "CMU-1-Small-Region.jpeg.tiff": ("openslide", "jpeg"),
    "TCGA-CR-7395-01A-01-TS1.svs": ("openslide", "jpeg2000"),
    "OS-1-detail_HE.ome.tif": ("tiffslide", "jpeg"),
}


def all_tissue(size: Size, downsample: float = 16.0) -> TissueMap:
    shape = int(np.ceil(size.height / downsample)), int(np.ceil(size.width / downsample))
    return TissueMap(np.full(shape, TISSUE, np.uint8), downsample, MPP.scaled(downsample))


def pyramid_of(path: Path, root: Path, stored: object) -> Pyramid:
    assert stored is not None
    write_metadata(root, MPP, stored.levels, {"source": "copied"})  # type: ignore[attr-defined]
    return Pyramid(root)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_every_tile_is_the_slides_own(test_data: Path, tmp_path: Path, name: str) -> None:
    """Byte by byte, but for the head that makes an abbreviated JPEG a whole file."""
    reader, codec = REAL[name]
    path = test_data / "slides" / name
    slide, direct = reopen(path, reader), reopen(path, "tiled-tiff")
    root = tmp_path / "tiles.zarr"
    size = slide.facts.size
    stored, why = copy(path, reader, root, all_tissue(size), 0.0)
    assert why == ""
    pyramid = pyramid_of(path, root, stored)
    tiles = direct.compressed()  # type: ignore[attr-defined]
    assert pyramid.levels[0].info.codec == codec
    copied = [level for level in pyramid.levels if level.info.made == "copied"]
    assert len(copied) == len(tiles)
    with read_at(path) as read:
        for level, source in zip(copied, tiles, strict=True):
            assert level.info.chunks == source.offsets.size
            for row, column in level.stored():
                data = source.fetch(read, row, column)
                packed = level.packed(row, column)
                assert packed is not None
                assert packed.endswith(data[2:] if source.head else data)
                assert len(packed) - len(data) == max(len(source.head) - 2, 0)
    whole = Box(0, 0, size.width, size.height)
    assert np.array_equal(pyramid.read(whole), slide.read_level(whole)[0])
    slide.close()
    direct.close()


@pytest.mark.real
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs"])
def test_zarr_reads_the_copies_through_the_entry_point(
    test_data: Path, tmp_path: Path, name: str
) -> None:
    from ome_zarr_models.v05 import Image

    path = test_data / "slides" / name
    with tifffile.TiffFile(path) as tiff:
        size = Size(tiff.pages[0].imagewidth, tiff.pages[0].imagelength)
    root = tmp_path / "tiles.zarr"
    stored, _ = copy(path, "openslide", root, all_tissue(size), 0.0)
    pyramid = pyramid_of(path, root, stored)
    group = zarr.open_group(root, mode="r")
    Image.from_zarr(group)
    for level in pyramid.levels:
        array = group[str(level.number)]
        part = np.moveaxis(np.asarray(array[:, 300:700, 200:900]), 0, -1)
        assert np.array_equal(part, level.read_px(200, 300, part.shape[1], part.shape[0]))
        lazy = pyramid.dask()[level.number][300:700, 200:900].compute()
        assert np.array_equal(part, lazy)


def test_missing_levels_are_built_and_odd_ones_kept(tmp_path: Path) -> None:
    """1 and 16 are copied, 4 is built between them; the last level is small."""
    full = picture(9000, 2100)
    small = full[::16, ::16][:131, :562]
    path = write_tiff(tmp_path / "s.tif", full, np.ascontiguousarray(small))
    root = tmp_path / "tiles.zarr"
    stored, why = copy(path, "tiled-tiff", root, all_tissue(Size(9000, 2100)), 0.0)
    assert why == ""
    levels = pyramid_of(path, root, stored).levels
    assert [(v.info.made, v.downsample) for v in levels] == [
        ("copied", 1.0), ("built", 4.0), ("copied", 16.0), ("built", 64.0)
    ]  # fmt: skip
    assert max(levels[-1].info.width, levels[-1].info.height) <= 512
    fine = levels[0].read_px(0, 0, 9000, 2100)[:2000, :8000].astype(int)
    mean = fine.reshape(500, 4, 2000, 4, 3).sum(axis=(1, 3)) + 8
    assert np.array_equal(levels[1].read_px(0, 0, 2000, 500), mean // 16)


def test_only_tissue_is_stored_on_every_level(tmp_path: Path) -> None:
    full = picture(2048, 2048)
    path = write_tiff(tmp_path / "s.tif", full, np.ascontiguousarray(full[::4, ::4]))
    tissue = all_tissue(Size(2048, 2048))
    tissue.classes[:] = 0
    tissue.classes[20:40, 70:100] = TISSUE
    root = tmp_path / "tiles.zarr"
    stored, _ = copy(path, "tiled-tiff", root, tissue, 0.0)
    for level in pyramid_of(path, root, stored).levels:
        wanted = wanted_chunks(tissue, level.size, level.chunk, level.downsample)
        assert sorted(level.stored()) == [tuple(p) for p in np.argwhere(wanted).tolist()]
    assert np.argwhere(wanted_chunks(tissue, Size(2048, 2048), Size(256, 256), 1.0)).tolist() == [
        [r, c] for r in (1, 2) for c in (4, 5, 6)
    ]


def spoil(path: Path, tile: int, data: bytes | None, at: int = 0) -> None:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        place, count = page.dataoffsets[tile], page.databytecounts[tile]
        tag = page.tags["TileByteCounts"]
        field, size = tag.valueoffset, tag.dtype
    with path.open("r+b") as file:
        if data is None:
            width = {3: 2, 4: 4, 16: 8}[int(size)]
            file.seek(field + tile * width)
            file.write(bytes(width))
            return
        file.seek(place + at)
        file.write(data[: count - at])


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (bytes(10**6), 0),  # a lost block
        (bytes(700), 2000),  # a part of one
        (b"\xff\x41" * 40, 2000),  # markers that cannot be
        (b"\xff\xd8\xff\xe0", 2000),
        (None, 0),  # no bytes at all
    ],
    ids=["zeros", "some-zeros", "markers", "soi", "empty"],
)
def test_a_damaged_tile_is_unreadable_and_the_rest_is_there(
    tmp_path: Path, data: bytes | None, at: int
) -> None:
    full = np.random.default_rng(0).integers(60, 200, (1024, 1280, 3)).astype(np.uint8)
    path = write_tiff(tmp_path / "s.tif", full)
    slide = reopen(path, "tiled-tiff")
    truth = slide.read_level(Box(0, 0, 1280, 1024))[0]
    slide.close()
    spoil(path, 7, data, at)
    root = tmp_path / "tiles.zarr"
    tissue = all_tissue(Size(1280, 1024))
    stored, why = copy(path, "tiled-tiff", root, tissue, 0.2)
    assert why == ""
    pyramid = pyramid_of(path, root, stored)
    assert pyramid.levels[0].info.unreadable == ((512, 256, 256, 256),)
    assert stored is not None
    assert stored.bad_fraction == pytest.approx(1 / 20)
    found = pyramid.read(Box(0, 0, 1280, 1024))
    truth[256:512, 512:768] = 255
    assert np.array_equal(found, truth)
    with pytest.raises(PathaiError, match=r"E113.*x 512 y 256"):
        copy(path, "tiled-tiff", tmp_path / "again", tissue, 0.01)


def test_a_level_with_a_damaged_tile_is_built_anew(tmp_path: Path) -> None:
    full = picture(4096, 1024)
    path = write_tiff(tmp_path / "s.tif", full, np.ascontiguousarray(full[::4, ::4]))
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[1].dataoffsets[2]
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(500))
    root = tmp_path / "tiles.zarr"
    stored, _ = copy(path, "tiled-tiff", root, all_tissue(Size(4096, 1024)), 0.0)
    levels = pyramid_of(path, root, stored).levels
    assert [v.info.made for v in levels[:2]] == ["copied", "built"]
    assert (levels[1].read_px(0, 0, 1024, 256) != 255).any(axis=2).all()


@pytest.mark.parametrize(
    "segment",
    [b"\xff\xfe\x00\x0bJANE DOE1", b"\xff\xe1\x00\x0eExif\0\0secret"],
    ids=["comment", "exif"],
)
def test_text_in_a_tile_is_not_taken_along(tmp_path: Path, segment: bytes) -> None:
    """The slide is decoded instead, so that nothing but pixels enters the store."""
    full = picture(512, 512)
    path = tmp_path / "s.tif"
    tiles = []
    for y in (0, 256):
        for x in (0, 256):
            data = imagecodecs.jpeg8_encode(full[y : y + 256, x : x + 256], level=90)
            tiles.append(data[:2] + (segment if (x, y) == (256, 256) else b"") + data[2:])
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter(tiles), shape=full.shape, dtype=np.uint8, tile=(256, 256),
            compression="jpeg", photometric="ycbcr", metadata=None,
        )  # fmt: skip
    root = tmp_path / "tiles.zarr"
    stored, why = copy(path, "tiled-tiff", root, all_tissue(Size(512, 512)), 0.0)
    assert stored is None
    assert "text" in why
    assert not root.exists()


def test_bytes_behind_a_picture_are_not_taken_along() -> None:
    data = imagecodecs.jpeg8_encode(picture(64, 64), level=90)
    check = TileCheck("jpeg", Size(64, 64), lambda d: d)
    assert check.sound(data)
    assert check.sound(data + bytes(3))  # padding
    with pytest.raises(CannotCopy):
        check.sound(data + b"secret" + b"\xff\xd9")
    assert not TileCheck("jpeg", Size(64, 32), lambda d: d).sound(data)
    assert jpeg_header(data[: len(data) // 50]) == 0


def test_a_tile_of_one_color_may_hold_zeros() -> None:
    """Optimized tables give a code of zeros to what is most frequent: not a lost block."""
    flat = np.full((512, 512, 3), 240, np.uint8)
    flat[500:, 500:] = 10
    data = imagecodecs.jpeg8_encode(flat, level=90, optimize=True)
    check = TileCheck("jpeg", Size(512, 512), lambda d: d)
    assert bytes(256) in data
    assert check.sound(data)


def test_other_pixels_than_the_readers_are_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles are copied only where some of them decode to just what the slide's reader shows."""
    path = write_tiff(tmp_path / "s.tif", picture(512, 512))
    plain = TiledTiffReader.read_level

    def darker(self: TiledTiffReader, box: Box, level: int = 0) -> tuple:
        pixels, valid = plain(self, box, level)
        return pixels - 1, valid

    monkeypatch.setattr(TiledTiffReader, "read_level", darker)
    stored, why = copy(path, "tiled-tiff", tmp_path / "t", all_tissue(Size(512, 512)), 0.0)
    assert stored is None
    assert "other pixels" in why
    monkeypatch.undo()
    stored, why = copy(path, "tiled-tiff", tmp_path / "t", all_tissue(Size(512, 512)), 0.0)
    assert stored is not None


@pytest.mark.parametrize("tile", [240, 256, 512])
def test_building_decodes_every_chunk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tile: int
) -> None:
    full = picture(tile * 5 - 7, tile * 3 + 9)
    path = write_tiff(tmp_path / "s.tif", full, tile=tile - tile % 16)
    slide = reopen(path, "tiled-tiff")
    tiles = slide.compressed()[0]  # type: ignore[attr-defined]
    slide.close()
    tissue = all_tissue(tiles.size)
    with read_at(path) as read:
        info = copy_level(tmp_path / "t/0", read, tiles, Damage(tissue, 0.0))
    seen = decoded(monkeypatch)
    built = build_level(tmp_path / "t", Level(tmp_path / "t/0", 0, info), tissue)
    assert len(seen) == len(set(seen)) == info.chunks
    assert (built.width, built.height) == (-(-tiles.size.width // 4), -(-tiles.size.height // 4))


@pytest.mark.real
def test_pictures_in_boxes_are_decoded(test_data: Path, tmp_path: Path) -> None:
    path = test_data / "slides" / "CMU-1-Small-Region.jp2.tiff"
    stored, why = copy(path, "tiffslide", tmp_path / "t", all_tissue(Size(2220, 2967)), 0.0)
    assert stored is None
    assert "JP2" in why


def test_a_disk_that_fails_is_the_slides_fault_not_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E160 would end the whole batch; a slide that cannot be read must only fail itself."""
    path = write_tiff(tmp_path / "s.tif", picture(512, 512))

    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pathai.source.os.pread", fails)
    with read_at(path) as read, pytest.raises(PathaiError, match=r"E162.*Input/output"):
        read(10, 0)
    stored, why = copy(path, "tiled-tiff", tmp_path / "t", all_tissue(Size(512, 512)), 0.0)
    assert stored is None
    assert why
