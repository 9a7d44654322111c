"""The verbs of models, from the command line: train, evaluate, predict."""

import json
from pathlib import Path

import numpy as np
import pytest
from mil_cases import musk
from mil_run import write_mil_run
from workflow.commands import pathai

from pathai.store.folders import SlideFolder

MUSK = """\
name: musk
question: Does the molecule smell of musk?
label: musk
classes: ["no", "yes"]
encoder: morphology
train_on: {split: train}
"""
CONFIG = "train: {epochs: 30, folds: 3, inner_folds: 2, members: 1}\n"


@pytest.fixture(scope="module")
def musk_run(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Musk1 as slides, two thirds to train on, and a model."""
    root = tmp_path_factory.mktemp("musk")
    given = musk(test_data)
    order = np.random.default_rng(0).permutation(len(given))
    names = [f"m{i:03d}" for i in order]
    labels = given.truth[0, order, 0]
    write_mil_run(
        root,
        {name: given.bags[i].numpy() for name, i in zip(names, order, strict=True)},
        {
            "musk": ["yes" if label else "no" for label in labels],
            "split": ["test" if i % 3 == 0 else "train" for i in range(len(names))],
        },
    )
    (root / "musk.yaml").write_text(MUSK)
    (root / "settings.yaml").write_text(CONFIG)
    call = ("train", "--task", "musk.yaml", "--sheet", "slides.tsv", "--results", "results")
    done = pathai(*call, "--config", "settings.yaml", "-o", "models/musk", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.slow
@pytest.mark.real
def test_musk_is_trained_with_honest_numbers(musk_run: Path) -> None:
    folder = musk_run / "models" / "musk"
    numbers = json.loads((folder / "metrics.json").read_text())
    found = numbers["targets"]["musk"]
    assert found["n"] == numbers["n_patients"] == 61
    assert found["figures"]["auroc"]["low"] > 0.6
    assert {fold["chosen"]["chosen_by"] for fold in numbers["folds"]} == {"loss on 2 inner folds"}
    assert "Does the molecule smell of musk?" in (folder / "evaluation.html").read_text()


@pytest.mark.slow
@pytest.mark.real
def test_musk_is_evaluated_on_molecules_that_were_not_trained_on(musk_run: Path) -> None:
    call = ("evaluate", "models/musk", "--sheet", "slides.tsv", "--results", "results")
    done = pathai(*call, "--where", "split=test", "-o", "outside", "--json", cwd=musk_run)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers == json.loads((musk_run / "outside" / "metrics.json").read_text())
    found = numbers["targets"]["musk"]
    assert found["figures"]["auroc"]["low"] > 0.5
    left_out = sum(numbers["left_out"].values())
    assert found["n"] + left_out == 31
    assert (musk_run / "outside" / "evaluation.html").exists()
    again = pathai(
        *call, "--where", "split=test", "--against", "models/musk", "-o", "both", cwd=musk_run
    )
    assert again.returncode == 0, again.stderr
    compared = json.loads((musk_run / "both" / "metrics.json").read_text())["comparison"]
    assert compared["targets"]["musk"]["figures"]["auroc"]["difference"]["value"] == 0


@pytest.mark.slow
@pytest.mark.real
def test_what_was_trained_on_is_not_evaluated(musk_run: Path) -> None:
    call = ("evaluate", "models/musk", "--sheet", "slides.tsv", "--results", "results")
    done = pathai(*call, "--where", "split=train", "-o", "cheat", cwd=musk_run)
    assert done.returncode == 1
    assert "61 the model was trained on the slide" in done.stderr
    assert not (musk_run / "cheat").exists()
    done = pathai(*call, "--where", "part=1", "-o", "cheat", cwd=musk_run)
    assert "E184: slides.tsv has no column 'part'" in done.stderr


@pytest.mark.slow
@pytest.mark.real
def test_musk_is_predicted(musk_run: Path) -> None:
    folder = musk_run / "results" / "slides" / "m000"
    done = pathai("predict", folder, "--model", "models/musk", cwd=musk_run)
    assert done.returncode == 0, done.stderr
    found = SlideFolder(folder).read_prediction("musk")
    assert found.attrs.kind == "binary"
    assert sum(found.attrs.prob) == pytest.approx(1, abs=1e-5)
    assert found.attrs.top_tiles[0] == int(np.argmax(found.attention))


@pytest.mark.slow
@pytest.mark.real
def test_few_labels_give_a_model_and_a_learning_curve(musk_run: Path) -> None:
    call = ("train", "--task", "musk.yaml", "--sheet", "slides.tsv", "--results", "results")
    done = pathai(*call, "--few-shot", 10, "-o", "models/few", cwd=musk_run)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((musk_run / "models" / "few" / "metrics.json").read_text())
    assert numbers["few_shot"]["patients"] == 20
    assert numbers["targets"]["musk"]["n"] == 61 - 20
    curve = numbers["few_shot"]["learning_curve"]
    assert [point["k"] for point in curve] == [1, 2, 4, 8, 16, None]
    areas = [point["figures"]["auroc"]["value"] for point in curve]
    assert areas[-1] > areas[0]
    folder = musk_run / "results" / "slides" / "m001"
    done = pathai("predict", folder, "--model", "models/few", cwd=musk_run)
    assert done.returncode == 0, done.stderr


CELLS = """\
name: cancer-cells
question: How many cancer cells are on the slide?
kind: count
label: cells
unit_of_value: cells
unit: slide
encoder: morphology
head: count
covariates: [thickness]
sites: [north, south]
abstain: {min_tiles: 15}
targets:
  - {name: more, question: "And of the other kind?", kind: count, label: others}
"""


def test_counts_with_covariates_and_limits(tmp_path: Path) -> None:
    """A count of two kinds of cells; a slide of another site and one with few tiles get none."""
    rng = np.random.default_rng(1)
    bags, cells, others = {}, [], []
    for i in range(26):
        n = 8 if i == 1 else int(rng.integers(20, 40))
        x = rng.normal(size=(n, 6))
        x[: n // 2, 0] += 4 * (i % 2)
        bags[f"s{i:02d}"] = x
        cells.append(str(10 * n + 60 * (n // 2) * (i % 2)))
        others.append("" if i == 5 else str(5 * n))
    sites = ["east" if i == 0 else ("north", "south")[i % 2] for i in range(26)]
    columns = {"cells": cells, "others": others, "site": sites, "thickness": ["3"] * 20 + [""] * 6}
    write_mil_run(tmp_path, bags, columns)
    (tmp_path / "cells.yaml").write_text(CELLS)
    (tmp_path / "config.yaml").write_text(CONFIG)
    call = ("train", "--task", "cells.yaml", "--sheet", "slides.tsv", "--results", "results")
    done = pathai(*call, "--config", "config.yaml", "-o", "models/cancer-cells", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "models" / "cancer-cells" / "metrics.json").read_text())
    assert numbers["left_out"]["other site"] == 1
    assert numbers["targets"]["cancer-cells"]["n"] == 25
    assert numbers["targets"]["more"]["n"] == 24
    error = numbers["targets"]["cancer-cells"]["figures"]["mape"]["value"]
    assert error < numbers["targets"]["cancer-cells"]["baselines"]["constant"]["mape"]["value"]
    slides = tmp_path / "results" / "slides"
    done = pathai(
        "predict", *(slides / f"s{i:02d}" for i in range(4)), "--model", "models/cancer-cells",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (slides / "s00" / "predictions" / "cancer-cells.zarr").exists()
    little = SlideFolder(slides / "s01").read_prediction("cancer-cells").attrs
    assert (little.abstained, little.reason) == (True, "too little tissue for this model")
    assert little.value is None
    found = SlideFolder(slides / "s03").read_prediction("cancer-cells").attrs
    assert [a.name for a in found.answers] == ["cancer-cells", "more"]
    assert found.low <= found.value <= found.high
    assert found.unit_of_value == "cells"
