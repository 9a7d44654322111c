"""One DICOM slide is a series of files: all are found, and what is missing is told."""

import shutil
import struct
from pathlib import Path

import pytest
from dicom_cases import (
    COPY,
    LABEL,
    OVERVIEW,
    SEQUENCE_END,
    THUMBNAIL,
    element,
    item,
    write_dicom,
)

from pathai import chain
from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.ingest import fingerprint, inspect
from pathai.readers.dicom_series import check_series, series_of
from pathai.readers.slide_files import quick_identity, slide_files
from pathai.readers.sniff import sniff

LIMITS = IngestConfig()


def refused(path: Path, code: str, *words: str, limits: IngestConfig = LIMITS) -> None:
    with pytest.raises(PathaiError) as caught:
        sniff(path, limits)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert path.name not in str(caught.value)
    assert "BOX" not in str(caught.value)


def test_a_whole_series_passes_and_is_the_same_from_each_file(tmp_path: Path) -> None:
    names = {"b": "1.1", "a": "1.2", "c.dcm": "1.3"}
    write_dicom(tmp_path / "b", "1.1")
    write_dicom(tmp_path / "a", "1.2", COPY, width=500, height=250, frames=2)
    write_dicom(tmp_path / "c.dcm", "1.3", LABEL, width=250, height=250, frames=1)
    write_dicom(tmp_path / "other.dcm", "5.5", series="9.9")
    (tmp_path / "notes.txt").write_text("not a slide")
    (tmp_path / "folder").mkdir()
    found = [slide_files(tmp_path / name) for name in names]
    assert found[0] == tuple(tmp_path / name for name in ("b", "a", "c.dcm"))  # by identifier
    assert len(set(found)) == 1
    assert len({quick_identity(tmp_path / name) for name in names}) == 1
    assert {sniff(tmp_path / name, LIMITS) for name in names} == {"dicom"}
    assert quick_identity(tmp_path / "other.dcm") != quick_identity(tmp_path / "a")


def test_names_of_files_do_not_matter_but_every_byte_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, "xyz"), (two, "cab")):
        folder.mkdir()
        for name, sop in zip(names, ("1.1", "1.2", "1.3"), strict=True):
            kind = COPY if sop != "1.1" else "ORIGINAL\\PRIMARY\\VOLUME\\NONE"
            write_dicom(folder / name, sop, kind)
    first = fingerprint(*slide_files(one / "x"))
    assert first == fingerprint(*slide_files(two / "b"))
    raw = bytearray((two / "c").read_bytes())
    raw[-20] ^= 1
    (two / "c").write_bytes(raw)
    assert first != fingerprint(*slide_files(two / "b"))


def test_a_second_copy_of_an_instance_counts_once(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", "1.1")
    shutil.copy(path, tmp_path / "a (1).dcm")
    assert len(slide_files(path)) == 1
    assert sniff(path, LIMITS) == "dicom"
    write_dicom(tmp_path / "a (1).dcm", "1.1", extra=element(0x00081030, "LO", "changed"))
    refused(path, "E136", "same instance and differ")


def test_a_part_of_a_split_level_is_missing(tmp_path: Path) -> None:
    for part in (1, 3):
        options = {"parts": "7.7", "part": part, "parts_of": 3, "frames": 3}
        path = write_dicom(tmp_path / f"{part}.dcm", f"1.{part}", **options)
    refused(path, "E136", "instance 2 of 3", "1000 x 500", "copy every instance")
    write_dicom(tmp_path / "2.dcm", "1.2", parts="7.7", part=2, parts_of=3, frames=2)
    assert sniff(path, LIMITS) == "dicom"


def test_the_full_resolution_is_missing(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", "1.1", COPY)
    refused(path, "E136", "only reduced copies", "1000 x 500")
    thumbnail = write_dicom(tmp_path / "t.dcm", "1.2", THUMBNAIL)
    path.unlink()
    refused(thumbnail, "E136", "thumbnail", "full-resolution")


def test_only_label_and_overview(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", "1.1", LABEL)
    write_dicom(tmp_path / "b.dcm", "1.2", OVERVIEW)
    refused(path, "E137", "label, overview", "holds the scan")


def test_dicom_that_is_no_slide(tmp_path: Path) -> None:
    """A picture of another kind, and a report without one."""
    refused(write_dicom(tmp_path / "a.dcm", "1.1", "ORIGINAL\\PRIMARY"), "E137", "other images")
    report = bytes(128) + b"DICM" + element(0x00020010, "UI", "1.2.840.10008.1.2.1")
    path = tmp_path / "b.dcm"
    path.write_bytes(report + element(0x0020000E, "UI", "1.2.3"))
    refused(path, "E104", "no image")


def test_frames_are_missing(tmp_path: Path) -> None:
    refused(write_dicom(tmp_path / "a.dcm", "1.1", frames=7), "E136", "7 frames, 8 are needed")


def test_frames_of_a_sparse_level_may_be_fewer(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", "1.1", frames=5, organization="TILED_SPARSE")
    assert sniff(path, LIMITS) == "dicom"


@pytest.mark.parametrize("changed", [{"place": "8.8"}, {"container": "OTHER"}])
def test_two_slides_under_one_identifier(tmp_path: Path, changed: dict[str, str]) -> None:
    path = write_dicom(tmp_path / "a.dcm", "1.1")
    write_dicom(tmp_path / "b.dcm", "1.2", **changed)
    refused(path, "E136", "several slides")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"bits": 16}, "E140"),
        ({"samples": 1}, "E141"),
        ({"width": 0}, "E117"),
        ({"tile": 0}, "E117"),
        ({"tile": 16_384}, "E116"),
        ({"width": 2**31, "height": 2**31, "organization": ""}, "E116"),
    ],
)
def test_pictures_that_are_none_of_ours(
    tmp_path: Path, changed: dict[str, object], code: str
) -> None:
    refused(write_dicom(tmp_path / "a.dcm", "1.1", **changed), code)


@pytest.mark.parametrize("cut", [1, 8, 9, 60, 200, 300])
def test_a_cut_file(tmp_path: Path, cut: int) -> None:
    refused(write_dicom(tmp_path / "a.dcm", "1.1", cut=cut), "E110", "copy the slide again")


def test_lengths_that_lie(tmp_path: Path) -> None:
    long = element(0x00081030, "UT", "x" * 10).replace(
        struct.pack("<I", 10), struct.pack("<I", 0xFFFFFFF0)
    )
    refused(write_dicom(tmp_path / "a.dcm", "1.1", extra=long), "E110")
    deep = b""
    for _ in range(40):
        deep = element(0x00081140, "SQ", item(deep, open_end=True), open_end=True) + SEQUENCE_END
    refused(write_dicom(tmp_path / "b.dcm", "2.1", series="2", extra=deep), "E115", "deep")


def test_sequences_of_both_kinds_are_stepped_over(tmp_path: Path) -> None:
    inner = element(0x00080100, "SH", "CODE")
    closed = element(0x00081032, "SQ", item(inner) + item(inner, open_end=True))
    opened = element(0x00081140, "SQ", item(inner, open_end=True), open_end=True) + SEQUENCE_END
    path = write_dicom(tmp_path / "a.dcm", "1.1", extra=closed + opened)
    (one,) = series_of(path)
    assert (one.series, one.width, one.frames) == ("1.2.3", 1000, 8)
    check_series([one], LIMITS)


def test_a_damaged_neighbor_of_another_slide_does_no_harm(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", "1.1")
    write_dicom(tmp_path / "b.dcm", "9.1", series="9", cut=400)
    assert slide_files(path) == (path,)


@pytest.mark.real
def test_a_real_series_without_its_volume(test_data: Path, tmp_path: Path) -> None:
    volume = "58740178995208579534253317996600852419"
    for file in sorted((test_data / "slides/dicom-cmu-jpeg").glob("*.dcm")):
        if volume not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    for path in tmp_path.glob("*.dcm"):
        with pytest.raises(PathaiError, match=r"E136.*full-resolution"):
            inspect(path, LIMITS, "s", None, "H&E")


@pytest.mark.real
def test_a_change_in_any_file_is_another_slide(test_data: Path, tmp_path: Path) -> None:
    """Also for whoever asks whether results are current."""
    for file in (test_data / "slides/dicom-cmu-jpeg").glob("*.dcm"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    files = sorted(tmp_path.glob("*.dcm"))
    seen = {chain.file_identity(path)["size"] for path in files}
    assert len(seen) == 1
    before = inspect(files[0], LIMITS, "s", None, "H&E")
    raw = bytearray(files[3].read_bytes())
    raw[-2000] ^= 1
    files[3].write_bytes(raw)
    after = inspect(files[0], LIMITS, "s", None, "H&E")
    assert before.sha256 != after.sha256
    assert chain.file_identity(files[0])["files"] == 4
    files[3].unlink()
    assert chain.file_identity(files[0])["files"] == 3
