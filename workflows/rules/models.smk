# One job per task.


rule train:
    input:
        needs("train"),
    output:
        touch(".pathai/receipts/train/{task}"),
    log:
        "logs/train/{task}.log",
    conda:
        "../../envs/pathai.yaml"
    threads: 4
    resources:
        mem_mb=16000,
        runtime=720,
    params:
        config=CONFIG,
    shell:
        "pathai train --config {params.config:q} --batch {wildcards.task:q} 2>> {log:q}"
