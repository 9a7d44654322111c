"""Disks that are full at each stage: E161 with figures, nothing half-written, the same bytes later.

Where one may mount, every case has a disk of its own, a tmpfs of 1 to 32 MiB, filled up to a random
part of what the stage still has to write, and is made larger afterwards. Elsewhere the size of a
file is limited instead, for the stages whose files are large enough to meet the limit.
"""

import os
import random
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from reliability_run import (
    MADE,
    PATHAI,
    PLACES,
    STAGES,
    Cohort,
    command,
    contents,
    leftovers,
    warm,
)

from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.review_log import Event, Log, read_log
from pathai.store.manifest import SUFFIX, read_manifest
from pathai.verify import verify

SIZES_MIB = (1, 2, 4, 8, 16, 32)
FULL_AT = ("report", "tile", "cells", "features", "train", "cohort", "predict", "audit")
LIMITED = ("tile", "cells", "report", "cohort")
PAGE = 4096
LARGER = "size=128m"
AROUND = 2**18
"""What a run needs beside its results, bytes: sheet, state, logs."""
LEAST_LIMIT = 2**15
"""A smaller limit on the size of files would meet logs first."""


def case(cohort: Cohort, folder: Path, number: int, seed: int) -> dict[str, Any]:
    """One full disk, then more room.

    Every third is a whole run on the full disk; in the others the results alone lie there, and the
    command is the one that a rule of the workflow calls.
    """
    draw = random.Random(f"{seed} {number}")
    root = may_mount()
    stage = (FULL_AT if root else LIMITED)[number % (8 if root else 4)]
    size = _fitting(cohort, stage, SIZES_MIB[(number + number // 8) % 6])
    if stage == "audit":
        return {"case": number, "stage": stage, **_audit(folder, draw, size, mounted=root)}
    whole = root and number % 3 == 2
    place = folder if whole else folder / ("models" if stage == "train" else "results")
    found: dict[str, Any] = {"case": number, "stage": stage, "by": "run" if whole else "rule"}
    with _disk(place, size, mounted=root) as (grow, limit_to):
        warm(cohort, folder, stage)
        need = _need(cohort, stage)
        call = command(folder) if whole else _rule(folder, stage)
        first = _start(call, folder, limit_to(draw, need))
        found |= {"size_mib": size, "first": _told(first, cohort, folder)}
        grow()
        second = _start(call, folder, None)
        places = STAGES if whole else STAGES[: STAGES.index(stage) + 1]
        wanted = _of(cohort.expected, cohort.golden, places)
        found["exit"] = second.returncode
        found["differences"] = sorted(n for n, d in wanted.items() if contents(folder).get(n) != d)
        found["leftovers"] = leftovers(folder)
    shutil.rmtree(folder)
    found["ok"] = not (
        found["first"]["wrong"] or second.returncode or found["differences"] or found["leftovers"]
    )
    if not found["ok"]:
        found["said"] = [first.stderr[-1500:], second.stderr[-1500:]]
    return found


Limit = Callable[[random.Random, "list[int]"], int | None]


@contextmanager
def _disk(place: Path, size: int, *, mounted: bool) -> Iterator[tuple[Callable[[], None], Limit]]:
    """A small disk at a place: how to make it larger, and how to fill it (or what to limit to)."""
    place.mkdir(parents=True)
    if not mounted:
        yield (
            (lambda: None),
            lambda draw, need: max(int(max(need) * draw.uniform(0.2, 0.9)), LEAST_LIMIT),
        )
        return
    _mount("-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place))
    filler = place / ".filler"

    def fill(draw: random.Random, need: list[int]) -> None:
        pages = sum(-(-n // PAGE) for n in need)
        room = PAGE * max(int(pages * draw.uniform(0.1, 0.8)), 1)
        free = shutil.disk_usage(place).free
        if free > room:
            with filler.open("wb") as file:
                file.write(bytes(free - room))

    def grow() -> None:
        filler.unlink(missing_ok=True)
        _mount("-o", f"remount,{LARGER}", str(place))

    try:
        yield grow, fill
    finally:
        subprocess.run(["umount", str(place)], check=True)


@cache
def may_mount() -> bool:
    """Whether disks can be mounted here: as root, and in a container only where it may."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True
        )
        if done.returncode == 0:
            subprocess.run(["umount", place], check=True)
        return done.returncode == 0


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _start(call: list[str], folder: Path, limit: int | None) -> subprocess.CompletedProcess[str]:
    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        call, cwd=folder, capture_output=True, text=True, check=False, preexec_fn=limited
    )


def _rule(folder: Path, stage: str) -> list[str]:
    """What the workflow's rule calls."""
    plan = Plan(folder / "config.yaml")
    (name,) = plan.receipts()[stage]
    verb = ["report", "draft"] if stage == "report" else [stage]
    of = [] if stage == "cohort" else ["--batch", name]
    return [PATHAI, *verb, "--config", "config.yaml", *of]


def _need(cohort: Cohort, stage: str) -> list[int]:
    """Sizes of the files that a stage writes, manifests too."""
    sizes = []
    for path in cohort.golden.glob(PLACES[stage] + SUFFIX):
        manifest = read_manifest(path)
        sizes += [record.size for record in manifest.files.values()]
        sizes.append(path.stat().st_size)
    return sizes


def _fitting(cohort: Cohort, stage: str, size: int) -> int:
    """The size, or the next one that holds what was there before the stage, MiB."""
    before = STAGES[: STAGES.index(stage)] if stage in STAGES else ()
    sizes = [n for done in before for n in _need(cohort, done)]
    held = sum(-(-n // PAGE) * PAGE for n in sizes) + AROUND
    return next(s for s in SIZES_MIB if s >= size and s * 2**20 > held)


def _told(done: subprocess.CompletedProcess[str], cohort: Cohort, folder: Path) -> dict[str, Any]:
    """What a command said on the full disk, and what it left."""
    said = next((line for line in done.stderr.splitlines() if "E161" in line), "")
    wrong = []
    if done.returncode != 1:
        wrong.append(f"exit {done.returncode}")
    if not said or " needed, " not in said or " free" not in said:
        wrong.append("no E161 with needed and free bytes")
    if "Traceback" in done.stderr:
        wrong.append("traceback")
    for part in MADE:
        if any((folder / part).rglob(f"*{SUFFIX}")):
            faults = verify(folder / part).faults
            wrong += [str(f) for f in faults if f.file != ".filler"]
    wrong += [n for n, d in contents(folder).items() if cohort.expected.get(n) != d]
    return {"said": said[-160:], "wrong": wrong}


def _of(expected: dict[str, str], golden: Path, places: tuple[str, ...]) -> dict[str, str]:
    """Contents that the stages made."""
    kept = {}
    for stage in places:
        for path in golden.glob(PLACES[stage] + SUFFIX):
            names = [path, *(path.parent / name for name in read_manifest(path).files)]
            for name in names:
                key = name.relative_to(golden).as_posix()
                kept[key] = expected[key]
    return kept


def _audit(folder: Path, draw: random.Random, size: int, *, mounted: bool) -> dict[str, Any]:
    """A review's log on a full disk: the event is refused, the others stay, and it goes on."""
    place = folder / "reviews"
    wrong = []
    with _disk(place, size, mounted=mounted) as (grow, fill):
        path = place / "C0" / "dr-a.jsonl"
        log = Log(path)
        for number in range(draw.randrange(1, 20)):
            log.append(_event(log, number))
        before = path.read_bytes()
        fill(draw, [1])
        code = ""
        for number in range(200):  # what is left of the last page takes some events
            try:
                log.append(_event(log, 100 + number))
                before = path.read_bytes()
            except PathaiError as error:
                code = error.code
                break
        log.close()
        if code != "E161":
            wrong.append(f"a full disk ended in {code or 'no error'}")
        if path.read_bytes() != before:
            wrong.append("the log changed")
        grow()
        log = Log(path)
        log.append(_event(log, 999))
        log.close()
        if len(read_log(path)) != before.count(b"\n") + 1:
            wrong.append("an event is missing")
    shutil.rmtree(folder)
    return {"by": "review log", "size_mib": size, "first": {"wrong": wrong}, "ok": not wrong}


def _event(log: Log, number: int) -> Event:
    """The next event of a log: an answer to the case's question."""
    return Event(
        number=len(log.events) + 1,
        previous=log.head,
        time=f"2026-01-01T00:00:00.{number:06d}+00:00",
        kind="answer",
        what="case",
        before=None,
        after={"answer": "yes" if number % 2 else "no"},
        findings="f" * 64,
        draft="d" * 64,
    )


def summary(cases: list[dict[str, Any]], asked: int) -> dict[str, Any]:
    """What the cases came to."""
    return {
        "cases": len(cases),
        "asked": asked,
        "as_promised": sum(one["ok"] for one in cases),
        "by_stage": {s: sum(one["stage"] == s for one in cases) for s in FULL_AT},
        "sizes_mib": sorted({one["size_mib"] for one in cases}),
        "disks": "tmpfs" if may_mount() else "limit on the size of files",
        "failed": [one for one in cases if not one["ok"]],
    }
