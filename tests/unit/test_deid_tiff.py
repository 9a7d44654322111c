"""Generic TIFF and OME-TIFF are copied, other makes refused; real slides of all kinds."""

import sys

import numpy as np
import openslide
import pytest
import tifffile
from deid_cases import CANARY, attempt, leaks, refused, take_apart, tiles

from pathai.deid import deid
from pathai.errors import PathaiError

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
        refused(tmp_path / name, tmp_path / "out", "E148", "E101", "E110")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
        ("slides/test3-TRITC 2 (560).ndpi", "E148"),
        ("slides/li_grey10kx5k.tif", "E118"),
        ("slides/li_small_la.tiff", "E141"),
        ("slides/xyc/XYC-half-mpp.tiff", "E118"),
        ("broken/CMU-1-Saved-1_16.mrxs", "E148"),
        ("broken/random_bytes.svs", "E148"),
        ("broken/lfs_pointer.ndpi", "E148"),
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
