"""Kill -9 at random moments, then one command: the same bytes, nothing done twice, no leftovers."""

import os
import random
import signal
import subprocess
import time

import psutil
import pytest
from workflow.commands import PATHAI, contents, pathai, working_in

from pathai.testing.synthetic import Recipe, write_slide

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
HEADER = "slide_id\tpath\tcase_id\tpatient_id\tstain\n"
TRIALS = int(os.environ.get("PATHAI_KILL_TRIALS", "6"))


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    for i in range(4):
        write_slide(folder / f"S{i}.svs", Recipe(seed=2 * i, width=700, height=600, mpp=0.5))
    return folder


def new_run(folder, slides):
    folder.mkdir()
    rows = [f"S{i}\t{slides}/S{i}.svs\tC{i // 2}\tP{i // 2}\tH&E\n" for i in range(4)]
    (folder / "slides.tsv").write_text(HEADER + "".join(rows))
    (folder / "config.yaml").write_text("run: {slides_per_job: 2}\n")
    return folder


@pytest.fixture(scope="module")
def golden(slides, tmp_path_factory):
    folder = new_run(tmp_path_factory.mktemp("golden") / "run", slides)
    start = time.monotonic()
    done = pathai("run", "--config", folder / "config.yaml", "--cores", 2)
    assert done.returncode == 0, done.stderr
    return contents(folder / "results"), time.monotonic() - start


def _below(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_something(process, target, draw):
    """Kill the scheduler, one worker, or the whole group."""
    if target == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif target == "scheduler":
        process.kill()
    else:
        workers = [p for p in _below(process.pid) if "--batch" in " ".join(_cmdline(p))]
        if workers:
            draw.choice(workers).kill()


def _cmdline(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize("trial", range(TRIALS))
def test_resume_after_kill_9_is_bit_identical(trial, golden, slides, tmp_path):
    expected, seconds = golden
    draw = random.Random(trial)
    folder = new_run(tmp_path / "run", slides)
    command = [str(PATHAI), "run", "--config", str(folder / "config.yaml"), "--cores", "2"]
    target = ("group", "scheduler", "worker")[trial % 3]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    time.sleep(draw.uniform(0.1, 0.95) * seconds)
    kill_something(process, target, draw)
    process.wait(timeout=120)
    done = pathai("run", "--config", folder / "config.yaml", "--cores", 2)
    assert done.returncode == 0, done.stderr
    assert contents(folder / "results") == expected
    assert not list(folder.rglob("*.part"))
    assert not (folder / ".pathai" / "lock").exists()
    assert not working_in(folder)
    assert pathai("verify", folder / "results").returncode == 0


def test_killed_beyond_its_retries_is_recorded_and_the_rest_goes_on(slides, tmp_path):
    """A slide whose job dies every time becomes a failed slide, not a failed run."""
    folder = new_run(tmp_path / "run", slides)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'cells' in sys.argv:\n"
        "    import pathai.cells as cells\n"
        "    plain = cells.run\n"
        "    def run(folder, *rest, **named):\n"
        "        if folder.slide_id == 'S1':\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return plain(folder, *rest, **named)\n"
        "    cells.run = run\n"
    )
    config = folder / "config.yaml"
    done = pathai("run", "--config", config, "--cores", 2, PYTHONPATH=str(site))
    assert done.returncode == 1, done.stderr
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert len(failed) == 1
    assert "E173" in failed[0]
    assert "logs/cells/S1.killed.log" in failed[0]
    assert (folder / "logs" / "cells" / "S1.killed.log").is_file()
    assert "S1" in failed[0]
    table = (folder / "results" / "cohort" / "failures.tsv").read_text().splitlines()
    assert len(table) == 2
    assert table[1].startswith("S1\tcells\tfailed\tE173")
    again = pathai("run", "--config", config, "--cores", 2)
    assert again.returncode == 1, "a recorded failure stays until it is asked to be tried again"
    mended = pathai("run", "--config", config, "--cores", 2, "--retry-failed")
    assert mended.returncode == 0, mended.stderr
