"""A copy holds no canary, whatever it was put into; its tiles and pixels are the slide's."""

import hashlib
import json
import random
import struct
import sys
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from deid_cases import CANARY, RawImage, leaks, take_apart
from typer.testing import CliRunner

from pathai.cli import app
from pathai.deid import deid, icc
from pathai.deid.streams import Block, check_stream, lzw_end
from pathai.deid.work import make
from pathai.errors import PathaiError
from pathai.testing.aperio import CANARIES, SCANNERS, write_svs

TEXT_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 333, 337, 700, 33432, 33723, 34377,
             34853, 36867, 37510, 42016, 50838, 65000)  # fmt: skip


@pytest.fixture(scope="module")
def picture():
    """Smooth color with a few dark marks: compresses well, and every part differs."""
    y, x = np.mgrid[:700, :900]
    base = np.stack([200 + 40 * np.sin(x / 90), 150 + x // 9 % 90, 120 + y // 7], axis=-1)
    base[(x - 400) ** 2 + (y - 300) ** 2 < 9000] //= 3
    return base.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def svs(picture, tmp_path_factory):
    path = tmp_path_factory.mktemp("deid") / "a.svs"
    write_svs(path, picture, 0.4992, SCANNERS["B"])
    return path


@pytest.fixture(scope="module")
def raw(svs):
    """A function that takes the slide apart, anew each time."""
    return lambda: take_apart(svs)


def attempt(source, out):
    """Copy in this process; the error if it was refused."""
    try:
        return make(source, out, b"k" * 32)
    except PathaiError as error:
        return error


def refused(source, out, *codes):
    found = attempt(source, out)
    assert isinstance(found, PathaiError), "it was copied"
    assert found.code in (codes or ("E147",)), found
    assert CANARY.decode() not in str(found)
    return found


def tiles(path, index):
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[index]
        found = []
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            found.append(hashlib.sha256(tiff.filehandle.read(size)).hexdigest())
        return found


# --- Aperio ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scanner", SCANNERS)
def test_a_copy_is_the_same_slide_without_what_identifies(scanner, picture, tmp_path):
    source, out = tmp_path / "S-2031.svs", tmp_path / "copy.svs"
    write_svs(source, picture, 0.4992, SCANNERS[scanner])
    before = source.read_bytes()
    report = deid(source, out)
    assert source.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["S-2031.svs", "copy.svs"]
    data = out.read_bytes()
    assert [c for c in CANARIES if c.encode() in before]
    assert [c for c in CANARIES if c.encode() in data] == []
    assert report.files == [
        {"name": "copy.svs", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    ]
    with openslide.OpenSlide(source) as old, openslide.OpenSlide(out) as new:
        assert set(old.associated_images) == {"thumbnail", "label", "macro"}
        assert set(new.associated_images) == {"thumbnail"}
        assert new.level_dimensions == old.level_dimensions
        assert new.properties["openslide.vendor"] == "aperio"
        for name in ("mpp-x", "mpp-y", "objective-power"):
            assert old.properties[f"openslide.{name}"] == new.properties[f"openslide.{name}"]
        for level, size in enumerate(old.level_dimensions):
            a, b = (slide.read_region((0, 0), level, size) for slide in (old, new))
            assert a.tobytes() == b.tobytes()
        small = new.associated_images["thumbnail"].convert("RGB")
        whole = old.read_region((0, 0), 0, old.dimensions).convert("RGB").resize(small.size)
        assert np.abs(np.subtract(small, whole, dtype=float)).mean() < 8
    assert {"label image", "macro image", "thumbnail image"} <= set(report.removed)


def test_label_and_macro_pixels_are_gone_from_the_bytes(svs, tmp_path):
    out = tmp_path / "x.svs"
    attempt(svs, out)
    source, data = svs.read_bytes(), out.read_bytes()
    with tifffile.TiffFile(svs) as tiff:
        removed = [page for page in tiff.pages if not page.is_tiled]
        assert len(removed) == 3
        pieces = [
            source[o + n - n // 5 : o + n - n // 5 + 24]
            for page in removed
            for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)
            if n > 100
        ]
    pieces = [piece for piece in pieces if len(set(piece)) > 8]
    assert len(pieces) > 40
    assert [piece for piece in pieces if piece in data] == []


def test_tiles_are_passed_on_byte_for_byte(svs, tmp_path):
    out = tmp_path / "x.svs"
    attempt(svs, out)
    for old, new in ((0, 0), (2, 2), (3, 3)):
        assert tiles(svs, old) == tiles(out, new)
        assert len(tiles(svs, old)) == len(set(zip(tiles(svs, old), range(99), strict=False)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_every_kind_of_tiff_and_every_place_for_text(raw, order, big, tmp_path):
    """Canaries in text tags, private tags, gaps, the tail, EXIF and sub-images."""
    slide = raw()
    slide.order, slide.big = order, big
    slide.gap, slide.tail = CANARY + b"\0\0\0", CANARY * 9
    for image in slide.images:
        for code in TEXT_TAGS:
            if code != 270:
                image.tags[code] = (2 if code % 2 else 7, CANARY + b"\0")
        kind, text = image.tags[270]
        image.tags[270] = (kind, text.rstrip(b"\0") + b"|Title = " + CANARY + b"\0" + CANARY)
    hidden = RawImage({256: (4, [13]), 257: (4, [1]), 270: (2, CANARY)}, False, [CANARY * 3])
    slide.images[0].children = [hidden]
    source, out = tmp_path / "in.svs", tmp_path / "out.svs"
    slide.write(source)
    assert leaks(source)
    if big or order == "<":  # openslide reads no classic big-endian TIFF
        with openslide.OpenSlide(source) as read:
            assert read.level_count == 3
    report = attempt(source, out)
    assert not isinstance(report, PathaiError), report
    assert leaks(out) == []
    assert report.removed["private tag"] >= 3
    for index in (0, 2, 3):
        assert tiles(source, index) == tiles(out, index)
    with tifffile.TiffFile(out) as tiff:
        assert (tiff.byteorder, tiff.is_bigtiff) == (order, big)


def test_nothing_but_numbers_is_taken_from_a_description(raw, tmp_path):
    for field in ("MPP = " + CANARY.decode(), "AppMag = 20 Jones", "MPP = 0.25|MPP = 0.26"):
        slide = raw()
        first = slide.images[0]
        kind, text = first.tags[270]
        kept = b"|".join(f for f in text.split(b"|") if b"MPP" not in f and b"AppMag" not in f)
        first.tags[270] = (kind, kept.rstrip(b"\0") + b"|" + field.encode() + b"\0")
        slide.write(tmp_path / "in.svs")
        refused(tmp_path / "in.svs", tmp_path / "out.svs")
        (tmp_path / "out.svs").unlink(missing_ok=True)


def with_comment(stream, marker=0xFE):
    body = b"Exif\0\0" + CANARY
    return stream[:2] + bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body + stream[2:]


@pytest.mark.parametrize("marker", [0xFE, 0xE1, 0xE2, 0xED, 0xE0, 0xEE, 0xEF])
def test_text_inside_of_a_tile_or_its_tables_is_refused(raw, marker, tmp_path):
    for where in ("tile", "tables"):
        slide = raw()
        image = slide.images[0]
        if where == "tile":
            image.blocks[1] = with_comment(image.blocks[1], marker)
        else:
            image.tags[347] = (7, with_comment(image.tags[347][1], marker))
        slide.write(tmp_path / "in.svs")
        out = tmp_path / f"{where}.svs"
        refused(tmp_path / "in.svs", out)


def test_bytes_after_the_end_of_a_tile_are_refused(raw, tmp_path):
    slide = raw()
    slide.images[0].blocks[0] += CANARY
    slide.write(tmp_path / "in.svs")
    assert "after the end" in str(refused(tmp_path / "in.svs", tmp_path / "out.svs"))


def test_a_tile_that_is_part_of_the_label_is_refused(raw, tmp_path):
    """Offsets of a level may point into an image that is to be removed, or at text."""
    slide = raw()
    slide.write(tmp_path / "in.svs")
    first, label = slide.images[0], slide.images[-2]
    assert not label.tiled
    first.sizes = [len(block) for block in first.blocks]
    first.offsets = list(first.placed)
    first.offsets[1], first.sizes[1] = label.placed[3], len(label.blocks[3])
    slide.write(tmp_path / "in.svs")
    assert "lie upon" in str(refused(tmp_path / "in.svs", tmp_path / "out.svs"))


@pytest.mark.parametrize("told", ["label", "macro subfile", "silent", "shape of a level"])
def test_a_tiled_label_is_never_taken_for_a_level(raw, told, tmp_path):
    """By its text, by its subfile type, by its shape, and last by what it shows."""
    slide = raw()
    width, height = (225, 175) if told == "shape of a level" else (180, 240)
    paper = np.full((256, 256, 3), 250, np.uint8)
    paper[40:170:12, 10:150] = 20
    tile = bytes(imagecodecs.jpeg8_encode(paper, level=90, outcolorspace="RGB"))
    assert (slide.images[0].tags[256][1], slide.images[0].tags[257][1]) == ([900], [700])
    text = b"Aperio Image Library v11.2.1 \r\n" + (b"label 180x240" if told == "label" else b"x")
    tags = {254: (4, [9 if told == "macro subfile" else 0]), 256: (4, [width]), 257: (4, [height]),
            258: (3, [8] * 3), 259: (3, [7]), 262: (3, [2]), 270: (2, text + b"\0"), 277: (3, [3]),
            284: (3, [1]), 322: (3, [256]), 323: (3, [256])}  # fmt: skip
    if told == "shape of a level":  # in the place of the true level of that size
        slide.images[2:] = [RawImage(tags, True, [tile])]
    else:
        slide.images.append(RawImage(tags, True, [tile]))
    slide.write(tmp_path / "in.svs")
    out = tmp_path / "out.svs"
    found = attempt(tmp_path / "in.svs", out)
    if told in ("label", "macro subfile"):
        assert not isinstance(found, PathaiError), found
        assert tile[-300:-240] not in out.read_bytes()
        assert found.kept["level"] == 3
    else:
        assert isinstance(found, PathaiError)
        assert found.code == "E147"
        assert ("another picture" in str(found)) == (told == "shape of a level")


def test_the_scan_must_be_first_and_largest(raw, tmp_path):
    slide = raw()
    slide.images.reverse()
    slide.write(tmp_path / "a.svs")
    refused(tmp_path / "a.svs", tmp_path / "x", "E118", "E147")
    slide = raw()
    slide.images[0], slide.images[3] = slide.images[3], slide.images[0]
    slide.write(tmp_path / "b.svs")
    refused(tmp_path / "b.svs", tmp_path / "y")


def test_random_damage_never_leaks_and_never_crashes(raw, tmp_path):
    """100 slides with canaries, damaged at random: refused with a code, or copied without."""
    slide = raw()
    slide.gap, slide.tail = CANARY, CANARY
    for image in slide.images:
        image.tags[315] = (2, CANARY + b"\0")
        kind, text = image.tags[270]
        image.tags[270] = (kind, text.rstrip(b"\0") + b"|Title = " + CANARY + b"\0")
    source = tmp_path / "in.svs"
    slide.write(source)
    good, draw = source.read_bytes(), random.Random(5)
    start = good.rindex(CANARY) - 6000
    outcomes = {"copied": 0, "refused": 0}
    for turn in range(100):
        data = bytearray(good)
        for _ in range(draw.choice((1, 1, 2, 8))):
            # half of the damage falls on directories, which are few bytes among many
            low = start if draw.random() < 0.5 else 0
            data[draw.randrange(low, len(data))] = draw.randrange(256)
        if turn % 10 == 9:
            del data[draw.randrange(len(data)) :]
        source.write_bytes(data)
        out = tmp_path / f"{turn}"
        try:
            deid(source, out) if turn % 20 == 0 else make(source, out, b"k" * 32)
        except PathaiError:
            outcomes["refused"] += 1
        else:
            outcomes["copied"] += 1
            assert leaks(out) == []
    assert min(outcomes.values()) > 10, outcomes


# --- other TIFF --------------------------------------------------------------------------------


def write_tiled(path, picture, levels=2, sub=False, **options):
    with tifffile.TiffWriter(
        path, **{k: options.pop(k) for k in ("bigtiff",) if k in options}
    ) as t:
        how = {"tile": (128, 128), "photometric": "rgb", "metadata": None, **options}
        t.write(picture, subifds=levels - 1 if sub else None, **how)
        how.pop("description", None)
        for k in range(1, levels):
            small = np.ascontiguousarray(picture[:: 2**k, :: 2**k])
            t.write(small, subfiletype=1, **how)
    return path


@pytest.mark.parametrize("codec", [None, "zlib", "lzw", "zstd", "jpeg", "webp"])
def test_generic_pyramids_with_every_codec(codec, picture, tmp_path):
    extra = {"compressionargs": {"lossless": True}} if codec == "webp" else {}
    smooth = np.ascontiguousarray(np.repeat(np.repeat(picture[::4, ::4], 4, 0), 4, 1))
    source = write_tiled(tmp_path / "in.tif", smooth, compression=codec, software=CANARY.decode(),
                         description=CANARY.decode(), resolution=(20000, 20000),
                         resolutionunit="centimeter", **extra)  # fmt: skip
    assert leaks(source)
    out = tmp_path / "out.tif"
    report = attempt(source, out)
    assert not isinstance(report, PathaiError), report
    assert leaks(out) == []
    assert report.kept["level"] == 2
    for index in (0, 1):
        assert tiles(source, index) == tiles(out, index)
    with tifffile.TiffFile(source) as old, tifffile.TiffFile(out) as new:
        for index in (0, 1):
            assert np.array_equal(old.pages[index].asarray(), new.pages[index].asarray())
        assert old.pages[0].resolution == new.pages[0].resolution


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
    'UUID="urn:uuid:{c}"><Experimenter LastName="{c}"/><Image ID="Image:0" Name="{c}">'
    "<AcquisitionDate>{c}</AcquisitionDate>"
    '<Pixels ID="Pixels:0" DimensionOrder="XYCTZ" Type="uint8" SizeX="900" SizeY="700" SizeC="3" '
    'SizeZ="1" SizeT="1" PhysicalSizeX="0.25" PhysicalSizeXUnit="µm" PhysicalSizeY="0.26">'
    '<Channel ID="Channel:0:0" Name="{c}" SamplesPerPixel="3"/><TiffData IFD="0"><UUID '
    'FileName="{c}.ome.tif">x</UUID></TiffData></Pixels></Image>'
    "<StructuredAnnotations>{c}</StructuredAnnotations></OME>"
)


def test_ome_tiff_keeps_its_pyramid_and_the_size_of_a_pixel(picture, tmp_path):
    text = OME.format(c=CANARY.decode()).encode()
    source = write_tiled(tmp_path / "a.tif", picture, levels=3, sub=True, description=text)
    slide = take_apart(source)
    other = take_apart(write_tiled(tmp_path / "b.tif", picture[:200, :150], levels=1))
    slide.images += other.images  # as a converter adds label and macro
    slide.write(source)
    assert leaks(source)
    out = tmp_path / "out.ome.tif"
    report = attempt(source, out)
    assert not isinstance(report, PathaiError), report
    assert leaks(out) == []
    assert report.kept["level"] == 3
    assert report.removed["other image"] == 1
    with tifffile.TiffFile(out) as tiff:
        assert tiff.is_ome
        assert len(tiff.series) == 1
        assert [level.shape for level in tiff.series[0].levels] == [
            (700, 900, 3), (350, 450, 3), (175, 225, 3)]  # fmt: skip
        assert np.array_equal(tiff.series[0].asarray(), picture)
        said = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (said["PhysicalSizeX"], said["PhysicalSizeY"]) == (0.25, 0.26)
        assert said["PhysicalSizeXUnit"] == "µm"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('SizeZ="1"', 'SizeZ="2"'),
        ('SizeX="900"', 'SizeX="901"'),
        ('PhysicalSizeX="0.25"', 'PhysicalSizeX="MRN 0.25"'),
        ('Name="x">', 'Name="label image">'),
        ("<OME xmlns", "<!DOCTYPE x [<!ENTITY e 'x'>]><OME xmlns"),
    ],
)
def test_ome_xml_that_is_not_plain_is_refused(old, new, picture, tmp_path):
    text = OME.format(c="x").replace(old, new, 1).encode()
    source = write_tiled(tmp_path / "in.ome.tif", picture, description=text)
    refused(source, tmp_path / "out.tif")


VENDORS = {
    270: ('<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">', "level=0 mag=40",
          '<DataObject ObjectType="DPUfsImport">', "<PerkinElmer-QPI-ImageDescription>",
          "<unknown><barcode/></unknown>"),
    305: ("Philips DP v1.0", "MedScan"), 271: ("Hamamatsu", "3D-HISTECH"),
    700: ('<iScan BuildVersion="1"/>',), 65420: ("1",), 34999: ("x",),
}  # fmt: skip


@pytest.mark.parametrize(("tag", "text"), [(t, x) for t, all_ in VENDORS.items() for x in all_])
def test_other_makes_are_refused(tag, text, picture, tmp_path):
    source = write_tiled(tmp_path / "in.tif", picture, software=False,
                         extratags=[(tag, 2, 0, text, True)])  # fmt: skip
    error = refused(source, tmp_path / "out.tif")
    assert "convert" in error.remedy


def test_what_is_no_slide_is_refused(tmp_path):
    for name, data in {"a.mrxs": b"\xff\xd8\xff", "b.czi": b"ZISRAWFILE", "c.svs": b"random",
                       "d.ndpi": b"II*\0" + bytes(99), "e.txt": CANARY, "f.svs": b"",
                       "g.svs": b"II*\0\xff\xff\xff\x7f"}.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, tmp_path / "out", "E147", "E101", "E110")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
        assert error.value.code == "E147"


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
    table = bytearray(good)
    table[132:136] = b"A2B0"
    assert icc.renewed(bytes(table)) is None
    assert icc.renewed(CANARY * 100) is None


# --- where the copy goes -----------------------------------------------------------------------


def test_a_copy_replaces_nothing_unasked(svs, tmp_path):
    out = tmp_path / "x.svs"
    out.write_text("mine")
    with pytest.raises(PathaiError) as error:
        deid(svs, out)
    assert error.value.code == "E193"
    assert out.read_text() == "mine"
    deid(svs, out, overwrite=True)
    assert out.stat().st_size > 1000


def test_the_slide_itself_is_never_the_target(raw, tmp_path):
    slide = tmp_path / "in.svs"
    raw().write(slide)
    before = slide.read_bytes()
    (tmp_path / "link").symlink_to(slide)
    (tmp_path / "hard").hardlink_to(slide)
    for out in (slide, tmp_path / "link", tmp_path / "hard"):
        with pytest.raises(PathaiError) as error:
            deid(slide, out, overwrite=True)
        assert error.value.code == "E193"
    assert slide.read_bytes() == before


def test_a_folder_with_other_things_is_never_replaced(svs, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("x")
    with pytest.raises(PathaiError) as error:
        deid(svs, tmp_path / "home", overwrite=True)
    assert error.value.code == "E193"
    assert (tmp_path / "home" / "thesis.txt").exists()


def test_a_refused_slide_leaves_nothing(raw, tmp_path):
    slide = raw()
    slide.images[3].blocks[-1] += CANARY
    slide.write(tmp_path / "in.svs")
    with pytest.raises(PathaiError):
        deid(tmp_path / "in.svs", tmp_path / "sub" / "out.svs")
    assert list((tmp_path / "sub").iterdir()) == []


def test_the_same_slide_gives_the_same_bytes(svs, tmp_path):
    a, b = (deid(svs, tmp_path / name).files[0]["sha256"] for name in "ab")
    assert a == b


def test_the_proof_finds_what_the_writer_forgets(svs, tmp_path, monkeypatch):
    """Each fault put into the writer must be caught by the proof, which shares no code with it."""
    from pathai.deid import aperio, tiff, tiff_out

    def said(error):
        assert isinstance(error, PathaiError)
        assert "proof failed" in str(error), error

    text, block = aperio.level_text, tiff_out.TiffOut.block
    faults = {
        "description": (aperio, "level_text", lambda *a: text(*a)[:-1] + b"|User = x\0"),
        "tag": (tiff, "kept_tags", lambda *a: {**kept(*a), 305: (2, b"writer\0")}),
        "gap": (tiff_out.TiffOut, "block", lambda s, d: (block(s, d), s._put(b"stray"))[0]),
        "tile": (tiff_out.TiffOut, "block", lambda s, d: block(s, d[:-3] + b"\0" + d[-2:])),
    }
    kept = tiff.kept_tags
    for name, (place, attribute, fault) in faults.items():
        with monkeypatch.context() as patch:
            patch.setattr(place, attribute, fault)
            said(attempt(svs, tmp_path / name))


def test_the_command_prints_kinds_and_counts_never_values(raw, tmp_path):
    slide = raw()
    slide.images[0].tags[315] = (2, CANARY + b"\0")
    slide.write(tmp_path / "in.svs")
    out = tmp_path / "out.svs"
    done = CliRunner().invoke(app, ["deid", str(tmp_path / "in.svs"), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["format"] == "aperio"
    assert found["removed"]["artist"] == 1
    assert found["removed"]["label image"] == 1
    assert found["files"][0]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert "removed: label image (1)" in done.stderr
    assert [c for c in (*CANARIES, CANARY.decode()) if c in done.stdout + done.stderr] == []


# --- real slides -------------------------------------------------------------------------------

REAL = {
    "CMU-1-Small-Region.svs": (b"CPAPERIOCS", b"CMU-1", b"12/29/09", b"b414003d", b"1004486"),
    "TCGA-CR-7395-01A-01-TS1.svs": (b"Hewlett", b"IEC 61966"),
    "CMU-1-Small-Region.jpeg.tiff": (b"tifffile",),
    "CMU-1-Small-Region.jp2.tiff": (b"tifffile",),
    "CMU-1-Small-Region.webp.tiff": (b"tifffile",),
    "OS-1-detail_HE.ome.tif": (b"Bio-Formats", b"c7cbbe2b", b"OS-1-detail"),
    "OS-2-ndpi_Ki67.ome.tif": (b"Bio-Formats",),
    "li_yb10kx5k.zstd.tiff": (b"large_image",),
    "xyc/XYC_lzw.ome.tiff": (b"Bio-Formats", b"XYC.png", b"XYC_"),
    "xyc/XYC_zlib.ome.tiff": (b"Bio-Formats", b"XYC.png", b"XYC_"),
    "xyc/XYC_jpeg.ome.tiff": (b"7f91469f", b"XYC.png", b"XYC_"),
}


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_slides_keep_every_pixel_and_lose_every_text(name, test_data, tmp_path):
    source, out = test_data / "slides" / name, tmp_path / "copy.tif"
    report = deid(source, out)
    data = out.read_bytes()
    assert [text for text in REAL[name] if text not in source.read_bytes()] == []
    assert [text for text in REAL[name] if text in data] == []
    with tifffile.TiffFile(source) as old, tifffile.TiffFile(out) as new:
        levels = [page for page in old.pages if page.is_tiled]
        copied = [page for page in new.pages if page.is_tiled]
        assert len(levels) == len(copied) == report.kept["level"]
        for a, b in zip(levels, copied, strict=True):
            assert np.array_equal(a.asarray(), b.asarray())
    try:
        slide = openslide.OpenSlide(source)
    except openslide.OpenSlideError:
        return
    with slide as old, openslide.OpenSlide(out) as new:
        assert old.level_dimensions == new.level_dimensions
        size = old.level_dimensions[-1]
        level = old.level_count - 1
        a, b = (s.read_region((0, 0), level, size).tobytes() for s in (old, new))
        assert a == b
        for key in ("openslide.mpp-x", "openslide.mpp-y", "openslide.objective-power"):
            assert old.properties.get(key) == new.properties.get(key)


@pytest.mark.real
def test_readers_of_pathai_open_the_copy(test_data, tmp_path):
    from tiffslide import TiffSlide

    source = test_data / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
    deid(source, tmp_path / "x.svs")
    with TiffSlide(source) as old, TiffSlide(tmp_path / "x.svs") as new:
        assert old.level_dimensions == new.level_dimensions


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("slides/test3-TRITC 2 (560).ndpi", "E147"),
        ("slides/li_grey10kx5k.tif", "E118"),
        ("slides/li_small_la.tiff", "E141"),
        ("slides/xyc/XYC-half-mpp.tiff", "E118"),
        ("broken/CMU-1-Saved-1_16.mrxs", "E147"),
        ("broken/random_bytes.svs", "E147"),
        ("broken/lfs_pointer.ndpi", "E147"),
    ],
)
def test_real_files_that_are_refused(name, code, test_data, tmp_path):
    with pytest.raises(PathaiError) as error:
        deid(test_data / name, tmp_path / "x")
    assert error.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real
def test_an_ndpi_under_another_name_is_refused(test_data, tmp_path):
    import shutil

    shutil.copy(test_data / "slides" / "test3-TRITC 2 (560).ndpi", tmp_path / "a.svs")
    assert "NDPI" in str(refused(tmp_path / "a.svs", tmp_path / "x"))


def test_torch_is_not_needed():
    import subprocess

    code = "import sys, pathai.deid.work, pathai.deid.tiff_check, pathai.deid.dicom_check;"
    code += "assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
