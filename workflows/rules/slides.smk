# One job per batch of slides and stage; on a cluster, the first four stages of a batch are one.


rule ingest:
    output:
        touch(".pathai/receipts/ingest/{batch}"),
    log:
        "logs/ingest/{batch}.log",
    benchmark:
        "logs/benchmarks/ingest/{batch}.tsv"
    group:
        "slides"
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=asks("mem_mb", "ingest"),
        runtime=asks("runtime", "ingest"),
        gpu=asks("gpu", "ingest"),
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
    benchmark:
        "logs/benchmarks/tile/{batch}.tsv"
    group:
        "slides"
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=asks("mem_mb", "tile"),
        runtime=asks("runtime", "tile"),
        gpu=asks("gpu", "tile"),
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
    benchmark:
        "logs/benchmarks/features/{batch}.tsv"
    group:
        "slides"
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=asks("mem_mb", "features"),
        runtime=asks("runtime", "features"),
        gpu=asks("gpu", "features"),
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
    benchmark:
        "logs/benchmarks/cells/{batch}.tsv"
    group:
        "slides"
    conda:
        "../../envs/pathai.yaml"
    threads: PLAN.config.cells.workers
    resources:
        mem_mb=asks("mem_mb", "cells"),
        runtime=asks("runtime", "cells"),
        gpu=asks("gpu", "cells"),
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
    benchmark:
        "logs/benchmarks/slide/{batch}.tsv"
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=asks("mem_mb", "slide"),
        runtime=asks("runtime", "slide"),
        gpu=asks("gpu", "slide"),
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
    benchmark:
        "logs/benchmarks/predict/{batch}.tsv"
    conda:
        "../../envs/pathai.yaml"
    resources:
        mem_mb=asks("mem_mb", "predict"),
        runtime=asks("runtime", "predict"),
        gpu=asks("gpu", "predict"),
    params:
        config=CONFIG,
    shell:
        "pathai predict --config {params.config:q} --batch {wildcards.batch:q} 2>> {log:q}"
