"""Training learns what is there, claims nothing that is not, and gives the same bytes twice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mil_cases import ATTRS, DIM, TUMOR, about, cohort_of, features, musk, row, sheet

from pathai.answers import value_and_spread
from pathai.config import Candidate, TrainConfig
from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.base import Ensemble
from pathai.labels import point
from pathai.sheet import SheetRow
from pathai.stats import auroc, auroc_interval, binary_metrics, concordance
from pathai.store.bundle import METRICS, WEIGHTS, read_bundle
from pathai.task import Target, Task
from pathai.train import train
from pathai.train.cohort import Cohort, gather
from pathai.train.fitting import (
    Settings,
    Slides,
    Trainer,
    class_shares,
    fit,
    outputs_of,
    slide_weights,
    standardization,
    target_specs,
)
from pathai.train.heldout import HeldOut, held_out
from pathai.train.nested import Nested, cross_validate, latest_good
from pathai.train.shipped import from_nested

QUICK = TrainConfig(folds=3, inner_folds=0, epochs=4, hidden=16, members=1)
LEARN = TrainConfig(
    folds=3, inner_folds=0, epochs=20, hidden=32, members=1, ensemble="folds"
)  # no model is shipped, so none is fitted to all slides


def cohort(patients: int, tmp_path: Path, per_patient: int = 1) -> Cohort:
    rows, store = sheet(patients, per_patient)
    return gather(TUMOR, rows, store.get, about, 0, tmp_path / "bags").cohort


def answers(given: Cohort, section: TrainConfig, head: str = "abmil") -> tuple[Nested, HeldOut]:
    found = cross_validate(given, head, section)
    return found, held_out(given, found, "temperature")[0]


@pytest.mark.parametrize("head", ["abmil", "mean"])
def test_a_planted_signal_is_learned_out_of_fold(head: str, tmp_path: Path) -> None:
    given = cohort(24, tmp_path)
    section = LEARN.model_copy(update={"epochs": 30, "hidden": 64})
    _, held = answers(given, section, head)
    assert auroc(held.labels == 1, held.prob[:, 1]) > 0.9


def test_random_labels_give_half_but_a_leak_is_caught() -> None:
    """Two slides per patient that look alike: splitting by slide instead of patient leaks."""
    rng = np.random.default_rng(7)
    own = np.repeat(rng.normal(size=(24, DIM)) * 3, 2, axis=0)
    bags = [torch.tensor(o + rng.normal(size=(9, DIM)), dtype=torch.float32) for o in own]
    labels = np.repeat(rng.permutation(np.repeat([0.0, 1.0], 12)), 2)
    honest = cohort_of(bags, labels, [f"p{i // 2:02d}" for i in range(48)])
    leaking = replace(honest, patients=tuple(f"s{i:02d}" for i in range(48)))
    section = LEARN.model_copy(update={"inner_folds": 2, "epochs": 12})
    areas = [auroc(labels == 1, answers(c, section)[1].prob[:, 1]) for c in (honest, leaking)]
    low, high = auroc_interval(areas[0], 12, 12)
    assert low <= 0.5 <= high
    assert auroc_interval(areas[1], 24, 24)[0] > 0.5


def test_folds_hold_whole_patients(tmp_path: Path) -> None:
    given = cohort(10, tmp_path, per_patient=3)
    found = cross_validate(given, "mean", QUICK)
    homes = {
        p: {int(f) for f, q in zip(found.fold, given.patients, strict=True) if q == p}
        for p in set(given.patients)
    }
    assert all(len(home) == 1 for home in homes.values())
    assert len(set(found.fold.tolist())) == 3


def test_whole_sites_stay_in_one_fold_when_asked() -> None:
    rng = np.random.default_rng(3)
    bags = [torch.tensor(rng.normal(size=(5, 3)), dtype=torch.float32) for _ in range(30)]
    sites = [f"site-{i % 5}" for i in range(30)]
    given = cohort_of(bags, [float(i // 5 % 2) for i in range(30)], sites=sites)
    fold = cross_validate(given, "mean", QUICK.model_copy(update={"keep_sites": True})).fold
    homes = {s: {int(f) for f, t in zip(fold, sites, strict=True) if t == s} for s in sites}
    assert all(len(home) == 1 for home in homes.values())
    with pytest.raises(PathaiError, match="5 sites in the sheet, 6 folds"):
        cross_validate(given, "mean", QUICK.model_copy(update={"keep_sites": True, "folds": 6}))


def test_test_patients_do_not_touch_their_model(tmp_path: Path) -> None:
    """Other features and labels of a fold's own patients change nothing in its model."""
    given = cohort(24, tmp_path)
    section = TrainConfig(folds=3, inner_folds=2, epochs=5, hidden=8, members=1)
    section = section.model_copy(update={"search": (Candidate(hidden=8), Candidate(hidden=16))})
    found = cross_validate(given, "mean", section)
    test = np.flatnonzero(found.fold == 0)
    bags = [given.bags[i] * (100.0 if i in test else 1.0) for i in range(len(given))]
    changed = cohort_of(bags, given.truth[0, :, 0].tolist(), given.patients)
    again = cross_validate(changed, "mean", section)
    assert again.choices[0] == found.choices[0]
    train_part = np.flatnonzero(found.fold != 0)
    alone = fit(
        changed.take(train_part), found.choices[0].settings, section, epochs=found.choices[0].epochs
    )
    np.testing.assert_array_equal(outputs_of(alone.model, given.take(test)), found.folds[0].outputs)


def test_the_setting_that_can_learn_is_chosen_on_inner_folds() -> None:
    """Only the number of marked tiles tells; a head with a tiny rate never gets there."""
    rng = np.random.default_rng(5)
    bags = []
    for i in range(40):
        x = rng.normal(size=(20, 4))
        x[:8, 0] += 4 * (i % 2)
        bags.append(torch.tensor(x, dtype=torch.float32))
    given = cohort_of(bags, [float(i % 2) for i in range(40)])
    section = TrainConfig(folds=2, inner_folds=2, epochs=5, hidden=16, members=1)
    candidates = (Candidate(learning_rate=1e-7), Candidate(learning_rate=5e-3))
    found = cross_validate(given, "mean", section.model_copy(update={"search": candidates}))
    rates = {choice.settings.learning_rate for choice in (*found.choices, found.last)}
    assert rates == {5e-3}
    assert all(choice.by == "loss on 2 inner folds" for choice in found.choices)


def test_few_patients_choose_nothing_and_say_so(tmp_path: Path) -> None:
    section = QUICK.model_copy(update={"inner_folds": 4})
    found = cross_validate(cohort(12, tmp_path), "mean", section)
    assert {(c.by, c.epochs) for c in found.choices} == {("nothing: too few patients", 4)}


def test_training_that_was_interrupted_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished fits are not done again, and the result is that of one go."""
    from pathai.train import nested as room

    monkeypatch.setattr(room, "MIN_TO_CHOOSE", 10)
    given, section = cohort(24, tmp_path), QUICK.model_copy(update={"inner_folds": 2})
    whole = cross_validate(given, "mean", section)
    done: list[str] = []
    honest = room.do

    def counted(*args: Any) -> Any:
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(args[2].name)
        return honest(*args)

    monkeypatch.setattr(room, "do", counted)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(given, "mean", section, tmp_path / "scratch")
    monkeypatch.setattr(room, "do", lambda *args: done.append(args[2].name) or honest(*args))
    again = cross_validate(given, "mean", section, tmp_path / "scratch")
    assert len(done) == len(set(done)) == 3 * 2 + 2 + 3 + 1
    for one, two in zip(whole.folds, again.folds, strict=True):
        np.testing.assert_array_equal(one.outputs, two.outputs)
    for name, array in whole.models[0].items():
        np.testing.assert_array_equal(array, again.models[0][name])


@pytest.mark.slow
def test_processes_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathai.train import nested as room

    given, section = cohort(12, tmp_path), QUICK
    alone = cross_validate(given, "abmil", section)
    monkeypatch.setattr(room, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr(room, "threads", lambda: 2)
    together = cross_validate(given, "abmil", section, tmp_path / "scratch")
    for one, two in zip(alone.folds, together.folds, strict=True):
        np.testing.assert_array_equal(one.outputs, two.outputs)


def test_half_precision_changes_little(tmp_path: Path) -> None:
    given = cohort(12, tmp_path)
    settings = Settings.of("abmil", QUICK)
    half = QUICK.model_copy(update={"precision": "bf16"})
    a, b = (outputs_of(fit(given, settings, s).model, given) for s in (QUICK, half))
    assert not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=0.1)


@pytest.mark.slow
def test_some_tiles_of_each_slide_suffice_when_asked(tmp_path: Path) -> None:
    given = cohort(24, tmp_path)
    section = LEARN.model_copy(update={"epochs": 30, "max_tiles": 15})
    _, held = answers(given, section)
    assert auroc(held.labels == 1, held.prob[:, 1]) > 0.8


def test_every_slide_weighs_the_same_in_the_standardization() -> None:
    given = cohort_of([torch.zeros(1000, 2), torch.tensor([[2.0, 0.0]])], [0, 1])
    mean, scale = standardization(given)
    assert mean.tolist() == [1.0, 0.0]
    assert scale.tolist() == [1.0, 1.0]  # a feature that never varies keeps scale 1


def test_weights_balance_classes_and_patients() -> None:
    given = cohort_of([torch.zeros(1, 1)] * 5, [0, 0, 0, 0, 1], list("aabcd"))
    w = slide_weights(given)[:, 0]
    assert w.mean() == pytest.approx(1)
    assert w[:4].sum() == pytest.approx(w[4])
    assert w[0] + w[1] == pytest.approx(w[2])
    np.testing.assert_allclose(np.exp(class_shares(given)[0]), [0.75, 0.25])


def test_bundle_is_complete_and_the_same_twice(tmp_path: Path) -> None:
    rows, store = sheet(8)
    metrics = train(TUMOR, rows, store.get, about, QUICK, tmp_path / "a")
    torch.rand(3)  # the state of the global generator must not matter
    train(TUMOR, rows[::-1], store.get, about, QUICK, tmp_path / "b")
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == [
        "README.md",
        "SHA256SUMS",
        "evaluation.html",
        "metrics.json",
        "model.json",
        "model.safetensors",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = QUICK.model_copy(update={"seed": 1})
    train(TUMOR, rows, store.get, about, other, tmp_path / "c")
    weights = [(tmp_path / d / WEIGHTS).read_bytes() for d in "ac"]
    assert weights[0] != weights[1]
    assert json.loads((tmp_path / "a" / METRICS).read_text()) == metrics


def test_metrics_and_card_say_what_was_measured(tmp_path: Path) -> None:
    rows, store = sheet(12)
    metrics = train(TUMOR, rows, store.get, about, QUICK, tmp_path / "m")
    found = metrics["targets"]["tumor"]
    auc, base = found["figures"]["auroc"], found["baselines"]
    assert found["n"] == found["n_patients"] == metrics["n_slides"] == 12
    assert auc["low"] < auc["value"] <= auc["high"]
    assert base["constant"]["auroc"]["value"] == 0.5
    assert base["constant"]["brier"]["value"] == pytest.approx(0.25)
    assert base["tissue_area"]["auroc"]["low"] < 0.5 < base["tissue_area"]["auroc"]["high"]
    assert sum(f["n"] for f in metrics["folds"]) == 12
    card = (tmp_path / "m" / "README.md").read_text()
    for text in ("Research use only", "synthetic slides", f"{auc['low']:.2f}", "12 pat"):
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
    task = TUMOR.model_copy(update={"head": "mean"})
    by_patient = train(task, rows, store.get, about, QUICK, tmp_path / "p")["targets"]["tumor"]
    task = task.model_copy(update={"unit": "slide"})
    by_slide = train(task, rows, store.get, about, QUICK, tmp_path / "s")["targets"]["tumor"]
    assert by_patient["n"] == 8
    assert by_slide["n"] == 24
    assert by_slide["n_patients"] == 8


def test_slides_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    rows, store = sheet(8)
    store.pop("s00-0")
    store["s01-0"] = replace(store["s01-0"], x=store["s01-0"].x[:0])
    rows[2] = rows[2].model_copy(update={"stain": "Ki-67"})
    rows[3] = rows[3].model_copy(update={"labels": {"split": "test", "tumor": "?"}})
    found = gather(TUMOR, rows, store.get, about, 0, tmp_path)
    assert found.left_out == {"other stain": 1, "other site": 0, "no tissue or failed": 2}
    assert found.cohort.patients == ("patient-04", "patient-05", "patient-06", "patient-07")


def relabel(rows: list[SheetRow], index: int, **labels: str) -> list[SheetRow]:
    one = rows[index]
    changed = one.model_copy(update={"labels": {**one.labels, **labels}})
    return [*rows[:index], changed, *rows[index + 1 :]]


def test_bad_data_are_named(tmp_path: Path) -> None:
    rows, store = sheet(6, per_patient=2)

    def refused(code: str, words: str, given: list[SheetRow], task: Task = TUMOR) -> None:
        with pytest.raises(PathaiError, match=words) as caught:
            gather(task, given, store.get, about, 0, tmp_path)
        assert caught.value.code == code

    refused("E184", r"row 5, slide s01-1, column tumor: '' is none of", relabel(rows, 3, tumor=""))
    refused("E184", r"'maybe' is none of no, yes", relabel(rows, 3, tumor="maybe"))
    refused("E184", "patient patient-01 has two labels", relabel(rows, 3, tumor="no"))
    refused("E184", "0 patient.* tumor = yes", [r for r in rows if r.labels["tumor"] == "no"])
    refused("E184", "no slide", [])
    wrong = TUMOR.model_copy(update={"train_on": {"part": "1"}})
    refused("E184", "no column 'part'", rows, wrong)
    refused("E181", "features of morphology", rows, TUMOR.model_copy(update={"encoder": "x"}))
    with_age = TUMOR.model_copy(update={"covariates": ("age",)})
    aged = relabel(rows, 0, age="old")
    refused("E184", r"row 2, .*column age: 'old' is not a number", aged, with_age)
    good = store["s02-0"]
    store["s02-0"] = replace(good, attrs=ATTRS.model_copy(update={"encoder_digest": "f" * 64}))
    refused("E181", "s00-0 and s02-0", rows)
    x = good.x.copy()
    x[3, 4] = np.nan
    store["s02-0"] = replace(good, x=x)
    refused("E180", "s02-0: features are not finite", rows)


KINDS = {
    "count": ({"kind": "count"}, {"cells": "-3"}, "column cells: -3 is negative"),
    "regression": ({"kind": "regression"}, {"cells": "many"}, "'many' is not a number"),
    "ratio": ({"kind": "ratio", "total": "all"}, {"cells": "5", "all": "3"}, "5 of 3 is no share"),
    "survival": (
        {"kind": "survival", "time": "days", "horizon": 365},
        {"cells": "1", "days": "0"},
        "a time of 0 is not after the start",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_bad_numbers_are_named_with_their_row(kind: str, tmp_path: Path) -> None:
    keys, labels, words = KINDS[kind]
    task = Task.model_validate({"name": "n", "question": "?", "label": "cells", **keys})
    given = [row(0, "s0", "p0", **labels)]
    with pytest.raises(PathaiError, match=f"E184: row 2, slide s0, .*{words}"):
        gather(task, given, {}.get, about, 0, tmp_path)


def test_covariates_are_heard() -> None:
    """Tiles say nothing, a number in the sheet says all; where it is missing the mean stands."""
    rng = np.random.default_rng(2)
    task = TUMOR.model_copy(update={"covariates": ("age",), "train_on": {}, "head": "mean"})
    rows, store = [], {}
    for i in range(40):
        age = "" if i in (4, 7) else f"{50 + 20 * (i % 2) + rng.normal():.1f}"
        rows.append(row(i, f"s{i:02d}", f"p{i:02d}", tumor=TUMOR.classes[i % 2], age=age))
        store[f"s{i:02d}"] = features(rng, 0)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        given = gather(task, rows, store.get, about, 0, Path(folder)).cohort
        assert given.bags.dim == DIM + 1
        _, held = answers(given, LEARN, "mean")
    known = [i for i in range(40) if i not in (4, 7)]
    assert auroc(held.labels[known] == 1, held.prob[known, 1]) > 0.95
    assert np.isfinite(held.prob).all()


def test_a_head_that_cannot_answer_is_refused() -> None:
    given = cohort_of([torch.zeros(3, 2)] * 8, [0, 1] * 4)
    with pytest.raises(PathaiError, match="E184: head count answers count"):
        cross_validate(given, "count", QUICK)


def planted(kind: str, n: int, seed: int) -> Cohort:
    """A cohort in which the share of marked tiles decides the answer; the same tiles for all."""
    rng, chance = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    bags, truth = [], []
    for _ in range(n):
        tiles = int(rng.integers(20, 40))
        marked = rng.random(tiles) < rng.uniform(0, 1)
        x = rng.normal(size=(tiles, 5))
        x[marked, 0] += 3
        bags.append(torch.tensor(x, dtype=torch.float32))
        truth.append(answer(kind, float(marked.mean()), tiles, chance))
    classes = ("0", "1", "2", "3") if kind == "ordinal" else ()
    keys = {"time": "t", "horizon": 10.0, "bins": 5} if kind == "survival" else {}
    target = Target.model_validate(
        {"name": kind, "question": "?", "kind": kind, "label": "x", "classes": classes, **keys}
    )
    return cohort_of(bags, truth, target=target)


def answer(kind: str, part: float, tiles: int, chance: np.random.Generator) -> tuple[float, float]:
    """Truth of a slide, of whose tiles a part is marked."""
    if kind == "ordinal":
        return float(np.searchsorted([0.25, 0.5, 0.75], part)), 0.0
    if kind == "regression":
        return 100 + 30 * part + chance.normal(), 0.0
    if kind == "count":
        return float(chance.poisson(50 * part * tiles + 2 * tiles)), 0.0
    if kind == "ratio":
        return float(chance.binomial(500, 0.05 + 0.9 * part)), 500.0
    time, censored = chance.exponential(20 * np.exp(-3 * part)), chance.exponential(40)
    return max(min(time, censored), 0.01), float(time <= censored)


@pytest.mark.parametrize("kind", ["ordinal", "regression", "count", "ratio", "survival"])
def test_every_kind_of_question_is_learned_out_of_fold(kind: str) -> None:
    given = planted(kind, 60, 3)
    _, held = answers(given, LEARN, "count" if kind == "count" else "mean")
    truth, said = point(held.target, held.truth), held.value
    if kind == "ordinal":
        said = held.prob @ np.arange(4)
    if kind == "survival":
        event = held.truth[:, 1].astype(bool)
        marked = [float((given.bags[i][:, 0] > 1.5).float().mean()) for i in held.rows]
        assert concordance(truth, event, held.risk) > concordance(truth, event, marked) - 0.1
        return
    ranks = [np.argsort(np.argsort(x)) for x in (truth, said)]
    assert np.corrcoef(ranks)[0, 1] > 0.8


def test_tiles_get_the_counts_that_slides_alone_tell() -> None:
    """Rates add up to the slide's count, and marked tiles hold what they were given."""
    given = planted("count", 60, 6)
    section = TrainConfig(epochs=60, hidden=32, members=1, dropout=0, learning_rate=5e-3)
    fitted = fit(given, Settings.of("count", section), section)
    for i in range(3):
        tiles = given.bags[i]
        outputs, attention = fitted.model.answer(tiles)
        count, _ = value_and_spread(fitted.specs[0], outputs[None].numpy(), [len(tiles)])
        share = attention.numpy() * count[0]
        assert share.sum() == pytest.approx(count[0], rel=1e-5)
        marked = tiles[:, 0].numpy() > 1.5
        assert share[marked].mean() == pytest.approx(52, rel=0.25)
        assert share[~marked].mean() < 12


@pytest.mark.slow
def test_several_questions_share_a_head_and_some_answers_may_be_missing() -> None:
    first, second = planted("regression", 40, 4), planted("ratio", 40, 4)
    assert torch.equal(first.bags[7], second.bags[7])
    truth = np.concatenate([first.truth, second.truth])
    truth[1, ::4] = np.nan
    both = replace(first, targets=(first.targets[0], second.targets[0]), truth=truth)
    found = cross_validate(both, "mean", LEARN.model_copy(update={"epochs": 30}))
    one, two = held_out(both, found, "temperature")
    assert (len(one.value), len(two.value)) == (40, 30)
    share = two.truth[:, 0] / two.truth[:, 1]
    assert np.corrcoef(one.truth[:, 0], one.value)[0, 1] > 0.8
    assert np.corrcoef(share, two.value)[0, 1] > 0.8


@pytest.mark.slow
@pytest.mark.real
def test_musk1_is_learned(test_data: Path) -> None:
    """A public data set: 92 molecules, 5 folds; the mean published AUC is around 0.9."""
    given = musk(test_data)
    assert np.bincount(given.strata).tolist() == [45, 47]
    _, held = answers(given, LEARN.model_copy(update={"folds": 5}))
    numbers = binary_metrics(held.labels == 1, held.prob[:, 1], list(held.patients))
    assert numbers["auroc"]["low"] > 0.75
    assert numbers["brier"]["high"] < 0.25


@pytest.mark.parametrize("kind", ["regression", "count", "ratio"])
def test_models_of_the_folds_are_averaged_on_one_scale(kind: str) -> None:
    """Each fold has its own unit; their outputs are brought to that of all patients first."""
    given = planted(kind, 24, 2)
    head = "count" if kind == "count" else "mean"
    section = QUICK.model_copy(update={"ensemble": "folds"})
    found = cross_validate(given, head, section)
    task = Task.model_validate({**given.targets[0].model_dump(), "head": head})
    shipped = from_nested(task, given, found, held_out(given, found, "temperature"), section)
    tiles, outputs, own = given.bags[3], [], []
    for network, arrays, fold in zip(shipped.networks, found.models, found.folds, strict=True):
        heads = [HEADS.load(head)(given.bags.dim, fold.specs[0].width, 16, 0.25)]
        model = Ensemble(heads, torch.zeros(given.bags.dim), torch.ones(given.bags.dim)).eval()
        model.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
        raw = model.answer(tiles)[0].double().numpy()
        own.append(float(value_and_spread(fold.specs[0], raw[None], [len(tiles)])[0][0]))
        outputs.append(raw * np.array(network.stretch) + np.array(network.shift))
    common = target_specs(given)[0]
    alone = [float(value_and_spread(common, o[None], [len(tiles)])[0][0]) for o in outputs]
    np.testing.assert_allclose(alone, own, rtol=1e-5)
    assert len({round(value, 3) for value in own}) == 3


def test_the_latest_epoch_that_is_as_good_as_the_best_is_taken() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(30, 200)) * 0.5
    falling = np.linspace(1, 0.5, 10)
    flat = np.concatenate([falling, np.full(20, 0.5)])[:, None] + noise
    assert latest_good(flat)[0] > 20  # nothing is lost: the least of the noise would be anywhere
    rising = np.concatenate([falling, np.linspace(0.5, 3, 20)])[:, None] + noise
    assert 8 <= latest_good(rising)[0] <= 13


def test_a_network_that_is_too_sure_is_not_stopped_for_that(tmp_path: Path) -> None:
    """The loss that decides is the same whatever a classifier's scale is."""
    given = cohort(12, tmp_path)
    fitted = fit(given, Settings.of("mean", QUICK), QUICK)
    head = fitted.model.heads[0]
    slides = Slides(given, fitted.model, fitted.specs)
    trainer = Trainer(head, slides, Settings.of("mean", QUICK), QUICK)
    before = trainer.losses_of(slides)
    with torch.no_grad():
        head.classify.weight.mul_(4)
        head.classify.bias.mul_(4)
    np.testing.assert_allclose(trainer.losses_of(slides), before, rtol=1e-5)
