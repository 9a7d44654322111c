"""The cohort page's cards: how good each model is, and whether the slides are like its own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pathai.cohort.drift import BINS
from pathai.cohort.reliable import calibration
from pathai.cohort.training import trained_here
from pathai.figure_words import FEW_PATIENTS, answer, between, doubts, figure, shown, words
from pathai.page import number
from pathai.plan import Plan
from pathai.plots import histogram
from pathai.store.bundle import PAGE

ELSEWHERE = "It says nothing about other laboratories, scanners or stains."
BESIDE = {"binary": ("brier",), "multiclass": ("brier",), "ordinal": ("brier",)}
"""Figures shown below the main one beside those of ``figure_words``, by kind."""

Json = Mapping[str, Any]


def evaluation(plan: Plan, metrics: Json) -> dict[str, Any]:
    """Context of the section *How good is it?*: a card per question, and one for counts."""
    chosen = " and ".join(f"{c} = {v}" for c, v in metrics["evaluate_on"].items())
    cards = []
    for model in plan.models:
        found = metrics["tasks"][model.name]
        own = model.folder / PAGE
        here = trained_here(plan, model) and own.is_file()
        link = Path(os.path.relpath(own, plan.results.cohort)).as_posix() if here else ""
        shared = {"model": model.name, "link": link}
        several = len(found["targets"]) > 1
        if not found["targets"]:
            cards.append({**shared, "name": model.name, "evaluated": False, "left_out": "",
                          "reason": found["reason"]})  # fmt: skip
        for name, target in found["targets"].items():
            title = f"{model.name}: {name}" if several and name != model.name else model.name
            cards.append({**shared, "name": title, **_target_card(target, found)})
    return {"chosen": chosen, "tasks": cards, "counts": _count_card(metrics["counts"])}


def _target_card(target: Json, model: Json) -> dict[str, Any]:
    card: dict[str, Any] = {
        "evaluated": target["evaluated"],
        "left_out": _left_out(target["left_out"]),
    }
    if not target["evaluated"]:
        return {**card, "reason": target["reason"]}
    about = figure(words().main(target["kind"]))
    return {
        **card,
        "question": target["question"],
        "of": f"{about.name[:1].upper()}{about.name[1:]} for {_asked(target)}",
        "means": about.means,
        "figure": about.name,
        "unit": model["unit"],
        "patients": target["n_patients"],
        "slides": target["n_slides"],
        "parts": _parts(target),
        "bars": _bars(target),
        "middle": about.chance == 0.5,
        "more": _more(target),
        "calibration": calibration(target, model["unit"]),
        "words": _said(target, model["unit"]),
        "trained_here": model["trained_here"],
    }


def _asked(target: Json) -> str:
    if target["kind"] == "binary":
        return f"{target['column']} = {target['classes'][1]}"
    return str(target["column"])


def _parts(target: Json) -> str:
    """How many units there are of each class, or with an event."""
    if target["kind"] == "binary":
        no, yes = (target["n_by_class"][name] for name in target["classes"])
        return f"{yes} positive, {no} negative"
    if target["kind"] == "survival":
        return f"{target['n_events']} with the event"
    return ", ".join(f"{name}: {n}" for name, n in (target.get("n_by_class") or {}).items())


def _bars(target: Json) -> list[dict[str, Any]]:
    """The main figure of model and baselines."""
    name = words().main(target["kind"])
    about, unit = figure(name), target.get("unit_of_value") or ""
    found = {"this model": target["figures"][name]}
    for key, label in (("tissue_area", "tissue area alone"), ("constant", "a constant")):
        found[label] = (target["baselines"].get(key) or {}).get(name)
    bound = 1.0 if about.better == "higher" else _largest(found.values())
    bars = []
    for label, estimate in found.items():
        if estimate is None:
            key = "constant" if label == "a constant" else "tissue_area"
            bars.append(_absent(label, target["baselines_absent"].get(key, "not known")))
            continue
        if label == "a constant" and about.chance is not None:
            estimate = {**estimate, "low": None, "high": None}  # chance by construction
        text = shown(about.shown, estimate["value"], unit), between(about.shown, estimate)
        bars.append(_bar(label, estimate, bound, text, main=label == "this model"))
    return bars


def _largest(estimates: Any) -> float:
    known = [v for e in estimates if e for v in (e["value"], e["high"]) if v is not None]
    return max(known, default=1.0) or 1.0


def _more(target: Json) -> str:
    """Further figures on one line."""
    kind, unit = target["kind"], target.get("unit_of_value") or ""
    names = [*words().first[kind][1:], *BESIDE.get(kind, ())]
    lines = []
    for name in names:
        about, estimate = figure(name), target["figures"].get(name)
        if estimate and estimate["value"] is not None:
            inside = between(about.shown, estimate)
            value = shown(about.shown, estimate["value"], unit)
            lines.append(f"{about.name} {value}" + (f" ({inside})" if inside else ""))
    return " · ".join(lines)


def _said(target: Json, unit: str) -> list[str]:
    """What follows from the figures."""
    name = words().main(target["kind"])
    about, own = figure(name), target["figures"][name]
    found = [answer(target, unit), *doubts(target), *target["warnings"]]
    area = (target["baselines"].get("tissue_area") or {}).get(name)
    if area and None not in (own["low"], own["high"], area["low"], area["high"], area["value"]):
        apart = own["low"] > area["high"] or own["high"] < area["low"]
        ahead = own["value"] > area["value"] if about.better == "higher" else (
            own["value"] < area["value"])  # fmt: skip
        if ahead and not apart:
            found.append("The interval of the tissue area overlaps the model's.")
    sentences = [text[:1].upper() + text[1:].rstrip(".") + "." for text in [*found, ELSEWHERE]]
    return list(dict.fromkeys(sentences))


def _left_out(reasons: Mapping[str, int]) -> str:
    """Slides that were to be scored and could not be, in words."""
    return "; ".join(f"{n} {'slide' if n == 1 else 'slides'} ({r})" for r, n in reasons.items())


def _count_card(found: Mapping[str, Any]) -> dict[str, Any]:
    card: dict[str, Any] = {"evaluated": found["evaluated"]}
    card["left_out"] = _left_out(found.get("left_out", {}))
    if not found["evaluated"]:
        return {**card, "reason": found["reason"]}
    kinds = (
        ("this detector", "model"),
        ("tissue area alone", "tissue_area"),
        ("a constant", "constant"),
    )
    known = [found[k]["mape"] for _, k in kinds if found[k]["evaluated"]]
    top = max(v for e in known for v in (e["value"], e["high"]) if v is not None) or 1.0
    bars = []
    for label, key in kinds:
        if not found[key]["evaluated"]:
            bars.append(_absent(label, found[key]["reason"]))
            continue
        mape = found[key]["mape"]
        text = shown("percent", mape["value"]), between("percent", mape)
        bar = _bar(label, mape, top, text, main=key == "model")
        bars.append({**bar, "signed": f"{found[key]['signed']['value']:+.1%}".replace("-", "−")})
    return {
        **card,
        "column": found["column"],
        "detector": found["detector"],
        "slides": found["n_slides"],
        "patients": found["n_patients"],
        "training": found["n_training_slides"],
        "bars": bars,
        "words": _count_words(found),
    }


def _count_words(found: Mapping[str, Any]) -> list[str]:
    own = found["model"]
    signed = own["signed"]["value"]
    said = []
    if found["n_patients"] < FEW_PATIENTS:
        said.append(
            f"{found['n_patients']} patients are few; the intervals are from resampling them and "
            "show how much the error moves from patient to patient."
        )
    direction = "too many" if signed > 0 else "too few"
    said.append(f"On average the detector counts {abs(signed):.1%} {direction}.")
    others = [found[k]["mape"]["value"] for k in ("tissue_area", "constant")
              if found[k]["evaluated"]]  # fmt: skip
    if others and own["mape"]["value"] >= min(others):
        spread = found["reference_density_variation"]
        said.append(
            "A baseline that looks at no nucleus does as well, so these slides do not show that "
            f"counting adds anything; their true density varies by {spread:.0%}."
        )
    return said


def _bar(
    label: str,
    estimate: Mapping[str, float | None],
    bound: float,
    text: tuple[str, str],
    *,
    main: bool = False,
) -> dict[str, Any]:
    """A value with its interval as text and as places between 0 and 100 of a plot."""
    places = {
        k: None if v is None else round(100 * min(max(v / bound, 0.0), 1.0), 2)
        for k, v in estimate.items()
    }
    value, inside = text
    return {"words": label, "main": main, "value": value, "between": inside, "places": places,
            "reason": "", "signed": ""}  # fmt: skip


def _absent(label: str, reason: str) -> dict[str, Any]:
    return {"words": label, "main": False, "value": "", "between": "", "places": {},
            "reason": reason, "signed": ""}  # fmt: skip


# --- drift -----------------------------------------------------------------------------------

LIKE = {
    "like": ("good", "This batch is like the slides the model was trained on."),
    "unlike": ("warn", "This batch is unlike the slides the model was trained on."),
    "partly": ("warn", "Part of this batch is unlike the slides the model was trained on."),
    "unknown": ("", "There are too few patients to tell whether this batch is like the slides the "
                "model was trained on."),
}  # fmt: skip
"""Badge and sentence of each verdict."""
WORD = {"like": "like", "unlike": "unlike", "partly": "partly unlike", "unknown": "too few to tell"}


def drift_cards(metrics: Json, models: Sequence[str]) -> list[dict[str, Any]]:
    """Context of the section that asks whether these slides are like those of the training."""
    return [{"name": name, **_drift_card(metrics["drift"][name])} for name in models]


def _drift_card(found: Json) -> dict[str, Any]:
    if not found["evaluated"]:
        return {"evaluated": False, "reason": found["reason"]}
    badge, sentence = LIKE[found["verdict"]]
    patients = found["n_patients"]
    plot = histogram(
        found["histogram"],
        0,
        100,
        patients / BINS,
        title="How unusual the patients of this batch are",
        said=f"{sentence} Median {found['median']:.0f} of 100, expected 50.",
        labels=("how unusual, percentile", "patients"),
    )
    rows = [
        {
            "what": f"{row['column']} {row['value'] or '(not given)'}",
            "badge": LIKE[row["verdict"]][0],
            "verdict": WORD[row["verdict"]],
            **_drift_figures(row),
        }
        for row in found["groups"]
    ]  # fmt: skip
    return {
        "evaluated": True,
        "badge": badge,
        "verdict": WORD[found["verdict"]],
        "sentence": sentence,
        "patients": patients,
        "slides": found["n_slides"],
        # Made of numbers and of words of this module alone.
        "plot": Markup(plot),  # noqa: S704
        "words": _drift_words(found),
        "groups": rows,
    }


def _drift_figures(row: Json) -> dict[str, str]:
    return {
        "patients": number(row["n_patients"]),
        "slides": number(row["n_slides"]),
        "median": number(row["median"]),
        "beyond": f"{row['beyond']} ({shown('percent', row['share_beyond']['value'])})",
    }


def _drift_words(found: Json) -> list[str]:
    n, beyond = found["n_patients"], found["beyond"]
    share = found["share_beyond"]
    who = "patient lies" if beyond == 1 else "patients lie"
    return [
        f"Half of the patients are more unusual than percentile {found['median']:.0f}; of patients "
        f"like those of the training it would be 50 (chance of values this high: "
        f"{_p(found['p_whole'])}).",
        f"{beyond} of {n} {who} beyond the limit of {found['limit']:g} "
        f"({shown('percent', share['value'])}, {between('percent', share)}); "
        f"{found['expected_beyond']:.2g} are expected (chance of as many: {_p(found['p_tail'])}).",
    ]


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
