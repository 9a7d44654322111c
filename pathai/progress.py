"""Progress of a run as plain lines on stderr: what is finished, of how many."""

import subprocess
import sys
import time

from pathai.plan import Plan

POLL_S = 0.3


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
