"""Musk1: the gated-attention head beside an SVM on bag statistics, same folds, same run.

Prints and writes ``benchmarks/results/mil.json``. Data: ``PATHAI_TEST_DATA/mil/musk1.csv.gz``.
The settings were chosen on small synthetic cohorts, not on Musk.
"""

import csv
import gzip
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pathai.config import TrainConfig
from pathai.stats import auroc
from pathai.train.fitting import Cohort, cross_validate

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data"))
REPEATS, FOLDS = 3, 10


def load() -> Cohort:
    with gzip.open(DATA / "mil" / "musk1.csv.gz", "rt") as file:
        table = np.array(list(csv.reader(file))[1:], float)
    ids = np.unique(table[:, 0])
    return Cohort(
        [torch.tensor(table[table[:, 0] == i, 2:], dtype=torch.float32) for i in ids],
        np.array([int(table[table[:, 0] == i, 1][0]) for i in ids], np.intp),
        [str(int(i)) for i in ids],
        np.ones(len(ids)),
    )


def svm(cohort: Cohort, fold: np.ndarray) -> np.ndarray:
    """Out-of-fold decision of an RBF SVM (C = 10) on mean, minimum and maximum of the bag."""
    x = np.stack([np.concatenate([b.mean(0), b.amin(0), b.amax(0)]) for b in cohort.bags])
    score = np.empty(len(x))
    for k in np.unique(fold):
        model = make_pipeline(StandardScaler(), SVC(C=10))
        model.fit(x[fold != k], cohort.labels[fold != k])
        score[fold == k] = model.decision_function(x[fold == k])
    return score


def main() -> None:
    cohort, rows = load(), []
    for seed in range(REPEATS):
        start = time.process_time()
        section = TrainConfig(folds=FOLDS, seed=seed, epochs=30, hidden=128)
        found = cross_validate(cohort, "abmil", 2, section, members=1)
        seconds = time.process_time() - start
        for name, score in (
            ("abmil", found.logits[:, 1] - found.logits[:, 0]),
            ("svm", svm(cohort, found.fold)),
        ):
            accuracy = float(((score > 0) == cohort.labels).mean())
            auc = auroc(cohort.labels, score)
            rows.append({"seed": seed, "model": name, "accuracy": accuracy, "auroc": auc})
        rows[-2]["cpu_s"] = round(seconds, 1)
    summary = {
        name: {
            key: round(float(np.mean([r[key] for r in rows if r["model"] == name])), 4)
            for key in ("accuracy", "auroc")
        }
        for name in ("abmil", "svm")
    }
    result = {"data": "musk1", "repeats": REPEATS, "folds": FOLDS, "mean": summary, "runs": rows}
    out = ROOT / "benchmarks" / "results" / "mil.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
