"""Every verb on its own, as a person calls it."""

import json
import subprocess
import sys

import pytest
from workflow.commands import pathai

from pathai.errors import CODES
from pathai.testing.synthetic import Recipe, write_slide

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("cli")]


def ok(*arguments, **options):
    done = pathai(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide taken through the verbs one by one, without a configuration."""
    folder = tmp_path_factory.mktemp("single")
    write_slide(folder / "a slide's name; $(x).svs", Recipe(seed=6, width=800, height=700, mpp=0.5))
    out = folder / "results" / "slides" / "S1"
    ok("ingest", folder / "a slide's name; $(x).svs", "-o", out)
    ok("tile", out, "--slide", folder / "a slide's name; $(x).svs")
    ok("features", out, "--encoder", "morphology")
    ok("cells", out, "--detector", "classical")
    return out


def test_importing_pathai_loads_nothing_heavy():
    code = (
        "import sys, pathai, pathai.cli; "
        "print([m for m in ('torch', 'numpy', 'zarr', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_every_verb_of_the_frame():
    text = ok("--help").stdout
    verbs = "demo init doctor run ingest tile features cells train predict report review export"
    for verb in [*verbs.split(), "deid", "verify", "list", "cohort"]:
        assert f"  {verb} " in text


def test_stages_one_by_one(slide):
    names = {p.name for p in slide.iterdir()}
    assert {"slide.json", "tiles.zarr", "tissue.zarr", "features", "cells"} <= names
    assert not [n for n in names if n.endswith(".part")]
    ok("verify", slide)


def test_a_second_call_does_not_work_again(slide):
    before = (slide / "tiles.zarr" / "zarr.json").stat().st_mtime_ns
    ok("tile", slide, "--slide", slide.parents[2] / "a slide's name; $(x).svs")
    assert (slide / "tiles.zarr" / "zarr.json").stat().st_mtime_ns == before


def test_tile_outside_of_a_run_asks_for_the_file(slide):
    done = pathai("tile", slide)
    assert done.returncode == 2
    assert "--slide" in done.stderr


@pytest.mark.parametrize("format", ["geojson", "csv", "geoparquet", "ome-zarr"])
def test_export(slide, tmp_path, format):
    ok("export", slide, "--format", format, "-o", tmp_path / f"out.{format}")
    assert (tmp_path / f"out.{format}").exists()
    again = pathai("export", slide, "--format", format, "-o", tmp_path / f"out.{format}")
    assert again.returncode == 2
    assert "E193" in again.stderr


@pytest.mark.parametrize(
    "what",
    ["encoders", "heads", "detectors", "drafters", "tasks", "templates", "keys", "rules", "errors"],
)
def test_list(what):
    assert ok("list", what).stdout.strip()
    assert json.loads(ok("list", what, "--json").stdout)


def test_list_of_errors_is_the_table():
    assert set(json.loads(ok("list", "errors", "--json").stdout)) == set(CODES)


def test_list_of_nothing_names_what_there_is():
    done = pathai("list", "encoder")
    assert done.returncode == 2
    assert "encoders" in done.stderr


def test_doctor_in_json_says_what_is_there(tmp_path):
    found = {c["name"]: c for c in json.loads(ok("doctor", "--json").stdout)}
    assert found["torch"]["ok"]
    (tmp_path / "config.yaml").write_text("cells: {detector: no-such}\n")
    done = pathai("doctor", "--config", tmp_path / "config.yaml")
    assert done.returncode == 1
    assert "no-such" in done.stderr
    assert "slides.tsv" in done.stderr


def test_init_lists_every_slide_and_the_run_folder_is_valid(tmp_path, slide):
    source = slide.parents[2]
    ok("init", tmp_path / "run", "--slides", source)
    lines = (tmp_path / "run" / "slides.tsv").read_text().splitlines()
    assert len(lines) == 2
    assert "a slide's name; $(x).svs" in lines[1]
    ok("run", "--config", tmp_path / "run" / "config.yaml", "-n")
    again = pathai("init", tmp_path / "run", "--slides", source)
    assert again.returncode == 2
    assert "E193" in again.stderr


def test_the_configuration_that_is_named_is_the_one_that_runs(tmp_path, slide):
    """Not the ``config.yaml`` beside it."""
    ok("init", tmp_path / "run", "--slides", slide.parents[2])
    beside = tmp_path / "run" / "config.yaml"
    beside.rename(tmp_path / "run" / "other.yaml")
    beside.write_text("features: {encoders: [no-such-encoder]}\nno_such_key: 1\n")
    ok("run", "--config", tmp_path / "run" / "other.yaml", "-n")


@pytest.mark.real
def test_init_takes_a_dicom_series_as_one_slide(tmp_path, test_data):
    ok("init", tmp_path / "run", "--slides", test_data / "slides" / "dicom-cmu-jpeg")
    assert len((tmp_path / "run" / "slides.tsv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "arguments",
    [["run", "--cores", "x"], ["nonsense"], ["ingest"], ["features"], ["predict", "x"], ["train"]],
)
def test_a_wrong_call_exits_2_without_traceback(arguments, tmp_path):
    done = pathai(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_review_without_a_display_says_so(slide):
    done = pathai("review", slide.parents[2], DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "E21" in done.stderr or "E193" in done.stderr
