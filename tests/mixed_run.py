"""The small finished run with models of every kind beside the first: a grade, numbers, survival."""

from pathlib import Path

import numpy as np
from tiny_run import CONFIG, SLIDES, TRAINED, content, do, finish, tile_count

from pathai.plan import Plan
from pathai.store.bundle import (
    ModelSpec,
    NetworkSpec,
    ReferenceSpec,
    TargetState,
    TrainingData,
    hash_id,
    write_bundle,
)
from pathai.store.groups import write_prediction
from pathai.store.records import Answer, Prediction, PredictionAttrs
from pathai.task import Target, Task

GRADE = """\
name: grade
question: Which grade?
kind: ordinal
label: grade
classes: ["1", "2", "3"]
train_on: {split: train}
"""
CELLS = """\
name: cancer-cells
question: How many cancer cells are there?
kind: count
label: n_cancer
unit_of_value: cells
train_on: {split: train}
targets:
- name: cellularity
  question: Which share is cancer?
  kind: ratio
  label: n_cancer
  total: n_all
- name: outcome
  question: How long until relapse?
  kind: survival
  label: relapse
  time: months
  horizon: 60
  unit_of_value: months
"""
MIXED = CONFIG.replace("[tumor.yaml]", "[tumor.yaml, grade.yaml, cells.yaml]")
# slide: grade, cancer cells, all cells, relapse, months
TRUTH = {
    "T1": ("1", 400, 2000, 0, 80), "T2": ("2", 1500, 3000, 1, 30),
    "T3": ("1", 500, 2500, 1, 70), "T4": ("3", 2400, 3000, 1, 12),
    "E1": ("1", 600, 2400, 0, 90), "E2": ("3", 2200, 3100, 1, 9),
    "E3": ("2", 1240, 2600, 1, 40), "E4": ("2", 1100, 2500, 1, 40),
    "E5": ("1", 300, 2000, 0, 60), "E6": ("3", 2000, 2800, 0, 25),
    "F1": ("2", 900, 2000, 1, 20), "N1": ("1", 0, 10, 0, 50),
}  # fmt: skip
OFF = {"E1": 1.2, "E2": 0.9, "E3": 1.0, "E4": 1.0, "E6": 1.1}
"""By how much the model's count is off."""


def add_models(root: Path) -> Plan:
    """Two more models, their answers, and a sheet with their truth; then the cohort's page."""
    (root / "grade.yaml").write_text(GRADE)
    (root / "cells.yaml").write_text(CELLS)
    (root / "config.yaml").write_text(MIXED)
    lines = (root / "slides.tsv").read_text().splitlines()
    lines[0] += "\tgrade\tn_cancer\tn_all\trelapse\tmonths"
    for i, line in enumerate(lines[1:], start=1):
        lines[i] = "\t".join([line, *map(str, TRUTH[line.split("\t")[0]])])
    (root / "slides.tsv").write_text("\n".join(lines) + "\n")
    plan = Plan(root / "config.yaml")
    for task in (plan.tasks["grade"], plan.tasks["cancer-cells"]):
        _train(plan, task)
        for slide in SLIDES:
            _predict(plan, task, slide[0], slide[6])
    finish(plan, "mixed")
    return plan


def _train(plan: Plan, task: Task) -> None:
    patients = [slide[1] for slide in SLIDES if slide[0] in TRAINED]
    spec = ModelSpec(
        task=task,
        networks=(NetworkSpec(head="mean", hidden=4, dropout=0.0, members=1),),
        dim=4,
        encoder="morphology",
        encoder_digest="e",
        tile_px=128,
        mpp=0.5,
        settings={"seed": 0},
        targets=tuple(
            TargetState(target=Target.model_validate(one.model_dump(include=set(Target.model_fields))))
            for one in task.asked
        ),
        reference=ReferenceSpec(**dict.fromkeys(ReferenceSpec.model_fields, 4)),
        data=TrainingData(
            digest="1" * 64,
            salt="salt",
            slides=tuple(sorted(hash_id("salt", s) for s in TRAINED)),
            patients=tuple(sorted(hash_id("salt", p) for p in patients)),
            contents=tuple(sorted(hash_id("salt", content(s)) for s in TRAINED)),
        ),
    )  # fmt: skip
    parents = {s: plan.results.slide(s).base("features", "morphology") for s in TRAINED}
    arrays = {"model.weight": np.arange(8, dtype=np.float32)}

    def train(out):
        write_bundle(out.part(task.name), spec, arrays, {"n": 4}, f"# {task.name}\n", "<p>own</p>")

    base = plan.model_folder(task.name)
    do(base, task.name, "train", (task.name,), parents, train, tolerant=True)


def _predict(plan: Plan, task: Task, slide_id: str, fate: str) -> None:
    foreign = fate == "foreign"
    main, *also = (_answer(target, slide_id, withheld=foreign) for target in task.asked)
    attrs = PredictionAttrs(
        **main.model_dump(),
        task=task.name,
        also=tuple(also),
        alpha=0.1,
        ood_percentile=99.9 if foreign else 40.0,
        out_of_distribution=foreign,
        abstained=foreign,
        reason="unlike the slides the model was trained on" if foreign else "",
        top_tiles=(0,),
        encoder="morphology",
        grid_digest="g",
        model_digest="m",
    )

    def predict(out):
        n = tile_count()
        attention = np.full(n, 1 / n, np.float32)
        write_prediction(out.part(f"{task.name}.zarr"), Prediction(attention, attrs))

    folder = plan.results.slide(slide_id)
    parents = {"features": folder.base("features", "morphology")}
    outputs = (f"{task.name}.zarr",)
    do(folder.base("predictions", task.name), slide_id, "predict", outputs, parents, predict)


def _answer(target: Target, slide_id: str, *, withheld: bool) -> Answer:
    grade, cancer, total, _, months = TRUTH[slide_id]
    off = OFF.get(slide_id, 1.0)
    about = {
        "name": target.name,
        "question": target.question,
        "kind": target.kind,
        "classes": target.classes,
        "unit_of_value": target.unit_of_value,
        "horizon": target.horizon,
    }
    if target.has_classes:
        prob = tuple(0.7 if c == grade else 0.15 for c in target.classes)
        told = {} if withheld else {"label": grade, "set": (grade, "2") if grade != "2" else ("2",)}
        return Answer(prob=prob, **told, **about)
    if target.kind == "survival":
        alive = min(months / 100, 0.95)
        told = {} if withheld else {"risk": -float(months), "value": 1.5 * months}
        return Answer(prob=(alive,), **told, **about)
    if withheld:
        return Answer(**about)
    value = off * cancer if target.kind == "count" else cancer / max(total, 1)
    high = None if slide_id == "E2" else 1.5 * value
    return Answer(value=value, low=0.6 * value, high=high, **about)
