# Findings and draft of batches of cases, then the page of the cohort.


rule report:
    input:
        needs("report"),
    output:
        touch(".pathai/receipts/report/{batch}"),
    log:
        "logs/report/{batch}.log",
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=CONFIG,
    shell:
        "pathai report draft --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"


rule cohort:
    input:
        needs("cohort"),
    output:
        touch(".pathai/receipts/cohort/cohort"),
    log:
        "logs/cohort/cohort.log",
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=CONFIG,
    shell:
        "pathai cohort --config {params.config:q} 2>> {log:q}"
