"""Findings and nuclei as DICOM, read back against what went in, on a real DICOM slide."""

import numpy as np
import pytest
from finding_cases import OK, PredictionInput, answer, cells, slide
from pydicom import dcmread

from pathai.config import ReportConfig
from pathai.dicom.annotations import write_annotations
from pathai.dicom.measurements import write_measurements
from pathai.dicom.source import read_source
from pathai.errors import PathaiError
from pathai.export import export_annotations, export_measurements
from pathai.finding import Category, canonical
from pathai.findings import findings_of_case
from pathai.readers.slide_files import quick_identity
from pathai.report.draft import run
from pathai.report.render import value_text
from pathai.rules import revise
from pathai.store.commit import Commit, Key, run_stage
from pathai.store.folders import DRAFT_FILES, ResultsFolder, cells_files, write_slide_info
from pathai.store.groups import write_cells
from pathai.store.records import Cells, SlideInfo
from pathai.units import Box

pytestmark = pytest.mark.real
WIDTH, HEIGHT = 2220, 2967


@pytest.fixture
def file(test_data):
    return min((test_data / "slides" / "dicom-cmu-jpeg").iterdir())


@pytest.fixture
def info(file):
    return SlideInfo(slide_id="D1", sha256="0" * 64, quick_id=quick_identity(file), files=4,
                     width=WIDTH, height=HEIGHT, mpp_x=0.499, mpp_y=0.499, mpp_source="file",
                     vendor="dicom", reader="openslide", level_downsamples=(1.0,),
                     stain="H&E")  # fmt: skip


def nuclei(count=300, seed=0):
    """Rings of 8 and of 12 points, single centers between them, of two classes."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(20, 2000, (count, 2))
    rings = [_ring(c, (8, 12, 1)[i % 3]) for i, c in enumerate(centers)]
    start = np.cumsum([0, *(len(r) for r in rings)])
    kinds = (np.arange(count) % 5 == 0).astype(np.uint8)
    counts = (int((kinds == 0).sum()), int((kinds == 1).sum()))
    return rings, Cells(
        xy_px0=centers.astype(np.float32),
        score=np.ones(count, np.float16),
        class_=kinds,
        prob=np.ones((count, 2), np.float16),
        dab_od=np.zeros(count, np.float16),
        measures=np.empty((count, 0), np.float32),
        outline_px0=np.concatenate(rings).astype(np.float32),
        outline_start=start.astype(np.int64),
        raster=(np.zeros((4, 4), np.uint8),),
        attrs=cells(("negative", "positive"), counts),
    )


def _ring(center, points):
    if points == 1:
        return center[None]
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return center + 7.25 * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def test_nuclei_are_read_back_where_they_were(tmp_path, file, info):
    from highdicom.ann import annread

    rings, some = nuclei()
    source = read_source(file, info, "CASE-7")
    out = tmp_path / "ann.dcm"
    assert write_annotations(out, source, some.attrs, iter([(0, some)])) == len(rings)
    groups = annread(out).get_annotation_groups()
    assert sum(g.number_of_annotations for g in groups) == len(rings)
    for kind, name in enumerate(some.attrs.classes):
        mine = [r for r, k in zip(rings, some.class_, strict=True) if k == kind]
        wanted = {
            "POLYGON": [r for r in mine if len(r) > 1],
            "POINT": [r for r in mine if len(r) == 1],
        }
        for group in (g for g in groups if g.label == name):
            found = group.get_graphic_data(coordinate_type="2D")
            expected = wanted.pop(group.graphic_type.value)
            assert len(found) == len(expected)
            for a, b in zip(found, expected, strict=True):
                assert a.shape == b.shape
                assert np.abs(a - b).max() <= 0.5
        assert not any(wanted.values())


def test_the_same_result_is_the_same_bytes_and_names_nobody(tmp_path, file, info):
    _, some = nuclei(60)
    case, source = _case(), read_source(file, info, "CASE-7", "SP-2")
    original = dcmread(file, stop_before_pixels=True)
    for name in "ab":
        write_annotations(tmp_path / f"ann-{name}", source, some.attrs, iter([(0, some)]))
        write_measurements(tmp_path / f"sr-{name}", case, [source], value_text)
    for kind in ("ann", "sr"):
        assert (tmp_path / f"{kind}-a").read_bytes() == (tmp_path / f"{kind}-b").read_bytes()
        made = dcmread(tmp_path / f"{kind}-a")
        assert (made.PatientID, str(made.PatientName)) == ("CASE-7", "CASE-7^")
        assert made.ContainerIdentifier == "D1" if kind == "ann" else True
        assert not any((made.PatientBirthDate, made.PatientSex, made.AccessionNumber,
                        made.StudyDate, made.ReferringPhysicianName))  # fmt: skip
        assert made.StudyInstanceUID == original.StudyInstanceUID


def test_names_of_the_slide_do_not_travel(tmp_path, file, info):
    """Patient, physician, accession, dates and texts of the source appear in no result."""
    folder = tmp_path / "named"
    folder.mkdir()
    for number, path in enumerate(sorted(file.parent.iterdir())):
        header = dcmread(path)
        header.PatientName, header.PatientID = "CANARY^JANE", "CANARY-1"
        header.ReferringPhysicianName, header.AccessionNumber = "CANARY^DOC", "CANARY-2"
        header.PatientBirthDate, header.StudyDate = "19611213", "20191213"
        header.ContainerIdentifier = "CANARY-3"
        header.SpecimenDescriptionSequence[0].SpecimenIdentifier = "CANARY-4"
        header.save_as(folder / f"{number}.dcm")
    named = next(iter(sorted(folder.iterdir())))
    fresh = info.model_copy(update={"quick_id": quick_identity(named)})
    source, (_, some) = read_source(named, fresh, "CASE-7"), nuclei(30)
    write_annotations(tmp_path / "ann.dcm", source, some.attrs, iter([(0, some)]))
    write_measurements(tmp_path / "sr.dcm", _case(), [source], value_text)
    for name in ("ann.dcm", "sr.dcm"):
        data = (tmp_path / name).read_bytes()
        assert not any(word in data for word in (b"CANARY", b"19611213", b"20191213"))


def _case():
    box = (Box(100.0, 200.0, 512.0, 300.0),)
    asked = (PredictionInput(model="tumor", stage=OK, answer=answer(), boxes=box),)
    return findings_of_case("CASE-7", [slide("D1", predictions=asked), slide("T1")])


def test_measurements_are_read_back_with_unit_and_place(tmp_path, file, info):
    from highdicom.sr import srread

    case = _case()
    out = tmp_path / "sr.dcm"
    written = write_measurements(out, case, [read_source(file, info, "CASE-7")], value_text)
    mine = [f for f in case.findings if {e.slide_id for e in f.evidence} == {"D1"}]
    assert written == len(mine) > 5
    report = srread(out)
    content = report.content
    groups = [
        *content.get_planar_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]
    found = {g.tracking_identifier: g for g in groups}
    assert set(found) == {f.id for f in mine}
    count = next(f for f in mine if f.key == "cells.count")
    numbers = {m.name.value: (m.value, m.unit.value) for m in found[count.id].get_measurements()}
    assert numbers["cells.count"] == (float(count.value.value), "{nuclei}")
    assert numbers["interval.low"][0] <= numbers["cells.count"][0] <= numbers["interval.high"][0]
    guess = next(f for f in mine if f.key == "tumor.probability")
    group = found[guess.id]
    assert {m.value for m in group.get_measurements()} == {0.93}
    said = {q.value.value for q in group.get_qualitative_evaluations()}
    assert {"predicted", "label:yes"} <= said
    ring = group.roi.value
    assert np.abs(ring[:4] - [(100, 200), (612, 200), (612, 500), (100, 500)]).max() <= 0.5
    assert (report.CompletionFlag, report.PreliminaryFlag) == ("PARTIAL", "PRELIMINARY")


def test_a_code_is_read_back_with_its_words(tmp_path, file, info):
    from highdicom.sr import srread

    counted = cells(("negative", "positive"), (580, 420))
    case = findings_of_case("CASE-7", [slide("D1", stain="Ki-67", cells=counted)])
    entry = {
        "key": "ki67.positive_percent",
        "value": 42,
        "reader": "dr-a",
        "event": "e",
        "time": "t",
    }
    case = revise(case, [entry])  # what a person entered has a band
    write_measurements(tmp_path / "sr.dcm", case, [read_source(file, info, "CASE-7")], value_text)
    content = srread(tmp_path / "sr.dcm").content
    groups = [*content.get_planar_roi_measurement_groups(),
              *content.get_image_measurement_groups()]  # fmt: skip
    coded = next(f for f in case.findings if isinstance(f.value, Category))
    group = next(g for g in groups if g.tracking_identifier == coded.id)
    answers = {q.value.value: q.value.meaning for q in group.get_qualitative_evaluations()}
    assert answers[coded.value.code] == value_text(coded)


def test_a_signed_report_is_final(tmp_path, file, info):
    source = read_source(file, info, "CASE-7")
    for signed in (False, True):
        write_measurements(tmp_path / str(signed), _case(), [source], value_text, signed=signed,
                           time="2026-03-04T05:06:07Z" if signed else "")  # fmt: skip
    draft, final = (dcmread(tmp_path / str(s)) for s in (False, True))
    assert (final.CompletionFlag, final.ContentDate, final.ContentTime) == (
        "COMPLETE", "20260304", "050607")  # fmt: skip
    assert draft.SOPInstanceUID != final.SOPInstanceUID
    assert "DRAFT" in draft.SeriesDescription


def test_another_file_or_another_kind_is_refused(file, info):
    with pytest.raises(PathaiError, match="E163"):
        read_source(file, info.model_copy(update={"quick_id": "1" * 64}), "C")
    with pytest.raises(PathaiError, match="E193"):
        read_source(file, info.model_copy(update={"vendor": "aperio"}), "C")
    with pytest.raises(PathaiError, match="E137"):
        read_source(file, info.model_copy(update={"width": 100}), "C")


def test_the_draft_of_a_dicom_slide_has_a_structured_report(tmp_path, file, info):
    folder = ResultsFolder(tmp_path).case("CASE-7")
    folder.path.mkdir(parents=True)
    folder.findings.write_text(canonical(_case()), "utf-8")
    folder.slide("D1").path.mkdir(parents=True)
    write_slide_info(folder.slide("D1").slide_json, info)
    out = Commit(folder.base("draft"), DRAFT_FILES)
    run(folder, ReportConfig(), out, {"D1": file})
    assert dcmread(folder.path / "sr.dcm.part").PatientID == "CASE-7"
    write_slide_info(folder.slide("D1").slide_json, info.model_copy(update={"quick_id": "1" * 64}))
    other = Commit(folder.base("draft"), DRAFT_FILES)
    run(folder, ReportConfig(), other, {"D1": file})
    assert [code for code, _, _ in other.problems] == ["E163"]  # said, and the draft goes on


def test_nuclei_and_findings_are_exported_by_the_verb(tmp_path, file, info):
    results = ResultsFolder(tmp_path / "run" / "results")
    folder = results.slide("D1")
    folder.path.mkdir(parents=True)
    write_slide_info(folder.slide_json, info)
    _, some = nuclei(40)
    key = Key("tile", 1, "", ("tiles.zarr",))
    run_stage(folder.base("tile"), "D1", key, {}, lambda out: out.part("tiles.zarr").mkdir())
    cells_key = Key("cells", 1, "", cells_files("classical"))
    run_stage(folder.base("cells", "classical"), "D1", cells_key, {},
              lambda out: write_cells(out.part("classical.zarr"), some))  # fmt: skip
    out = tmp_path / "ann.dcm"
    assert export_annotations(folder, out, file, "CASE-7") == 40
    with pytest.raises(PathaiError, match="E193"):
        export_annotations(folder, out, file, "CASE-7")
    case = results.case("CASE-7")
    case.path.mkdir(parents=True)
    key = Key("findings", 1, "", ("findings.json",))
    text = canonical(_case())
    run_stage(case.base("findings"), "CASE-7", key, {},
              lambda out: out.part("findings.json").write_text(text, "utf-8"))  # fmt: skip
    sr = tmp_path / "sr.dcm"
    assert export_measurements(case, sr, {"D1": file}, value_text) > 5
    assert dcmread(sr).Modality == "SR"
    with pytest.raises(PathaiError, match="E193"):
        export_measurements(case, tmp_path / "none.dcm", {}, value_text)
