"""A copy of an SVS holds no canary, whatever it was put into; its tiles are the slide's."""

import hashlib
import random

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from deid_cases import CANARY, RawImage, attempt, leaks, refused, tiles, with_comment

from pathai.deid import deid
from pathai.deid.work import make
from pathai.errors import PathaiError
from pathai.testing.aperio import CANARIES, SCANNERS, write_svs

TEXT_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 333, 337, 700, 33432, 33723, 34377,
             34853, 36867, 37510, 42016, 50838, 65000)  # fmt: skip


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


def test_tiles_that_lie_upon_one_another_are_refused(raw, tmp_path):
    """A tile that begins within another one may hold what neither shows; the same one twice may."""
    slide = raw()
    first = slide.images[0]
    first.blocks[0] = first.blocks[0] + b"\0" * 8
    slide.write(tmp_path / "in.svs")
    first.offsets, first.sizes = list(first.placed), [len(block) for block in first.blocks]
    first.offsets[1], first.sizes[1] = first.offsets[0], first.sizes[0] - 4
    slide.write(tmp_path / "in.svs")
    assert "upon one another" in str(refused(tmp_path / "in.svs", tmp_path / "out.svs"))
    first.sizes[1] = first.sizes[0]
    slide.write(tmp_path / "in.svs")
    report = attempt(tmp_path / "in.svs", tmp_path / "out.svs")
    assert not isinstance(report, PathaiError), report
    assert tiles(tmp_path / "out.svs", 0)[0] == tiles(tmp_path / "out.svs", 0)[1]


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
        assert found.code == "E148"
        assert ("another picture" in str(found)) == (told == "shape of a level")


def test_the_scan_must_be_first_and_largest(raw, tmp_path):
    slide = raw()
    slide.images.reverse()
    slide.write(tmp_path / "a.svs")
    refused(tmp_path / "a.svs", tmp_path / "x", "E118", "E148")
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
