"""Shipped tasks say what is asked, by whose rule, and where it ends."""

import re

import pytest
import yaml

from pathai.run import shipped
from pathai.task import load_task

FILES = {file.stem: file for file in sorted(shipped("configs/tasks").glob("*.yaml"))}
DATA = {name: yaml.safe_load(file.read_text("utf-8")) for name, file in FILES.items()}
REAL = sorted(set(FILES) - {"tumor"})
CLASSES = {"binary", "multiclass", "ordinal"}


def targets(name):
    return [DATA[name], *DATA[name].get("targets", ())]


@pytest.mark.parametrize("name", FILES)
def test_a_task_is_valid(name):
    assert load_task(FILES[name]).name == name


def test_what_the_issue_asks_for_is_there():
    assert set(REAL) >= {
        *("prostate-cancer", "prostate-isup", "prostate-cancer-cells", "breast-cancer-cells"),
        *("er", "pr", "her2", "ki67-class", "msi", "overall-survival"),
    }


@pytest.mark.parametrize("name", FILES)
def test_each_kind_has_the_answers_that_it_needs(name):
    for one in targets(name):
        kind, classes = one["kind"], one.get("classes", [])
        assert all(isinstance(c, str) for c in classes)  # not the booleans and numbers of YAML
        assert len(set(classes)) == len(classes)
        assert bool(classes) == (kind in CLASSES)
        assert kind != "binary" or len(classes) == 2
        assert ("time" in one, "horizon" in one) == (kind == "survival",) * 2
        assert ("total" in one) == (kind == "ratio")
        assert kind in CLASSES or one["unit_of_value"]
        assert one["question"].endswith("?")


@pytest.mark.parametrize("name", REAL)
def test_a_real_task_names_its_source_and_its_limits(name):
    comment = "\n".join(re.findall(r"^#(.*)", FILES[name].read_text("utf-8"), re.MULTILINE))
    assert re.search(r"\b(19|20)\d\d\b", comment) or "No guideline" in comment
    limits = DATA[name]["limits"]
    assert len(limits) >= 3
    assert limits[0].startswith("no weights are shipped")
    assert len(set(limits)) == len(limits)


def test_answers_are_those_of_the_guidelines():
    assert DATA["prostate-isup"]["classes"] == ["0", "1", "2", "3", "4", "5"]
    assert DATA["her2"]["classes"] == ["0", "1+", "2+", "3+"]
    assert DATA["ki67-class"]["classes"] == ["<=5%", "6-29%", ">=30%"]
    assert [DATA[n]["kind"] for n in ("prostate-isup", "her2", "ki67-class")] == ["ordinal"] * 3
    assert DATA["overall-survival"]["horizon"] == 60


def test_the_shared_head_asks_what_the_single_tasks_ask():
    keys = ("question", "kind", "label", "classes")
    together = [[one[key] for key in keys] for one in targets("receptors")]
    assert together == [[DATA[name][key] for key in keys] for name in ("er", "pr")]
