"""Running steps one after the other in one process: outcomes, marks and what they cost."""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pathai.chain import Step
from pathai.errors import PathaiError
from pathai.guard import close_guards
from pathai.lock import working
from pathai.plan import Plan
from pathai.processes import Stopped, identity, stoppable
from pathai.progress import Tally, tallied
from pathai.store.manifest import Manifest, canonical, write_atomic

Say = Callable[[str], None]


def say(text: str) -> None:
    """Text for people goes to stderr."""
    sys.stderr.write(text + "\n")


def print_json(value: object) -> None:
    """JSON to stdout."""
    sys.stdout.write(json.dumps(value, indent=1, sort_keys=True) + "\n")


def describe(manifest: Manifest) -> list[str]:
    """One line per outcome: subject, stage, status, and each problem with its remedy."""
    head = f"{manifest.subject}  {manifest.stage}  {manifest.status}"
    return [head, *(f"  {p.code}: {p.message}; {p.remedy}" for p in manifest.problems)]


def run_steps(
    plan: Plan | None, steps: Iterable[Step], tally: Tally | None = None
) -> list[Manifest]:
    """Run steps in order; a failed subject never stops the others."""
    made = []
    for step in steps:
        mark = step.mark(plan) if plan else None
        if mark:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(identity())
        try:
            made.append(step.run())
        except PathaiError:  # not of this slide: it stops the batch, and is no killed job
            _unmark(mark)
            raise
        _unmark(mark)
        if tally:
            tally.step()
        for line in describe(made[-1]):
            say(line)
    return made


def _unmark(mark: Path | None) -> None:
    if mark:
        mark.unlink()


def run_batch(plan: Plan, stage: str, name: str, steps: Iterable[Step]) -> list[Manifest]:
    """Run a batch and note its processor time, wall time and memory in ``.pathai/usage``."""
    steps = list(steps)
    if all(step.manifest() for step in steps):
        return run_steps(None, steps)
    start = time.perf_counter()
    tally = tallied(plan.state / "tallies" / f"{stage}-{name}", len(steps))
    with stoppable(), working(plan, f"{stage}-{name}"), tally as told_of:
        try:
            made = run_steps(plan, steps, told_of)
        except PathaiError as error:
            told = {"code": error.code, "message": error.message, "remedy": error.remedy}
            with contextlib.suppress(PathaiError):  # a full disk may refuse even this
                write_atomic(plan.state / "error.json", canonical(told))
            raise
        except Stopped:
            close_guards(kill=True)  # not even a long read is waited for
            raise
    write_atomic(plan.state / "usage" / f"{stage}-{name}.json", canonical(usage(stage, start)))
    return made


def usage(stage: str, start: float) -> dict[str, float | str]:
    """Processor seconds of this process and its children since they started, and peak memory.

    Of a GPU that was used also its name and the most memory that was held on it, MiB.
    """
    close_guards()  # a child counts only once it has ended
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    peak = max(own.ru_maxrss, children.ru_maxrss) / 1024
    wall = time.perf_counter() - start
    return {
        "stage": stage,
        "cpu_s": round(cpu, 3),
        "wall_s": round(wall, 3),
        "max_rss_mib": round(peak, 1),
        **_gpu(),
    }


def _gpu() -> dict[str, float | str]:
    """What this process used of a GPU; nothing where it used none, and torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    peak = torch.cuda.max_memory_allocated() / 2**20
    return {"gpu": torch.cuda.get_device_name(), "max_gpu_mib": round(peak, 1)}


def exit_code(manifests: Iterable[Manifest]) -> int:
    """1 if any subject failed."""
    return int(any(m.status == "failed" for m in manifests))


def complain(error: PathaiError) -> int:
    """Print an error; 75 when another run owns the folder, 2 for a wrong call, else 1."""
    say(f"pathai: {error}")
    if error.code == "E175":
        return 75
    wrong_call = {
        "E106",
        "E150",
        "E151",
        "E152",
        "E154",
        "E183",
        "E185",
        "E190",
        "E191",
        "E192",
        "E193",
        "E195",
        "E201",
    }
    return 2 if error.code in wrong_call else 1
