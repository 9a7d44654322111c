"""``pathai demo``: a synthetic cohort through the whole chain, without download or GPU."""

from pathlib import Path

from pathai.batch import say
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.run import run, shipped
from pathai.store.commit import remove
from pathai.store.manifest import write_atomic
from pathai.summary import show

CONFIG = """\
# The demo's run: synthetic slides, one task, evaluated on patients that training never saw.
# A commented configuration with every key is written by `pathai init`.
schema_version: 1
train:
  tasks: [tasks/tumor.yaml]
cohort:
  title: Synthetic demo cohort
  evaluate_on: {{split: test}}
  count_column: n_nuclei
run:
  slides_per_job: {slides_per_job}
"""


def draw(out: Path, *, cores: int, slides: int, seed: int) -> None:
    """Draw the cohort beside the folder and rename it, so that half a one is never taken up."""
    from pathai.testing.cohort import make_cohort

    say(f"Drawing {slides} synthetic slides ...")
    part = out.absolute().with_name(f"{out.absolute().name}.part")
    remove(part)
    make_cohort(part, slides=slides, seed=seed, workers=cores)
    task = shipped("configs/tasks/tumor.yaml")
    write_atomic(part / "tasks" / task.name, task.read_bytes())
    per_job = min(max(-(-slides // cores), 1), 32)
    write_atomic(part / "config.yaml", CONFIG.format(slides_per_job=per_job).encode())
    if out.exists():
        out.rmdir()
    part.rename(out.absolute())


def demo(out: Path, *, cores: int, slides: int, seed: int) -> int:
    """Draw the cohort unless it is there, run or resume the chain, say where the page is.

    Raises
    ------
    PathaiError
        E193 when the folder holds something other than a demo.
    """
    config = out / "config.yaml"
    if not config.exists():
        if out.exists() and (out.is_file() or any(out.iterdir())):
            raise PathaiError("E193", f"{out} is not empty", "choose another folder with --out")
        draw(out, cores=cores, slides=slides, seed=seed)
    plan = Plan(config)
    code = show(plan, run(plan, cores=cores))
    say(f"Review it:   pathai review {out}")
    return code
