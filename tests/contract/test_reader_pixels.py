"""Pixels where they belong: equal between readers, exact at any position and resolution."""

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import tifffile
from contract.reader_slides import MADE, OPENED, SHARED, Shelf, short
from slide_cases import coordinates, ramp, write_aperio, write_generic, write_ome

from pathai.readers import READERS, Slide, open_slide, reopen
from pathai.units import Box, Mpp

MOST = 5000
"""px of level 0 that are compared along each axis."""


@pytest.mark.parametrize("name", SHARED, ids=short)
def test_all_readers_see_the_same_slide(name: str, shelf: Shelf) -> None:
    """Same geometry, and every pixel of every level that two readers share is equal."""
    slides = [reopen(shelf.path(name), reader) for reader in OPENED[name]]
    for one, two in combinations(slides, 2):
        a, b = one.facts, two.facts
        assert a.size == b.size
        assert a.objective == b.objective
        assert (a.mpp is None) == (b.mpp is None)
        if a.mpp is not None and b.mpp is not None:
            assert (a.mpp.x, a.mpp.y) == pytest.approx((b.mpp.x, b.mpp.y), rel=1e-6)
        shared = set(a.level_dimensions) & set(b.level_dimensions)
        assert a.size in shared
        box = Box(0, 0, min(a.size.width, MOST), min(a.size.height, MOST))
        for size in shared:
            left, valid = one.read_level(box, a.level_dimensions.index(size))
            right, known = two.read_level(box, b.level_dimensions.index(size))
            assert np.array_equal(left, right), size
            assert np.array_equal(valid, known)
    for slide in slides:
        slide.close()


LOSSLESS = [
    (name, reader)
    for name, (_, readers) in MADE.items()
    for reader in readers
    if name not in ("webp.tif", "blocks.mrxs", "regions.scn")
]


@pytest.mark.parametrize(("name", "reader"), LOSSLESS)
def test_made_slides_are_exact(name: str, reader: str, shelf: Shelf) -> None:
    truth = coordinates(900, 1100)
    slide = reopen(shelf.path(name), reader)
    for x, y, w, h in ((0, 0, 1100, 900), (239, 241, 7, 300), (1, 2, 640, 3), (1050, 880, 50, 20)):
        pixels, valid = slide.read_level(Box(x, y, w, h))
        assert valid.all()
        assert np.array_equal(pixels, truth[y : y + h, x : x + w])
    if name == "aperio.svs":
        assert slide.facts.mpp == Mpp(0.499, 0.499)
        assert slide.facts.objective == 20
    slide.close()


@pytest.mark.parametrize("reader", READERS.names())
def test_a_wanted_resolution_is_met_exactly(tmp_path: Path, reader: str) -> None:
    """Whole ratios are plain means; others place the picture where it belongs, to a tenth px."""
    path = tmp_path / "made.svs"
    image = np.random.default_rng(5).integers(0, 255, (1031, 1287, 3), dtype=np.uint8)
    write_aperio(path, [image, ramp(257, 321, 0.7, 0.9)])
    slide = reopen(path, reader)
    pixels, valid = slide.read(Box(33, 20, 300, 200), 0.499)
    assert np.array_equal(pixels, image[20:220, 33:333])
    assert valid.all()
    pixels, _ = slide.read(Box(34, 20, 300, 200), 0.998)
    sums = image[20:220, 34:334].reshape(100, 2, 150, 2, 3).sum(axis=(1, 3), dtype=int)
    assert np.array_equal(pixels, (sums + 2) // 4)
    pixels, valid = slide.read(Box(1287 - 60, 1031 - 30, 120, 60), 0.499 * 3)
    assert pixels.shape == (20, 40, 3)
    assert valid[:10, :20].all()
    assert not valid[10:].any()
    assert not valid[:, 20:].any()
    assert (pixels[~valid] == 255).all()
    pixels, _ = slide.read(Box(100.5, 60.25, 512, 320), 0.499 * 5)
    assert pixels.shape == (64, 102, 3)
    columns = (100.5 + (np.arange(102) + 0.5) * 512 / 102) / (1287 / 321) - 0.5
    # stored as whole gray levels
    assert np.abs(pixels[30, 2:-2, 0] - columns[2:-2] * 0.7).max() < 0.8
    slide.close()


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("reader", READERS.names())
def test_boxes_between_pixels(tmp_path: Path, reader: str, shift: float) -> None:
    """A box that starts within a pixel is read there; at 1:1 by the nearest, without blur."""
    path = write_aperio(tmp_path / "ramp.svs", [ramp(120, 120, 2, 1.5)], mpp="0.5")
    slide = reopen(path, reader)
    pixels, valid = slide.read(Box(20 + shift, 30 + shift, 64, 64), 0.5)
    assert valid.all()
    half_px = 0.5
    assert np.abs(pixels[10, :, 0] / 2 - (20 + shift + np.arange(64))).max() <= half_px
    pixels, _ = slide.read(Box(20 + shift, 30 + shift, 66, 66), 0.5 * 66 / 44)
    assert pixels.shape == (44, 44, 3)
    x = 20 + shift + (np.arange(44) + 0.5) * 1.5 - 0.5
    assert np.abs(pixels[10, :, 0] / 2 - x).max() <= 0.3
    slide.close()


def _stretched(path: Path, image: np.ndarray) -> Path:
    if path.name.endswith(".ome.tif"):
        return write_ome(path, image, 0.5, 0.625)
    return write_generic(path, [image], resolution=(20_000, 16_000), resolutionunit="CENTIMETER")


@pytest.mark.parametrize(
    ("name", "reader"),
    [("a.tif", "openslide"), ("a.tif", "tiffslide"), ("a.ome.tif", "tiffslide")],
)
def test_stretched_pixels_are_read_square(tmp_path: Path, name: str, reader: str) -> None:
    """x stays x: 0.5 µm across and 0.625 down become 1 µm both ways."""
    path = _stretched(tmp_path / name, ramp(300, 400, 0.6, 0.8))
    slide = reopen(path, reader)
    assert slide.facts.mpp is not None
    assert (slide.facts.mpp.x, slide.facts.mpp.y) == pytest.approx((0.5, 0.625))
    pixels, valid = slide.read(Box(0, 0, 400, 240), 1.0)
    assert pixels.shape == (150, 200, 3)
    assert valid.all()
    x, y = (np.arange(200) + 0.5) * 2 - 0.5, (np.arange(150) + 0.5) * 1.6 - 0.5
    inner = slice(2, -2)  # the filter sees the white outside of the slide
    assert np.abs(pixels[70, :, 0] - x * 0.6)[inner].max() < 1
    assert np.abs(pixels[:, 70, 1] - y * 0.8)[inner].max() < 1
    slide.close()


@pytest.mark.parametrize("given", [Mpp(0.25, 0.25), Mpp(0.5, 0.25)])
def test_a_given_mpp_is_believed_instead_of_the_file_s(tmp_path: Path, given: Mpp) -> None:
    from pathai.readers.openslide_reader import OpenSlideReader

    path = write_aperio(tmp_path / "wrong.svs", [coordinates(300, 400)], mpp="0.9000")
    slide = OpenSlideReader(path, mpp=given)
    pixels, _ = slide.read(Box(0, 0, 200, 200), 0.5)
    assert pixels.shape == (round(200 * given.y / 0.5), round(200 * given.x / 0.5), 3)
    slide.close()


# Level 0 and a lower level whose factor is not whole: 2.001, 4.0002, 3.9997 and their like.
ODD = [(2001, 1501, 1000, 750), (4001, 1201, 1000, 300), (3999, 1199, 1000, 300),
       (20001, 241, 5000, 60), (19999, 239, 5000, 60)]  # fmt: skip


@pytest.mark.parametrize(("width", "height", "small_w", "small_h"), ODD)
@pytest.mark.parametrize("reader", READERS.names())
def test_factors_that_are_not_whole(
    tmp_path: Path, reader: str, width: int, height: int, small_w: int, small_h: int
) -> None:
    """Rounded factors drift: at the far corner they would be off by many pixels."""
    path = tmp_path / "odd.svs"
    small = coordinates(small_h, small_w)
    write_aperio(path, [np.full((height, width, 3), 90, np.uint8), small])
    slide = reopen(path, reader)
    assert slide.facts.level_dimensions[1].width == small_w
    factor = slide.facts.level_downsamples[1]
    assert factor != round(factor)
    rx, ry = width / small_w, height / small_h
    assert factor == pytest.approx((rx + ry) / 2, rel=0.005)
    for x, y in ((0, 0), (small_w // 2 + 30, small_h // 2 - 9), (small_w - 25, small_h - 15)):
        pixels, valid = slide.read_level(Box(x * rx, y * ry, 20 * rx, 12 * ry), 1)
        off = np.abs(pixels[:12, :20].astype(int) - small[y : y + 12, x : x + 20])
        assert valid.all()
        # OpenSlide starts at whole level-0 px and interpolates the rest: less than a level px
        assert off[..., :2].max() <= 1
        assert off[..., :2].mean() < (0.55 if reader == "openslide" else 0.01)
    slide.close()


@pytest.mark.real
@pytest.mark.parametrize("name", ["XYC_zlib.ome.tiff", "XYC_lzw.ome.tiff", "XYC-half-mpp.tiff"])
def test_coordinates_are_exact(test_data: Path, name: str) -> None:
    from PIL import Image

    truth = np.asarray(Image.open(test_data / "slides/xyc/XYC.png").convert("RGB"))
    assert not np.array_equal(truth, truth.transpose(1, 0, 2))  # a swap would show
    slide = open_slide(test_data / "slides/xyc" / name)
    assert np.array_equal(slide.read_level(Box(0, 0, 512, 512))[0], truth)
    for x, y, w, h in ((8, 200, 16, 40), (255, 1, 3, 300), (500, 480, 12, 32)):
        assert np.array_equal(slide.read_level(Box(x, y, w, h))[0], truth[y : y + h, x : x + w])
    slide.close()


@pytest.mark.real
@pytest.mark.parametrize("suffix", ["jp2", "webp"])
def test_codecs_without_a_second_reader_equal_another_decoder(test_data: Path, suffix: str) -> None:
    """JPEG 2000 through tiffslide was garbled once (tiffslide#86): held against Pillow's."""
    from PIL import Image

    path = test_data / f"slides/CMU-1-Small-Region.{suffix}.tiff"
    slide = reopen(path, "tiffslide")
    source = reopen(test_data / "slides/CMU-1-Small-Region.svs", "openslide")
    with tifffile.TiffFile(path) as tiff, path.open("rb") as file:
        page = tiff.pages[0]
        across = -(-page.imagewidth // page.tilewidth)
        for number in (across + 1, 3 * across + 2):
            file.seek(page.dataoffsets[number])
            data = file.read(page.databytecounts[number])
            truth = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            x, y = number % across * page.tilewidth, number // across * page.tilelength
            box = Box(x, y, page.tilewidth, page.tilelength)
            assert np.abs(slide.read_level(box)[0].astype(int) - truth).max() <= 2
            assert np.abs(source.read_level(box)[0].astype(int) - truth).mean() < 6
    slide.close()
    source.close()


@pytest.mark.real
def test_the_dicom_copy_is_the_slide_recompressed(test_data: Path) -> None:
    """No channel or axis is swapped between two formats of one scan."""
    dicom = open_slide(sorted((test_data / "slides/dicom-cmu-jpeg").glob("*.dcm"))[0])
    source = open_slide(test_data / "slides/CMU-1-Small-Region.svs")
    box = Box(0, 0, 2220, 2967)
    off = np.abs(dicom.read_level(box)[0].astype(int) - source.read_level(box)[0])
    assert off.mean() < 3.5
    dicom.close()
    source.close()


def test_pixels_do_not_depend_on_what_was_read_before(slide: Slide) -> None:
    """A tile that is not there must not show the one read last (bioformats#3326)."""
    size = slide.facts.size
    boxes = [Box(size.width * k / 5, size.height * k / 5, 64, 64) for k in range(5)]
    forward = [slide.read_level(box)[0] for box in boxes]
    slide.close()
    backward = [slide.read_level(box)[0] for box in reversed(boxes)]
    for one, two in zip(forward, reversed(backward), strict=True):
        assert np.array_equal(one, two)
