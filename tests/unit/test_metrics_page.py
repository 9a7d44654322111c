"""The page of a model: every kind of target, nothing made up, nothing loaded."""

import copy
import html as markup
import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import metrics_cases as cases
import pytest
from pydantic import ValidationError

from pathai.figure_words import Table, answer, between, doubts, figure, of_100, shown, told, words
from pathai.metrics_page import metrics_page


@pytest.fixture(scope="module")
def targets():
    return {kind: make() for kind, make in cases.KINDS.items()}


def page_of(*targets, **more):
    return metrics_page(cases.metrics(*targets, **more), title="A model", about=["An encoder."])


def pictures(html):
    found = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    return [ElementTree.fromstring(svg) for svg in found]  # noqa: S314 (our own text)


def seen(html):
    """Text of a page, without pictures and markup."""
    text = re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(markup.unescape(re.sub(r"<[^>]+>", " ", text)).split())


EXPECTED = {
    "binary": 7, "multiclass": 8, "ordinal": 11, "regression": 2, "count": 2, "ratio": 2,
    "survival": 2,
}  # fmt: skip


@pytest.mark.parametrize("kind", cases.KINDS)
def test_every_kind_has_its_page(kind, targets):
    target = targets[kind]
    html = page_of(target)
    text = seen(html)
    assert html == page_of(target)
    assert not re.search(r"(?i)https?:|//[a-z]|@import|url\(|<script|\sstyle=|\son\w+=", html)
    assert "Research use only." in text
    assert len(pictures(html)) == EXPECTED[kind]
    main = words().main(kind)
    unit = target.get("unit_of_value", "")
    assert told(figure(main).shown, target["figures"][main], unit) in text
    for name in target["figures"]:
        assert figure(name).means in text
    order = ["Research use only.", target["question"], answer(target), "A model that has learned",
             "Plots", "All figures", "The parts of the cross-validation", "Slides left out",
             "What every figure means"]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_several_targets_share_a_page(targets):
    html = page_of(*targets.values())
    assert re.findall(r'<h2 id="target-(\d)">', html) == [str(i + 1) for i in range(7)]
    assert re.findall(r'<a href="#target-(\d)">', html) == [str(i + 1) for i in range(7)]
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_slides_as_unit(targets):
    text = seen(page_of(targets["binary"], unit="slide"))
    assert "Of 100 slides whose true answer is “yes”" in text
    assert "Intervals count patients all the same" in text
    assert "Of 100 patients" not in text


@pytest.mark.parametrize("kind", cases.KINDS)
def test_what_is_unknown_is_said_to_be(kind, targets):
    empty = cases.emptied(targets[kind])
    text = seen(page_of(empty))
    assert not re.search(r"\b(None|nan|NaN)\b", text)
    assert "not known" in text or "an unknown number" in text
    bare = {
        k: v for k, v in targets[kind].items() if k in ("kind", "question", "classes", "column")
    }
    metrics = {"schema_version": 2, "unit": "patient", "targets": {"a": bare}}
    assert "None" not in seen(metrics_page(json.loads(json.dumps(metrics)), title="t"))


def test_foreign_text_stays_text(targets):
    bad = "<b onclick='x'>{{ 7*7 }}</b>"
    target = copy.deepcopy(targets["binary"])
    target["question"] = target["column"] = bad
    target["warnings"] = [bad]
    target["classes"] = ["no", bad]
    target["subgroups"][0]["value"] = bad
    target["conformal"]["by_class"] = {bad: target["conformal"]["by_class"]["no"]}
    metrics = cases.metrics(target) | {"left_out": {bad: 1}}
    metrics["folds"][0]["chosen"] = {bad: bad}
    html = metrics_page(metrics, title=bad, about=[bad])
    assert "<b " not in html
    assert "{{ 7*7 }}" in html


# --- sentences -------------------------------------------------------------------------------


def test_answers_are_the_counts_of_the_confusion_matrix(targets):
    target = targets["binary"]
    (tn, fp), (fn, tp) = target["curves"]["confusion"]
    said = answer(target)
    assert f"says “yes” for {100 * tp / (fn + tp):.0f} (" in said
    assert f"says “no” for {100 * tn / (tn + fp):.0f} (" in said
    target = targets["ordinal"]
    matrix = target["curves"]["confusion"]
    total = sum(map(sum, matrix))
    near = sum(n for i, r in enumerate(matrix) for j, n in enumerate(r) if abs(i - j) < 2)
    right = sum(r[i] for i, r in enumerate(matrix))
    assert f"puts {100 * right / total:.0f} (" in answer(target)
    assert f"and {100 * near / total:.0f} at most one class away" in answer(target)


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.871, "87"), (0.999, "over 99"), (1.0, "100"), (0.001, "under 1"), (0.0, "0")],
)
def test_100_patients_are_never_more_certain_than_the_data(share, said):
    assert of_100({"value": share, "low": None, "high": None}) == said


@pytest.mark.parametrize(
    ("style", "value", "said"),
    [("share", 0.874, "0.87"), ("small", 0.1234, "0.123"), ("percent", 0.1234, "12.3%"),
     ("percent", 2.5, "250%"), ("signed_percent", -0.02, "−2.0%"), ("value", 1234.6, "1,235 mm"),
     ("value", 0.0123, "0.0123 mm"), ("signed_value", 2.5, "+2.50 mm"), ("share", None, "–"),
     ("signed_percent", -0.0001, "0.0%"), ("share", float("nan"), "–")],
)  # fmt: skip
def test_digits(style, value, said):
    assert shown(style, value, "mm") == said


def test_intervals():
    assert between("percent", {"low": 0.1, "high": 0.2}) == "10.0 to 20.0%"
    assert between("share", {"low": None, "high": 0.2}) == ""
    assert told("share", None) == "not known"
    assert told("share", {"value": 0.5, "low": None, "high": None}) == "0.50"


def changed(target, **figures):
    return {**target, "figures": {**target["figures"], **figures}}


def test_doubts_follow_from_the_figures(targets):
    good = targets["binary"]
    assert doubts(good) == []
    few = {**good, "n_by_class": {"no": 100, "yes": 12}}
    assert ["Only 12 patients of class “yes”" in d for d in doubts(few)] == [True]
    slides = {**good, "n": 140, "n_patients": 70}  # two slides each
    assert ["about 28 patients of class “yes”" in d for d in doubts(slides)] == [True]
    chance = changed(good, auroc={"value": 0.7, "low": 0.5, "high": 0.9})
    assert ["includes 0.5" in d for d in doubts(chance)] == [True]
    [area] = doubts(changed(good, auroc={"value": 0.55, "low": 0.51, "high": 0.6}))
    assert "“tissue area alone” does as well" in area
    missed = {**good, "conformal": {"alpha": 0.1, "by_class": {
        "yes": {"coverage": {"value": 0.7, "low": 0.6, "high": 0.8}, "n": 56}}}}  # fmt: skip
    assert ["of class “yes”" in d and "70 (60 to 80)" in d for d in doubts(missed)] == [True]
    count = targets["count"]
    worse = changed(count, mape={"value": 9.0, "low": 8.0, "high": 10.0})
    assert sum("does as well" in d for d in doubts(worse)) == 2


def test_doubts_and_warnings_stand_on_the_page(targets):
    warned = {**targets["binary"], "warnings": ["Site A predicts the label."]}
    assert "Before you trust this Site A predicts the label." in seen(page_of(warned))
    assert "No warning arose" in seen(page_of(targets["binary"]))


# --- words -----------------------------------------------------------------------------------


def test_words_cover_the_contract(targets):
    table = words()
    assert set(table.first) == set(cases.KINDS)
    for kind, names in table.first.items():
        assert set(names) <= set(targets[kind]["figures"])
    used = {n for t in targets.values() for n in t["figures"]}
    used |= {"auroc_bootstrap", "brier_at_horizon", "ppv", "npv"}
    assert used <= set(table.figures)
    curves = {n for t in targets.values() for n in t["curves"]}
    assert curves | {"comparison"} == set(table.plots)
    for about in (*table.figures.values(), *table.plots.values(), *table.notions.values()):
        for text in (about.means, about.distrust, about.compare):
            assert text.endswith("."), about.name


def test_a_mistyped_table_is_refused():
    data = words().model_dump()
    data["figures"]["auroc"]["mean"] = "x"
    with pytest.raises(ValidationError):
        Table.model_validate(data)


@pytest.mark.browser
def test_the_policy_lets_the_styles_in(targets, tmp_path):
    (tmp_path / "page.html").write_text(page_of(targets["ordinal"]))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
               (tmp_path / "page.html").as_uri()]  # fmt: skip
    assert shutil.which("chromium")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Content Security Policy" not in done.stderr
    assert done.stdout.count('class="plot"') == EXPECTED["ordinal"]
