"""Snakemake's own lint, formatting, and the files that rules name."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import pathai
from pathai.run import shipped

pytestmark = pytest.mark.workflow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def empty_run(tmp_path):
    (tmp_path / "config.yaml").write_text("schema_version: 1\n")
    header = "slide_id\tpath\tcase_id\tpatient_id\n"
    (tmp_path / "slides.tsv").write_text(header + "S1\ts1.svs\tC1\tP1\n")
    return tmp_path


def snakemake(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", shipped("Snakefile"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
    )


def test_lint_is_clean(empty_run):
    done = snakemake(empty_run, "--lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Lints for" not in done.stdout + done.stderr


def test_a_bare_call_finds_the_whole_chain(empty_run):
    """A root Snakefile that only includes others would say that there is nothing to do."""
    done = snakemake(empty_run, "-n", "--cores", "1")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    for rule in ("ingest", "tile", "features", "cells", "predict", "report", "cohort"):
        assert f"rule {rule}:" in text


def test_every_value_in_a_shell_line_is_quoted():
    for file in [shipped("Snakefile"), *shipped("workflows").rglob("*.smk")]:
        for line in file.read_text().splitlines():
            if "pathai " in line and "{" in line:
                fields = [part.split("}")[0] for part in line.split("{")[1:]]
                assert fields, line
                assert all(field.endswith(":q") for field in fields), line


def test_the_conda_environment_pins_this_version():
    environment = yaml.safe_load(shipped("envs/pathai.yaml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == [f"pathai=={pathai.__version__}"]


def test_profiles_are_accepted(empty_run):
    profile = shipped("workflows/profiles/local")
    done = snakemake(empty_run, "-n", "--profile", str(profile))
    assert done.returncode == 0, done.stderr


def test_the_wheel_carries_workflow_and_configs(tmp_path):
    """Installed without the repository, `pathai run` finds its Snakefile."""
    wheel = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    built = subprocess.run([sys.executable, "-m", "pip", *wheel], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    inside = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    for name in (
        "Snakefile",
        "workflows/rules/slides.smk",
        "configs/config.yaml",
        "envs/pathai.yaml",
    ):
        assert f"pathai/_shipped/{name}" in inside
    assert "pathai/viewer/napari.yaml" in inside
    for name in ("openseadragon.min.js", "openseadragon.LICENSE.txt"):
        assert f"pathai/share/vendor/{name}" in inside
    for name in ("weights.safetensors", "card.json", "log.json"):
        assert f"pathai/encoders/tissue_small/{name}" in inside
