"""What happens to a lab: an unmounted share, a full disk, a damaged byte, an impatient person."""

import glob
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from workflow.commands import PATHAI, contents, pathai, tree, working_in

from pathai.plan import Plan
from pathai.processes import identity
from pathai.testing.synthetic import Recipe, write_slide

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("mishaps")]
HEADER = "slide_id\tpath\tcase_id\tpatient_id\tstain\n"


def write_run(folder, ids=("S1", "S2")):
    (folder / "slides").mkdir(parents=True)
    for i in ids:
        recipe = Recipe(seed=2 * int(i[1:]), width=800, height=700, mpp=0.5)
        write_slide(folder / "slides" / f"{i}.svs", recipe)
    rows = [f"{i}\tslides/{i}.svs\tC-{i}\tP-{i}\tH&E\n" for i in ids]
    (folder / "slides.tsv").write_text(HEADER + "".join(rows))
    (folder / "config.yaml").write_text("run: {slides_per_job: 2}\n")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("mishaps") / "run")
    done = pathai("run", "--config", folder / "config.yaml", "--cores", 2)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def again(run, *options):
    return pathai("run", "--config", run / "config.yaml", "--cores", 2, *options)


def test_an_unmounted_share_costs_no_result(run):
    before = tree(run / "results")
    (run / "slides").rename(run / "away")
    done = again(run)
    assert done.returncode == 0, done.stderr
    assert "2 slides cannot be reached" in done.stderr
    assert tree(run / "results") == before
    (run / "away").rename(run / "slides")
    assert again(run).returncode == 0
    assert tree(run / "results") == before


@pytest.mark.parametrize("name", ["tiles.zarr", "cells", "features"])
def test_a_changed_byte_is_mended_by_run_check(run, name):
    before = contents(run / "results")
    top = run / "results" / "slides" / "S1" / name
    path = max((p for p in top.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 16
    path.write_bytes(raw)
    told = pathai("verify", run / "results")
    assert told.returncode == 1
    assert "run --check" in told.stdout
    done = again(run, "--check")
    assert done.returncode == 0, done.stderr
    assert contents(run / "results") == before


def test_a_lock_of_another_machine_is_respected_and_a_zombie_is_dead(run):
    lock = run / ".pathai" / "lock"
    lock.write_text("4242\n1795000000.00\n0123456789abcdef\n")
    done = again(run, "-n")
    assert done.returncode == 75
    assert "another machine" in done.stderr
    assert ".pathai/lock" in done.stderr
    zombie = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    owner = identity(zombie.pid)
    zombie.kill()
    deadline = time.monotonic() + 10
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lock.write_text(owner)
    done = again(run, "-n")
    zombie.wait()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_asked_to_end_it_ends_in_order_and_one_command_goes_on(finished, tmp_path, name):
    """Ctrl-C, kill (or a time limit) and a closed terminal."""
    folder = _without_cells(finished, tmp_path / "run")
    command = [str(PATHAI), "run", "--config", str(folder / "config.yaml"), "--cores", "2"]
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts what it puts in the background with Ctrl-C ignored, and so it stays
        preexec_fn=lambda: signal.signal(getattr(signal, name), signal.SIG_DFL),
    )
    deadline = time.monotonic() + 240
    while not _marks(folder):  # a slide is being worked on
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(getattr(signal, name))
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name), told
    assert f"ended by {name}" in told
    assert "Traceback" not in told
    assert not (folder / ".pathai" / "lock").exists()
    assert not working_in(folder)
    failed = [p for p in folder.rglob("*.manifest.json") if b'"failed"' in p.read_bytes()]
    assert failed == [], "a job that was asked to end is no failed slide"
    done = again(folder)
    assert done.returncode == 0, done.stderr
    assert contents(folder / "results") == contents(finished / "results")


def _marks(folder):
    return glob.glob(str(folder / ".pathai" / "running" / "*" / "*--*"))


def _without_cells(finished, folder):
    """The run as it was before its nuclei were counted."""
    shutil.copytree(finished, folder)
    for slide in (folder / "results" / "slides").iterdir():
        shutil.rmtree(slide / "cells")
    return folder


def _fresh(finished, folder):
    """The same run, of which nothing has been done yet."""
    shutil.copytree(finished / "slides", folder / "slides")
    for name in ("slides.tsv", "config.yaml"):
        shutil.copy(finished / name, folder)
    return folder


def test_a_second_run_is_told_at_once_who_owns_the_folder(run):
    """Before anything that takes time: not even a wrong sheet is read first."""
    (run / ".pathai" / "lock").write_text(identity())
    (run / "slides.tsv").write_text("nonsense\n")
    done = again(run)
    assert done.returncode == 75
    assert f"process {os.getpid()}" in done.stderr
    assert (run / ".pathai" / "lock").read_text() == identity()


def test_a_watch_takes_what_arrives_and_one_bad_file_stops_nothing(run, tmp_path):
    """What is known under another name is not taken, what is half there is not looked at."""
    before = tree(run / "results" / "slides")
    arrived = tmp_path / "scanner"
    arrived.mkdir()
    (arrived / "bad.svs").write_text("no slide")
    (arrived / "half.svs.part").write_text("half a slide")
    shutil.copy(run / "slides" / "S1.svs", arrived / "another name.svs")
    sheet = (run / "slides.tsv").read_text()
    done = again(run, "--watch", arrived, "--settle", "0.2", "--until-idle", "1")
    assert done.returncode == 1, done.stderr
    assert "taken     slide-0001" in done.stderr
    assert "E104" in done.stderr
    (row,) = (run / "slides.tsv").read_text().removeprefix(sheet).splitlines()
    assert row.split("\t") == ["slide-0001", str(arrived / "bad.svs"), "case-0001", "patient-0001",
                               "H&E"]  # fmt: skip
    after = tree(run / "results" / "slides")
    assert {k: v for k, v in after.items() if not k.startswith("slide-0001/")} == before
    (arrived / "bad.svs").unlink()
    (run / "slides.tsv").write_text(sheet)


def test_single_verbs_use_the_runs_own_configuration_and_its_lock(run):
    (run / "config.yaml").rename(run / "mine.yaml")
    assert pathai("run", "--config", run / "mine.yaml").returncode == 0
    before = tree(run / "results")
    done = pathai("cells", run / "results" / "slides" / "S1", "--detector", "nuclei-small")
    assert done.returncode == 0, done.stderr
    assert tree(run / "results") == before
    (run / ".pathai" / "lock").write_text(identity())
    done = pathai("cells", run / "results" / "slides" / "S1")
    assert done.returncode == 75


def test_a_full_disk_is_named_and_the_next_run_goes_on(finished, tmp_path):
    """A limit on the size of a file stands for the disk: the same error, without root."""
    folder = _fresh(finished, tmp_path / "run")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import resource, signal, sys\n"
        "if 'tile' in sys.argv:\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
    )
    command = ("run", "--config", folder / "config.yaml", "--cores", 2)
    done = pathai(*command, PYTHONPATH=str(site))
    assert done.returncode == 1
    assert "E161" in done.stderr, done.stderr
    assert not list((folder / "results").rglob("tiles.zarr"))
    assert pathai(*command).returncode == 0
    assert contents(folder / "results").keys() == contents(finished / "results").keys()


@pytest.mark.slow
def test_a_demo_killed_while_drawing_is_drawn_again(tmp_path):
    command = [str(PATHAI), "demo", "--out", str(tmp_path / "d"), "--slides", "8"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "d.part" / "slides").glob("*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "d").exists()
    from pathai.demo import draw

    draw(tmp_path / "d", cores=1, slides=8, seed=7)
    assert len(Plan(tmp_path / "d" / "config.yaml").sheet.rows) == 8
    assert not (tmp_path / "d.part").exists()


def test_a_sheet_cannot_smuggle_in_infinity(run):
    text = (run / "slides.tsv").read_text().replace("stain\n", "stain\tmpp\n")
    (run / "slides.tsv").write_text(text.replace("P-S1\tH&E", "P-S1\tH&E\tinf"))
    done = again(run)
    assert done.returncode == 2
    assert "row 2, column mpp" in done.stderr


def test_text_of_a_foreign_file_is_not_repeated_in_any_form(tmp_path):
    folder = write_run(tmp_path / "run", ids=("S1",))
    (folder / "slides" / "S1.svs").write_text("Doe^Jane 1931-05-17\n")
    assert again(folder).returncode == 1
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".svs":
            text = path.read_bytes().lower()
            for form in (b"doe^jane", b"44 6f 65", b"446f655e", b"rg9lxkph"):
                assert form not in text, path


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["verify", "slides"], "no results"),
        (["run", "--config", "."], "directory"),
        (["run", "--profile", "nope"], "local"),
        (["ingest", "slides/S1.svs", "-o", "slides.tsv"], "is a file"),
        (["ingest", "slides/S1.svs", "-o", "x/a b"], "unsafe id"),
        (["ingest", "slides/S1.svs", "-o", "x/S1", "--mpp", "nan"], "positive"),
        (["features", "results/slides/S9"], "no slide here"),
        (["features", "results/slides/S9", "--encoder", "foo"], "morphology"),
        (["cells", "results/slides/S9", "--detector", "bar"], "classical"),
        (["init", "x", "--slides", "nowhere"], "not found"),
        (["run", "--watch", "nowhere"], "no folder"),
        (["run", "--watch", "slides", "--pattern", "x"], "named group"),
        (["run", "--watch", "slides", "-n"], "no dry run"),
        (["run", "--until-idle", "5"], "--watch"),
    ],
)
def test_wrong_calls_say_what_where_and_what_to_do(finished, arguments, word):
    done = pathai(*arguments, cwd=finished)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(finished) not in done.stderr


def test_results_may_not_be_the_runs_own_folder(run):
    (run / "config.yaml").write_text("results: .\n")
    done = again(run)
    assert done.returncode == 2
    assert "folder of its own" in done.stderr
