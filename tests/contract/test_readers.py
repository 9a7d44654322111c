"""What every reader must do, on every slide that it opens: facts, order, edges."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from contract.reader_slides import MADE, OPENED, OTHERWISE, REAL, Shelf, short
from slide_cases import coordinates, write_aperio, write_generic, write_ome

from pathai.errors import PathaiError
from pathai.readers import ORDER, READERS, Facts, Slide, open_slide, reopen
from pathai.units import Box


def facts_of(path: Path, reader: str) -> Facts:
    """Facts by one reader, the file closed again."""
    slide = reopen(path, reader)
    slide.close()
    return slide.facts


def test_the_order_names_registered_readers() -> None:
    assert set(ORDER) <= set(READERS.names())


@pytest.mark.real
def test_the_contract_covers_every_file_of_the_data(test_data: Path) -> None:
    there = {p.relative_to(test_data).as_posix() for p in test_data.glob("slides/**/*.*")}
    assert there == set(REAL)


@pytest.mark.parametrize("reader", READERS.names())
@pytest.mark.parametrize("name", OPENED, ids=short)
def test_a_reader_opens_a_slide_or_says_why_not(name: str, reader: str, shelf: Shelf) -> None:
    """No exception of a library gets out, whatever the file is."""
    path = shelf.path(name)
    if reader in OPENED[name] or (name, reader) in OTHERWISE:
        reopen(path, reader).close()
        return
    with pytest.raises(PathaiError) as caught:
        reopen(path, reader)
    assert caught.value.code in ("E118", "E119", "E120", "E141")
    assert path.name not in str(caught.value)
    assert str(path.parent) not in str(caught.value)


CHOSEN = [name for name, readers in OPENED.items() if readers and "camelyon" not in name]


@pytest.mark.parametrize("name", CHOSEN, ids=short)
def test_the_first_reader_of_the_order_is_chosen_and_the_reason_told(
    name: str, shelf: Shelf
) -> None:
    slide = open_slide(shelf.path(name))
    first = next(reader for reader in ORDER if reader in OPENED[name])
    assert slide.name == first
    assert slide.reason
    if first != ORDER[0]:
        assert "openslide does not" in slide.reason
    slide.close()


def test_facts_are_consistent(slide: Slide) -> None:
    facts = slide.facts
    assert isinstance(slide, Slide)
    assert facts.level_dimensions[0] == facts.size
    assert len(facts.level_dimensions) == len(facts.level_downsamples)
    for size, factor in zip(facts.level_dimensions, facts.level_downsamples, strict=True):
        assert isinstance(factor, float)
        assert facts.size.width / size.width == pytest.approx(factor, rel=0.01)
    assert list(facts.level_downsamples) == sorted(facts.level_downsamples)
    assert facts.vendor
    allowed = {"label", "macro", "thumbnail", "overview", "map", "other"}
    assert set(facts.associated) <= allowed


def test_white_outside_at_every_level(slide: Slide) -> None:
    facts = slide.facts
    for level, factor in enumerate(facts.level_downsamples):
        edge = 12 * factor
        corner = Box(facts.size.width - edge, facts.size.height - edge, 3 * edge, 2 * edge)
        pixels, valid = slide.read_level(corner, level)
        height, width = valid.shape
        assert abs(height - 24) <= 1
        assert abs(width - 36) <= 1
        assert pixels.dtype == np.uint8
        assert not valid[14:].any()
        assert not valid[:, 14:].any()
        assert (pixels[~valid] == 255).all()
        if facts.vendor != "leica":  # whose corners were not scanned
            assert valid.any()
        outside = Box(-9 * factor, -9 * factor, 8 * factor, 8 * factor)
        pixels, valid = slide.read_level(outside, level)
        assert not valid.any()
        assert (pixels == 255).all()


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


@pytest.mark.parametrize(
    ("unit", "value", "mpp"),
    [
        ("INCH", 50_800, 0.5),
        ("CENTIMETER", 20_000, 0.5),
        ("INCH", 72, 25_400 / 72),
        ("NONE", 20_000, None),
    ],
)
@pytest.mark.parametrize("reader", READERS.names())
def test_units_of_the_resolution_tags(
    tmp_path: Path, reader: str, unit: str, value: int, mpp: float | None
) -> None:
    """A factor of 2.54 between inch and centimeter cannot go unnoticed."""
    path = tmp_path / "scaled.tif"
    write_generic(path, [coordinates(300, 400)], resolution=(value,) * 2, resolutionunit=unit)
    found = facts_of(path, reader).mpp
    assert (found is None) == (mpp is None)
    if found is not None:
        assert found.x == pytest.approx(mpp)
        assert found.y == pytest.approx(mpp)


@pytest.mark.parametrize("reader", READERS.names())
def test_a_missing_unit_is_the_inch_of_the_standard(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "scaled.tif"
    unit = {"resolution": (50_800, 50_800), "resolutionunit": "INCH"}
    write_generic(path, [coordinates(300, 400)], **unit)
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags[296].offset
    with path.open("r+b") as file:
        file.seek(place)
        file.write((297).to_bytes(2, "little"))  # a page number in its place
    found = facts_of(path, reader).mpp
    assert found is not None
    assert (found.x, found.y) == pytest.approx((0.5, 0.5))


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


def test_metadata_of_ome_wins_over_resolution_tags(tmp_path: Path) -> None:
    """Two places that disagree: the order is fixed, not a matter of chance."""
    path = write_ome(tmp_path / "both.ome.tif", coordinates(300, 400), 0.25, 0.26)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages[0].tags
        tags["XResolution"].overwrite((10_000, 1))
        tags["YResolution"].overwrite((10_000, 1))
    slide = open_slide(path)
    assert slide.facts.mpp is not None
    assert (slide.facts.mpp.x, slide.facts.mpp.y) == pytest.approx((0.25, 0.26))
    slide.close()


@pytest.mark.parametrize(
    ("dtype", "shape", "photometric", "code"),
    [
        (np.uint16, (300, 300, 3), "rgb", "E140"),
        (np.float32, (300, 300, 3), "rgb", "E140"),
        (np.uint8, (300, 300), "minisblack", "E141"),
        (np.uint8, (300, 300, 2), "minisblack", "E141"),
        (np.uint8, (300, 300, 4), "separated", "E141"),
        (np.uint8, (300, 300, 5), "minisblack", "E141"),
        (np.uint8, (300, 300, 4), "rgb", "E141"),
    ],
    ids=["16-bit", "float", "gray", "gray-alpha", "cmyk", "five", "rgb-and-unknown"],
)
@pytest.mark.parametrize("reader", READERS.names())
def test_other_pictures_are_refused_by_every_reader(
    tmp_path: Path, reader: str, dtype: type, shape: tuple[int, ...], photometric: str, code: str
) -> None:
    path = tmp_path / "other.tif"
    options = {"photometric": photometric, "tile": (128, 128), "metadata": None}
    if len(shape) == 3:
        options["planarconfig"] = "contig"
    if shape[-1] == 4 and photometric == "rgb":
        options["extrasamples"] = ["unspecified"]
    tifffile.imwrite(path, np.zeros(shape, dtype), **options)
    with pytest.raises(PathaiError) as caught:
        open_slide(path, reader=reader)
    assert caught.value.code == code
    if reader == "tiffslide" and photometric != "separated":  # also where nobody sniffed
        with pytest.raises(PathaiError) as caught:
            reopen(path, reader)
        assert caught.value.code in (code, "E120")


def test_a_small_first_image_does_not_pass_for_the_slide(tmp_path: Path) -> None:
    """Unmarked levels in the wrong order would be read as a small slide."""
    path = tmp_path / "reverse.tif"
    image = coordinates(900, 1100)
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        for step in (4, 1, 2):
            tiff.write(np.ascontiguousarray(image[::step, ::step]), **options)
    with pytest.raises(PathaiError, match="a later one 1100 x 900") as caught:
        open_slide(path)
    assert caught.value.code == "E120"
    assert "--pyramid" in caught.value.remedy


@pytest.mark.real
def test_no_text_of_the_scanner_in_the_facts(test_data: Path) -> None:
    path = test_data / "slides/camelyon_overview_jpeg2000.dcm"
    slide = reopen(path, "openslide")
    text = repr(slide.facts)
    slide.close()
    assert "patient" in slide.facts.text_tags
    import openslide

    with openslide.OpenSlide(str(path)) as raw:
        for key, value in raw.properties.items():
            if key.startswith("dicom.") and len(value) > 6 and not value.isdigit():
                assert value not in text, key


@pytest.mark.parametrize("reader", READERS.names())
def test_a_profile_is_handed_over_whole(tmp_path: Path, reader: str) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = write_generic(tmp_path / "colored.tif", [coordinates(300, 400)], iccprofile=profile)
    assert facts_of(path, reader).icc == profile
    plain = write_aperio(tmp_path / "plain.svs", [coordinates(300, 400)])
    assert facts_of(plain, reader).icc == b""


def test_every_made_slide_is_a_real_test(tmp_path: Path) -> None:
    """The writers write what their names say."""
    for name in ("big.tif", "planar.tif", "levels.ome.tif"):
        path = MADE[name][0](tmp_path / name)
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_bigtiff == (name == "big.tif")
            assert (tiff.pages[0].planarconfig == 2) == (name == "planar.tif")
            assert bool(tiff.is_ome) == (name == "levels.ome.tif")
