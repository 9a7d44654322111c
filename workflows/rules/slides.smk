# One job per batch of slides and stage.


rule ingest:
    output:
        touch(".pathai/receipts/ingest/{batch}"),
    log:
        "logs/ingest/{batch}.log",
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=CONFIG,
    shell:
        "pathai ingest --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"


rule tile:
    input:
        needs("tile"),
    output:
        touch(".pathai/receipts/tile/{batch}"),
    log:
        "logs/tile/{batch}.log",
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        config=CONFIG,
    shell:
        "pathai tile --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"


rule features:
    input:
        needs("features"),
    output:
        touch(".pathai/receipts/features/{batch}"),
    log:
        "logs/features/{batch}.log",
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=8000,
        runtime=480,
    params:
        config=CONFIG,
    shell:
        "pathai features --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"


rule cells:
    input:
        needs("cells"),
    output:
        touch(".pathai/receipts/cells/{batch}"),
    log:
        "logs/cells/{batch}.log",
    conda:
        "../../envs/pathai.yaml"
    threads: PLAN.config.cells.workers
    resources:
        mem_mb=8000,
        runtime=480,
    params:
        config=CONFIG,
    shell:
        "pathai cells --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"


rule slide:
    input:
        needs("slide"),
    output:
        touch(".pathai/receipts/slide/{batch}"),
    log:
        "logs/slide/{batch}.log",
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        config=CONFIG,
    shell:
        "pathai slide-vector --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"


rule predict:
    input:
        needs("predict"),
    output:
        touch(".pathai/receipts/predict/{batch}"),
    log:
        "logs/predict/{batch}.log",
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        config=CONFIG,
    shell:
        "pathai predict --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"
