"""The lock of a run's folder: one owner, whoever dies, and jobs that end with their run."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from pathai import lock as locks
from pathai.errors import PathaiError
from pathai.lock import OWNER, _remove_dead, owned, refuse_if_owned, working
from pathai.plan import Plan
from pathai.processes import alive, identity, machine

ELSEWHERE = "4242\nboot/17\n0123456789abcdef\n"


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "config.yaml").write_text("{}\n")
    plan = Plan(tmp_path / "config.yaml")
    plan.state.mkdir()
    return plan


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def refused(plan):
    with pytest.raises(PathaiError) as caught, owned(plan):
        raise AssertionError("entered a folder that has an owner")
    assert caught.value.code == "E175"
    return caught.value


def test_the_second_owner_is_told_the_first(plan):
    with owned(plan):
        assert str(os.getpid()) in refused(plan).message
        assert alive((plan.state / "lock").read_text()) == os.getpid()
    assert list(plan.state.iterdir()) == []
    with owned(plan):
        pass


def test_without_hard_links_the_lock_is_still_exclusive(plan, monkeypatch):
    def link(*_):
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(os, "link", link)
    with owned(plan):
        refused(plan)
    assert list(plan.state.iterdir()) == []


def test_no_lock_of_the_system_is_needed(plan, monkeypatch):
    """On a disk where flock and fcntl do not work nothing changes: neither is asked."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with owned(plan):
        refused(plan)


def test_the_lock_of_a_dead_process_is_taken_over(plan, sleeper):
    (plan.state / "lock").write_text(identity(sleeper.pid))
    refused(plan)
    sleeper.kill()
    deadline = time.monotonic() + 10
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with owned(plan):
        assert alive((plan.state / "lock").read_text()) == os.getpid()


@pytest.mark.parametrize("line", [0, 1])
def test_a_reused_process_id_and_another_boot_are_no_owner(plan, line):
    told = identity().split("\n")
    told[line] = {0: "1", 1: "another-boot/" + told[1].partition("/")[2]}[line]
    (plan.state / "lock").write_text("\n".join(told))
    with owned(plan):
        pass


def test_a_lock_of_another_machine_is_kept_while_it_is_touched(plan):
    path = plan.state / "lock"
    path.write_text(ELSEWHERE)
    assert "another machine" in refused(plan).message
    past = time.time() - locks.DEAD_S - 60
    os.utime(path, (past, past))
    with owned(plan):
        assert machine() in path.read_text()


def test_a_lock_that_is_being_written_is_waited_for(plan):
    path = plan.state / "lock"
    path.touch()
    refused(plan)
    past = time.time() - locks.UNWRITTEN_S - 60
    os.utime(path, (past, past))
    refuse_if_owned(plan)
    assert not path.exists()


def test_a_lock_that_was_just_taken_anew_is_not_removed_with_the_dead_one(plan):
    """Two runs find the same dead lock; the slower one must not remove the faster one's."""
    path = plan.state / "lock"
    path.write_text(identity())
    _remove_dead(path, "1\nlong-ago\n" + machine() + "\n")
    assert path.read_text() == identity()
    assert [p.name for p in plan.state.iterdir()] == ["lock"]


def test_a_job_does_not_start_for_a_run_that_is_over(plan, monkeypatch):
    monkeypatch.setenv(OWNER, identity().replace("\n", " "))
    with pytest.raises(PathaiError, match="E175"), working(plan, "tile-0000"):
        raise AssertionError("worked for nobody")
    (plan.state / "lock").write_text(ELSEWHERE)
    with pytest.raises(PathaiError, match="E175"), working(plan, "tile-0000"):
        raise AssertionError("worked beside another run")
    assert not list((plan.state / "workers").iterdir())


JOB = """
import sys, time
from pathlib import Path
from pathai.plan import Plan
from pathai.lock import working
from pathai.processes import Stopped, stoppable
folder = Path(sys.argv[1])
try:
    with stoppable(), working(Plan(folder / "config.yaml"), "tile-0000"):
        (folder / "works").touch()
        time.sleep(60)
except Stopped:
    (folder / "unwound").touch()
"""


@pytest.mark.parametrize("how", ["owner dies", "lock is another's", "lock is gone"])
def test_a_job_ends_with_its_run(plan, sleeper, how):
    """An orphan of a killed scheduler ends by itself, and cleans up, without a second run."""
    path = plan.state / "lock"
    path.write_text(identity(sleeper.pid))
    owner = identity(sleeper.pid).replace("\n", " ")
    command = [sys.executable, "-c", JOB, str(plan.root)]
    job = subprocess.Popen(command, env={**os.environ, OWNER: owner})
    deadline = time.monotonic() + 60
    while not (plan.root / "works").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if how == "owner dies":
        sleeper.kill()
    elif how == "lock is another's":
        path.write_text(ELSEWHERE)
    else:
        path.unlink()
    job.wait(timeout=30)
    assert (plan.root / "unwound").exists()
