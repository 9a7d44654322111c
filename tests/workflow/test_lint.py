"""Snakemake's own lint, formatting, and the files that rules name."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import pathai
from pathai.run import shipped

pytestmark = pytest.mark.workflow
ROOT = Path(__file__).resolve().parents[2]
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOLS = TOML["project"], TOML["tool"]


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


def test_the_environments_of_conda_and_containers_are_of_one_python():
    environment = yaml.safe_load(shipped("envs/pathai.yaml").read_text())
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    version = python.partition("=")[2]
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    for name in ("pathai.def", "Dockerfile"):
        text = (ROOT / "envs" / name).read_text()
        assert re.findall(r"(?im)^from:? +(\S+)", text) == [f"python:{version}-slim-bookworm"]
        assert f"envs/constraints-{version}.txt" in text


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_pins_satisfy_the_project(python):
    """An image that is built by the pins holds what pyproject asks for, all of it."""
    lines = (ROOT / "envs" / f"constraints-{python}.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    extra = PROJECT["optional-dependencies"]["llm"]
    for text in [*PROJECT["dependencies"], *extra]:
        asked = Requirement(text)
        name = canonicalize_name(asked.name)
        assert name in pins, f"{name} is not pinned"
        assert asked.specifier.contains(pins[name]), f"{text}, pinned {pins[name]}"


def test_images_take_files_that_exist_and_extras_that_exist():
    recipe = (ROOT / "envs" / "pathai.def").read_text()
    docker = (ROOT / "envs" / "Dockerfile").read_text()
    files = recipe.partition("%files")[2].partition("\n%")[0].split("\n")
    taken = {line.split()[0]: line.split()[1] for line in files if line.strip()}
    copied = [line.split()[1:] for line in docker.splitlines() if line.startswith("COPY")]
    sources = {source for *names, _ in copied for source in names}
    assert set(taken) == sources
    for source in sources:
        assert (ROOT / source).exists(), source
    force = TOOLS["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for needed in ["pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], *force]:
        assert needed.split("/")[0] in sources, f"{needed} is needed to build the wheel"
    for text in (recipe, docker):
        (names,) = re.findall(r"/opt/pathai\[(.+?)\]", text)
        assert set(names.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_image_that_rules_name_is_the_one_that_is_built():
    (named,) = re.findall(r'^container: "(.+)"', shipped("Snakefile").read_text(), re.MULTILINE)
    assert f"apptainer build {named} envs/pathai.def" in (ROOT / "envs" / "pathai.def").read_text()


def test_captions_of_the_report_exist():
    files = [shipped("Snakefile"), *shipped("workflows").rglob("*.smk")]
    found = [
        (file.parent / name).resolve()
        for file in files
        for name in re.findall(r'"([^"]+\.rst)"', file.read_text())
    ]
    assert len(found) == 3
    assert all(path.is_file() for path in found), found
    assert set(found) == {p.resolve() for p in shipped("workflows/report").iterdir()}


def test_every_rule_says_what_it_needs_and_where_it_writes_of_itself():
    for file in shipped("workflows").rglob("*.smk"):
        for rule in re.split(r"(?m)^(?=rule )", file.read_text())[1:]:
            name = rule.split()[1].rstrip(":")
            for word in ("log:", "benchmark:", "conda:", "mem_mb=", "runtime=", "gpu="):
                assert word in rule, f"{name} has no {word}"
            assert rule.count('"pathai ') == 1, f"{name} is not one call of pathai"
            for asked in re.findall(r'asks\("\w+", "(\w+)"\)', rule):
                assert asked == name


def test_the_catalog_file_says_what_there_is():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["software-stack-deployment"]["conda"] is True


def test_the_local_profile_is_accepted(empty_run):
    profile = shipped("workflows/profiles/local")
    done = snakemake(empty_run, "-n", "--profile", str(profile))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["slurm", "slurm-gpu"])
def test_profiles_of_a_cluster_keep_clear_of_the_known_traps(name):
    """They are run by test_slurm.py."""
    profile = yaml.safe_load(shipped(f"workflows/profiles/{name}/config.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["slurm-status-command"] == "squeue"
    assert profile["latency-wait"] >= 30
    assert profile["rerun-incomplete"]
    assert "keep-incomplete" not in profile
    rules = {f.split()[1].rstrip(":") for s in shipped("workflows").rglob("*.smk")
             for f in re.split(r"(?m)^(?=rule )", s.read_text())[1:]}  # fmt: skip
    assert set(profile.get("set-resources", {})) <= rules
    assert {g.partition("=")[0] for g in profile.get("groups", [])} <= rules


def test_the_plugin_of_slurm_is_an_extra_alone():
    """Where it is installed, each start of Snakemake loads it and asks Slurm."""
    extras = dict(PROJECT["optional-dependencies"])
    assert [Requirement(r).name for r in extras.pop("slurm")] == ["snakemake-executor-plugin-slurm"]
    rest = [*PROJECT["dependencies"], *(r for names in extras.values() for r in names)]
    assert not [r for r in rest if "slurm" in r]


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
        "workflows/report/cohort.rst",
        "workflows/profiles/slurm/config.yaml",
    ):
        assert f"pathai/_shipped/{name}" in inside
    assert "pathai/viewer/napari.yaml" in inside
    for name in ("openseadragon.min.js", "openseadragon.LICENSE.txt"):
        assert f"pathai/share/vendor/{name}" in inside
    for name in ("weights.safetensors", "card.json", "log.json"):
        assert f"pathai/encoders/tissue_small/{name}" in inside
