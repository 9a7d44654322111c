"""The view of a run while it works: one that renews itself in a terminal, plain lines elsewhere.

It reads what lies in ``.pathai`` (receipts, tallies, usage) and asks nothing of Snakemake, so it is
the same on a laptop and on a cluster.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pathai.plan import SLIDE_STAGES, Plan
from pathai.progress import clock

LOOK_S = 0.5
"""Between two looks at what is done."""
SHARE = 0.05
"""Of its time that the view may spend on looking, however many slides there are."""
LINE_S = 10.0
"""Least time between two plain lines about one stage."""
WHOLE_S = 60.0
"""Between two plain lines about the whole."""
WINDOW_S = 30.0
"""Speeds are means over so long."""
NARROW = 60
"""Columns below which no bars are drawn."""
UNITS = {"report": "cases", "train": "tasks", "cohort": "page"}
SHOWN = ("tiles", "cells")
"""Pieces whose speed is told."""


@dataclass(frozen=True)
class Count:
    """How many subjects of a stage are finished, of how many, and what they are."""

    done: int
    total: int
    unit: str

    def __str__(self) -> str:
        return f"{self.done} of {self.total} {self.unit}"


@dataclass
class Watch:
    """What a run has done, read from its notes.

    Parameters
    ----------
    plan : Plan
        The run.
    start : float
        When it began, by `time.monotonic`.
    """

    plan: Plan
    start: float = field(default_factory=time.monotonic)
    _seen: "deque[tuple[float, dict[str, int]]]" = field(default_factory=deque)
    _busy: "deque[int]" = field(default_factory=lambda: deque(maxlen=60))
    _costs: dict[str, tuple[float, int]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _pieces: dict[str, dict[str, int]] = field(default_factory=dict)
    _were: set[str] = field(default_factory=set)

    @cached_property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Stage to name of each receipt to how many subjects it stands for."""
        return {
            stage: {name: self._size(stage, name) for name in names}
            for stage, names in self.plan.receipts().items()
            if names
        }

    def _size(self, stage: str, name: str) -> int:
        if stage == "report":
            return len(self.plan.case_batches[name])
        return len(self.plan.slide_batches.get(name, ("one",)))

    def counts(self) -> dict[str, Count]:
        """Every stage of the run, in the order of the data."""
        found = {}
        for stage, sizes in self.sizes.items():
            done = self._done(stage)
            parts = [int(sizes[n] * share) for n, share in self._shares(stage).items()
                     if n in sizes and n not in done]  # fmt: skip
            finished = sum(sizes[name] for name in done if name in sizes) + sum(parts)
            found[stage] = Count(finished, sum(sizes.values()), UNITS.get(stage, "slides"))
        return found

    def _done(self, stage: str) -> set[str]:
        """Names of the stage's receipts; one look at a folder, however many slides there are."""
        return set(_names(self.plan.state / "receipts" / stage))

    def _shares(self, stage: str) -> dict[str, float]:
        """How far the stage's running batches are."""
        marked = f"{stage}-"
        names = [n for n in _names(self.plan.state / "workers") if n.startswith(marked)]
        shares = {n.removeprefix(marked): self._tally(n).get("share", 0.0) for n in names}
        return {name: float(share) for name, share in shares.items()}

    def _tally(self, name: str) -> dict[str, Any]:
        return _json(self.plan.state / "tallies" / name)

    def _sums(self) -> dict[str, int]:
        """Pieces so far. Only jobs that run, or ran at the last look, are read again."""
        working = set(_names(self.plan.state / "workers"))
        for name in working | self._were:
            self._pieces[name] = self._tally(name).get("pieces", {})
        self._were = working
        return {u: sum(int(p.get(u, 0)) for p in self._pieces.values()) for u in SHOWN}

    def slides(self) -> tuple[int, int]:
        """Slides of which every stage is finished, and all."""
        done = [self._done(stage) for stage in (*SLIDE_STAGES, "slide", "predict")
                if stage in self.sizes]  # fmt: skip
        sizes = self.sizes["ingest"]
        return sum(sizes[name] for name in sizes if all(name in d for d in done)), sum(
            sizes.values()
        )

    def speeds(self, now: float) -> dict[str, float]:
        """Tiles and cells per second, over the last half minute."""
        sums = self._sums()
        self._seen.append((now, sums))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        then, before = self._seen[0]
        if now - then < 1:
            return {}
        rates = {unit: (sums[unit] - before[unit]) / (now - then) for unit in SHOWN}
        return {unit: rate for unit, rate in rates.items() if rate > 0}

    def left(self, counts: dict[str, Count]) -> tuple[float, bool]:
        """Seconds that the rest takes, and whether every stage of it was measured already.

        What a subject of each stage took is from the batches of this run that are finished; so
        many jobs at once as there were of late.
        """
        self._learn()
        self._busy.append(len(_names(self.plan.state / "workers")))
        busy = max(sum(self._busy) / len(self._busy), 1.0)
        rest = {s: c.total - c.done for s, c in counts.items() if c.total > c.done}
        costs = {s: self._costs[s] for s in rest if s in self._costs}
        total = sum(rest[s] * seconds / subjects for s, (seconds, subjects) in costs.items())
        return total / busy, costs.keys() >= rest.keys() - {"cohort"}

    def _learn(self) -> None:
        """Read what batches cost that have finished since the last look."""
        for name in _names(self.plan.state / "usage"):
            stage, _, batch = name.removesuffix(".json").partition("-")
            size = self.sizes.get(stage, {}).get(batch)
            if name in self._known or size is None:
                continue
            self._known.add(name)
            wall = _json(self.plan.state / "usage" / name).get("wall_s")
            if wall is not None:
                seconds, subjects = self._costs.get(stage, (0.0, 0))
                self._costs[stage] = seconds + float(wall), subjects + size


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return [entry.name for entry in os.scandir(folder)]
    return []


def _json(path: Path) -> dict[str, Any]:
    """A note that may be gone or of another kind by now."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def follow(plan: Plan, process: "subprocess.Popen[bytes]", said: IO[bytes] | None = None) -> int:
    """Show how the run gets on until the process ends; return its exit status.

    Parameters
    ----------
    plan : Plan
        The run.
    process : Popen
        Snakemake.
    said : file, optional
        Where it writes to; what it said is repeated once the view is closed.
    """
    watch = Watch(plan)
    if said is None:
        return _lines(watch, process)
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            ended, began = process.poll(), time.monotonic()
            live.update(view(watch, console.width), refresh=True)
            if ended is not None:
                break
            _pause(process, began)
    said.seek(0)
    sys.stderr.write(said.read().decode(errors="replace"))
    for stage, count in watch.counts().items():
        sys.stderr.write(_line(watch, f"{stage:<9} {count}"))
    return ended


def told_apart() -> IO[bytes] | None:
    """A file for Snakemake's own words where a view is drawn that they would spoil."""
    console = Console(stderr=True)
    drawn = console.is_terminal and not console.is_dumb_terminal
    return tempfile.TemporaryFile() if drawn else None


def view(watch: Watch, width: int) -> Group:
    """What a terminal shows: the whole in one line, then a line per stage."""
    counts = watch.counts()
    table = Table.grid(padding=(0, 2))
    table.add_column()
    wide = width >= NARROW
    if wide:
        table.add_column()
    table.add_column(justify="right", no_wrap=True)
    for stage, count in counts.items():
        bar = [ProgressBar(max(count.total, 1), count.done, width=min(30, width - 40))]
        style = "" if count.done < count.total else "dim"
        table.add_row(Text(stage, style), *(bar if wide else ()), Text(str(count), style))
    head = Text(headline(watch, counts), style="bold", no_wrap=True, overflow="ellipsis")
    return Group(head, table)


def headline(watch: Watch, counts: dict[str, Count]) -> str:
    """The whole run in one line: time, slides done, speeds, time left."""
    now = time.monotonic()
    done, total = watch.slides()
    parts = [f"{done} of {total} slides done"]
    parts += [f"{speed:.3g} {unit}/s" for unit, speed in watch.speeds(now).items()]
    left, whole = watch.left(counts)
    if left >= 1 and done < total:
        parts.append(f"{'about' if whole else 'more than'} {clock(left)} left")
    return f"{clock(now - watch.start)}  {', '.join(parts)}"


def _lines(watch: Watch, process: "subprocess.Popen[bytes]") -> int:
    """Plain lines, for a log: a stage that gets on, now and then the whole."""
    last = watch.counts()
    said = dict.fromkeys(last, watch.start - LINE_S)
    whole = watch.start
    while True:
        ended, now = process.poll(), time.monotonic()
        counts = watch.counts()
        for stage, count in counts.items():
            due = now - said[stage] >= LINE_S or count.done == count.total
            if count.done != last[stage].done and count.done and (due or ended is not None):
                sys.stderr.write(_line(watch, f"{stage:<9} {count}"))
                said[stage], last[stage] = now, count
        head = headline(watch, counts)
        if now - whole >= WHOLE_S and ended is None:
            sys.stderr.write(head + "\n")
            whole = now
        sys.stderr.flush()
        if ended is not None:
            return ended
        _pause(process, now)


def _pause(process: "subprocess.Popen[bytes]", began: float) -> None:
    """Wait for the next look, or for the end of the process."""
    spent = time.monotonic() - began
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(LOOK_S, spent / SHARE))


def _line(watch: Watch, text: str) -> str:
    return f"{clock(time.monotonic() - watch.start)}  {text}\n"
