"""The card of a model, as a person and as the hub's own library read it."""

import metrics_cases as cases
import pytest
from huggingface_hub import EvalResult, ModelCard

from pathai.figure_words import answer, figure, told
from pathai.modelcard import model_card

SPEC = {
    "task": {"name": "tumor", "question": "Is there tumor?", "kind": "binary", "stains": ["H&E"],
             "limits": ["one laboratory only"], "head": "abmil"},
    "networks": [{"head": "transmil", "members": 3}],
    "encoder": "morphology", "tile_px": 256, "mpp": 0.5,
    "settings": {"epochs": 20, "seed": 0}, "data": {"digest": "ab" * 32},
    "targets": [{"target": {"name": "a", "kind": "binary"}, "temperature": 1.234}],
}  # fmt: skip
LIMIT = 4  # digits of a value in the index


@pytest.mark.parametrize("kind", cases.KINDS)
def test_the_hub_reads_every_kind(kind):
    target = cases.KINDS[kind]()
    card = ModelCard(model_card(SPEC, cases.metrics(target)))
    assert card.data.library_name == "pathai"
    assert card.data.license == "other"
    assert card.data.license_name == "set-by-owner"
    assert card.data.model_name == "tumor"
    results = card.data.eval_results
    assert all(isinstance(r, EvalResult) for r in results)
    expected = {figure(n).hub: round(e["value"], LIMIT) for n, e in target["figures"].items()
                if figure(n).hub}  # fmt: skip
    assert {r.metric_type: r.metric_value for r in results} == expected
    assert {r.dataset_name for r in results} == {"training patients, out of fold"}
    # Written out by the hub's library and read again, it says the same.
    again = ModelCard(str(card))
    assert [r.metric_value for r in again.data.eval_results] == [r.metric_value for r in results]


@pytest.mark.parametrize("kind", cases.KINDS)
def test_a_person_reads_every_figure(kind):
    target = cases.KINDS[kind]()
    text = model_card(SPEC, cases.metrics(target))
    assert answer(target) in text
    for name, estimate in target["figures"].items():
        said = told(figure(name).shown, estimate, target.get("unit_of_value", ""))
        assert f"| {figure(name).name} | {said} |" in text
    for heading in ("Intended use", "Out of scope", "Evaluation", "Training", "License"):
        assert f"\n## {heading}\n" in text
    assert "Research use only" in text
    assert "chosen inside" in text
    assert "ab" * 32 in text
    assert "Temperature: 1.23." in text
    assert "Head `transmil`, 3 networks, averaged." in text  # the chosen one, not the task's
    if target.get("conformal"):
        assert "90 % promised" in text


def test_several_targets():
    metrics = cases.metrics(cases.binary(), cases.count())
    asked = [{"name": "a", "kind": "binary"}, {"name": "b", "kind": "count"}]
    spec = SPEC | {"targets": [{"target": one, "temperature": 1.5} for one in asked]}
    text = model_card(spec, metrics)
    assert "### Is there tumor on the slide?" in text
    assert "### How many cancer cells are on the slide?" in text
    assert "Temperature: a 1.5." in text
    tasks = {r.task_name: r.task_type for r in ModelCard(text).data.eval_results}
    assert tasks == {"whole-slide binary: tumor-0": "image-classification",
                     "whole-slide count: count-1": "image-regression"}  # fmt: skip


def test_unknown_figures_are_left_out_of_the_index():
    metrics = cases.metrics(cases.emptied(cases.binary()))
    text = model_card(SPEC, metrics)
    assert ModelCard(text).data.eval_results is None
    assert "null" not in text
    assert "None" not in text
    assert "| AUROC | not known |" in text


def test_a_poor_specification_is_enough():
    text = model_card({"task": {"name": "t"}}, cases.metrics(cases.survival()))
    assert ModelCard(text).data.model_name == "t"
    assert "None" not in text


def test_foreign_text_makes_no_markup():
    bad = "x\n# Head\n| a | <script>alert(1)</script> [k](http://e) `c`"
    target = cases.binary(classes=("no", bad), question=bad)
    target["warnings"] = [bad]
    metrics = cases.metrics(target) | {"left_out": {bad: 1}}
    spec = {**SPEC, "task": {**SPEC["task"], "limits": [bad], "stains": [bad]}}
    text = model_card(spec, metrics)
    body = text.split("---\n", 2)[2]
    assert "<script" not in body
    assert "\n# Head" not in body
    assert "[k](" not in body.replace("\\[k\\](", "")
    assert ModelCard(text).data.model_name == "tumor"
