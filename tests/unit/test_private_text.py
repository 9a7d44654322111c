"""The scan for identifying text finds every place where scanners write it, and repeats none."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from dicom_cases import SEQUENCE_END, element, item, write_dicom
from slide_cases import coordinates, write_aperio, write_leica, write_mirax

from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.ingest import inspect
from pathai.readers.icc import icc_profile
from pathai.readers.private_text import private_text
from pathai.readers.slide_files import slide_files

CANARY = "CANARY-DOE"
OPTIONS = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib", "metadata": None}


def tiff_with(path: Path, tags: list[tuple], **options: object) -> Path:
    image = coordinates(300, 400)
    tifffile.imwrite(path, image, **{**OPTIONS, **options}, software=False, extratags=tags)
    return path


def text_tag(tag: int, text: str = CANARY) -> tuple:
    return (tag, 2, 0, text, True)


def bytes_tag(tag: int, data: bytes) -> tuple:
    return (tag, 1, len(data), data, True)


def test_a_plain_file_has_none(tmp_path: Path) -> None:
    assert private_text(tiff_with(tmp_path / "plain.tif", [])) == ()


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        (269, "file name"),
        (270, "description"),
        (271, "device"),
        (272, "device"),
        (285, "description"),
        (306, "date"),
        (315, "operator"),
        (316, "device"),
        (33432, "copyright"),
        (65427, "barcode"),
        (50_000, "private tag"),
        (292, "description"),
    ],
)
def test_every_text_tag(tmp_path: Path, tag: int, kind: str) -> None:
    assert private_text(tiff_with(tmp_path / "a.tif", [text_tag(tag)])) == (kind,)


@pytest.mark.parametrize(
    ("tag", "data", "kinds"),
    [
        (700, f"<x:xmpmeta><dc:creator>{CANARY}</dc:creator></x:xmpmeta>", ("XMP", "operator")),
        (33723, CANARY, ("IPTC",)),
        (34377, CANARY, ("Photoshop",)),
        (65000, f"patient={CANARY}", ("patient", "private tag")),
        (65001, f"date: none\nBarcode = {CANARY}", ("barcode", "private tag")),
    ],
)
def test_text_in_tags_of_bytes(tmp_path: Path, tag: int, data: str, kinds: tuple) -> None:
    path = tiff_with(tmp_path / "a.tif", [bytes_tag(tag, data.encode())])
    assert set(kinds) == set(private_text(path))
    wide = tiff_with(tmp_path / "b.tif", [bytes_tag(tag, data.encode("utf-16-le"))])
    assert set(kinds) == set(private_text(wide))


def test_bytes_that_are_no_text_are_not_taken_for_any(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(400)
    assert private_text(tiff_with(tmp_path / "a.tif", [bytes_tag(65000, noise)])) == ()
    assert private_text(tiff_with(tmp_path / "b.tif", [], iccprofile=noise)) == ()


def test_keys_within_an_aperio_description(tmp_path: Path) -> None:
    tags = {"User": CANARY, "Date": "05/17/31", "ScanScope ID": "SS1", "Filename": "9",
            "Barcode": "1", "Patient": CANARY}  # fmt: skip
    path = write_aperio(tmp_path / "a.svs", [coordinates(300, 400)], **tags)
    wanted = {"operator", "date", "device", "file name", "barcode", "patient", "description"}
    assert wanted <= set(private_text(path))


def test_later_directories_and_exif_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(coordinates(300, 400), software=False, **OPTIONS)
        tiff.write(coordinates(30, 40), photometric="rgb", metadata=None, software=False,
                   extratags=[text_tag(315)])  # fmt: skip
    assert private_text(path) == ("operator",)
    exif = struct.pack("<HHHI4sI", 1, 36867, 2, 4, b"2031", 0)
    path = tiff_with(tmp_path / "b.tif", [(50_001, 4, 1, 0, True)])
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags[50_001].offset
    raw[place : place + 2] = struct.pack("<H", 34665)
    raw[place + 8 : place + 12] = struct.pack("<I", len(raw))
    path.write_bytes(raw + exif)
    assert private_text(path) == ("date",)


def _with_comment(code: bytes, text: bytes) -> bytes:
    return code[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + code[2:]


def test_comments_inside_of_jpeg_streams(tmp_path: Path) -> None:
    code = bytes(imagecodecs.jpeg8_encode(coordinates(256, 256), level=90))
    marked = _with_comment(code, CANARY.encode())

    def write(name: str, tile: bytes) -> Path:
        path = tmp_path / name
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(iter([tile]), shape=(256, 256, 3), dtype=np.uint8, tile=(256, 256),
                       photometric="ycbcr", compression="jpeg", metadata=None,
                       software=False)  # fmt: skip
        return path

    assert "JPEG comment" in private_text(write("a.tif", marked))
    assert "JPEG comment" not in private_text(write("b.tif", code))


def test_leica_and_mirax(tmp_path: Path) -> None:
    scn = write_leica(tmp_path / "a.scn", [(coordinates(512, 768), 500, 600, 20)])
    assert {"barcode", "date", "device"} <= set(private_text(scn))
    mirax = write_mirax(tmp_path / "a.mrxs", coordinates(512, 512), 4, 4)
    found = {kind for file in slide_files(mirax) for kind in private_text(file)}
    assert "barcode" in found


def test_dicom_elements_nested_and_private_ones_too(tmp_path: Path) -> None:
    inner = item(element(0x00400551, "LO", CANARY))
    extra = element(0x00080050, "SH", CANARY) + element(0x00080080, "LO", CANARY)
    extra += element(0x00090010, "LO", CANARY) + element(0x00100010, "PN", CANARY)
    extra += element(0x00181000, "LO", "7") + element(0x00080023, "DA", "20310517")
    extra += element(0x00400560, "SQ", inner, open_end=True) + SEQUENCE_END
    path = write_dicom(tmp_path / "a.dcm", "1.1", container="", extra=extra)
    wanted = {"patient", "institution", "private tag", "device", "date", "barcode"}
    assert set(private_text(path)) == wanted
    assert private_text(write_dicom(tmp_path / "b.dcm", "1.2", container="")) == ()


def test_nothing_of_a_profile_but_its_kind_is_kept() -> None:
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = icc_profile(data)
    assert found is not None
    assert (found.bytes, found.kind, found.named) == (len(data), "display RGB", "sRGB")
    assert icc_profile(b"") is None
    odd = icc_profile(CANARY.encode() * 20)
    assert odd is not None
    assert (odd.kind, odd.named) == ("not a valid profile", "")
    assert CANARY not in odd.model_dump_json()


@pytest.mark.parametrize("name", ["a.svs", "a.scn", "a.dcm"])
def test_no_damage_raises_anything_but_our_own_error(tmp_path: Path, name: str) -> None:
    """Bits of the tables flipped one by one; what cannot be read has a code."""
    path = tmp_path / name
    if name == "a.dcm":
        write_dicom(path, "1.1", extra=element(0x00100010, "PN", CANARY))
        tables = list(range(128, path.stat().st_size))
    else:
        image = coordinates(512, 768)
        write_aperio(path, [image]) if name == "a.svs" else write_leica(path, [(image, 5, 6, 20)])
        with tifffile.TiffFile(path) as tiff:
            size = 20 if tiff.is_bigtiff else 12
            tables = [p.offset + k for p in tiff.pages for k in range(8 + size * len(p.tags))]
    raw, draw, codes = path.read_bytes(), np.random.default_rng(9), set()
    for place in tables:
        broken = bytearray(raw)
        broken[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(broken)
        for examine in (private_text, slide_files):
            try:
                examine(path)
            except PathaiError as error:
                codes.add(error.code)
    assert codes
    assert codes <= {"E104", "E110", "E115", "E119", "E136"}


def test_what_is_found_is_never_repeated(tmp_path: Path) -> None:
    """A key may be a name too: only kinds from our own list get out."""
    tags = {f"{CANARY} Patient": CANARY, "Barcode": CANARY}
    path = write_aperio(tmp_path / "a.svs", [coordinates(300, 400)], **tags)
    text = inspect(path, IngestConfig(), "s", None, "H&E").model_dump_json()
    assert "patient" in text
    assert CANARY.lower() not in text.lower()
