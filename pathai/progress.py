"""How far a job is: plain lines in its log, and a small file that the view of the run adds up."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SAY_S = 5.0
"""Least time between two lines about one slide."""
WRITE_S = 1.0
"""Least time between two notes for the view of the run."""


class Tally:
    """What a job has done so far: its share of the batch, and pieces by their unit."""

    def __init__(self, file: Path, steps: int) -> None:
        self._file, self._steps, self._done = file, steps, 0
        self._pieces: dict[str, int] = {}
        self._written = 0.0

    def step(self) -> None:
        """A step of the batch is finished."""
        self._done += 1
        self._write()

    def add(self, unit: str, count: int) -> None:
        """Some pieces more are done."""
        self._pieces[unit] = self._pieces.get(unit, 0) + count
        if time.monotonic() - self._written >= WRITE_S:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        told = {"share": self._done / max(self._steps, 1), "pieces": self._pieces}
        part = self._file.with_name(self._file.name + ".part")
        with suppress(OSError):  # a view that lags behind costs no result
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(told))
            part.replace(self._file)


_tally: Tally | None = None


@contextmanager
def tallied(file: Path, steps: int) -> Iterator[Tally]:
    """Note for the view of the run what is done meanwhile, in ``file``."""
    global _tally
    _tally = Tally(file, steps)
    try:
        yield _tally
    finally:
        _tally = None


class Pace:
    """Tells, every few seconds, how far a slide is and how long the rest takes.

    Parameters
    ----------
    slide_id : str
        Named in each line.
    total : int
        Pieces of the slide.
    before : int
        Pieces of an earlier job, which say nothing about the speed of this one.
    unit : str
        What a piece is called.
    beside, had : str, int
        What else is counted, such as cells, and how many of them an earlier job had found.
    """

    def __init__(
        self,
        slide_id: str,
        total: int,
        before: int = 0,
        *,
        unit: str = "tiles",
        beside: str = "",
        had: int = 0,
    ) -> None:
        self._slide_id, self._total, self._before = slide_id, total, before
        self._unit, self._beside, self._had = unit, beside, had
        self._last = (before, had)
        self._start = self._said = time.monotonic()
        if before:
            self._say(f"goes on after {before} of {total} {unit}")

    def note(self, done: int, found: int = 0) -> None:
        """Say how far it is, if the last line is long enough ago."""
        self._tell(done, found)
        now = time.monotonic()
        if now - self._said < SAY_S or done == self._before:
            return
        self._said = now
        spent = now - self._start
        speed = (done - self._before) / spent
        left = clock((self._total - done) / speed)
        far = f"{done} of {self._total} {self._unit}, {speed:.3g} {self._unit}/s"
        if self._beside:
            rate = (found - self._had) / spent
            far += f", {found} {self._beside}, {rate:.3g} {self._beside}/s"
        self._say(f"{far}, {left} left")

    def _tell(self, done: int, found: int) -> None:
        if _tally is not None:
            _tally.add(self._unit, done - self._last[0])
            if self._beside:
                _tally.add(self._beside, found - self._last[1])
        self._last = (done, found)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._slide_id}: {text}\n")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """``1:05:00`` for an hour and five minutes."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
