# Shared by all rules: the plan of the run, and which receipts a stage waits for.
import os
from pathlib import Path

from pathai.plan import Plan
from pathai.resources import demand

# relative to the run folder, so that a run may be moved without being redone; the first is the
# one that the command line names, if it names one
CONFIG = os.path.relpath(workflow.configfiles[0])
PLAN = Plan(Path(CONFIG))


def asks(what, stage):
    """Memory (mem_mb), minutes (runtime) or GPUs (gpu) of a job: by its pixels and attempt."""
    return lambda wildcards, attempt: getattr(
        demand(
            PLAN,
            stage,
            wildcards.get("batch", wildcards.get("task", "cohort")),
            attempt,
        ),
        what,
    )


def needs(stage):
    """Receipts that a rule of this stage waits for; the plan knows them."""
    path = ".pathai/receipts/{}/{}".format
    return lambda w: [
        path(*need) for need in PLAN.needs(stage, w.get("batch", w.get("task")))
    ]
