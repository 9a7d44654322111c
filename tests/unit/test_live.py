"""The view of a run: what it counts, and that it suits terminals, logs and narrow windows."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console

from pathai.live import Watch, follow, headline, view
from pathai.plan import Plan
from pathai.progress import Pace, tallied

HEADER = "slide_id\tpath\tcase_id\tpatient_id\n"


@pytest.fixture
def plan(tmp_path):
    rows = "".join(f"S{i:02d}\tS{i}.svs\tC{i // 2}\tP{i // 2}\n" for i in range(20))
    (tmp_path / "slides.tsv").write_text(HEADER + rows)
    (tmp_path / "config.yaml").write_text("{}\n")
    return Plan(tmp_path / "config.yaml")


def finish(plan, stage, count):
    for name in plan.receipts()[stage][:count]:
        receipt = plan.receipt(stage, name)
        receipt.parent.mkdir(parents=True, exist_ok=True)
        receipt.touch()


def work(plan, stage, number, steps, done):
    """A batch that is being worked on, of which some steps are finished."""
    name = f"{stage}-{plan.receipts()[stage][number]}"
    (plan.state / "workers").mkdir(parents=True, exist_ok=True)
    (plan.state / "workers" / name).touch()
    with tallied(plan.state / "tallies" / name, steps) as tally:
        for _ in range(done):
            tally.step()


def used(plan, stage, number, wall_s):
    file = plan.state / "usage" / f"{stage}-{plan.receipts()[stage][number]}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"stage": stage, "wall_s": wall_s}))


def test_finished_batches_and_the_share_of_running_ones_are_counted(plan):
    finish(plan, "ingest", 3)  # 8, 8 and 4 slides
    finish(plan, "tile", 1)
    work(plan, "tile", 1, steps=16, done=6)
    counts = Watch(plan).counts()
    assert str(counts["ingest"]) == "20 of 20 slides"
    assert str(counts["tile"]) == "11 of 20 slides"
    assert str(counts["features"]) == "0 of 20 slides"
    assert str(counts["report"]) == "0 of 10 cases"


def test_a_slide_is_done_when_every_stage_of_it_is(plan):
    for stage in ("ingest", "tile", "features", "cells"):
        finish(plan, stage, 2)
    assert Watch(plan).slides() == (0, 20)
    finish(plan, "predict", 1)
    assert Watch(plan).slides() == (8, 20)


def test_speeds_are_of_the_last_while_and_outlive_their_jobs(plan):
    """A job that has ended took its tiles with it, were its last word not kept."""
    watch, name = Watch(plan), f"features-{plan.receipts()['features'][0]}"
    (plan.state / "workers").mkdir(parents=True)
    mark = plan.state / "workers" / name
    mark.touch()
    assert watch.speeds(100.0) == {}
    with tallied(plan.state / "tallies" / name, 8) as tally:
        pace = Pace("S00", 1000)
        pace.note(600)
        tally.step()
        assert watch.speeds(102.0) == {"tiles": 300.0}
        pace.note(900)
        tally.step()
    mark.unlink()
    assert watch.speeds(103.0) == {"tiles": 300.0}
    assert watch.speeds(106.0) == {"tiles": 150.0}
    assert watch.speeds(150.0).get("tiles", 0) < 10


def test_what_an_earlier_job_had_done_is_no_speed(plan):
    name = f"features-{plan.receipts()['features'][0]}"
    with tallied(plan.state / "tallies" / name, 1) as tally:
        Pace("S00", 1000, before=700).note(710)
        tally.step()
    assert json.loads((plan.state / "tallies" / name).read_text())["pieces"] == {"tiles": 10}


def test_time_left_is_from_batches_that_are_finished(plan):
    for stage in ("ingest", "tile", "features", "predict"):
        finish(plan, stage, 3)
        used(plan, stage, 0, 8)
    finish(plan, "report", 2)
    finish(plan, "cells", 1)
    watch = Watch(plan)
    assert watch.left(watch.counts()) == (0.0, False)
    used(plan, "cells", 0, 80.0)  # 8 slides, so 10 s each, and 12 slides are left
    watch = Watch(plan)
    assert watch.left(watch.counts()) == (120.0, True)
    work(plan, "cells", 1, steps=8, done=0)
    work(plan, "cells", 2, steps=4, done=0)
    watch = Watch(plan)
    assert watch.left(watch.counts()) == (60.0, True), "two jobs at once take half the time"
    assert "about 0:01:00 left" in headline(watch, watch.counts())


@pytest.mark.parametrize("width", [30, 59, 80, 200])
def test_the_view_fits_every_width(plan, width):
    finish(plan, "ingest", 3)
    work(plan, "tile", 0, steps=8, done=3)
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(view(Watch(plan), width))
    lines = console.export_text().splitlines()
    console.file.close()
    assert max(map(len, lines)) <= width
    assert any("ingest" in line and "20 of 20 slides" in line for line in lines)
    assert any("tile" in line and "3 of 20 slides" in line for line in lines)
    assert ("━" in "".join(lines)) == (width >= 60)


SCHEDULER = """
import sys, time
from pathlib import Path
print('Snakemake says something', file=sys.stderr, flush=True)
for name in sys.argv[1:]:
    time.sleep(0.8)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).touch()
sys.exit(3)
"""
FOLLOW = """
import subprocess, sys
from pathlib import Path
from pathai.live import follow, told_apart
from pathai.plan import Plan
said = told_apart()
process = subprocess.Popen([sys.executable, "-c", sys.argv[2], *sys.argv[3:]], stderr=said)
sys.exit(follow(Plan(Path(sys.argv[1])), process, said))
"""


def receipts(plan, stage):
    return [str(plan.receipt(stage, name)) for name in plan.receipts()[stage]]


def test_a_log_gets_plain_lines(plan, capfd):
    command = [sys.executable, "-c", SCHEDULER, *receipts(plan, "ingest")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    assert follow(plan, process) == 3
    told = capfd.readouterr().err
    assert not re.search(r"[\x1b\r\b]", told)
    lines = [line.split(maxsplit=1)[1] for line in told.splitlines()]
    assert "ingest    8 of 20 slides" in lines
    assert lines[-1] == "ingest    20 of 20 slides"
    assert len(lines) == len(set(lines)), "no line twice"


@pytest.mark.parametrize("colors", [True, False])
def test_a_terminal_is_drawn_on_and_left_clean(plan, colors):
    ours, theirs = pty.openpty()
    more = {} if colors else {"NO_COLOR": "1"}
    arguments = [str(plan.config_path), SCHEDULER, *receipts(plan, "ingest")]
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOW, *arguments],
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "90", "LINES": "24", **more},
    )
    os.close(theirs)
    told = b""
    try:
        while chunk := os.read(ours, 65536):
            told += chunk
    except OSError:  # Linux: the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 3
    text = told.decode()
    assert re.search(r"\x1b\[3\d|38;5", text) is not None or not colors
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][;m]", text) or colors
    assert text.count("Snakemake says something") == 1
    last = text[text.rindex("Snakemake says") :]
    assert "20 of 20 slides" in last
    assert "\x1b" not in last, "what stays is plain text"


def test_no_note_is_read_slide_by_slide(plan, monkeypatch):
    """What is finished is one name in a folder, so a look stays cheap at ten thousand slides."""
    for stage in ("ingest", "tile", "features", "cells"):
        finish(plan, stage, 3)
        for number in range(3):
            used(plan, stage, number, 1.0)
    read = []
    monkeypatch.setattr("pathai.live._json", lambda path: read.append(path.name) or {"wall_s": 1})
    watch = Watch(plan)
    headline(watch, watch.counts())
    first = len(read)
    assert first == 12, "costs are read once"
    headline(watch, watch.counts())
    assert len(read) == first
