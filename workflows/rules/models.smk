# One job per task.


rule train:
    input:
        receipts("features"),
    output:
        touch(".pathai/receipts/train/{task}"),
    log:
        "logs/train/{task}.log",
    resources:
        mem_mb=16000,
        runtime=720,
    shell:
        "pathai train --config {CONFIG:q} --name {wildcards.task:q} 2> {log:q}"
