# The whole chain. `pathai run` starts it; `snakemake --configfile config.yaml` works as well.
# Rules know batches of ids; the sheet alone knows where slides lie.


configfile: "config.yaml"


# built from envs/pathai.def; used with --software-deployment-method apptainer alone
container: "pathai.sif"


report: "workflows/report/workflow.rst"


wildcard_constraints:
    batch=r"\d{4}-[0-9a-f]{6}",
    task=r"[A-Za-z0-9._-]+",


rule all:
    default_target: True
    input:
        ".pathai/receipts/cohort/cohort",
        ".pathai/report/cohort.html",
        ".pathai/report/failures.tsv",


include: "workflows/rules/common.smk"
include: "workflows/rules/slides.smk"
include: "workflows/rules/models.smk"
include: "workflows/rules/cases.smk"
