# Findings and draft of batches of cases, then the page of the cohort.


rule report:
    input:
        needs("report"),
    output:
        touch(".pathai/receipts/report/{batch}"),
    log:
        "logs/report/{batch}.log",
    benchmark:
        "logs/benchmarks/report/{batch}.tsv"
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=asks("mem_mb", "report"),
        runtime=asks("runtime", "report"),
        gpu=asks("gpu", "report"),
    params:
        config=CONFIG,
    shell:
        "pathai report draft --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"


rule cohort:
    input:
        needs("cohort"),
    output:
        touch(".pathai/receipts/cohort/cohort"),
        page=report(
            ".pathai/report/cohort.html",
            caption="../report/cohort.rst",
            category="Cohort",
            labels={"page": "cohort"},
        ),
        failures=report(
            ".pathai/report/failures.tsv",
            caption="../report/failures.rst",
            category="Cohort",
            labels={"page": "failures"},
        ),
    log:
        "logs/cohort/cohort.log",
    benchmark:
        "logs/benchmarks/cohort/cohort.tsv"
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=asks("mem_mb", "cohort"),
        runtime=asks("runtime", "cohort"),
        gpu=asks("gpu", "cohort"),
    params:
        config=CONFIG,
    shell:
        "pathai cohort --config {params.config:q} --link .pathai/report 2>> {log:q}"
