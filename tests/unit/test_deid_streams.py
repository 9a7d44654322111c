"""A tile is its picture and a color profile its colors: nothing else gets through."""

import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from deid_cases import CANARY, with_comment

from pathai.deid import icc
from pathai.deid.streams import Block, check_stream, lzw_end
from pathai.errors import PathaiError

# --- compressed streams ------------------------------------------------------------------------


@pytest.fixture
def tile():
    return np.random.default_rng(0).integers(0, 9, (64, 48, 3), dtype=np.uint8) * 25


def coded(kind, tile):
    data = np.ascontiguousarray(tile)
    return {
        1: data.tobytes,
        5: lambda: imagecodecs.lzw_encode(data.tobytes()),
        7: lambda: imagecodecs.jpeg8_encode(data, level=90),
        8: lambda: zlib.compress(data.tobytes()),
        50000: lambda: imagecodecs.zstd_encode(data.tobytes()),
        50001: lambda: imagecodecs.webp_encode(data, lossless=True),
        34712: lambda: imagecodecs.jpeg2k_encode(data, level=0, codecformat="J2K"),
        33003: lambda: imagecodecs.jpeg2k_encode(data, level=0, codecformat="JP2"),
    }[kind]()


KINDS = (1, 5, 7, 8, 50000, 50001, 34712, 33003)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_its_picture_and_nothing_more(kind, tile):
    data = bytes(coded(kind, tile))
    block = Block(kind, 48, 64, 3)
    check_stream(data, block)
    if kind != 1:
        check_stream(data + b"\0\0", block)  # padding
    damaged = [data + CANARY, data[: len(data) // 2], b"", data + bytes(99) + b"x"]
    for bad in damaged:
        with pytest.raises(PathaiError):
            check_stream(bad, block)
    with pytest.raises(PathaiError):  # more rows than the tile has: pixels that nobody sees
        check_stream(data, Block(kind, 48, 32, 3)) if kind != 50001 else check_stream(b"", block)


def test_stowaways_of_each_codec(tile):
    block = Block
    skippable = struct.pack("<II", 0x184D2A50, len(CANARY)) + CANARY
    webp = bytes(coded(50001, tile))
    exif = webp + b"EXIF" + struct.pack("<I", len(CANARY) + 1) + CANARY + b"\0"
    exif = exif[:4] + struct.pack("<I", len(exif) - 8) + exif[8:]
    j2k = bytes(coded(34712, tile))
    at = j2k.index(b"\xff\x52")
    note = b"\xff\x64" + struct.pack(">HH", 4 + len(CANARY), 1) + CANARY
    jp2 = bytes(coded(33003, tile))
    box = struct.pack(">I", 8 + len(CANARY)) + b"xml " + CANARY
    where = jp2.index(b"jp2c") - 4
    for kind, data in (
        (50000, skippable + bytes(coded(50000, tile))),
        (50000, bytes(coded(50000, tile)) + skippable),
        (50001, exif),
        (34712, j2k[:at] + note + j2k[at:]),
        (33003, jp2[:where] + box + jp2[where:]),
        (7, with_comment(bytes(coded(7, tile)))),
    ):
        with pytest.raises(PathaiError) as error:
            check_stream(data, block(kind, 48, 64, 3))
        assert error.value.code == "E148"


@pytest.mark.parametrize("values", [1, 2, 256])
@pytest.mark.parametrize("length", [1, 500, 5000, 200_000])
def test_the_end_of_an_lzw_stream_is_found(values, length):
    data = np.random.default_rng(1).integers(0, values, length, dtype=np.uint8).tobytes()
    stream = bytes(imagecodecs.lzw_encode(data))
    assert lzw_end(stream) == len(stream)
    assert lzw_end(stream + CANARY) == len(stream)


# --- color profiles ----------------------------------------------------------------------------


def profile():
    from PIL import ImageCms

    return bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def test_a_color_profile_keeps_its_colors_and_no_text():
    from PIL import Image, ImageCms

    old = bytes(profile())
    at = old.index("sRGB".encode("utf-16-be"))
    old = old[:at] + "J.Do".encode("utf-16-be") + old[at + 8 :]
    new = icc.renewed(old)
    assert "J.Do".encode("utf-16-be") not in new
    assert new[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    assert icc.renewed(new) == new
    colors = Image.fromarray(np.random.default_rng(2).integers(0, 255, (64, 64, 3), np.uint8))
    lab = ImageCms.createProfile("LAB")
    a, b = (
        np.asarray(ImageCms.profileToProfile(colors, BytesIO(p), lab, outputMode="LAB"), int)
        for p in (old, new)
    )
    assert np.abs(a - b).max() <= 1


def test_text_among_a_profiles_numbers_is_refused():
    good = profile()
    assert icc.renewed(bytes(good))
    count = struct.unpack_from(">I", good, 128)[0]
    tags = [struct.unpack_from(">4sII", good, 132 + 12 * k) for k in range(count)]
    for name, offset, size in tags:
        if name in (b"rXYZ", b"gTRC", b"wtpt", b"chad"):
            bad = bytearray(good)
            bad[offset + 12 : offset + 12 + min(size - 12, 8)] = CANARY[: min(size - 12, 8)]
            assert icc.renewed(bytes(bad)) is None, name
    rising = b"curv" + bytes(4) + struct.pack(">I5H", 5, 0, 9, 99, 999, 65535)
    assert icc._curve(rising) == rising
    letters = CANARY + b"\0"
    assert icc._curve(b"curv" + bytes(4) + struct.pack(">I", 7) + letters) is None
    table = bytearray(good)
    table[132:136] = b"A2B0"
    assert icc.renewed(bytes(table)) is None
    assert icc.renewed(CANARY * 100) is None
