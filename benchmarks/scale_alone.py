"""Every stage of every slide of a run in one process: what it costs, keeps and leaves open.

    python benchmarks/scale_alone.py RUN_FOLDER OUT.json

No Snakemake and one start of Python, so the processor seconds are those of the work alone. After
each slide the memory and the open handles of this process and its children are noted.
"""

import json
import sys
from pathlib import Path
from typing import Any

import psutil

from pathai.chain import case_steps, slide_steps
from pathai.plan import SLIDE_STAGES, Plan


def processes() -> list[psutil.Process]:
    """This process and its living children."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def seconds() -> float:
    """Processor seconds of all of them."""
    return sum(sum(p.cpu_times()[:2]) for p in processes())


def kept() -> dict[str, float]:
    """Memory, MiB (shared pages divided among their users), and handles."""
    found = processes()
    return {
        "mib": sum(p.memory_full_info().pss for p in found) / 2**20,
        "handles": sum(p.num_fds() for p in found),
        "shared": len(list(Path("/dev/shm").iterdir())),  # noqa: S108  (counted, not used)
    }


def main() -> None:
    """Run, note, write."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    plan = Plan(folder / "config.yaml")
    costs: dict[str, dict[str, float]] = {row.slide_id: {} for row in plan.sheet.rows}
    states: dict[str, list[dict[str, float]]] = {}
    for stage in SLIDE_STAGES:
        states[stage] = []
        for row in plan.sheet.rows:
            before = seconds()
            for step in slide_steps(plan, stage, row.slide_id):
                assert step.run().status in ("ok", "skipped"), (row.slide_id, stage)
            costs[row.slide_id][stage] = seconds() - before
            states[stage].append(kept())
    states["report"], cases = [], {}
    for case in plan.sheet.cases():
        before = seconds()
        for step in case_steps(plan, case):
            step.run()
        cases[case] = seconds() - before
        states["report"].append(kept())
    found: dict[str, Any] = {"slides": costs, "cases": cases, "states": states}
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
