# The whole chain. `pathai run` starts it; `snakemake --configfile config.yaml` works as well.
# Rules know batches of ids; the sheet alone knows where slides lie.
from pathlib import Path

from pathai.plan import Plan


configfile: "config.yaml"


CONFIG = str(Path(workflow.configfiles[-1]).absolute())
PLAN = Plan(Path(CONFIG))


def receipts(stage):
    return [f".pathai/receipts/{stage}/{name}" for name in PLAN.receipts()[stage]]


wildcard_constraints:
    batch=r"\d{4}-[0-9a-f]{6}",
    task=r"[A-Za-z0-9._-]+",


rule all:
    default_target: True
    input:
        ".pathai/receipts/cohort/cohort",


include: "workflows/rules/slides.smk"
include: "workflows/rules/models.smk"
include: "workflows/rules/cases.smk"
