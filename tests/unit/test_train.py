"""Training learns what is there, claims nothing that is not, and gives the same bytes twice."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pathai.config import TrainConfig
from pathai.errors import PathaiError
from pathai.sheet import SheetRow
from pathai.stats import auroc, auroc_interval, binary_metrics
from pathai.store.bundle import METRICS, WEIGHTS, read_bundle
from pathai.store.records import Features, FeaturesAttrs
from pathai.task import Task
from pathai.train import train
from pathai.train.cohort import gather
from pathai.train.fitting import (
    Cohort,
    conformal_scores,
    cross_validate,
    evaluate,
    fit,
    slide_weights,
    standardization,
)

DIM = 12
QUICK = TrainConfig(epochs=4, hidden=16)
TASK = Task(
    name="tumor",
    question="Is there tumor?",
    label="tumor",
    classes=("no", "yes"),
    train_on={"split": "train"},
    limits=("synthetic slides",),
)
ATTRS = FeaturesAttrs(
    encoder="morphology",
    encoder_digest="e" * 64,
    grid_digest="g",
    tile_px=256,
    stride_px=256,
    mpp=0.5,
)


def features(rng: np.random.Generator, tumor: bool, tiles: int = 40) -> Features:
    """A slide; in a tumor slide the first five tiles are shifted in three features."""
    x = rng.normal(size=(tiles, DIM)) * np.arange(1, DIM + 1) + 5
    if tumor:
        x[:5, :3] += 4 * np.arange(1, 4)
    return Features(
        x.astype(np.float16),
        np.stack([np.arange(tiles) * 256, np.zeros(tiles)], 1).astype(np.int32),
        np.array([256, 256], np.float32),
        np.ones(tiles, np.float16),
        np.ones(tiles, np.float16),
        ATTRS,
    )


def sheet(patients: int, per_patient: int = 1) -> tuple[list[SheetRow], dict[str, Features]]:
    rng = np.random.default_rng(11)
    rows, store = [], {}
    for p in range(patients):
        for s in range(per_patient):
            name = f"s{p:02d}-{s}"
            labels = {"split": "train", "tumor": TASK.classes[p % 2]}
            rows.append(
                SheetRow(
                    row=len(rows) + 2,
                    slide_id=name,
                    path="x.svs",
                    case_id=f"c{p:02d}",
                    patient_id=f"patient-{p:02d}",
                    labels=labels,
                )
            )
            store[name] = features(rng, p % 2 == 1, int(rng.integers(20, 50)))
    return rows, store


def content(slide_id: str) -> str:
    """Stands for the SHA-256 of a slide's file."""
    return f"file of {slide_id}"


def cohort(patients: int, per_patient: int = 1) -> Cohort:
    rows, store = sheet(patients, per_patient)
    return gather(TASK, rows, store.get, content, 0).cohort


@pytest.mark.parametrize("head", ["abmil", "mean"])
def test_a_planted_signal_is_learned_out_of_fold(head: str) -> None:
    given = cohort(24)
    found = cross_validate(given, head, 2, TrainConfig(epochs=30, hidden=64), members=1)
    assert auroc(given.labels, found.prob[:, 1]) > 0.9


def test_random_labels_give_half_but_a_leak_is_caught() -> None:
    """Two slides per patient that look alike: splitting by slide instead of patient leaks."""
    rng = np.random.default_rng(7)
    own = np.repeat(rng.normal(size=(24, DIM)) * 3, 2, axis=0)
    bags = [torch.tensor(o + rng.normal(size=(9, DIM)), dtype=torch.float32) for o in own]
    labels = np.repeat(rng.permutation(np.repeat([0, 1], 12)), 2)
    honest = Cohort(bags, labels, [f"p{i // 2:02d}" for i in range(48)], np.ones(48))
    leaking = replace(honest, patients=[f"s{i:02d}" for i in range(48)])
    section = TrainConfig(epochs=20, hidden=64)
    scores = [
        cross_validate(c, "abmil", 2, section, members=1).prob[:, 1] for c in (honest, leaking)
    ]
    areas = [auroc(honest.labels, s) for s in scores]
    low, high = auroc_interval(areas[0], 12, 12)
    assert low <= 0.5 <= high
    assert auroc_interval(areas[1], 24, 24)[0] > 0.5


def test_folds_hold_whole_patients() -> None:
    given = cohort(10, per_patient=3)
    fold = cross_validate(given, "mean", 2, TrainConfig(epochs=1)).fold
    homes = {
        p: {int(f) for f, q in zip(fold, given.patients, strict=True) if q == p}
        for p in set(given.patients)
    }
    assert all(len(home) == 1 for home in homes.values())
    assert len(set(fold.tolist())) == 3


def test_test_patients_do_not_touch_their_model() -> None:
    """The answers of a fold come from a model of the other folds' slides alone."""
    given = cohort(9)
    found = cross_validate(given, "mean", 2, QUICK)
    train, test = np.flatnonzero(found.fold != 0), np.flatnonzero(found.fold == 0)
    alone = fit(given.take(train), "mean", 2, QUICK)
    np.testing.assert_array_equal(evaluate(alone, given.take(test)), found.logits[test])


def test_every_slide_weighs_the_same_in_the_standardization() -> None:
    bags = [torch.zeros(1000, 2), torch.tensor([[2.0, 0.0]])]
    mean, scale = standardization(bags)
    assert mean.tolist() == [1.0, 0.0]
    assert scale.tolist() == [1.0, 1.0]  # a feature that never varies keeps scale 1


def test_weights_balance_classes_and_patients() -> None:
    given = Cohort([torch.zeros(1, 1)] * 5, np.array([0, 0, 0, 0, 1]), list("aabcd"), np.ones(5))
    w = slide_weights(given).double().numpy()
    assert w.mean() == pytest.approx(1)
    assert w[:4].sum() == pytest.approx(w[4])
    assert w[0] + w[1] == pytest.approx(w[2])


def test_conformal_scores_take_the_oddest_slide_of_a_patient() -> None:
    given = Cohort([torch.zeros(1, 1)] * 4, np.array([0, 0, 1, 1]), list("aabc"), np.ones(4))
    prob = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])
    assert conformal_scores(prob, given) == ((0.4,), (0.2, 0.5))


def test_bundle_is_complete_and_the_same_twice(tmp_path: Path) -> None:
    rows, store = sheet(8)
    metrics = train(TASK, rows, store.get, content, QUICK, tmp_path / "a")
    torch.rand(3)  # the state of the global generator must not matter
    train(TASK, rows[::-1], store.get, content, QUICK, tmp_path / "b")
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["README.md", "SHA256SUMS", "metrics.json", "model.json", "model.safetensors"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = QUICK.model_copy(update={"seed": 1})
    train(TASK, rows, store.get, content, other, tmp_path / "c")
    weights = [(tmp_path / d / WEIGHTS).read_bytes() for d in "ac"]
    assert weights[0] != weights[1]
    assert json.loads((tmp_path / "a" / METRICS).read_text()) == metrics


def test_metrics_and_card_say_what_was_measured(tmp_path: Path) -> None:
    rows, store = sheet(12)
    metrics = train(TASK, rows, store.get, content, QUICK, tmp_path / "m")
    found, base = metrics["out_of_fold"], metrics["baselines"]
    assert found["n"] == found["n_patients"] == metrics["n_slides"] == 12
    assert found["auroc"]["low"] < found["auroc"]["value"] <= found["auroc"]["high"]
    assert base["constant"] == {"auroc": 0.5, "brier": 0.25}
    assert base["tissue_area"]["auroc"]["low"] < 0.5 < base["tissue_area"]["auroc"]["high"]
    assert sum(f["n"] for f in metrics["folds"]) == 12
    card = (tmp_path / "m" / "README.md").read_text()
    for text in ("Research use only", "synthetic slides", f"{found['auroc']['low']:.2f}", "12 pat"):
        assert text in card
    everything = b"".join(p.read_bytes() for p in (tmp_path / "m").iterdir())
    assert b"patient-0" not in everything
    assert b"s00-0" not in everything  # neither as an id nor in the name of a content
    bundle = read_bundle(tmp_path / "m")
    assert bundle.trained_on("s00-0")
    assert bundle.trained_on("patient-03")
    assert bundle.trained_on("file of s00-0")
    assert not bundle.trained_on("file of s99-0")
    assert not bundle.trained_on("s99-0")


def test_patient_is_the_unit(tmp_path: Path) -> None:
    rows, store = sheet(8, per_patient=3)
    task = TASK.model_copy(update={"head": "mean"})
    by_patient = train(task, rows, store.get, content, QUICK, tmp_path / "p")
    task = task.model_copy(update={"unit": "slide"})
    by_slide = train(task, rows, store.get, content, QUICK, tmp_path / "s")
    assert by_patient["out_of_fold"]["n"] == 8
    assert by_slide["out_of_fold"]["n"] == 24
    assert by_slide["out_of_fold"]["n_patients"] == 8


def test_slides_that_cannot_be_used_are_counted() -> None:
    rows, store = sheet(8)
    store.pop("s00-0")
    store["s01-0"] = replace(store["s01-0"], x=store["s01-0"].x[:0])
    rows[2] = rows[2].model_copy(update={"stain": "Ki-67"})
    rows[3] = rows[3].model_copy(update={"labels": {"split": "test", "tumor": "?"}})
    found = gather(TASK, rows, store.get, content, 0)
    assert found.left_out == {"other stain": 1, "no tissue or failed": 2}
    assert found.cohort.patients == ["patient-04", "patient-05", "patient-06", "patient-07"]


def relabel(rows: list[SheetRow], index: int, **labels: str) -> list[SheetRow]:
    row = rows[index]
    changed = row.model_copy(update={"labels": {**row.labels, **labels}})
    return [*rows[:index], changed, *rows[index + 1 :]]


def test_bad_data_are_named() -> None:
    rows, store = sheet(6, per_patient=2)

    def refused(code: str, words: str, given: list[SheetRow], task: Task = TASK) -> None:
        with pytest.raises(PathaiError, match=words) as caught:
            gather(task, given, store.get, content, 0)
        assert caught.value.code == code

    refused("E184", r"row 5, slide s01-1, column tumor: '' is none of", relabel(rows, 3, tumor=""))
    refused("E184", r"'maybe' is none of no, yes", relabel(rows, 3, tumor="maybe"))
    refused("E184", "patient patient-01 has two labels", relabel(rows, 3, tumor="no"))
    refused("E184", "0 patient.* tumor = yes", [r for r in rows if r.labels["tumor"] == "no"])
    refused("E184", "no slide", [])
    wrong = TASK.model_copy(update={"train_on": {"part": "1"}})
    refused("E184", "no column 'part'", rows, wrong)
    refused("E181", "features of morphology", rows, TASK.model_copy(update={"encoder": "x"}))
    good = store["s02-0"]
    store["s02-0"] = replace(good, attrs=ATTRS.model_copy(update={"encoder_digest": "f" * 64}))
    refused("E181", "s00-0 and s02-0", rows)
    x = good.x.copy()
    x[3, 4] = np.nan
    store["s02-0"] = replace(good, x=x)
    refused("E180", "s02-0: features are not finite", rows)


@pytest.mark.real
def test_musk1_is_learned(test_data: Path) -> None:
    """A public data set: 92 molecules, 5 folds; the mean published AUC is around 0.9."""
    with gzip.open(test_data / "mil" / "musk1.csv.gz", "rt") as file:
        table = np.array(list(csv.reader(file))[1:], float)
    ids = np.unique(table[:, 0])
    given = Cohort(
        [torch.tensor(table[table[:, 0] == i, 2:], dtype=torch.float32) for i in ids],
        np.array([int(table[table[:, 0] == i, 1][0]) for i in ids], np.intp),
        [str(int(i)) for i in ids],
        np.ones(len(ids)),
    )
    assert np.bincount(given.labels).tolist() == [45, 47]
    found = cross_validate(given, "abmil", 2, TrainConfig(folds=5, epochs=30), members=1)
    numbers = binary_metrics(given.labels, found.prob[:, 1], given.patients)
    assert numbers["auroc"]["low"] > 0.75
    assert numbers["brier"]["high"] < 0.25
