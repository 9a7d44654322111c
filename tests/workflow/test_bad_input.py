"""One bad slide never stops the others, and each says what is wrong and what to do."""

import csv
import shutil
import zipfile

import numpy as np
import pytest
from workflow.commands import contents, pathai

from pathai.errors import CODES
from pathai.plan import Plan
from pathai.store.commit import manifest_path
from pathai.store.manifest import read_manifest
from pathai.testing.synthetic import Recipe, write_slide, write_svs

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("bad")]

HEADER = "slide_id\tpath\tcase_id\tpatient_id\tstain\tmpp\n"
SIZE = {"width": 700, "height": 700}

EXPECTED = {
    "DIR": ("failed", "E103"),
    "EMPTY": ("failed", "E101"),
    "GLASS": ("skipped", "E145"),
    "MISSING": ("failed", "E102"),
    "MPP100": ("failed", "E131"),
    "NOMPP": ("failed", "E130"),
    "TEXT": ("failed", "E104"),
    "TRUNC": ("failed", "E110"),
    "VSI": ("failed", "E135"),
    "ZIP": ("failed", "E104"),
}


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """A good slide and one of each kind of bad file."""
    folder = tmp_path_factory.mktemp("slides")
    write_slide(folder / "GOOD.svs", Recipe(seed=2, mpp=0.5, **SIZE))
    write_slide(folder / "NOMPP.svs", Recipe(seed=4, mpp=0.5, **SIZE), mpp_in_file=False)
    good = (folder / "GOOD.svs").read_bytes()
    rng = np.random.default_rng(1)
    glass = (rng.normal(243, 1, (700, 700, 3))).clip(0, 255).astype(np.uint8)
    write_svs(folder / "GLASS.svs", glass, 0.5)
    picture = np.full((700, 700, 3), 200, np.uint8)
    write_svs(folder / "MPP100.svs", picture, 0.005)
    (folder / "DIR.svs").mkdir()
    (folder / "EMPTY.svs").write_bytes(b"")
    (folder / "TRUNC.svs").write_bytes(good[: len(good) // 2])
    (folder / "TEXT.svs").write_text("see the shared drive\n" * 40)
    (folder / "VSI.vsi").write_bytes(good[:512])
    with zipfile.ZipFile(folder / "ZIP.svs", "w") as packed:
        packed.writestr("slide.svs", good)
    return folder


def write_run(folder, slides, ids):
    names = {"VSI": "VSI.vsi"}
    lines = [
        f"{i}\t{slides / names.get(i, f'{i}.svs')}\tC-{i}\tP-{i}\tH&E\t\n" for i in sorted(ids)
    ]
    folder.mkdir()
    (folder / "slides.tsv").write_text(HEADER + "".join(lines))
    (folder / "config.yaml").write_text("run: {slides_per_job: 6}\n")
    return folder


@pytest.fixture(scope="module")
def mixed(slides, tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("mixed") / "run", slides, [*EXPECTED, "GOOD"])
    return folder, pathai("run", "--config", folder / "config.yaml", "--cores", 2)


def test_exit_code_is_1_and_the_table_is_printed(mixed, slides):
    _, done = mixed
    assert done.returncode == 1
    for slide_id, (status, code) in EXPECTED.items():
        lines = [line for line in done.stderr.splitlines() if f"{slide_id}:" in line]
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith(status)
        assert code in lines[0]
        assert "slides.tsv row" in lines[0]
        assert f"({slides}/{slide_id}." in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("slide_id", EXPECTED)
def test_status_file_says_what_happened(mixed, slide_id):
    folder, _ = mixed
    slide = Plan(folder / "config.yaml").results.slide(slide_id)
    status, code = EXPECTED[slide_id]
    stage = "tile" if status == "skipped" else "ingest"
    manifest = read_manifest(manifest_path(slide.base(stage)))
    assert manifest.status == status
    problem = manifest.problems[0]
    assert problem.code == code
    assert problem.code in CODES
    assert slide_id in problem.message
    assert problem.remedy
    assert not [p for p in slide.path.iterdir() if p.name.endswith(".part")]
    assert not slide.tiles.exists()


def test_every_problem_is_in_failures_tsv_without_a_path(mixed, slides):
    folder, _ = mixed
    text = (folder / "results" / "cohort" / "failures.tsv").read_text()
    found = {row["slide_id"]: row for row in csv.DictReader(text.splitlines(), delimiter="\t")}
    assert {i: (r["status"], r["code"]) for i, r in found.items()} == EXPECTED
    assert all(row["message"] and row["remedy"] for row in found.values())
    assert str(slides) not in text


def test_the_good_slide_is_what_it_is_without_the_bad_ones(mixed, slides, tmp_path):
    folder, _ = mixed
    alone = write_run(tmp_path / "alone", slides, ["GOOD"])
    done = pathai("run", "--config", alone / "config.yaml", "--cores", 2)
    assert done.returncode == 0, done.stderr
    assert contents(folder / "results/slides/GOOD") == contents(alone / "results/slides/GOOD")
    assert contents(folder / "results/cases/C-GOOD") == contents(alone / "results/cases/C-GOOD")


def test_results_of_a_mixed_run_verify(mixed):
    folder, _ = mixed
    assert pathai("verify", folder / "results").returncode == 0


@pytest.mark.slow
def test_a_mended_slide_is_taken_up_by_the_next_run(mixed, slides, tmp_path):
    folder = shutil.copytree(mixed[0], tmp_path / "run")
    text = (folder / "slides.tsv").read_text()
    mended = "\n".join(
        line.replace("\tH&E\t", "\tH&E\t0.5") if line.startswith("NOMPP") else line
        for line in text.splitlines()
        if line.split("\t")[0] in ("slide_id", "NOMPP", "GOOD")
    )
    (folder / "slides.tsv").write_text(mended + "\n")
    done = pathai("run", "--config", folder / "config.yaml", "--cores", 2)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ("../x\tGOOD.svs\tC\tP\tH&E\t\n", "E151"),
        ("$(touch PWNED)\tGOOD.svs\tC\tP\tH&E\t\n", "E151"),
        ("A\tGOOD.svs\tC\tP\tH&E\t\nA\tGOOD.svs\tC\tP\tH&E\t\n", "E152"),
        ("A\tGOOD.svs\tC\tP\tH&E\tten\n", "E154"),
    ],
)
def test_a_wrong_sheet_is_a_wrong_call_and_nothing_is_written(tmp_path, rows, code):
    (tmp_path / "slides.tsv").write_text(HEADER + rows)
    (tmp_path / "config.yaml").write_text("schema_version: 1\n")
    done = pathai("run", "--config", tmp_path / "config.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert code in done.stderr
    assert "slides.tsv" in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"slides.tsv", "config.yaml"}


def test_an_unknown_key_is_a_wrong_call(tmp_path):
    (tmp_path / "slides.tsv").write_text(HEADER + "A\tGOOD.svs\tC\tP\tH&E\t\n")
    (tmp_path / "config.yaml").write_text("cells: {detectr: classical}\n")
    done = pathai("run", "--config", tmp_path / "config.yaml")
    assert done.returncode == 2
    assert "cells.detectr" in done.stderr
    assert "detector" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_second_run_of_the_same_folder_is_told_who_owns_it(tmp_path, slides):
    folder = write_run(tmp_path / "run", slides, ["GOOD"])
    plan = Plan(folder / "config.yaml")
    from pathai.run import owned

    with owned(plan):
        done = pathai("run", "--config", folder / "config.yaml")
    assert done.returncode == 75
    assert "process" in done.stderr
    lock = plan.state / "lock"
    lock.write_text("999999\n0.00\n")  # what a killed run leaves
    assert pathai("run", "--config", folder / "config.yaml", "-n").returncode == 0


@pytest.mark.real
@pytest.mark.slow
def test_real_slides_of_two_readers_through_the_chain(finished_demo, test_data, tmp_path):
    """An Aperio slide by openslide and an OME-TIFF by tiffslide, with the demo's model."""
    model = finished_demo / "models" / "tumor"
    sheet = f"CMU\t{test_data}/slides/CMU-1-Small-Region.svs\tC1\tP1\tH&E\t\n"
    sheet += f"OS1\t{test_data}/slides/OS-1-detail_HE.ome.tif\tC2\tP2\tH&E\t\n"
    (tmp_path / "slides.tsv").write_text(HEADER + sheet)
    (tmp_path / "config.yaml").write_text(f"predict: {{models: ['{model}']}}\n")
    done = pathai("run", "--config", tmp_path / "config.yaml", "--cores", 2)
    assert done.returncode == 0, done.stderr
    plan = Plan(tmp_path / "config.yaml")
    readers = {i: plan.results.slide(i).read_slide().reader for i in ("CMU", "OS1")}
    assert readers == {"CMU": "openslide", "OS1": "tiffslide"}
    for slide_id in readers:
        slide = plan.results.slide(slide_id)
        assert len(slide.read_features("morphology").x) > 0
        counts = slide.read_cells_attrs("nuclei-small")
        assert counts.count.value > 0
        assert counts.density_per_mm2.low < counts.density_per_mm2.high
        assert slide.read_prediction("tumor").attrs.out_of_distribution
    draft = plan.results.case("C1").draft("md").read_text()
    assert "OUT OF DISTRIBUTION" in draft
    assert "OUT OF DISTRIBUTION" in (plan.results.cohort / "index.html").read_text()
