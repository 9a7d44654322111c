# One job per task.


rule train:
    input:
        needs("train"),
    output:
        touch(".pathai/receipts/train/{task}"),
    log:
        "logs/train/{task}.log",
    benchmark:
        "logs/benchmarks/train/{task}.tsv"
    conda:
        "../../envs/pathai.yaml"
    threads: 4
    resources:
        mem_mb=asks("mem_mb", "train"),
        runtime=asks("runtime", "train"),
        gpu=asks("gpu", "train"),
    params:
        config=CONFIG,
    shell:
        "pathai train --config {params.config:q} --batch {wildcards.task:q} 2>> {log:q}"
