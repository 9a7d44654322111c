"""Parts of a cross-validation that lack something are refused in words, before any long work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mil_cases import DIM, TUMOR, about, cohort_of, features, row

from pathai.config import TrainConfig
from pathai.errors import PathaiError
from pathai.sheet import SheetRow
from pathai.store.records import Features
from pathai.task import Target, Task
from pathai.train import nested as room
from pathai.train import train
from pathai.train.cohort import Cohort, gather
from pathai.train.nested import Crew, cross_validate

QUICK = TrainConfig(folds=2, inner_folds=0, epochs=2, hidden=4, members=1)
RARE = {
    "class": Target(name="rare", question="?", label="rare", classes=("no", "yes")),
    "event": Target(
        name="rare", question="?", kind="survival", label="rare", time="days", horizon=9
    ),
    "value": Target(name="rare", question="?", kind="count", label="rare"),
}
WHERE = {"class": ("yes", "no"), "event": ("1", "0"), "value": ("5", "")}


def slides(columns: dict[str, list[str]]) -> tuple[list[SheetRow], dict[str, Features]]:
    rng, rows, store = np.random.default_rng(3), [], {}
    for i in range(len(next(iter(columns.values())))):
        labels = {name: values[i] for name, values in columns.items()}
        rows.append(row(i, f"s{i:02d}", f"p{i:02d}", split="train", **labels))
        store[f"s{i:02d}"] = features(rng, i % 5, 9)
    return rows, store


def asked_beside(kind: str, tmp_path: Path) -> Cohort:
    """24 patients; the further question has something to learn from in two of them alone."""
    there, absent = WHERE[kind]
    columns = {
        "tumor": [("no", "yes")[i % 2] for i in range(24)],
        "rare": [there if i in (0, 6) else absent for i in range(24)],
        "days": [str(i + 1) for i in range(24)],
    }
    task = TUMOR.model_copy(update={"targets": (RARE[kind],)})
    rows, store = slides(columns)
    return gather(task, rows, store.get, about, 0, tmp_path).cohort


@pytest.mark.parametrize("kind", RARE)
def test_a_further_question_without_a_training_part_is_named(kind: str, tmp_path: Path) -> None:
    """Two patients of a kind may be tested in the same fold: nothing is left to learn from."""
    given = asked_beside(kind, tmp_path)
    refused = [seed for seed in range(8) if not possible(given, seed)]
    assert 0 < len(refused) < 8
    section = QUICK.model_copy(update={"seed": refused[0]})
    with pytest.raises(PathaiError, match=r"E184: a training part .* lacks rare = .* \(rare\)"):
        cross_validate(given, "mean", section)


def possible(given: Cohort, seed: int) -> bool:
    """Whether the two patients are tested in different folds."""
    fold = room.folds_of(given, 2, seed, keep_sites=False)
    return bool(fold[0] != fold[6])


@pytest.mark.parametrize("kind", RARE)
def test_inner_folds_bear_what_is_rare(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inner part without it learns nothing of it, and still chooses by the rest."""
    monkeypatch.setattr(room, "MIN_TO_CHOOSE", 8)
    given = asked_beside(kind, tmp_path)
    seed = next(seed for seed in range(8) if possible(given, seed))
    section = QUICK.model_copy(update={"inner_folds": 2, "seed": seed})
    found = cross_validate(given, "mean", section)
    assert all(choice.by == "loss on 2 inner folds" for choice in found.choices)


def test_sites_that_hold_all_events_are_refused() -> None:
    """One of two sites has every event: the other alone teaches nothing about survival."""
    target = Target(name="os", question="?", kind="survival", label="e", time="t", horizon=9)
    truth = [(float(i + 1), float(i < 8)) for i in range(24)]
    bags = [torch.ones(3, DIM) * i for i in range(24)]
    given = cohort_of(bags, truth, target=target, sites=["A"] * 12 + ["B"] * 12)
    with pytest.raises(PathaiError, match=r"E184.*training part.*os.*event"):
        cross_validate(given, "mean", QUICK.model_copy(update={"keep_sites": True}))


def no_fit(*_: Any, **__: Any) -> None:
    raise AssertionError("a model was fitted in vain")


def test_what_cannot_be_shipped_is_refused_before_the_first_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "do", no_fit)
    columns = {
        "tumor": [("no", "yes")[i % 2] for i in range(24)],
        "event": [str(i % 2) for i in range(24)],
        "days": [str(i + 1) for i in range(24)],
    }
    rows, store = slides(columns)
    curve = TUMOR.model_copy(update={"calibration": "isotonic"})
    with pytest.raises(PathaiError, match=r"E184.*isotonic.*calibration: temperature"):
        train(curve, rows, store.get, about, QUICK, tmp_path / "curve")
    death = Task(name="os", question="?", kind="survival", label="event", time="days", horizon=9)
    section = QUICK.model_copy(update={"ensemble": "folds"})
    with pytest.raises(PathaiError, match=r"E184.*survival.*ensemble: seeds"):
        train(death, rows, store.get, about, section, tmp_path / "death")


def test_a_patient_with_two_labels_is_named_whichever_slides_have_them(tmp_path: Path) -> None:
    """A further question may be blank on a patient's first slide."""
    columns = {"tumor": ["no", "yes"] * 9, "rare": ["", "", "", "", "", ""] + ["no", "yes"] * 6}
    rows, store = slides(columns)
    rows = [
        r.model_copy(update={"patient_id": f"p{i % 2 + i // 6 * 2}"}) for i, r in enumerate(rows)
    ]
    blank = [rows[i].model_copy(update={"patient_id": f"p{i % 2 + 2}"}) for i in (0, 1)]
    late = rows[8].model_copy(update={"labels": {**rows[8].labels, "rare": "yes"}})
    given = [*blank, *rows[2:8], late, *rows[9:]]
    task = TUMOR.model_copy(update={"targets": (RARE["class"],)})
    gather(task, [*blank, *rows[2:]], store.get, about, 0, tmp_path)
    with pytest.raises(PathaiError, match=r"E184: rows 8 and 10, column rare: patient p2 has two"):
        gather(task, given, store.get, about, 0, tmp_path)


def test_finished_fits_belong_to_their_question(tmp_path: Path) -> None:
    """The same labels asked about as ordered classes: other outputs, so other fits."""
    classes = ("low", "middle", "high")
    of = {
        kind: Target(name="grade", question="?", kind=kind, label="g", classes=classes)
        for kind in ("multiclass", "ordinal")
    }
    bags = [torch.ones(3, DIM) * i for i in range(12)]
    paths = set()
    for target in of.values():
        given = cohort_of(bags, [float(i % 3) for i in range(12)], target=target)
        found = cross_validate(given, "mean", QUICK, tmp_path)
        width = {"multiclass": 3, "ordinal": 2}[target.kind]
        assert {one.outputs.shape[1] for one in found.folds} == {width}
        paths.add(Crew(given, QUICK, tmp_path).digest)
    assert len(paths) == 2
