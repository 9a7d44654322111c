"""The pipeline on a real Slurm of one node: kills, one command to resume, a GPU, the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from workflow.commands import PATHAI, contents, pathai

from pathai import cluster
from pathai.testing.synthetic import Recipe, write_slide

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "envs" / "slurm_node.sh"
HASTE = (
    *("--slurm-init-seconds-before-status-checks", "2"),
    *("--seconds-between-status-checks", "2"),
    *("--latency-wait", "20"),
)
"""A small cohort would mostly wait between two looks at the queue."""
PATIENCE_S = 600


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of one node, ended whatever happens; in CI its packages must be there."""
    lacks = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)]
    if (lacks or os.getuid() != 0) and not os.environ.get("CI"):
        pytest.skip(f"needs root and {', '.join(lacks)}: envs/slurm_node.sh install")
    folder = tmp_path_factory.mktemp("slurm")
    log = folder / "start.log"
    try:
        with log.open("w") as out:  # daemons would keep a pipe open
            subprocess.run([NODE, "start", folder / "c"], stdout=out, stderr=out, check=True)
        yield
    finally:
        subprocess.run([NODE, "stop", folder / "c"], check=True, timeout=120)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """Environment with the executor plugin, which the tests' own environment does not have."""
    if not [what for what in cluster.lacking() if "plugin" in what]:
        return {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["slurm"]
    names = [*extra, "snakemake-executor-plugin-slurm-jobstep", "throttler"]
    folder = tmp_path_factory.mktemp("plugin")
    call = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    subprocess.run([*call, *names], check=True, capture_output=True)
    paths = [os.environ.get("PYTHONPATH", ""), str(folder)]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    for i in range(2):
        write_slide(folder / f"S{i}.svs", Recipe(seed=2 * i, width=700, height=600, mpp=0.5))
    return folder


def new_run(folder, slides, more=""):
    folder.mkdir(parents=True)
    head = "slide_id\tpath\tcase_id\tpatient_id\tstain\n"
    rows = [f"S{i}\t{slides}/S{i}.svs\tC{i}\tP{i}\tH&E\n" for i in range(2)]
    (folder / "slides.tsv").write_text(head + "".join(rows))
    (folder / "config.yaml").write_text("run: {slides_per_job: 2}\n" + more)
    return folder


def jobs(state):
    """Everything that Slurm knows of a run's jobs, ended ones too, by job id."""
    asked = subprocess.run(
        ["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=True
    )
    found = {}
    for line in asked.stdout.splitlines():
        fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
        if fields.get("JobName", "").startswith(f"{cluster.job_name(state)}_"):
            found[fields["JobId"]] = fields
    return found


def wait_for(what, process):
    """The first true answer, while the run goes on."""
    late = time.monotonic() + PATIENCE_S
    while time.monotonic() < late:
        found = what()
        if found:
            return found
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.05)
    pytest.fail("it never happened")


def worker(folder, stage, not_pid=0):
    """Process id of the batch of a stage that works now."""
    for mark in (folder / ".pathai" / "workers").glob(f"{stage}-*"):
        whole = mark.suffix != ".part" and mark.exists()
        text = mark.read_text().split("\n")[0] if whole else ""
        if text.isdigit() and int(text) != not_pid:
            return int(text)
    return 0


def test_a_killed_job_and_a_killed_scheduler_change_nothing(slurm, plugin, slides, tmp_path):
    local = new_run(tmp_path / "local" / "run", slides)
    done = pathai("run", "--config", local / "config.yaml", "--cores", 2)
    assert done.returncode == 0, done.stderr

    folder = new_run(tmp_path / "cluster" / "run", slides)
    command = [str(PATHAI), "run", "--config", str(folder / "config.yaml"), "--profile", "slurm"]
    environment = {**os.environ, **plugin}
    said = tmp_path / "said.txt"
    with said.open("w") as out:
        run = subprocess.Popen(
            [*command, "--", *HASTE], env=environment, stderr=out, stdout=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        first = wait_for(lambda: worker(folder, "cells"), run)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: worker(folder, "cells", not_pid=first), run)  # Snakemake's retry
    finally:
        run.kill()
        run.wait()
    state = folder / ".pathai"
    orphans = {i for i, job in jobs(state).items() if job["JobState"] in ("RUNNING", "PENDING")}
    assert orphans, "a killed scheduler leaves its jobs on the cluster"

    again = subprocess.run(
        [*command, "--", *HASTE], env=environment, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stdout + again.stderr
    known = jobs(state)
    assert {known[i]["JobState"] for i in orphans} == {"CANCELLED"}
    assert contents(folder / "results") == contents(local / "results")
    assert not list(folder.rglob("*.part"))
    assert not (state / "lock").exists()
    assert pathai("verify", folder / "results").returncode == 0
    memory = {int(job["MinMemoryNode"].rstrip("MG")) for job in known.values()}
    assert max(memory) > 2 * min(memory), "memory is asked for by stage and attempt"
    before = set(known)
    idle = subprocess.run([*command, "--", *HASTE], env=environment, capture_output=True, text=True)
    assert idle.returncode == 0, idle.stderr
    assert set(jobs(state)) == before, "what is done is not submitted again"


def test_a_network_gets_a_gpu_and_the_rest_none(slurm, plugin, slides, tmp_path):
    folder = new_run(tmp_path / "run", slides, "features: {encoders: [tissue-small]}\n")
    call = ("run", "--config", folder / "config.yaml", "--profile", "slurm-gpu", "--")
    done = pathai(*call, *HASTE, "--until", "features", **plugin)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.glob("results/slides/*/features/*.manifest.json"))) == 2
    found = {job["Comment"]: job for job in jobs(folder / ".pathai").values()}
    asked = {name: "gpu:1" in job.get("TresPerJob", "") for name, job in found.items()}
    assert sorted(asked.values()) == [False, True], asked
    assert all(job["JobState"] == "COMPLETED" for job in found.values())


def test_a_run_without_slurm_says_what_is_missing(slides, tmp_path):
    folder = new_run(tmp_path / "run", slides)
    if not [what for what in cluster.lacking() if "plugin" in what]:
        pytest.skip("the plugin is installed here")
    done = pathai("run", "--config", folder / "config.yaml", "--profile", "slurm")
    assert done.returncode == 1
    assert "E194" in done.stderr
    assert "pip install 'pathai[slurm]'" in done.stderr
    assert not (folder / ".pathai" / "cluster").exists()
