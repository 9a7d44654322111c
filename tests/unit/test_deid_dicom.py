"""A DICOM copy holds the volume, its geometry, and nothing that names anyone."""

import random
import struct

import numpy as np
import openslide
import pytest
from deid_cases import CANARY, leaks
from deid_dicom import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    instance,
    write_dicom_slide,
)
from pydicom import dcmread
from pydicom.encaps import generate_fragments

from pathai.deid import deid
from pathai.deid.dicom import read_instance
from pathai.deid.work import make
from pathai.errors import PathaiError

KEY = b"k" * 32


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[:150, :200]
    base = np.stack([200 + 40 * np.sin(x / 30), 150 + x // 3 % 90, 120 + y], axis=-1)
    return base.clip(0, 255).astype(np.uint8)


@pytest.fixture
def slide(picture, tmp_path):
    return write_dicom_slide(tmp_path / "slide", picture)


def files(folder):
    return sorted(folder.iterdir())


def refused(source, out):
    with pytest.raises(PathaiError) as error:
        make(source, out, KEY)
    assert CANARY.decode() not in str(error.value)
    return error.value


def change(folder, number=1, **values):
    """Write an instance again with other values; None takes an attribute away."""
    path = files(folder)[number - 1]
    data = dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    data.save_as(path)


def test_a_copy_is_the_volume_without_a_name(slide, tmp_path):
    before = {path: path.read_bytes() for path in files(slide)}
    out = tmp_path / "out"
    report = deid(slide, out)
    assert {path: path.read_bytes() for path in files(slide)} == before
    assert leaks(slide)
    assert leaks(out) == []
    assert [path.name for path in files(out)] == ["level-0.dcm", "level-1.dcm"]
    assert [file["name"] for file in report.files] == ["level-0.dcm", "level-1.dcm"]
    for path in files(out):
        data = path.read_bytes()
        for text in (b"19340102", b"20310517", b"093Y", b"1.2.826.0.1.3680043.8.498.9"):
            assert text not in data
    for old, new in zip(files(slide)[:2], files(out), strict=True):
        a, b = dcmread(old), dcmread(new)
        assert list(generate_fragments(a.PixelData)) == list(generate_fragments(b.PixelData))
        assert a.file_meta.TransferSyntaxUID == b.file_meta.TransferSyntaxUID
        assert b.preamble == bytes(128)
        assert b.PatientIdentityRemoved == "YES"
        assert b.DeidentificationMethod
        assert not [e for e in b.iterall() if e.tag.is_private]
        assert (b.PatientName, b.PatientID, b.AccessionNumber) == ("", "", "")
        assert b.file_meta.MediaStorageSOPInstanceUID == b.SOPInstanceUID
        assert b.OpticalPathSequence[0].IlluminationTypeCodeSequence[0].CodeMeaning == (
            "Brightfield illumination")  # fmt: skip
    with (
        openslide.OpenSlide(files(slide)[0]) as old,
        openslide.OpenSlide(files(out)[0]) as new,
    ):
        assert set(old.associated_images) == {"label", "macro"}
        assert dict(new.associated_images) == {}
        assert new.level_dimensions == old.level_dimensions == ((200, 150), (100, 75))
        assert new.properties["openslide.mpp-x"] == old.properties["openslide.mpp-x"]
        for level, size in enumerate(old.level_dimensions):
            a, b = (s.read_region((0, 0), level, size).tobytes() for s in (old, new))
            assert a == b
    assert report.removed["label image"] == report.removed["macro image"] == 1
    assert report.removed["private attribute"] >= 4
    assert report.removed["data after the pixels"] == 2


def test_label_pixels_are_gone_from_the_bytes(slide, tmp_path):
    make(slide, tmp_path / "out", KEY)
    copied = b"".join(path.read_bytes() for path in files(tmp_path / "out"))
    for path in files(slide)[2:]:
        for fragment in list(generate_fragments(dcmread(path).PixelData))[1:]:
            assert fragment[-200:-160] not in copied


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_uncompressed_slides(syntax, picture, tmp_path):
    slide = write_dicom_slide(tmp_path / "slide", picture, syntax)
    make(slide, tmp_path / "out", KEY)
    assert leaks(tmp_path / "out") == []
    for old, new in zip(files(slide)[:2], files(tmp_path / "out"), strict=True):
        a, b = dcmread(old), dcmread(new)
        assert a.PixelData == b.PixelData
        assert b.file_meta.TransferSyntaxUID == syntax


def test_uids_stay_consistent_within_a_key_and_differ_between(slide, tmp_path):
    for name, key in (("a", KEY), ("b", KEY), ("c", b"x" * 32)):
        make(slide, tmp_path / name, key)
    a, b, c = ([dcmread(p) for p in files(tmp_path / name)] for name in "abc")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert a[0][keyword].value == a[1][keyword].value == b[0][keyword].value
        assert a[0][keyword].value != c[0][keyword].value
        assert a[0][keyword].value.is_valid
    assert a[0].SOPInstanceUID != a[1].SOPInstanceUID
    deid(slide, tmp_path / "d")
    deid(slide, tmp_path / "e")
    d, e = (dcmread(files(tmp_path / name)[0]) for name in "de")
    assert d.StudyInstanceUID != e.StudyInstanceUID
    with pytest.raises(PathaiError):
        deid(slide, tmp_path / "f", key=b"short")


def test_one_file_of_the_series_is_enough(slide, picture, tmp_path):
    """The series' other files are found beside it; those of another slide are not."""
    instance(picture, 9, series="7").save_as(slide / "other.dcm", enforce_file_format=True)
    report = make(files(slide)[1], tmp_path / "out", KEY)
    assert report.kept["instance"] == 2
    assert refused(slide, tmp_path / "x").code == "E136"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"BurnedInAnnotation": "YES"}, "E148"),
        ({"BurnedInAnnotation": None}, "E148"),
        ({"SpecimenLabelInImage": "YES"}, "E148"),
        ({"SpecimenLabelInImage": None}, "E148"),
        ({"RecognizableVisualFeatures": "YES"}, "E148"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "SOMETHING", "NONE"]}, "E148"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "JONES"]}, "E148"),
        ({"NumberOfFrames": 11}, "E148"),
        ({"TotalPixelMatrixColumns": 900}, "E148"),
        ({"Rows": 32}, "E148"),
        ({"Modality": "CT"}, "E148"),
        ({"ImagedVolumeWidth": struct.unpack("<f", b"anna")[0]}, "E148"),
        ({"SamplesPerPixel": 1}, "E141"),
        ({"BitsAllocated": 16}, "E140"),
    ],
)
def test_doubtful_instances_are_refused(values, code, slide, tmp_path):
    change(slide, **values)
    assert refused(slide, tmp_path / "out").code == code


def test_a_name_written_as_a_number_is_a_name_no_more(slide, tmp_path):
    """ANNA as four bytes is a fair width in mm."""
    width = struct.unpack("<f", b"ANNA")[0]
    change(slide, ImagedVolumeWidth=width)
    make(slide, tmp_path / "out", KEY)
    data = files(tmp_path / "out")[0].read_bytes()
    assert b"ANNA" in files(slide)[0].read_bytes()
    assert b"ANNA" not in data
    assert dcmread(files(tmp_path / "out")[0]).ImagedVolumeWidth == pytest.approx(width, rel=1e-5)


def test_a_folder_without_a_volume_is_refused(slide, tmp_path):
    for path in files(slide)[:2]:
        path.unlink()
    assert refused(slide, tmp_path / "out").code == "E137"


def test_stowaways_among_the_fragments_are_refused(slide, tmp_path):
    path = files(slide)[0]
    good = path.read_bytes()
    start = read_instance(path).pixels_at + 12
    size = int.from_bytes(good[start + 4 : start + 8], "little")
    table = good[start : start + 8 + size]
    first = start + 8 + size
    length = int.from_bytes(good[first + 4 : first + 8], "little")
    text = CANARY + b"\0"
    item = b"\xfe\xff\0\xe0" + struct.pack("<I", len(text)) + text
    cases = {
        "offsets": good[:start] + table[:8] + (text * 9)[:size] + good[first:],
        "more": good[:first] + item + good[first:],
        "inside": good[: first + 4] + struct.pack("<I", length + len(text))
        + good[first + 8 : first + 8 + length] + text + good[first + 8 + length :],
        "comment": good[: first + 4] + struct.pack("<I", length + 18)
        + good[first + 8 : first + 10] + b"\xff\xfe\0\x10" + text + good[first + 10 :],
        "cut": good[: first + length // 2],
    }  # fmt: skip
    said = {"offsets": "frame offsets", "more": "not the JPEG", "inside": "after the end",
            "comment": "a comment", "cut": "fragments"}  # fmt: skip
    for name, data in cases.items():
        path.write_bytes(data)
        error = refused(slide, tmp_path / name)
        assert error.code == "E148"
        assert said[name] in error.message


def test_a_text_that_is_also_a_keyword_is_no_reason_to_refuse(slide, tmp_path):
    change(slide, StudyDescription="VOLUME", StudyID="NONE", SeriesDescription="Slide")
    make(slide, tmp_path / "out", KEY)


def test_a_file_that_might_be_a_level_is_not_passed_over(slide, tmp_path):
    (slide / "z.dcm").write_bytes(CANARY)
    assert refused(slide, tmp_path / "out").code == "E148"
    (slide / "z.dcm").rename(slide / "z.txt")
    assert make(slide, tmp_path / "x", KEY).removed["file beside the images"] == 1


def test_a_file_that_is_also_a_tiff_is_copied_as_dicom(slide, tmp_path):
    path = files(slide)[0]
    data = path.read_bytes()
    path.write_bytes(b"II*\0" + struct.pack("<I", len(data)) + data[8:] + CANARY)
    make(path, tmp_path / "out", KEY)
    assert leaks(tmp_path / "out") == []
    assert dcmread(files(tmp_path / "out")[0]).preamble == bytes(128)


def test_random_damage_never_leaks_and_never_crashes(slide, tmp_path):
    draw = random.Random(3)
    path = files(slide)[0]
    good = path.read_bytes()
    head = read_instance(path).pixels_at
    outcomes = {"copied": 0, "refused": 0}
    for turn in range(100):
        data = bytearray(good)
        for _ in range(draw.choice((1, 2, 8))):
            data[draw.randrange(128, head + 200)] = draw.randrange(256)
        if turn % 10 == 9:
            del data[draw.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            make(slide, tmp_path / f"{turn}", KEY)
        except PathaiError:
            outcomes["refused"] += 1
        else:
            outcomes["copied"] += 1
            assert leaks(tmp_path / f"{turn}") == []
    assert min(outcomes.values()) > 10, outcomes


def test_overwriting_replaces_only_an_earlier_copy(slide, tmp_path):
    out = tmp_path / "out"
    deid(slide, out)
    deid(slide, out, overwrite=True)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(PathaiError):
        deid(slide, out, overwrite=True)
    assert (out / "notes.txt").exists()
    for inside in (slide / "out", slide.parent):
        with pytest.raises(PathaiError):
            deid(slide, inside, overwrite=True)


def test_the_proof_finds_what_the_writer_forgets(slide, tmp_path, monkeypatch):
    from pathai.deid import dicom, dicom_pixels

    kept, copy = dicom.kept, dicom.copy_pixels

    def named(*arguments):
        new = kept(*arguments)
        new.InstitutionName = "Hospital"
        return new

    def private(*arguments):
        new = kept(*arguments)
        new.private_block(0x0041, "x", create=True).add_new(1, "US", 7)
        return new

    def longer(file, out, *arguments):
        found = copy(file, out, *arguments)
        out.write(b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0abcd")
        return found

    for name, attribute, fault in (
        ("a", "kept", named),
        ("b", "kept", private),
        ("c", "copy_pixels", longer),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(dicom, attribute, fault)
            assert "proof failed" in str(refused(slide, tmp_path / name))
    item = dicom_pixels._item
    with monkeypatch.context() as patch:
        patch.setattr(dicom_pixels, "check_stream", lambda *a: None)
        patch.setattr(dicom_pixels, "_item", lambda f: flipped(item(f)))
        assert "frame differs" in str(refused(slide, tmp_path / "d"))


def flipped(data):
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:] if data and len(data) > 200 else data


# --- real slides -------------------------------------------------------------------------------


@pytest.mark.real
def test_a_real_series(test_data, tmp_path):
    source = test_data / "slides" / "dicom-cmu-jpeg"
    report = deid(source, tmp_path / "out")
    assert report.removed["label image"] == report.removed["macro image"] == 1
    volume = next(p for p in files(source) if dcmread(p).ImageType[2] == "VOLUME")
    copied = tmp_path / "out" / "level-0.dcm"
    with openslide.OpenSlide(volume) as old, openslide.OpenSlide(copied) as new:
        assert dict(new.associated_images) == {}
        assert old.level_dimensions == new.level_dimensions
        assert old.properties["openslide.mpp-x"] == new.properties["openslide.mpp-x"]
        a, b = (s.read_region((0, 0), 0, s.dimensions).tobytes() for s in (old, new))
        assert a == b
    old = dcmread(volume)
    data = copied.read_bytes()
    for uid in (old.SOPInstanceUID, old.StudyInstanceUID, old.SeriesInstanceUID):
        assert uid.encode() not in data
    assert b"20250131" not in data


@pytest.mark.real
def test_the_invented_patient_is_gone(test_data, tmp_path):
    source = test_data / "slides" / "camelyon_overview_jpeg2000.dcm"
    deid(source, tmp_path / "out")
    data = (tmp_path / "out" / "level-0.dcm").read_bytes()
    header = dcmread(source, stop_before_pixels=True)
    checked = 0
    for element in header.iterall():
        if element.VR in ("PN", "LO", "SH", "LT", "ST", "UT", "DA", "DT", "TM", "AS", "UI"):
            for value in element.value if element.VM > 1 else [element.value]:
                text = str(value).encode()
                meanings = (b"Brightfield illumination", b"Transmission illumination", b"111741")
                known = text.startswith((b"1.2.840.10008.", b"GOOGLE")) or text in meanings
                if len(text) > 4 and not known:
                    assert text not in data, element.keyword
                    checked += 1
    assert checked > 40


@pytest.mark.real
def test_an_instance_that_does_not_deny_annotation_is_refused(test_data, tmp_path):
    error = refused(test_data / "slides" / "camelyon_overview_jpeg.dcm", tmp_path / "out")
    assert "BurnedInAnnotation" in str(error)
