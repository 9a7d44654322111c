"""``pathai demo``: a synthetic cohort through the whole chain, without download or GPU."""

from pathlib import Path

from pathai.batch import say
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.run import run, shipped
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


def demo(out: Path, *, cores: int, slides: int, seed: int) -> int:
    """Draw the cohort unless it is there, run or resume the chain, say where the page is.

    Raises
    ------
    PathaiError
        E193 when the folder holds something other than a demo.
    """
    config = out / "config.yaml"
    if not config.exists():
        if out.exists() and any(out.iterdir()):
            raise PathaiError("E193", f"{out} is not empty", "choose another folder with --out")
        from pathai.testing.cohort import make_cohort

        say(f"Drawing {slides} synthetic slides ...")
        make_cohort(out, slides=slides, seed=seed, workers=cores)
        task = shipped("configs/tasks/tumor.yaml")
        write_atomic(out / "tasks" / task.name, task.read_bytes())
        per_job = min(max(-(-slides // cores), 1), 32)
        write_atomic(config, CONFIG.format(slides_per_job=per_job).encode())
    plan = Plan(config)
    code = show(plan, run(plan, cores=cores))
    say(f"Review it:   pathai review {out}")
    return code
