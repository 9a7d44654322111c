"""Training by hand: what the configuration says holds unless the call says otherwise."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mil_run import write_mil_run
from typer.testing import CliRunner

from pathai.cli import app
from pathai.errors import PathaiError
from pathai.model_verbs import Training, evaluate, train_one
from pathai.model_verbs import wanted as chosen
from pathai.store.bundle import check_bundle

TASK = """\
name: tumor
question: Is there tumor?
label: tumor
classes: ["no", "yes"]
"""


@pytest.fixture
def wanted(tmp_path: Path) -> Training:
    """Twelve slides of twelve patients, and a configuration that is soon done."""
    rng = np.random.default_rng(2)
    bags = {f"s{i:02d}": rng.normal(size=(6, 4)) + i % 2 for i in range(12)}
    sheet, results = write_mil_run(tmp_path, bags, {"tumor": ["no", "yes"] * 6})
    task, config = tmp_path / "tumor.yaml", tmp_path / "config.yaml"
    task.write_text(TASK)
    config.write_text("train: {epochs: 1, folds: 2, inner_folds: 0, members: 1, hidden: 4}\n")
    return Training(task, sheet, results, tmp_path / "models" / "tumor", config)


@pytest.mark.slow
def test_few_shot_of_the_configuration_is_heard(wanted: Training) -> None:
    assert wanted.config
    wanted.config.write_text("train: {few_shot: 3}\n")
    assert train_one(wanted) == 0
    numbers = json.loads((wanted.out / "metrics.json").read_text())
    assert numbers["few_shot"]["patients"] == 6
    text = (wanted.out / "README.md").read_text()
    assert "linear probe" in text
    assert "Head `linear`, 1 network." in text
    assert "Nested" not in text
    assert "learned from 6 of the 12\npatients" in text
    assert "learned from 6 of 12 patients" in (wanted.out / "evaluation.html").read_text()


def test_options_that_a_run_would_not_hear_are_refused(wanted: Training) -> None:
    found = CliRunner().invoke(app, ["train", "--config", str(wanted.config), "--few-shot", "3"])
    assert isinstance(found.exception, PathaiError)
    assert "E193" in str(found.exception)


def test_a_folder_of_other_things_is_never_replaced_by_a_model(wanted: Training) -> None:
    wanted.out.mkdir(parents=True)
    (wanted.out / "precious.txt").write_text("mine")
    for out in (wanted.out, wanted.out / "precious.txt", wanted.results):
        with pytest.raises(PathaiError, match=r"E193: .* is no model"):
            train_one(replace(wanted, out=out))
    assert (wanted.out / "precious.txt").read_text() == "mine"
    (wanted.out / "precious.txt").unlink()
    assert train_one(wanted) == 0  # an empty folder is free
    wanted.task.write_text(TASK + "head: mean\n")
    assert train_one(wanted) == 0  # and a model makes room for the next


def test_an_evaluation_leaves_models_and_files_alone(wanted: Training) -> None:
    assert train_one(wanted) == 0
    before = check_bundle(wanted.out)
    slides = chosen(wanted.sheet, wanted.results, None)
    for out in (wanted.out, wanted.sheet):
        with pytest.raises(PathaiError, match="E193"):
            evaluate(wanted.out, None, slides, out, 0.1, as_json=False)
    assert check_bundle(wanted.out) == before
