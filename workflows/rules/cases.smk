# Findings and draft of batches of cases, then the page of the cohort.


def slides_of(wildcards):
    batches = PLAN.batches_of_case_batch(wildcards.batch)
    return [f".pathai/receipts/{s}/{b}" for s in ("cells", "predict") for b in batches]


rule report:
    input:
        slides_of,
    output:
        touch(".pathai/receipts/report/{batch}"),
    log:
        "logs/report/{batch}.log",
    resources:
        mem_mb=2000,
        runtime=60,
    shell:
        "pathai report draft --config {CONFIG:q} --batch {wildcards.batch:q} 2> {log:q}"


rule cohort:
    input:
        receipts("report"),
    output:
        touch(".pathai/receipts/cohort/cohort"),
    log:
        "logs/cohort/cohort.log",
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "pathai cohort --config {CONFIG:q} 2> {log:q}"
