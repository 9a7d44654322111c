"""One digest over cores, runs, time zones, locales, hash seeds, folders, names and orders."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from reliability_run import Cohort, command, contents, differences, digest, new_run

ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham")
LOCALES = ("C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8")
"""Where a locale is not installed, programs fall back to C; it is asked for all the same."""
SEEDS = ("0", "1", "271828", "4294967295")
NAMES = ("run", "an other folder", "Läufe", "r-2026")


def combination(number: int) -> dict[str, Any]:
    """Every digit of the number turns one thing; 32 numbers meet every pair of cores and runs."""
    return {
        "cores": 1 + number % 2,
        "repetition": 1 + number // 2 % 2,
        "slides_per_job": (4, 2, 1, 3)[number // 4 % 4],
        "backward": bool((number // 2 + number // 8) % 2),
        "TZ": ZONES[(number + number // 4) % 4],
        "LC_ALL": LOCALES[(number + number // 8) % 4],
        "PYTHONHASHSEED": SEEDS[(number // 2 + number // 16) % 4],
        "name": NAMES[(number + number // 16) % 4],
        "inside": bool(number // 8 % 2),
    }


def same(cohort: Cohort, folder: Path, number: int) -> dict[str, Any]:
    """A run of its own under one combination."""
    asked = combination(number)
    run = new_run(
        folder / asked["name"], cohort.slides, asked["slides_per_job"], backward=asked["backward"]
    )
    around = {k: asked[k] for k in ("TZ", "LC_ALL", "PYTHONHASHSEED")}
    around["LANG"] = asked["LC_ALL"]
    call = command(run, asked["cores"])
    if asked["inside"]:
        call[call.index("--config") + 1] = "config.yaml"
    done = subprocess.run(
        call,
        cwd=run if asked["inside"] else folder.parent,
        env={**os.environ, **around},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {
        "case": number,
        **asked,
        "exit": done.returncode,
        "digest": digest(contents(run)),
        "differences": differences(cohort.expected, run),
    }
    found["ok"] = not done.returncode and not found["differences"]
    if not found["ok"]:
        found["said"] = done.stderr[-1500:]
    shutil.rmtree(folder)
    return found


def summary(cases: list[dict[str, Any]], asked: int) -> dict[str, Any]:
    """What the runs came to."""
    return {
        "cases": len(cases),
        "asked": asked,
        "digests": len({one["digest"] for one in cases}),
        "identical": sum(one["ok"] for one in cases),
        "failed": [one for one in cases if not one["ok"]],
    }
