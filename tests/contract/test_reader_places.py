"""What is not there: holes, transparency, gaps between regions, scan bounds, far offsets."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from slide_cases import coordinates, write_aperio, write_generic, write_leica, write_mirax

from pathai.errors import PathaiError
from pathai.readers import READERS, open_slide, reopen
from pathai.units import Box, Size


@pytest.mark.parametrize("reader", READERS.names())
def test_a_tile_without_bytes_is_invalid_not_black(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "hole.svs"
    image = np.random.default_rng(2).integers(0, 255, (1031, 1287, 3), dtype=np.uint8)
    write_aperio(path, [image])
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags[325]
        place, size = tag.valueoffset, {3: 2, 4: 4}[int(tag.dtype)]
    with path.open("r+b") as file:
        file.seek(place + 7 * size)  # second row, second column of six
        file.write(bytes(size))
    slide = reopen(path, reader)
    assert not slide.facts.sparse
    pixels, valid = slide.read_level(Box(0, 0, 720, 720))
    assert not valid[240:480, 240:480].any()
    assert valid.sum() == 720 * 720 - 240 * 240
    assert (pixels[~valid] == 255).all()
    assert np.array_equal(pixels[valid], image[:720, :720][valid])
    pixels, valid = slide.read(Box(0, 0, 720, 720), 0.998)
    assert not valid[121:239, 121:239].any()
    assert valid[:119].all()
    slide.close()


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_transparent_areas_are_white_and_invalid(tmp_path: Path, reader: str, kind: str) -> None:
    color = np.full((300, 400, 3), (120, 60, 30), np.uint8)
    alpha = np.full((300, 400), 255, np.uint8)
    alpha[50:150, 100:200] = 0
    alpha[200:250, 100:200] = 192
    stored = color * (alpha[..., None] > 0)
    if kind == "assocalpha":
        stored = (color.astype(int) * alpha[..., None] // 255).astype(np.uint8)
    path = tmp_path / "clear.tif"
    write_generic(path, [np.dstack([stored, alpha])], extrasamples=[kind])
    slide = open_slide(path, reader=reader)
    pixels, valid = slide.read_level(Box(0, 0, 400, 300))
    assert not valid[50:150, 100:200].any()
    assert valid.sum() == 300 * 400 - 100 * 100
    assert (pixels[60:140, 110:190] == 255).all()
    assert (pixels[:40] == (120, 60, 30)).all()
    blend = np.array([120, 60, 30]) * 192 / 255 + 255 * 63 / 255
    assert np.abs(pixels[210:240, 110:190] - blend).max() <= 2
    assert slide.facts.sparse  # it is meant, not damage
    slide.close()


def _scn(path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    one, two = coordinates(512, 768), coordinates(400, 512)[::-1].copy()
    return write_leica(path, [(one, 500, 600, 20), (two, 2000, 1200, 20)]), one, two


def test_regions_of_one_kind_lie_where_they_were_scanned(tmp_path: Path) -> None:
    """At 0.5 µm/px, 500 µm across the glass is px 1000; between regions nothing is known."""
    path, one, two = _scn(tmp_path / "regions.scn")
    slide = open_slide(path)
    facts = slide.facts
    assert facts.size == Size(8000, 6000)
    assert facts.mpp is not None
    assert facts.mpp.x == pytest.approx(0.5)
    assert facts.objective == 20
    assert facts.sparse
    assert facts.bounds == Box(1000, 1200, 3512, 1600)
    for image, x, y in ((one, 1000, 1200), (two, 4000, 2400)):
        height, width = image.shape[:2]
        pixels, valid = slide.read_level(Box(x, y, width, height))
        assert valid.all()
        assert np.array_equal(pixels, image)
    pixels, valid = slide.read_level(Box(2000, 2000, 800, 300))
    assert not valid.any()
    assert (pixels == 255).all()
    pixels, valid = slide.read_level(Box(1000, 1200, 3512, 1600), 1)
    share = (512 * 768 + 400 * 512) / (3512 * 1600)
    assert valid.mean() == pytest.approx(share, rel=0.01)
    slide.close()


def test_dissimilar_regions_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "mixed.scn"
    regions = [(coordinates(512, 768), 500, 600, 20), (coordinates(256, 256), 2000, 1200, 10)]
    write_leica(path, regions)
    with pytest.raises(PathaiError) as caught:
        open_slide(path)
    assert caught.value.code == "E134"
    assert "768 x 512 px at 0.50, 0.60 mm, objective 20" in caught.value.message
    assert "256 x 256 px at 2.00, 1.20 mm, objective 10" in caught.value.message
    assert "export each region" in caught.value.remedy


def test_the_offset_of_the_scanned_part_is_kept(tmp_path: Path) -> None:
    """Positions count from the glass, as in the file; the bounds say where the scan lies."""
    path = tmp_path / "offset.scn"
    image = coordinates(512, 768)
    write_leica(path, [(image, 500, 600, 20)])
    slide = open_slide(path)
    bounds = slide.facts.bounds
    assert bounds == Box(1000, 1200, 768, 512)
    pixels, valid = slide.read(bounds, 0.5)
    assert valid.all()
    assert np.array_equal(pixels, image)
    pixels, valid = slide.read(Box(900, 1100, 200, 200), 0.5)
    assert valid.sum() == 100 * 100
    assert np.array_equal(pixels[100:, 100:], image[:100, :100])
    slide.close()


def test_fields_that_mirax_did_not_scan(tmp_path: Path) -> None:
    small = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    picture = small.repeat(64, 0).repeat(64, 1)
    path = write_mirax(tmp_path / "fields.mrxs", picture, 4, 4, holes={(1, 1), (3, 2)})
    slide = open_slide(path)
    assert slide.facts.size == Size(512, 512)
    assert slide.facts.mpp is not None
    assert (slide.facts.mpp.x, slide.facts.mpp.y) == (0.25, 0.26)
    pixels, valid = slide.read_level(Box(0, 0, 512, 512))
    expected = np.ones((512, 512), bool)
    expected[128:256, 128:256] = False
    expected[256:384, 384:512] = False
    assert np.array_equal(valid, expected)
    assert np.abs(pixels.astype(int) - picture)[valid].max() <= 1  # JPEG
    assert (pixels[~valid] == 255).all()
    slide.close()


@pytest.mark.parametrize("reader", READERS.names())
def test_offsets_beyond_4_gb(tmp_path: Path, reader: str) -> None:
    """A BigTIFF whose last tile lies behind a hole of 5 GB."""
    path = tmp_path / "far.tif"
    image = coordinates(512, 512)
    write_generic(path, [image], bigtiff=True, compression=None)
    far = 5 * 2**30
    with tifffile.TiffFile(path) as tiff:
        tag, last = tiff.pages[0].tags[324], tiff.pages[0].dataoffsets[3]
        count, place, kind = tiff.pages[0].databytecounts[3], tag.valueoffset, int(tag.dtype)
    assert kind == 16
    with path.open("r+b") as file:
        file.seek(last)
        data = file.read(count)
        file.seek(last)
        file.write(bytes(count))  # what a wrapped offset would find
        file.seek(far)
        file.write(data)
        file.seek(place + 3 * 8)
        file.write(far.to_bytes(8, "little"))
    slide = open_slide(path, reader=reader)
    assert np.array_equal(slide.read_level(Box(0, 0, 512, 512))[0], image)
    slide.close()
    with path.open("r+b") as file:
        file.truncate(far + 100)
    with pytest.raises(PathaiError, match="E110"):
        open_slide(path, reader=reader)


@pytest.mark.real
def test_a_hamamatsu_file_beyond_4_gb_is_never_wrong(test_data: Path, tmp_path: Path) -> None:
    """Its offsets wrap at 4 GB; one grown past that is read right or refused."""
    source = test_data / "slides/test3-TRITC 2 (560).ndpi"
    path = tmp_path / "grown.ndpi"
    path.write_bytes(source.read_bytes())
    with path.open("r+b") as file:
        file.truncate(2**32 + 2**20)
    whole = reopen(source, "openslide")
    truth = whole.read_level(Box(1000, 1000, 256, 256))[0]
    whole.close()
    slide = open_slide(path)
    assert np.array_equal(slide.read_level(Box(1000, 1000, 256, 256))[0], truth)
    slide.close()
