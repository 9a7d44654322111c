"""What every reader must do, on every slide that it opens."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pathai.errors import PathaiError
from pathai.readers import ORDER, READERS, Slide, open_slide, reopen
from pathai.units import Box, Size

SVS = "slides/CMU-1-Small-Region.svs"
OPENED = {
    SVS: ("openslide", "tiffslide"),
    "slides/CMU-1-Small-Region.jpeg.tiff": ("openslide", "tiffslide"),
    "slides/TCGA-CR-7395-01A-01-TS1.svs": ("openslide",),
    "slides/li_yb10kx5k.zstd.tiff": ("openslide", "tiffslide"),
    "slides/test3-TRITC 2 (560).ndpi": ("openslide", "tiffslide"),
    "slides/camelyon_overview_jpeg.dcm": ("openslide",),
    "slides/OS-1-detail_HE.ome.tif": ("tiffslide",),
    "slides/xyc/XYC_zlib.ome.tiff": ("tiffslide",),
}
PAIRS = [(name, reader) for name, readers in OPENED.items() for reader in readers]


def test_the_order_names_registered_readers() -> None:
    assert set(ORDER) <= set(READERS.names())


@pytest.fixture(params=PAIRS, ids=[f"{Path(n).name[:12]}-{r}" for n, r in PAIRS])
def slide(request: pytest.FixtureRequest, test_data: Path) -> Slide:
    name, reader = request.param
    opened = reopen(test_data / name, reader)
    yield opened
    opened.close()


@pytest.mark.real
def test_facts_are_consistent(slide: Slide) -> None:
    facts = slide.facts
    assert isinstance(slide, Slide)
    assert facts.level_dimensions[0] == facts.size
    assert len(facts.level_dimensions) == len(facts.level_downsamples)
    for size, factor in zip(facts.level_dimensions, facts.level_downsamples, strict=True):
        assert isinstance(factor, float)
        assert facts.size.width / size.width == pytest.approx(factor, rel=0.01)
    assert facts.vendor
    allowed = {"label", "macro", "thumbnail", "overview", "map", "other"}
    assert set(facts.associated) <= allowed


@pytest.mark.real
def test_white_outside_at_every_level(slide: Slide) -> None:
    facts = slide.facts
    for level, (size, factor) in enumerate(
        zip(facts.level_dimensions, facts.level_downsamples, strict=True)
    ):
        edge = 12 * factor
        corner = Box(facts.size.width - edge, facts.size.height - edge, 3 * edge, 2 * edge)
        pixels, valid = slide.read_level(corner, level)
        height, width = valid.shape
        assert abs(height - 24) <= 1
        assert abs(width - 36) <= 1
        assert pixels.dtype == np.uint8
        assert valid.any()
        assert not valid[14:].any()
        assert not valid[:, 14:].any()
        assert (pixels[~valid] == 255).all()
        pixels, valid = slide.read_level(
            Box(-9 * factor, -9 * factor, 8 * factor, 8 * factor), level
        )
        assert not valid.any()
        assert (pixels == 255).all()
        assert size.width >= 1


@pytest.mark.real
def test_parts_equal_the_whole(slide: Slide) -> None:
    facts = slide.facts
    level = len(facts.level_dimensions) - 1
    ratio_x = facts.size.width / facts.level_dimensions[level].width
    ratio_y = facts.size.height / facts.level_dimensions[level].height

    def box(x: int, y: int, width: int, height: int) -> Box:
        return Box(x * ratio_x, y * ratio_y, width * ratio_x, height * ratio_y)

    whole, _ = slide.read_level(box(0, 0, 60, 50), level)
    part, _ = slide.read_level(box(17, 9, 20, 31), level)
    assert np.array_equal(part, whole[9:40, 17:37])


@pytest.mark.parametrize("reader", ORDER)
def test_a_wanted_resolution_is_met_exactly(tmp_path: Path, reader: str) -> None:
    """Whole ratios are plain means; others place the picture where it belongs, to a tenth px."""
    path = tmp_path / "made.svs"
    image = aperio(path, np.random.default_rng(5))
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
    # the second level is a ramp: 0.7 gray levels per px along x, 0.9 along y
    pixels, _ = slide.read(Box(100.5, 60.25, 512, 320), 0.499 * 5)
    assert pixels.shape == (64, 102, 3)
    columns = (100.5 + (np.arange(102) + 0.5) * 512 / 102) / (1287 / 321) - 0.5
    # stored as whole gray levels, rounded down: half a level darker on average
    assert np.abs(pixels[30, 2:-2, 0] - (columns[2:-2] * 0.7 - 0.5)).max() < 0.8
    slide.close()


@pytest.mark.real
@pytest.mark.parametrize(("name", "reach"), [(SVS, 3000), ("slides/li_yb10kx5k.zstd.tiff", 900)])
def test_both_readers_see_the_same_pixels(test_data: Path, name: str, reach: int) -> None:
    one, two = (reopen(test_data / name, reader) for reader in ORDER)
    assert one.facts.size == two.facts.size
    assert one.facts.level_dimensions == two.facts.level_dimensions
    assert one.facts.mpp is not None
    assert two.facts.mpp is not None
    assert one.facts.mpp.x == pytest.approx(two.facts.mpp.x, rel=1e-6)
    assert one.facts.objective == two.facts.objective
    for level in range(len(one.facts.level_dimensions)):
        width, height = (
            min(length, int(reach * one.facts.level_downsamples[level]))
            for length in (one.facts.size.width, one.facts.size.height)
        )
        a, valid_a = one.read_level(Box(0, 0, width, height), level)
        b, valid_b = two.read_level(Box(0, 0, width, height), level)
        assert np.array_equal(a, b)
        assert np.array_equal(valid_a, valid_b)
    one.close()
    two.close()


def aperio(path: Path, rng: np.random.Generator) -> np.ndarray:
    """A small Aperio-layout pyramid with a level that is not a whole factor smaller."""
    image = rng.integers(0, 255, (1031, 1287, 3), dtype=np.uint8)
    image = np.asarray(image.reshape(1031, 1287, 3) // 8 * 8)
    # smooth, because OpenSlide interpolates where the factor is not whole
    small = np.zeros((257, 321, 3), np.uint8)
    small[..., 0] = np.arange(321) * 0.7
    small[..., 1] = (np.arange(257) * 0.9)[:, None]
    text = "Aperio Image Library v1\r\n1287x1031 [0,0 1287x1031] (240x240)|AppMag = 20|MPP = 0.4990"
    options = {"tile": (240, 240), "photometric": "rgb", "compression": "zlib", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, description=text, **options)
        thumbnail = {"photometric": "rgb", "metadata": None}
        tiff.write(np.ascontiguousarray(small[::4, ::4]), description=text, **thumbnail)
        tiff.write(small, description=text, **options)
    return image


@pytest.mark.parametrize("reader", ORDER)
def test_synthetic_svs_is_exact(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "made.svs"
    image = aperio(path, np.random.default_rng(0))
    slide = reopen(path, reader)
    facts = slide.facts
    assert facts.size == Size(1287, 1031)
    assert facts.mpp is not None
    assert facts.mpp.x == facts.mpp.y == 0.499
    assert facts.objective == 20
    for x, y, w, h in (
        (0, 0, 1287, 1031),
        (239, 241, 7, 300),
        (1, 2, 640, 3),
        (1200, 1000, 87, 31),
    ):
        pixels, valid = slide.read_level(Box(x, y, w, h))
        assert valid.all()
        assert np.array_equal(pixels, image[y : y + h, x : x + w])
    slide.close()


def test_both_readers_agree_on_a_lower_level(tmp_path: Path) -> None:
    path = tmp_path / "made.svs"
    aperio(path, np.random.default_rng(1))
    one, two = (reopen(path, reader) for reader in ORDER)
    assert one.facts.level_downsamples == pytest.approx(two.facts.level_downsamples)
    assert one.facts.level_downsamples[1] != round(one.facts.level_downsamples[1])
    for x, y in ((0, 0), (40, 80), (801, 333)):
        a, _ = one.read_level(Box(x, y, 400, 300), 1)
        b, _ = two.read_level(Box(x, y, 400, 300), 1)
        assert np.abs(a.astype(int) - b).max() <= 1
        assert (
            np.abs(a[5, 9].astype(int) - [(x / 4.01 + 9) * 0.7, (y / 4.01 + 5) * 0.9, 0]).max()
            < 1.5
        )
    one.close()
    two.close()


@pytest.mark.real
@pytest.mark.parametrize("name", ["XYC_zlib.ome.tiff", "XYC_lzw.ome.tiff", "XYC-half-mpp.tiff"])
def test_coordinates_are_exact(test_data: Path, name: str) -> None:
    from PIL import Image

    truth = np.asarray(Image.open(test_data / "slides/xyc/XYC.png").convert("RGB"))
    assert not np.array_equal(truth, truth.transpose(1, 0, 2))  # a swap would show
    slide = open_slide(test_data / "slides/xyc" / name)
    assert slide.name == "tiffslide"
    assert "openslide does not" in slide.reason
    assert np.array_equal(slide.read_level(Box(0, 0, 512, 512))[0], truth)
    for x, y, w, h in ((8, 200, 16, 40), (255, 1, 3, 300), (500, 480, 12, 32)):
        assert np.array_equal(slide.read_level(Box(x, y, w, h))[0], truth[y : y + h, x : x + w])
    slide.close()


@pytest.mark.parametrize("reader", ORDER)
def test_a_tile_without_bytes_is_invalid_not_black(tmp_path: Path, reader: str) -> None:
    import struct

    path = tmp_path / "hole.svs"
    image = aperio(path, np.random.default_rng(2))
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags[325]
        place, size = tag.valueoffset, {3: 2, 4: 4}[int(tag.dtype)]
    with path.open("r+b") as file:
        file.seek(place + 7 * size)  # second row, second column of six
        file.write(bytes(size))
    slide = reopen(path, reader)
    pixels, valid = slide.read_level(Box(0, 0, 720, 720))
    assert not valid[240:480, 240:480].any()
    assert valid.sum() == 720 * 720 - 240 * 240
    assert (pixels[~valid] == 255).all()
    assert np.array_equal(pixels[valid], image[:720, :720][valid])
    slide.close()
    assert struct.calcsize("I") == 4


@pytest.mark.parametrize("reader", ORDER)
def test_a_broken_tile_fails_alone(tmp_path: Path, reader: str) -> None:
    """After an error the slide is read on; openslide handles must be reopened for that."""
    path = tmp_path / "broken.svs"
    image = aperio(path, np.random.default_rng(3))
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].dataoffsets[7]
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 64)
    slide = reopen(path, reader)
    with pytest.raises(PathaiError) as caught:
        slide.read_level(Box(300, 300, 50, 50))
    assert caught.value.code == "E162"
    assert "level 0, x 300 y 300" in caught.value.message
    assert path.stem not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    pixels, valid = slide.read_level(Box(0, 0, 240, 240))
    assert valid.all()
    assert np.array_equal(pixels, image[:240, :240])
    slide.close()


@pytest.mark.parametrize("reader", ORDER)
def test_a_fork_gets_its_own_handle(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "forked.svs"
    image = aperio(path, np.random.default_rng(4))
    slide = reopen(path, reader)
    slide.read_level(Box(0, 0, 10, 10))
    before = slide._handle  # type: ignore[attr-defined]
    slide._pid = os.getpid() + 1  # type: ignore[attr-defined]
    assert np.array_equal(slide.read_level(Box(5, 6, 300, 200))[0], image[6:206, 5:305])
    assert slide._handle is not before  # type: ignore[attr-defined]
    before.close()
    slide.close()


@pytest.mark.parametrize(
    ("dtype", "shape", "code"),
    [(np.uint16, (300, 300, 3), "E140"), (np.uint8, (300, 300), "E141")],
)
def test_other_pictures_are_refused_even_unsniffed(
    tmp_path: Path, dtype: type, shape: tuple[int, ...], code: str
) -> None:
    path = tmp_path / "other.tif"
    kind = "rgb" if len(shape) == 3 else "minisblack"
    tifffile.imwrite(path, np.zeros(shape, dtype), photometric=kind, metadata=None)
    with pytest.raises(PathaiError) as caught:
        reopen(path, "tiffslide")
    assert caught.value.code == code


def test_ome_units_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "units.ome.tif"
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": 250.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.00026,
        "PhysicalSizeYUnit": "mm",
    }
    image = np.zeros((300, 400, 3), np.uint8)
    tifffile.imwrite(path, image, photometric="rgb", tile=(128, 128), metadata=metadata)
    slide = open_slide(path)
    assert slide.facts.mpp is not None
    assert slide.facts.mpp.x == pytest.approx(0.25)
    assert slide.facts.mpp.y == pytest.approx(0.26)
    slide.close()


@pytest.mark.real
def test_a_damaged_slide_does_not_go_on_to_the_second_reader(
    test_data: Path, tmp_path: Path
) -> None:
    """tiffslide would open it and return wrong pixels."""
    data = bytearray((test_data / SVS).read_bytes())
    with tifffile.TiffFile(test_data / SVS) as tiff:
        tables = tiff.pages[0].tags[347].valueoffset
    data[tables : tables + 40] = bytes(40)
    path = tmp_path / "damaged.svs"
    path.write_bytes(data)
    with pytest.raises(PathaiError, match="openslide failed"):
        open_slide(path).read_level(Box(0, 0, 500, 500))


@pytest.mark.real
def test_no_text_of_the_scanner_in_the_facts(test_data: Path) -> None:
    slide = reopen(test_data / "slides/camelyon_overview_jpeg2000.dcm", "openslide")
    text = repr(slide.facts)
    slide.close()
    assert "patient" in slide.facts.text_tags
    import openslide

    with openslide.OpenSlide(str(test_data / "slides/camelyon_overview_jpeg2000.dcm")) as raw:
        for key, value in raw.properties.items():
            if key.startswith("dicom.") and len(value) > 6 and not value.isdigit():
                assert value not in text, key
