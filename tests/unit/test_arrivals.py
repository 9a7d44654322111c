"""Slides that arrive in a folder: taken once, when they are whole, under ids that fit."""

import os
import shutil
import time

import pytest

from pathai.arrivals import Arrivals, check_pattern, take
from pathai.errors import PathaiError
from pathai.sheet import load_sheet


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when told to."""
    now = [1000.0]
    monkeypatch.setattr("pathai.arrivals.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "scanner"
    folder.mkdir()
    return folder


@pytest.fixture
def config(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("{}\n")
    return tmp_path / "run" / "config.yaml"


def look(arrivals, clock, seconds=0.0):
    clock[0] += seconds
    found, waiting = arrivals.look()
    return [path.relative_to(arrivals.folder).as_posix() for path in found], waiting


def test_a_slide_is_given_once_it_no_longer_grows(folder, clock):
    arrivals = Arrivals(folder, settle_s=10)
    assert look(arrivals, clock) == ([], False)
    slide = folder / "deep" / "a.svs"
    slide.parent.mkdir()
    slide.write_bytes(b"1")
    assert look(arrivals, clock) == ([], True)
    slide.write_bytes(b"12")
    assert look(arrivals, clock, 11) == ([], True), "it has grown since"
    assert look(arrivals, clock, 9) == ([], True)
    assert look(arrivals, clock, 2) == (["deep/a.svs"], False)
    assert look(arrivals, clock, 60) == ([], False), "given once"


def test_the_same_size_at_another_time_is_still_being_written(folder, clock):
    """Some programs claim the whole size at once and fill it afterwards."""
    arrivals, slide = Arrivals(folder, settle_s=10), folder / "a.svs"
    slide.write_bytes(b"0000")
    look(arrivals, clock)
    slide.write_bytes(b"1111")
    os.utime(slide, ns=(7, 7))
    assert look(arrivals, clock, 11) == ([], True)
    assert look(arrivals, clock, 11) == (["a.svs"], False)
    os.utime(slide, ns=(9, 9))
    assert look(arrivals, clock, 11) == ([], True)
    assert look(arrivals, clock, 11) == (["a.svs"], False), "changed afterwards: given again"


@pytest.mark.parametrize(
    "name",
    ["a.svs.part", "a.part.svs", ".a.svs", ".a.svs.Xy12", "~a.svs", "a.svs.filepart", "a.tmp.svs",
     "a.svs.crdownload", "sub.partial/a.svs", "a.txt", "a.jpg"],
)  # fmt: skip
def test_names_of_unfinished_files_are_passed_over(folder, clock, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    arrivals = Arrivals(folder, settle_s=1)
    look(arrivals, clock)
    assert look(arrivals, clock, 5) == ([], False)


def test_an_empty_file_has_only_been_opened(folder, clock):
    (folder / "a.svs").touch()
    arrivals = Arrivals(folder, settle_s=1)
    look(arrivals, clock)
    assert look(arrivals, clock, 5)[0] == []


def test_mirax_waits_for_all_of_its_folder(folder, clock):
    arrivals = Arrivals(folder, settle_s=10)
    (folder / "a.mrxs").write_bytes(b"x")
    look(arrivals, clock)
    assert look(arrivals, clock, 20) == ([], False), "its pixels have not begun to arrive"
    (folder / "a").mkdir()
    (folder / "a" / "Data0000.dat").write_bytes(b"1")
    look(arrivals, clock)
    (folder / "a" / "Data0001.dat").write_bytes(b"2")
    assert look(arrivals, clock, 20) == ([], True)
    assert look(arrivals, clock, 20) == (["a.mrxs"], False)


@pytest.mark.real
def test_a_folder_of_dicom_is_one_slide_when_all_of_it_is_there(folder, clock, test_data):
    source = sorted((test_data / "slides" / "dicom-cmu-jpeg").rglob("*.dcm"))
    arrivals = Arrivals(folder, settle_s=10)
    target = folder / "series"
    target.mkdir()
    for file in source:
        assert look(arrivals, clock, 20)[0] == []
        shutil.copy(file, target)
    look(arrivals, clock)
    found, waiting = look(arrivals, clock, 20)
    assert (len(found), waiting) == (1, False)


def slides(folder, **contents):
    for name, text in contents.items():
        (folder / f"{name}.svs").write_text(text)
    return [folder / f"{name}.svs" for name in contents]


def rows(config):
    return load_sheet(config.parent / "slides.tsv").rows


def test_rows_are_counted_on_and_others_left_as_they_are(folder, config):
    first = slides(folder, a="1", b="2")
    assert take(config, first).rows == ("slide-0001", "slide-0002")
    sheet = config.parent / "slides.tsv"
    text = sheet.read_text().replace("\tH&E\t", "\tKi-67\t")
    text = text.replace("mpp", "mpp\tgrade").replace("slide-0002", "slide-0007")
    sheet.write_text(text)
    assert take(config, slides(folder, c="3"), stain="ER").rows == ("slide-0008",)
    assert sheet.read_text().startswith(text), "what a person wrote stands"
    last = rows(config)[-1]
    assert (last.case_id, last.patient_id, last.stain) == ("case-0008", "patient-0008", "ER")
    assert last.path == str(folder / "c.svs")
    assert last.labels == {"grade": ""}


def test_numbers_of_results_without_a_row_are_not_given_anew(folder, config):
    (config.parent / "results" / "slides" / "slide-0041").mkdir(parents=True)
    assert take(config, slides(folder, a="1")).rows == ("slide-0042",)


def test_a_file_is_taken_once_whatever_its_name(folder, config):
    (first,) = slides(folder, a="one")
    assert len(take(config, [first, first]).rows) == 1
    assert take(config, [first]).rows == ()
    copies = slides(folder, copy="one", other="two", again="two")
    assert take(config, copies).rows == ("slide-0002",), "the same bytes are the same slide"
    assert [row.path.rpartition("/")[2] for row in rows(config)] == ["a.svs", "other.svs"]


def test_a_slide_known_by_its_sum_alone_is_not_taken(folder, config):
    from hashlib import sha256

    known = sha256(b"known").hexdigest()
    header = "slide_id\tpath\tcase_id\tpatient_id\tstain\tsha256\n"
    sheet = config.parent / "slides.tsv"
    sheet.write_text(f"{header}S1\tgone.svs\tC1\tP1\tH&E\t{known.upper()}\n")
    assert take(config, slides(folder, a="known", b="new")).rows == ("slide-0001",)
    assert rows(config)[-1].path.endswith("b.svs")


def test_a_pattern_reads_columns_from_names(folder, config):
    pattern = r"^(?P<case_id>[A-Z]\d+)_(?P<block_id>\w)_(?P<stain>HE|ER)"
    found = slides(folder, H1_A_HE="1", H1_B_ER="2", **{"Jane Doe": "3"})
    taken = take(config, found, pattern)
    assert len(taken.rows) == 2
    (left,) = taken.left_out
    assert left[0].name == "Jane Doe.svs"
    assert "pattern" in left[1]
    told = [(r.case_id, r.patient_id, r.block_id, r.stain) for r in rows(config)]
    assert told == [("H1", "H1", "A", "HE"), ("H1", "H1", "B", "ER")]


def test_what_would_make_the_sheet_wrong_is_left_out(folder, config):
    pattern = r"^(?P<patient_id>[^_]+)_(?P<case_id>[^_.]+)_(?P<slide_id>[^.]+)"
    names = ["P1_C1_S1", "P2_C1_S2", "P1_C1_s1", "P1_C 2_S3", "P3_C3_S4"]
    taken = take(config, slides(folder, **{n: n for n in names}), pattern)
    assert taken.rows == ("S1", "S4")
    why = {path.stem: reason for path, reason in taken.left_out}
    assert "another patient" in why["P2_C1_S2"]
    assert "already" in why["P1_C1_s1"]
    assert "unsafe" in why["P1_C 2_S3"]
    assert {row.slide_id for row in rows(config)} == {"S1", "S4"}


def test_a_sheet_without_slides_is_begun(folder, config):
    sheet = config.parent / "slides.tsv"
    sheet.write_text("\ufeffslide_id\tpath\tcase_id\tpatient_id\tstain\r\n")
    assert take(config, slides(folder, a="1")).rows == ("slide-0001",)
    assert len(rows(config)) == 1


@pytest.mark.parametrize("pattern", ["(", "no group", "(?P<color>.)", "(?P<path>.)"])
def test_a_pattern_without_use_is_refused(pattern):
    with pytest.raises(PathaiError, match="E193"):
        check_pattern(pattern)


def test_a_good_pattern_is_none_or_names_columns():
    check_pattern("")
    check_pattern("(?P<case_id>.)(?P<stain>.)")


def test_looking_needs_no_time_of_its_own(folder):
    """With the clock of the machine: two looks are enough."""
    slides(folder, a="1")
    arrivals = Arrivals(folder, settle_s=0.05)
    assert arrivals.look() == ([], True)
    time.sleep(0.06)
    assert arrivals.look() == ([folder / "a.svs"], False)
