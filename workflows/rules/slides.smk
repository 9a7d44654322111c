# One job per batch of slides and stage.


rule ingest:
    output:
        touch(".pathai/receipts/ingest/{batch}"),
    log:
        "logs/ingest/{batch}.log",
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "pathai ingest --config {CONFIG:q} --batch {wildcards.batch:q} 2> {log:q}"


rule tile:
    input:
        ".pathai/receipts/ingest/{batch}",
    output:
        touch(".pathai/receipts/tile/{batch}"),
    log:
        "logs/tile/{batch}.log",
    resources:
        mem_mb=4000,
        runtime=240,
    shell:
        "pathai tile --config {CONFIG:q} --batch {wildcards.batch:q} 2> {log:q}"


rule features:
    input:
        ".pathai/receipts/tile/{batch}",
    output:
        touch(".pathai/receipts/features/{batch}"),
    log:
        "logs/features/{batch}.log",
    resources:
        mem_mb=8000,
        runtime=480,
    shell:
        "pathai features --config {CONFIG:q} --batch {wildcards.batch:q} 2> {log:q}"


rule cells:
    input:
        ".pathai/receipts/tile/{batch}",
    output:
        touch(".pathai/receipts/cells/{batch}"),
    log:
        "logs/cells/{batch}.log",
    resources:
        mem_mb=8000,
        runtime=480,
    shell:
        "pathai cells --config {CONFIG:q} --batch {wildcards.batch:q} 2> {log:q}"


rule predict:
    input:
        ".pathai/receipts/features/{batch}",
        receipts("train"),
    output:
        touch(".pathai/receipts/predict/{batch}"),
    log:
        "logs/predict/{batch}.log",
    resources:
        mem_mb=8000,
        runtime=120,
    shell:
        "pathai predict --config {CONFIG:q} --batch {wildcards.batch:q} 2> {log:q}"
