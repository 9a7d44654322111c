"""The cohort page takes answers of every kind: grades, counts, shares and survival."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from mixed_run import OFF, TRUTH, add_models
from page_cases import Page

from pathai import answer_words
from pathai.baselines import by_area, typical
from pathai.store.records import Answer
from pathai.task import Target

SCORED = ("E1", "E2", "E3", "E4", "E6")


@pytest.fixture(scope="session")
def root(tiny_results, tmp_path_factory):
    target = tmp_path_factory.mktemp("mixed") / "run"
    shutil.copytree(tiny_results, target)
    add_models(target)
    return target


@pytest.fixture(scope="session")
def metrics(root):
    return json.loads((root / "results" / "cohort" / "metrics.json").read_text())


@pytest.fixture(scope="session")
def html(root):
    return (root / "results" / "cohort" / "index.html").read_text()


@pytest.fixture(scope="session")
def rows(root):
    with (root / "results" / "cohort" / "slides.tsv").open(newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["slide_id"]: row for row in table}


# --- evaluation ------------------------------------------------------------------------------


def test_the_error_of_a_count_is_that_of_held_out_patients(metrics):
    """By hand: PG's two slides are one patient, with the mean of both counts."""
    found = metrics["tasks"]["cancer-cells"]["targets"]["cancer-cells"]
    assert (found["evaluated"], found["n_patients"], found["n_slides"]) == (True, 4, 5)
    errors = [abs(OFF[s] - 1) for s in ("E1", "E2", "E3", "E6")]
    assert found["figures"]["mape"]["value"] == pytest.approx(np.mean(errors), abs=1e-6)
    assert found["left_out"] == {"failed or skipped": 2, "no answer: out of distribution": 1}
    trained = np.mean([TRUTH[s][1] for s in ("T1", "T2", "T3", "T4")])
    truth = np.array([600, 2200, 1170, 2000])
    expected = np.abs((trained - truth) / truth).mean()
    constant = found["baselines"]["constant"]["mape"]["value"]
    assert constant == pytest.approx(expected, abs=1e-6)
    assert "mape" in found["baselines"]["tissue_area"]
    assert found["conformal"]["coverage"]["value"] == 1.0


def test_grades_shares_and_survival_have_their_own_figures(metrics):
    grade = metrics["tasks"]["grade"]["targets"]["grade"]
    assert grade["kind"] == "ordinal"
    assert grade["figures"]["kappa"]["value"] == 1.0
    assert grade["patients_by_class"] == {"1": 1, "2": 1, "3": 2}
    several = metrics["tasks"]["cancer-cells"]["targets"]
    assert list(several) == ["cancer-cells", "cellularity", "outcome"]
    assert several["cellularity"]["figures"]["mae"]["value"] == pytest.approx(0, abs=1e-3)
    assert several["outcome"]["figures"]["c_index"]["value"] == 1.0  # risk is minus the time
    assert several["outcome"]["baselines"]["constant"]["c_index"]["value"] == 0.5
    assert several["outcome"]["left_out"] == grade["left_out"]


def test_slides_without_a_truth_are_left_out_target_by_target(root, tmp_path):
    from tiny_run import remake

    copy = tmp_path / "run"
    shutil.copytree(root, copy)
    sheet = (copy / "slides.tsv").read_text()
    (copy / "slides.tsv").write_text(re.sub(r"(?m)^(E1.*\t)600\t", r"\1many\t", sheet))
    found = remake(copy, (copy / "config.yaml").read_text())["tasks"]["cancer-cells"]["targets"]
    assert found["cancer-cells"]["left_out"]["no label"] == 1
    assert found["cellularity"]["left_out"]["no label"] == 1
    assert "no label" not in found["outcome"]["left_out"]


# --- the page --------------------------------------------------------------------------------


def test_the_page_shows_number_interval_and_unit(html):
    shown = " ".join(Page(html).rows["slide-E1"].split())
    for words in (
        *("720 cells", "432 to 1,080 (90%) · sheet: 600"),
        *("25.0%", "15.0 to 37.5% (90%) · sheet: 600 of 2,400"),
        *("90% beyond 60 months", "median 135 months · sheet: no event until 90 months"),
        *("1 0.70", "set: 1 or 2 · sheet: 1"),
    ):
        assert words in shown
    assert "at least 1,188 (90%)" in " ".join(Page(html).rows["slide-E2"].split())


def test_a_withheld_number_shows_none(html, rows):
    shown = " ".join(Page(html).rows["slide-E5"].split())
    assert shown.count("OUT OF DISTRIBUTION") == 3  # once per model
    assert "cells" not in shown
    assert "raw output was 60% beyond 60 months, not to be relied on" in shown
    assert rows["E5"]["cancer-cells_value"] == rows["E5"]["cancer-cells_outcome_probability"] == ""
    assert rows["E5"]["cancer-cells_out_of_distribution"] == "yes"


def test_each_question_has_a_card_with_its_main_figure_and_the_models_own_page(html, root):
    heads = re.findall(r"<h3>([^<]+)</h3>", html)
    for name in ("tumor", "grade", "cancer-cells", "cancer-cells: cellularity"):
        assert name in heads
    for figure in ("AUROC", "kappa", "relative error", "C-index"):
        assert figure.lower() in html.lower()
    links = set(re.findall(r'href="([^"#]+evaluation\.html)"', html))
    assert len(links) == 3
    assert all((root / "results" / "cohort" / link).resolve().is_file() for link in links)
    assert not re.search(r"\bnan\b|>None<", re.sub(r"data:\S+", "", html))


def test_columns_of_the_table_are_those_of_the_answers(rows):
    row = rows["E1"]
    assert float(row["cancer-cells_value"]) == pytest.approx(720)
    assert (float(row["cancer-cells_low"]), float(row["cancer-cells_high"])) == (432, 1080)
    assert row["cancer-cells_unit"] == "cells"
    assert rows["E2"]["cancer-cells_high"] == ""  # the interval has no upper end
    assert row["grade_label"] == "1"
    assert [float(row[f"grade_p_{c}"]) for c in "123"] == [0.7, 0.15, 0.15]
    assert (row["cancer-cells_outcome_probability"], row["cancer-cells_outcome_horizon"]) == (
        "0.9", "60",
    )  # fmt: skip
    assert float(row["cancer-cells_cellularity_value"]) == pytest.approx(0.25)
    cells = list(rows["F1"].values())
    assert None not in cells
    assert rows["F1"]["cancer-cells_value"] == ""


def test_the_batch_is_judged_by_patients_that_nothing_was_trained_on(metrics, html):
    """Of twelve slides four were trained on and two have no tiles; PG has two slides."""
    for model in ("tumor", "grade", "cancer-cells"):
        found = metrics["drift"][model]
        assert (found["n_slides"], found["n_patients"]) == (6, 5)
        assert sum(found["histogram"]) == 5
        assert (found["beyond"], found["slides_beyond"], found["verdict"]) == (1, 1, "unknown")
        assert found["groups"] == []  # one site, one scanner
    assert html.count("<p>There are too few patients to tell") == 3


def test_the_verdict_is_told_by_site(root):
    """Slides of one of two sites are far off: its row says so, and the other's does not."""
    from pathai.cohort.drift import drift
    from pathai.cohort.gather import slide_rows
    from pathai.cohort.training import Training
    from pathai.plan import Plan
    from pathai.store.bundle import read_bundle

    rows = []
    base = next(r for r in slide_rows(Plan(root / "config.yaml")) if r.row.slide_id == "E1")
    rng = np.random.default_rng(3)
    for i in range(60):
        site = "north" if i % 2 else "south"
        percentile = rng.uniform(0, 100) if i % 2 else rng.uniform(60, 100)
        attrs = base.answers["tumor"].model_copy(update={"ood_percentile": percentile})
        sheet = base.row.model_copy(
            update={"slide_id": f"X{i}", "patient_id": f"X{i}", "site": site}
        )
        rows.append(replace(base, row=sheet, answers={"tumor": attrs}))
    training = Training(read_bundle(root / "models" / "tumor").spec.data, True, rows)
    found = drift("tumor", training, rows, 99.0)
    assert found["verdict"] == "unlike"
    assert {g["value"]: g["verdict"] for g in found["groups"]} == {
        "north": "like", "south": "unlike",
    }  # fmt: skip


# --- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said", "beside"),
    [
        ({"kind": "count", "value": 1240.2, "low": 830.0, "high": 1900.0, "unit_of_value": "cells"},
         "1,240 cells", "830 to 1,900 (90%)"),
        ({"kind": "regression", "value": -1.5}, "−1.50", "no interval"),
        ({"kind": "ratio", "value": 0.5, "high": 0.75}, "50.0%", "at most 75.0% (90%)"),
        ({"kind": "survival", "prob": (0.9999,), "risk": 1.0, "horizon": 5},
         ">99% beyond 5", "median beyond the times that were learned"),
        ({"classes": ("a", "b"), "label": "b", "prob": (0.3, 0.7), "set": ("a", "b")},
         "b", "set: a or b"),
        ({"kind": "count"}, "", ""),
    ],
)  # fmt: skip
def test_answers_in_words(fields, said, beside):
    answer = Answer(question="?", **fields)
    assert (answer_words.said(answer), answer_words.beside(answer, 0.1)) == (said, beside)


def test_answers_sort_by_what_they_say():
    def graded(*prob):
        label = "123"[int(np.argmax(prob))]
        return Answer(question="?", kind="ordinal", classes=tuple("123"), label=label, prob=prob)

    order = [answer_words.order(graded(*p)) for p in ((0.9, 0.1, 0), (0.5, 0.3, 0.2), (0, 0, 1))]
    assert order == sorted(order)
    assert answer_words.order(Answer(question="?", kind="count", value=3.0)) == 3.0
    assert answer_words.order(Answer(question="?", classes=("a", "b"), prob=(0.1, 0.9))) is None


# --- baselines -------------------------------------------------------------------------------


def test_baselines_learn_what_they_are_shown():
    count = Target(name="n", question="?", kind="count", label="n")
    area, new = np.array([1.0, 2, 3, 4]), np.array([5.0, 10])
    truth = np.stack([100 * area, np.zeros(4)], axis=1)
    assert by_area(count, truth, area, new, np.zeros(2)) == pytest.approx([500, 1000])
    value = Target(name="v", question="?", kind="regression", label="v")
    truth = np.stack([7 - 2 * area, np.zeros(4)], axis=1)
    constant = np.full(2, typical(value, truth)[0])
    assert by_area(value, truth, area, new, constant) == pytest.approx([-3, -13])
    classes = Target(name="c", question="?", kind="ordinal", label="c", classes=tuple("abc"))
    truth = np.array([[0, 0], [0, 0], [2, 0], [2, 0]], float)
    assert typical(classes, truth).tolist() == [0.5, 0, 0.5]
    told = by_area(classes, truth, area, new, np.tile(typical(classes, truth), (2, 1)))
    assert told.sum(axis=1) == pytest.approx([1, 1])
    assert (told[:, 2] > 0.8).all()  # larger slides were of the last class
