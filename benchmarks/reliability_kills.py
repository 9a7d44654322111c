"""Kill -9 at random, then one command: same bytes, nothing done twice, nothing left over."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
from reliability_run import (
    STAGES,
    Cohort,
    command,
    differences,
    leftovers,
    manifests,
    new_run,
    run,
    warm,
)

TARGETS = ("group", "scheduler", "worker")
Stamps = dict[Path, tuple[int, int]]


def trial(cohort: Cohort, folder: Path, number: int, seed: int) -> dict[str, Any]:
    """Kill a run once or more, finish it with one command, and compare.

    The number decides what is killed (the whole group, the scheduler, one worker, in turn) and how
    often: every third run twice, every tenth also while it resumes. Every fifth run begins with
    nothing, the others before a random stage.
    """
    draw = random.Random(f"{seed} {number}")
    stage = "ingest" if number % 5 == 0 else draw.choice(STAGES)
    per_job = draw.choice((2, 4))
    if stage == "ingest":
        new_run(folder, cohort.slides, per_job)
    else:
        warm(cohort, folder, stage, per_job)
    finished = stamps(folder)
    redone: list[str] = []
    kills = []
    for early in [False] + [False] * (number % 3 == 1) + [True] * (number % 10 == 7):
        target = TARGETS[(number + len(kills)) % 3]
        kills.append({"target": target, "hit": _killed(cohort, folder, target, draw, early=early)})
        redone += _changed(finished, folder)
        finished |= stamps(folder)
    done = run(folder)
    redone += _changed(finished, folder)
    found = {
        "trial": number,
        "from": stage,
        "slides_per_job": per_job,
        "kills": kills,
        "exit": done.returncode,
        "differences": differences(cohort.expected, folder),
        "redone": sorted(set(redone)),
        "leftovers": leftovers(folder),
    }
    found["ok"] = not (done.returncode or found["differences"] or redone or found["leftovers"])
    if not found["ok"]:
        found["said"] = done.stderr[-2000:]
    shutil.rmtree(folder)
    return found


def stamps(folder: Path) -> Stamps:
    """Which file each manifest is: a stage that is done again writes another one."""
    found = {}
    for path in manifests(folder):
        seen = path.stat()
        found[path] = (seen.st_ino, seen.st_mtime_ns)
    return found


def _changed(before: Stamps, folder: Path) -> list[str]:
    now = stamps(folder)
    return [p.relative_to(folder).as_posix() for p, s in before.items() if now.get(p) != s]


def _killed(cohort: Cohort, folder: Path, target: str, draw: random.Random, *, early: bool) -> bool:
    """Start a run and kill something of it at a random moment; whether it was still running.

    The moment is drawn over what there is to do, not over seconds: a busy machine moves it less.
    """
    there = sum(1 for _ in manifests(folder))
    total = sum(1 for name in cohort.expected if name.endswith(".manifest.json"))
    each = cohort.seconds / total
    until = there if early else there + draw.randrange(max(total - there, 1))
    pause = draw.uniform(0, cohort.seconds / 8) if early else draw.uniform(0, 2 * each)
    process = subprocess.Popen(
        command(folder), start_new_session=True, stderr=subprocess.DEVNULL, cwd=folder
    )
    while process.poll() is None and sum(1 for _ in manifests(folder)) < until:
        time.sleep(0.25)
    ends = time.monotonic() + pause
    while process.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)
    hit = _kill(process, target, draw)
    process.wait()
    return hit


def _kill(process: subprocess.Popen[bytes], target: str, draw: random.Random) -> bool:
    """Kill the whole group, the scheduler (our process or Snakemake), or a worker."""
    if process.poll() is not None:
        return False
    if target == "group":
        os.killpg(process.pid, signal.SIGKILL)
        return True
    while process.poll() is None:
        below = _below(process.pid)
        of_jobs = [p for p in below if "--batch" in _words(p)]
        engine = [p for p in below if "snakemake" in _words(p) and p not in of_jobs]
        victims = of_jobs if target == "worker" else [psutil.Process(process.pid), *engine[:1]]
        if victims:
            try:
                draw.choice(victims).kill()
            except psutil.NoSuchProcess:
                continue
            return True
        time.sleep(0.1)
    return False


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def summary(trials: list[dict[str, Any]], asked: int) -> dict[str, Any]:
    """What the trials came to."""
    kills = [kill for one in trials for kill in one["kills"]]
    return {
        "trials": len(trials),
        "asked": asked,
        "identical": sum(not (one["exit"] or one["differences"]) for one in trials),
        "with_a_result_done_again": sum(bool(one["redone"]) for one in trials),
        "with_leftovers": sum(bool(one["leftovers"]) for one in trials),
        "kills": len(kills),
        "kills_that_hit": sum(kill["hit"] for kill in kills),
        "by_target": {t: sum(k["hit"] for k in kills if k["target"] == t) for t in TARGETS},
        "trials_killed_more_than_once": sum(len(one["kills"]) > 1 for one in trials),
        "failed": [one for one in trials if not one["ok"]],
    }
