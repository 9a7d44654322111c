"""Progress of a run, and of a slide, as plain lines on stderr: what is done, of how many."""

import subprocess
import sys
import time

from pathai.plan import Plan

POLL_S = 0.3
SAY_S = 5.0
"""Least time between two lines about one slide."""


def finished(plan: Plan) -> dict[str, tuple[int, int, str]]:
    """Stage to how many subjects are finished, of how many, and what they are."""
    units = {"report": "cases", "train": "tasks", "cohort": "page"}
    found = {}
    for stage, names in plan.receipts().items():
        sizes = {name: _size(plan, stage, name) for name in names}
        done = sum(size for name, size in sizes.items() if plan.receipt(stage, name).exists())
        found[stage] = (done, sum(sizes.values()), units.get(stage, "slides"))
    return found


def _size(plan: Plan, stage: str, name: str) -> int:
    if stage == "report":
        return len(plan.case_batches[name])
    return len(plan.slide_batches.get(name, ("one",)))


def follow(plan: Plan, process: "subprocess.Popen[bytes]") -> int:
    """Print a line whenever a stage gets on, until the process ends; return its exit status."""
    start, last = time.monotonic(), finished(plan)
    while True:
        ended = process.poll()
        now = finished(plan)
        for stage, (done, total, unit) in now.items():
            if done != last[stage][0] and done:
                minutes, seconds = divmod(int(time.monotonic() - start), 60)
                line = f"{minutes:3d}:{seconds:02d}  {stage:<9} {done} of {total} {unit}"
                sys.stderr.write(line + "\n")
        last = now
        if ended is not None:
            return ended
        time.sleep(POLL_S)


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
        self._start = self._said = time.monotonic()
        if before:
            self._say(f"goes on after {before} of {total} {unit}")

    def note(self, done: int, found: int = 0) -> None:
        """Say how far it is, if the last line is long enough ago."""
        now = time.monotonic()
        if now - self._said < SAY_S or done == self._before:
            return
        self._said = now
        spent = now - self._start
        speed = (done - self._before) / spent
        minutes, seconds = divmod(round((self._total - done) / speed), 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02d}:{seconds:02d}"
        far = f"{done} of {self._total} {self._unit}, {speed:.3g} {self._unit}/s"
        if self._beside:
            rate = (found - self._had) / spent
            far += f", {found} {self._beside}, {rate:.3g} {self._beside}/s"
        self._say(f"{far}, {left} left")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._slide_id}: {text}\n")
        sys.stderr.flush()
