"""Figures on the cohort page are of patients that no model was trained on, and say so."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_run import CONFIG, SLIDES, TRAINED, content, remake

from pathai.cohort.evaluate import evaluate
from pathai.cohort.gather import slide_rows
from pathai.cohort.view import html as html_of
from pathai.plan import Plan
from pathai.store.bundle import read_bundle, write_bundle


@pytest.fixture(scope="session")
def metrics(tiny_results):
    return json.loads((tiny_results / "results" / "cohort" / "metrics.json").read_text())


def tumor(metrics):
    """The one question of the one model."""
    return metrics["tasks"]["tumor"]["targets"]["tumor"]


def test_auc_is_that_of_held_out_answered_patients(metrics):
    """By hand: PE (no, 0.22), PF (yes, 0.75), PG (yes, mean of 0.78 and 0.81)."""
    found = tumor(metrics)
    assert (found["n_patients"], found["n_slides"]) == (3, 4)
    assert found["patients_by_class"] == {"no": 1, "yes": 2}
    assert found["figures"]["auroc"]["value"] == 1.0
    assert found["figures"]["auroc"]["low"] < 0.5
    assert {"brier", "sensitivity", "specificity"} <= set(found["figures"])
    assert found["left_out"] == {
        "failed or skipped": 2,
        "no answer: out of distribution": 1,
        "no label": 1,
    }
    assert found["baselines"]["constant"]["auroc"]["value"] == 0.5


def test_the_area_baseline_takes_its_direction_from_training(tiny_results):
    """Training: positive slides are smaller. Test: they are larger, so the baseline must fail."""
    plan = Plan(tiny_results / "config.yaml")
    rows = []
    for row in slide_rows(plan):
        large = (row.row.labels["tumor"] == "yes") != (row.row.slide_id in TRAINED)
        areas = {"tissue": 2.0 if large else 1.0} if row.areas_mm2 else {}
        rows.append(replace(row, areas_mm2=areas))
    area = tumor(evaluate(plan, rows))["baselines"]["tissue_area"]
    assert area["auroc"]["value"] == 0.0


def test_count_errors_are_those_of_the_held_out_slides(metrics):
    truth = {s[0]: float(s[4]) for s in SLIDES}
    scored = [s[0] for s in SLIDES if s[0][0] == "E"]
    t = np.array([truth[i] for i in scored])
    found = np.round(t * 1.1)
    counts = metrics["counts"]
    relative = (found - t) / t
    assert counts["model"]["mape"]["value"] == pytest.approx(np.abs(relative).mean(), abs=1e-6)
    assert counts["model"]["signed"]["value"] == pytest.approx(relative.mean(), abs=1e-6)
    mean = np.mean([truth[i] for i in TRAINED])
    assert counts["constant"]["count"] == mean
    expected = np.abs((mean - t) / t).mean()
    assert counts["constant"]["mape"]["value"] == pytest.approx(expected, abs=1e-6)
    assert (counts["n_slides"], counts["n_training_slides"]) == (6, 4)


def test_training_patients_are_never_scored(tiny_copy):
    """Everything is chosen for scoring: what the model was trained on is left out all the same."""
    root = tiny_copy()
    sheet = (root / "slides.tsv").read_text()
    (root / "slides.tsv").write_text(sheet.replace("\tC-PE\tPE\t", "\tC-PE\tPA\t"))
    everything = tumor(remake(root, CONFIG.replace("split: test", "stain: H&E")))
    assert everything["left_out"]["the model was trained on the slide"] == 4
    assert everything["left_out"]["the model was trained on the patient"] == 1
    metrics = remake(root)
    found = tumor(metrics)
    assert found["left_out"]["the model was trained on the patient"] == 1
    assert found["evaluated"] is False  # the one negative patient is gone
    assert "only one class" in found["reason"]


def test_the_unit_of_a_task_is_named(tiny_copy):
    """By slide: PG's two slides count, and the intervals still resample its patient."""
    root = tiny_copy()
    by_patient = Plan(root / "config.yaml")
    rows = slide_rows(by_patient)
    page = html_of(by_patient, rows, [], {**evaluate(by_patient, rows), "slides": {}})
    assert "by patient: 3 patients (2 positive, 1 negative), 4 slides." in page
    bundle = root / "models" / "tumor"
    spec = read_bundle(bundle).spec
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"unit": "slide"})})
    write_bundle(bundle, spec, read_bundle(bundle).arrays, {"n": 4}, "# tumor\n", "<p>tumor</p>")
    found = tumor(evaluate(by_patient, rows))
    assert (found["n"], found["patients_by_class"]) == (4, {"no": 1, "yes": 2})
    assert found["n_by_class"] == {"no": 1, "yes": 3}
    assert found["figures"]["sensitivity"]["value"] == 1.0
    page = html_of(by_patient, rows, [], {**evaluate(by_patient, rows), "slides": {}})
    assert "by slide: 4 slides (3 positive, 1 negative) of 3 patients." in page
    assert "intervals are by patient" in page


def with_content(rows, **contents):
    """The same rows, some slides with the file of another."""
    return [
        replace(row, info=row.info.model_copy(update={"sha256": content(contents[i])}))
        if (i := row.row.slide_id) in contents
        else row
        for row in rows
    ]


def test_a_training_slide_under_another_name_is_never_scored(tiny_results):
    """Neither it nor, of E3, another slide of its patient: E4 is left out too."""
    plan = Plan(tiny_results / "config.yaml")
    before = tumor(evaluate(plan, slide_rows(plan)))
    found = tumor(evaluate(plan, with_content(slide_rows(plan), E3="T2")))
    assert before["n_slides"] - found["n_slides"] == 2
    assert found["left_out"]["the model was trained on the slide"] == 1
    assert found["left_out"]["the model was trained on the patient"] == 1


def test_a_model_from_elsewhere_is_known_by_content_alone(tiny_copy):
    """Names of another run may collide with ours, and mean nothing; the same file does."""
    root = tiny_copy()
    (root / "models").rename(root / "elsewhere")
    sheet = (root / "slides.tsv").read_text()
    (root / "slides.tsv").write_text(sheet.replace("\tC-PE\tPE\t", "\tC-PE\tPA\t"))
    config = CONFIG.replace("train: {tasks: [tumor.yaml]}", "predict: {models: [elsewhere/tumor]}")
    (root / "config.yaml").write_text(config)
    plan = Plan(root / "config.yaml")
    rows = slide_rows(plan)
    # T1 is of patient PA as well, so PA is out; as soon as T1 is another file, it is a namesake
    left_out = tumor(evaluate(plan, rows))["left_out"]
    assert left_out["the model was trained on the patient"] == 1
    rows = with_content(rows, T1="another")
    found = tumor(evaluate(plan, rows))
    assert "the model was trained on the patient" not in found["left_out"]
    assert evaluate(plan, rows)["tasks"]["tumor"]["trained_here"] is False
    page = html_of(plan, rows, [], {**evaluate(plan, rows), "slides": {}})
    assert "trained elsewhere" in page
    found = tumor(evaluate(plan, with_content(rows, E2="T2")))
    assert found["left_out"]["the model was trained on the slide"] == 1


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("train: {tasks: [tumor.yaml]}\n", "names no slides to score"),
        (CONFIG.replace("split: test", "split: none"), "no slide of the sheet is chosen"),
    ],
)
def test_not_evaluated_is_said(tiny_copy, config, reason):
    root = tiny_copy()
    metrics = remake(root, config)
    assert reason in metrics["tasks"]["tumor"]["reason"]
    page = (root / "results" / "cohort" / "index.html").read_text()
    assert page.count(">not evaluated</span>") == 2
    assert "AUROC for" not in page


def test_a_damaged_model_is_not_evaluated(tiny_copy):
    root = tiny_copy()
    (root / "models" / "tumor" / "model.safetensors").write_bytes(b"x")
    metrics = remake(root)
    assert "E182" in metrics["tasks"]["tumor"]["reason"]
    assert "E182" in metrics["drift"]["tumor"]["reason"]


def test_counts_that_do_no_better_than_a_baseline_are_called_so(tiny_results):
    """Three times too many nuclei: the page must say that the counts are of no use here."""
    plan = Plan(tiny_results / "config.yaml")
    rows = []
    for row in slide_rows(plan):
        cells = row.cells
        if cells is not None:
            count = cells.count.model_copy(update={"value": 3 * cells.count.value})
            cells = cells.model_copy(update={"count": count})
        rows.append(replace(row, cells=cells))
    page = html_of(plan, rows, [], {**evaluate(plan, rows), "slides": {}})
    assert "these slides do not show that counting adds anything" in page
    assert "too many" in page
