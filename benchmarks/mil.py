"""Learning from slides: a training step, nested cross-validation, and accuracy on Musk.

``python benchmarks/mil.py [--parts step,nested,musk] [--repeats 5]`` prints and writes
``benchmarks/results/mil.json``; parts that are not asked for keep their figures. Needs torchmil
1.0.2 and scikit-learn; data: ``PATHAI_TEST_DATA/mil/musk{1,2}.csv.gz`` (UCI, Dietterich 1997).

- ``step``: see ``mil_step.py``.
- ``nested``: 5 x 4 folds on 200 slides of 500 tiles, 512 features; one of 20 tiles of a positive
  slide is shifted.
- ``musk``: accuracy of out-of-fold answers, 10 folds, seeds 0, 1, ... In the same folds: torchmil's
  ABMIL as it is built by default (50 epochs of AdamW, tiles standardized in the training part),
  and an SVM on statistics of the bag. Our head is chosen among those of ``configs/search.yaml``
  on inner folds; that list was drawn up on synthetic bags, not on Musk.
"""

import argparse
import csv
import gzip
import importlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torchmil.models.abmil import ABMIL

from pathai.config import TrainConfig, load_config
from pathai.device import threads
from pathai.stats import auroc
from pathai.task import Target
from pathai.train.bags import Bags
from pathai.train.cohort import Cohort
from pathai.train.fitting import deterministic
from pathai.train.nested import Nested, cross_validate

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data"))
OUT = ROOT / "benchmarks" / "results" / "mil.json"
TARGET = Target(name="musk", question="?", kind="binary", label="musk", classes=("no", "yes"))
SLIDES, TILES, DIM = 200, 500, 512
EPOCHS, RATE, DECAY = 50, 1e-3, 1e-2
"""Of torchmil's ABMIL: AdamW, one bag per step, as in its examples."""

Scores = NDArray[np.float64]


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a piece of work gives, and its seconds: wall clock, processor, all processes."""

    def cpu() -> float:
        both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, both))

    wall, used = time.perf_counter(), cpu()
    found = work()
    seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": cpu() - used}
    return found, {name: round(value, 1) for name, value in seconds.items()}


def nested_in_scratch(cohort: Cohort, section: TrainConfig) -> Nested:
    with tempfile.TemporaryDirectory() as scratch:
        return cross_validate(cohort, "abmil", section, Path(scratch))


def out_of_fold(found: Nested, n: int) -> Scores:
    """Difference float64[n] of the two logits of each slide, by the model that never met it."""
    score = np.empty(n)
    for fold in found.folds:
        score[fold.test] = fold.outputs[:, 1] - fold.outputs[:, 0]
    return score


# --- nested ----------------------------------------------------------------------------------


def synthetic() -> Cohort:
    rng = np.random.default_rng(0)
    tiles = rng.standard_normal((SLIDES * TILES, DIM), dtype=np.float32)
    label = np.arange(SLIDES) % 2
    for i in np.flatnonzero(label):
        tiles[i * TILES : i * TILES + TILES // 20, :8] += 1
    start = np.arange(SLIDES + 1) * TILES
    bags = Bags(tiles, np.zeros((0, 2), int), start, np.zeros((SLIDES, 0), "f4"), np.arange(SLIDES))
    return cohort_of(bags, label)


def cohort_of(bags: Bags, label: NDArray[Any]) -> Cohort:
    truth = np.stack([label, np.zeros(len(label))], axis=1)[None].astype(float)
    patients = tuple(f"p{i:03d}" for i in range(len(label)))
    return Cohort(bags, (TARGET,), truth, patients, np.ones(len(label)))


def nested() -> dict[str, Any]:
    cohort = synthetic()
    section = TrainConfig(folds=5, inner_folds=4, epochs=20)
    found, seconds = measured(lambda: nested_in_scratch(cohort, section))
    area = auroc(cohort.truth[0, :, 0] == 1, out_of_fold(found, SLIDES))
    return {
        "slides": SLIDES, "tiles": TILES, "dim": DIM, "epochs": section.epochs,
        "members": section.members, "folds": section.folds, "inner_folds": section.inner_folds,
        "processes": threads(), **seconds, "target_wall_s": 300,
        "chosen_epochs": [choice.epochs for choice in (*found.choices, found.last)],
        "auroc": round(area, 4),
    }  # fmt: skip


# --- Musk ------------------------------------------------------------------------------------


def musk(which: int) -> Cohort:
    with gzip.open(DATA / "mil" / f"musk{which}.csv.gz", "rt") as file:
        table = np.array(list(csv.reader(file))[1:], float)
    ids = np.unique(table[:, 0])
    of = [table[table[:, 0] == i] for i in ids]
    bags = Bags.of([torch.tensor(t[:, 2:], dtype=torch.float32) for t in of], [])
    return cohort_of(bags, np.array([t[0, 1] for t in of]))


def ours(cohort: Cohort, seed: int) -> tuple[Nested, Scores]:
    searched = load_config(ROOT / "configs" / "search.yaml").train
    section = searched.model_copy(update={"folds": 10, "seed": seed})
    found = nested_in_scratch(cohort, section)
    return found, out_of_fold(found, len(cohort))


def svm(cohort: Cohort, fold: NDArray[np.intp]) -> Scores:
    """RBF SVM (C = 10) on mean, minimum and maximum of the bag, standardized in the fold."""
    bags = [cohort.bags[i].numpy() for i in range(len(cohort))]
    x = np.stack([np.concatenate([b.mean(0), b.min(0), b.max(0)]) for b in bags])
    label, score = cohort.truth[0, :, 0], np.empty(len(x))
    for k in np.unique(fold):
        model = make_pipeline(StandardScaler(), SVC(C=10))
        model.fit(x[fold != k], label[fold != k])
        score[fold == k] = model.decision_function(x[fold == k])
    return score


def torchmil(cohort: Cohort, fold: NDArray[np.intp], seed: int) -> Scores:
    """torchmil's ABMIL with its own defaults, tiles standardized in the training part."""
    score = np.empty(len(cohort))
    for k in np.unique(fold):
        train = np.flatnonzero(fold != k)
        tiles = torch.cat([cohort.bags[int(i)] for i in train])
        mean, scale = tiles.mean(0), tiles.std(0).clamp(min=1e-6)
        bags = [(cohort.bags[i] - mean) / scale for i in range(len(cohort))]
        label = torch.from_numpy(cohort.truth[0, :, 0]).float()
        with deterministic(seed):
            model = ABMIL((cohort.bags.dim,)).train()
            optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
            for _ in range(EPOCHS):
                for i in train[torch.randperm(len(train)).numpy()]:
                    optimizer.zero_grad()
                    _, losses = model.compute_loss(label[i, None], bags[i][None])
                    sum(losses.values()).backward()
                    optimizer.step()
            with torch.inference_mode():
                for i in np.flatnonzero(fold == k):
                    score[i] = model.eval()(bags[i][None])
    return score


def accuracy(cohort: Cohort, score: Scores) -> float:
    return float(np.mean((score > 0) == (cohort.truth[0, :, 0] == 1)))


def one_musk(which: int, repeats: int) -> dict[str, Any]:
    cohort = musk(which)
    runs: list[dict[str, Any]] = []
    for seed in range(repeats):
        (found, score), seconds = measured(lambda s=seed: ours(cohort, s))
        scores = {
            "pathai": score,
            "torchmil_abmil": torchmil(cohort, found.fold, seed),
            "svm": svm(cohort, found.fold),
        }
        chosen = [choice.settings.head for choice in found.choices]
        run = {name: round(accuracy(cohort, s), 4) for name, s in scores.items()}
        heads = {head: chosen.count(head) for head in sorted(set(chosen))}
        runs.append({"seed": seed, **run, "chosen": heads, **seconds})
        print(f"musk{which}", runs[-1], file=sys.stderr, flush=True)
    names = ("pathai", "torchmil_abmil", "svm")
    mean = {name: float(np.mean([run[name] for run in runs])) for name in names}
    return {
        "accuracy": {name: round(value, 4) for name, value in mean.items()},
        "above_torchmil": round(mean["pathai"] - mean["torchmil_abmil"], 4),
        "above_svm": round(mean["pathai"] - mean["svm"], 4),
        "cpu_s": round(sum(run["cpu_s"] for run in runs), 1),
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="step,nested,musk")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "step": lambda: importlib.import_module("mil_step").measure(),
        "nested": nested,
        "musk": lambda: {f"musk{w}": one_musk(w, given.repeats) for w in (1, 2)},
    }
    for name in given.parts.split(","):
        own = {**parts[name](), "load": round(os.getloadavg()[0], 1)}
        print(json.dumps({name: own}, indent=1), flush=True)
        kept = json.loads(OUT.read_text()) if OUT.exists() else {}
        result = {**{key: kept[key] for key in parts if key in kept}, name: own}
        text = json.dumps({"machine": machine(), **result}, indent=1, sort_keys=True)
        OUT.write_text(text + "\n")


if __name__ == "__main__":
    main()
