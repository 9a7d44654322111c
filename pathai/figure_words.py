"""The figures of an evaluation in words: what each means, how it is printed, what it says.

One table (``figure_words.yaml``) serves the model's page, its card and the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from pathai.page import shipped

FEW_PATIENTS = 30
"""Below it, in the smallest class, patients are called few."""
CLASSES = ("binary", "multiclass", "ordinal")
"""Kinds whose answer is one of several classes."""
Style = Literal["share", "small", "number", "percent", "signed_percent", "value", "signed_value"]


class Words(BaseModel):
    """A figure, plot or notion: its name, meaning, when to distrust it, what to compare it with."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")
    name: str
    means: str
    distrust: str
    compare: str


class Figure(Words):
    """A number. ``chance`` is its value without skill; ``hub`` its name in a model index."""

    better: Literal["higher", "lower", "zero"]
    shown: Style
    chance: float | None = None
    hub: str = ""


class Table(BaseModel):
    """Everything that has words; ``first`` names the main figures of each kind of target."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")
    schema_version: int
    first: dict[str, tuple[str, ...]]
    figures: dict[str, Figure]
    plots: dict[str, Words]
    notions: dict[str, Words]

    def main(self, kind: str) -> str:
        """Name of the figure that stands first."""
        return self.first[kind][0]


@lru_cache(maxsize=1)
def words() -> Table:
    """The table, read once."""
    return Table.model_validate(yaml.safe_load(shipped("figure_words.yaml")))


def figure(name: str) -> Figure:
    """Words of a figure; one that nobody described still has its name."""
    known = words().figures.get(name)
    return known or Figure(name=name.replace("_", " "), means="", distrust="", compare="",
                           better="higher", shown="number")  # fmt: skip


# --- numbers ---------------------------------------------------------------------------------


def shown(style: Style, value: float | None, unit: str = "", missing: str = "–") -> str:
    """A figure with as many digits as a reader can use.

    Parameters
    ----------
    style : str
        ``share`` two decimals, ``small`` three, ``percent`` a fraction times 100, ``value`` three
        significant digits and the unit; ``signed_...`` with a sign.
    value : float or None
        None and NaN give ``missing``.
    unit : str
        Unit of a ``value``.
    missing : str
        Text for what is not known.

    Returns
    -------
    str
        With a true minus sign.
    """
    if value is None or value != value:
        return missing
    sign = "+" if style.startswith("signed") else ""
    if style.endswith("percent"):
        text = f"{100 * value:{sign},.{0 if abs(value) >= 1 else 1}f}%"
    elif style.endswith("value"):
        text = f"{value:{sign},.{decimals(value)}f}" + (f" {unit}" if unit else "")
    else:
        text = f"{value:.{3 if style == 'small' else 2}f}"
    if not any(c in "123456789" for c in text):
        text = text.lstrip("+-")  # a rounded 0 has no sign
    return text.replace("-", "−", 1) if text.startswith("-") else text


def decimals(value: float) -> int:
    """Places that leave three significant digits, four at most."""
    size = abs(value)
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4


def between(style: Style, estimate: Mapping[str, Any] | None, missing: str = "") -> str:
    """Interval of an estimate, ``0.80 to 0.93``; ``missing`` where there is none."""
    low, high = (estimate or {}).get("low"), (estimate or {}).get("high")
    if low is None or high is None:
        return missing
    return f"{shown(style, low).removesuffix('%')} to {shown(style, high)}"


def told(style: Style, estimate: Mapping[str, Any] | None, unit: str = "") -> str:
    """Value and interval in one phrase, ``0.87 (0.80 to 0.93)``."""
    value = shown(style, (estimate or {}).get("value"), unit, "not known")
    inside = between(style, estimate)
    return f"{value} ({inside})" if inside and value != "not known" else value


def of_100(estimate: Mapping[str, Any] | None) -> str:
    """A share as patients among 100, ``87 (80 to 93)``; never the certainty of rounding."""

    def one(share: float) -> str:
        count = round(100 * share)
        return ("over 99" if count == 100 and share < 1 else
                "under 1" if count == 0 and share > 0 else str(count))  # fmt: skip

    found = estimate or {}
    if found.get("value") is None:
        return "an unknown number"
    inside = "" if found.get("low") is None or found.get("high") is None else (
        f" ({one(found['low'])} to {one(found['high'])})")  # fmt: skip
    return one(found["value"]) + inside


# --- sentences -------------------------------------------------------------------------------


def answer(target: Mapping[str, Any], unit: str = "patient") -> str:
    """How good the model is, in one or two sentences that begin with 100 patients.

    Parameters
    ----------
    target : dict
        One of ``targets`` of ``metrics.json``.
    unit : str
        ``patient`` or ``slide``.

    Returns
    -------
    str
        Plain text.
    """
    kind, found = target["kind"], target.get("figures") or {}
    if kind == "binary":
        no, yes = target["classes"]
        return (
            f"Of 100 {unit}s whose true answer is “{yes}”, the model says “{yes}” for "
            f"{of_100(found.get('sensitivity'))}; of 100 whose true answer is “{no}”, it says "
            f"“{no}” for {of_100(found.get('specificity'))}."
        )
    if kind in CLASSES:
        return (
            f"Of 100 {unit}s, the model puts {of_100(found.get('accuracy'))} into the right "
            f"class{_near(target)}."
        )
    if kind == "survival":
        return (
            f"Of 100 pairs of {unit}s of whom it is known who had the event first, the model puts "
            f"{of_100(found.get('c_index'))} in the right order; guessing gets 50."
        )
    return f"{_error(target)} {_inside(target, unit)}".strip()


def _near(target: Mapping[str, Any]) -> str:
    """Of grades also how many are at most one class away."""
    matrix = (target.get("curves") or {}).get("confusion")
    total = sum(map(sum, matrix)) if matrix else 0
    if target["kind"] != "ordinal" or not matrix or not total:
        return ""
    near = sum(n for i, row in enumerate(matrix) for j, n in enumerate(row) if abs(i - j) <= 1)
    return f", and {of_100({'value': near / total})} at most one class away from it"


def _error(target: Mapping[str, Any]) -> str:
    name = words().main(target["kind"])
    estimate = (target.get("figures") or {}).get(name) or {}
    if estimate.get("value") is None:
        return "How far the answers are from the truth is not known."
    size = told(figure(name).shown, estimate, target.get("unit_of_value") or "")
    if target["kind"] != "count":
        return f"On average the answer is off by {size}."
    return (
        f"On average the count is off by {size}: where the truth is 1,000, expect a miss by about "
        f"{1000 * estimate['value']:,.0f}."
    )


def _inside(target: Mapping[str, Any], unit: str) -> str:
    sets = target.get("conformal") or {}
    if (sets.get("coverage") or {}).get("value") is None:
        return ""
    return (
        f"Of 100 {unit}s, {of_100(sets['coverage'])} have their true value inside the stated "
        f"range; {100 * (1 - sets['alpha']):.0f} are promised."
    )


def doubts(target: Mapping[str, Any]) -> list[str]:
    """Reasons to distrust a target's figures that follow from the figures themselves.

    Few patients; a main figure that may be chance; a baseline that does as well; coverage below
    what is promised. What needs the data (a site that predicts the label) stands in ``warnings``.
    """
    return [*_few(target), *_no_skill(target), *_baseline_as_good(target), *_missed(target)]


def _few(target: Mapping[str, Any]) -> list[str]:
    """Of slides it is not known how many patients a class has; each is taken to have as many."""
    by_class = {k: n for k, n in (target.get("n_by_class") or {}).items() if n is not None}
    patients, n = target.get("n_patients"), target.get("n")
    risk = "with others of the same kind the figures may turn out anywhere in their intervals."
    if target["kind"] in CLASSES and by_class:
        each = patients / n if patients and n else 1.0
        least = min(by_class, key=by_class.__getitem__)
        count = round(by_class[least] * each)
        if count < FEW_PATIENTS:
            about = "about " if each < 1 else ""
            return [f"Only {about}{count} patients of class “{least}”: {risk}"]
    elif patients is not None and patients < FEW_PATIENTS:
        return [f"Only {patients} patients: {risk}"]
    return []


def _no_skill(target: Mapping[str, Any]) -> list[str]:
    name = words().main(target["kind"])
    about, found = figure(name), (target.get("figures") or {}).get(name) or {}
    if about.chance is None or found.get("low") is None or found["low"] > about.chance:
        return []
    return [f"The interval of the {about.name} includes {about.chance:g}: these patients do not "
            "show that the model is better than chance."]  # fmt: skip


def _baseline_as_good(target: Mapping[str, Any]) -> list[str]:
    name = words().main(target["kind"])
    about, own = figure(name), ((target.get("figures") or {}).get(name) or {}).get("value")
    said = []
    for key, figures in (target.get("baselines") or {}).items():
        other = ((figures or {}).get(name) or {}).get("value")
        if own is None or other is None:
            continue
        if (other >= own) if about.better == "higher" else (other <= own):
            label = words().notions[key].name if key in words().notions else key
            said.append(f"The baseline “{label}” does as well ({about.name} "
                        f"{shown(about.shown, other, target.get('unit_of_value') or '')}): the "
                        "model has shown no skill.")  # fmt: skip
    return said


def _missed(target: Mapping[str, Any]) -> list[str]:
    sets = target.get("conformal") or {}
    parts = [("all", sets.get("coverage"))]
    parts += [(k, (v or {}).get("coverage")) for k, v in (sets.get("by_class") or {}).items()]
    said = []
    for part, coverage in parts:
        high = (coverage or {}).get("high")
        if high is not None and high < 1 - sets["alpha"]:
            who = "" if part == "all" else f" of class “{part}”"
            said.append(f"The stated sets or ranges{who} hold the truth for "
                        f"{of_100(coverage)} of 100 only; {100 * (1 - sets['alpha']):.0f} are "
                        "promised.")  # fmt: skip
    return said
