"""Jobs that an earlier run left on a cluster: ended before anything is written, or loudly not."""

import os
import stat
import sys

import pytest

from pathai import cluster, doctor
from pathai.errors import PathaiError

QUEUE = """#!{python}
import sys
from pathlib import Path
queue = Path({queue!r})
if "squeue" in sys.argv[0]:
    sys.stdout.write(queue.read_text())
else:
    rows = queue.read_text().splitlines(keepends=True)
    queue.write_text("".join(r for r in rows if r.split()[0] not in sys.argv[1:]))
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A queue in a file, that squeue shows and scancel shortens."""
    monkeypatch.setattr(cluster, "POLL_S", 0.01)
    monkeypatch.setattr(cluster, "END_S", 1.0)
    programs = tmp_path / "bin"
    programs.mkdir()
    file = tmp_path / "queue"
    for name in ("squeue", "scancel", "sbatch"):
        (programs / name).write_text(QUEUE.format(python=sys.executable, queue=str(file)))
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return file


@pytest.fixture
def state(tmp_path):
    (tmp_path / ".pathai").mkdir()
    return tmp_path / ".pathai"


def test_only_jobs_of_this_folder_are_canceled(queue, state, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    own = cluster.job_name(state)
    foreign = f"8 {cluster.job_name(other)}_x\n9 somebody\n10 {own}x_y\n"
    queue.write_text(f"5 {own}_a\n6 {own}_b\n{foreign}")
    assert cluster.end_jobs(state) == 2
    assert queue.read_text() == foreign
    assert cluster.end_jobs(state) == 0


def test_the_name_of_a_folder_is_drawn_once_and_fit_for_the_plugin(state, tmp_path):
    name = cluster.job_name(state)
    assert cluster.job_name(state) == name
    assert len(name) <= 50
    assert name.replace("-", "").isalnum()
    (tmp_path / "b").mkdir()
    assert cluster.job_name(tmp_path / "b") != name


def test_a_folder_that_never_saw_a_cluster_asks_none(state, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert cluster.end_jobs(state) == 0


def test_jobs_that_do_not_end_stop_the_run(queue, state):
    queue.write_text(f"5 {cluster.job_name(state)}_a\n")
    scancel = queue.parent / "bin" / "scancel"
    scancel.write_text("#!/bin/sh\n")
    with pytest.raises(PathaiError, match=r"E175.*do not end"):
        cluster.end_jobs(state)


def test_a_cluster_that_cannot_be_asked_stops_the_run(queue, state):
    """Two writers would be worse than waiting for a person."""
    cluster.job_name(state)
    squeue = queue.parent / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(PathaiError, match=r"E175.*Unable to contact") as caught:
        cluster.end_jobs(state)
    assert ".pathai/cluster" in caught.value.remedy


def test_the_executor_of_a_profile_and_of_arguments(tmp_path):
    (tmp_path / "config.yaml").write_text("executor: slurm\njobs: 4\n")
    assert cluster.executor(tmp_path) == "slurm"
    assert cluster.executor(tmp_path, ("--executor", "local")) == "local"
    assert cluster.executor(None, ("--jobs", "2", "--executor=slurm")) == "slurm"
    assert cluster.executor(None, ("-e", "slurm")) == "slurm"
    assert cluster.executor(None, ("-e",)) == ""
    assert cluster.executor(None) == ""


def test_what_is_missing_is_said_with_its_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    assert set(cluster.lacking()) == {"executor plugin", "sbatch", "squeue", "scancel"}
    with pytest.raises(PathaiError, match=r"E194.*executor plugin") as caught:
        cluster.require("slurm")
    assert "pathai[slurm]" in caught.value.remedy
    cluster.require("")
    cluster.require("kubernetes")


def states(profile):
    return {c.name: (c.ok, c.found) for c in doctor.check(None, profile)}


def test_doctor_says_what_a_profile_needs(monkeypatch, queue):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    found = states("slurm")
    assert found["profile"] == (True, "slurm: slurm")
    assert found["executor plugin"] == (False, "missing")
    assert found["sbatch"] == (True, "yes")
    assert "slurm" not in found, "a cluster is asked once everything is there"
    assert "sbatch" not in states("local")
    assert "profile" not in states("")
    with pytest.raises(PathaiError, match="E193"):
        states("slurn")


def test_doctor_asks_the_cluster_for_its_nodes(monkeypatch, queue):
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    sinfo = queue.parent / "bin" / "sinfo"
    sinfo.write_text("#!/bin/sh\nprintf 'n1 64\\nn2 32\\nn2 32\\n'\n")
    sinfo.chmod(stat.S_IRWXU)
    assert states("slurm-gpu")["slurm"] == (True, "2 nodes, 96 cores")
    sinfo.write_text("#!/bin/sh\nexit 1\n")
    assert states("slurm-gpu")["slurm"] == (False, "does not answer")
