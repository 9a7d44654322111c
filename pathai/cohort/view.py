"""From figures to words and pictures: the context of the cohort page's template."""

from collections.abc import Mapping, Sequence
from typing import Any

from pathai.cohort.evaluate import held_out
from pathai.cohort.gather import STATUSES, Outcome, SlideRow
from pathai.errors import PathaiError
from pathai.page import number, page, shipped, template, thumbnail
from pathai.plan import Plan
from pathai.store.records import CellsAttrs, PredictionAttrs, Qc
from pathai.units import Box

THUMB = (192, 144)
"""Largest thumbnail, px; shown at half of it, so that it is sharp on fine screens."""
MARGIN = 0.04
"""Of the tissue's box, shown around it."""
BADGES = {"ok": "good", "warning": "warn", "degraded": "warn", "skipped": "", "failed": "bad"}
FEW_PATIENTS = 30
"""Below it (in the smaller class) the page says in words that these are few patients."""


def html(
    plan: Plan,
    rows: Sequence[SlideRow],
    outcomes: Sequence[Outcome],
    metrics: Mapping[str, Any],
) -> str:
    """The cohort page.

    Parameters
    ----------
    plan : Plan
        For title, models and detector.
    rows : sequence of SlideRow
        Every slide of the sheet.
    outcomes : sequence of Outcome
        Every problem, of slides, models and cases.
    metrics : dict
        From ``evaluate``.

    Returns
    -------
    str
        One HTML file; the same bytes for the same results.
    """
    models = [model.name for model in plan.models]
    title = plan.config.cohort.title
    context = {
        "title": title,
        "slides": len(rows),
        "patients": len({row.row.patient_id for row in rows}),
        "cases": len({row.row.case_id for row in rows}),
        "statuses": [(s, sum(row.status == s for row in rows), BADGES[s]) for s in STATUSES],
        "evaluation": _evaluation(metrics, models),
        "models": models,
        "alphas": sorted({a.alpha for row in rows for a in row.answers.values()}),
        "rows": [_row(plan, row, metrics) for row in rows],
        "outcomes": [
            {"slide_id": o.slide_id, "status": o.status, "badge": BADGES[o.status], **_said(o)}
            for o in outcomes
        ],
        "covers": sorted({row.cells.count.covers for row in rows if row.cells} - {""}),
        "detector": plan.config.cells.detector,
    }
    body = template("index.html.jinja", "pathai.cohort").render(context)
    style = shipped("index.css", "pathai.cohort")
    return page(title, body, style, shipped("index.js", "pathai.cohort"))


def _said(outcome: Outcome) -> dict[str, str]:
    problem = outcome.problem
    message = problem.message.removeprefix(f"{outcome.slide_id}: ")
    return {
        "stage": problem.stage,
        "code": problem.code,
        "message": message[:1].upper() + message[1:],
        "remedy": problem.remedy[:1].upper() + problem.remedy[1:],
    }


# --- slides ----------------------------------------------------------------------------------


def _row(plan: Plan, row: SlideRow, metrics: Mapping[str, Any]) -> dict[str, Any]:
    sheet = row.row
    labels = {
        name: sheet.labels.get(found["label"], "")
        for name, found in metrics["tasks"].items()
        if "label" in found
    }
    answers = [
        {"not_applicable": sheet.stain}
        if model.name in row.not_applicable
        else _answer(row.answers.get(model.name), labels.get(model.name, ""))
        for model in plan.models
    ]
    column = plan.config.cohort.count_column
    return {
        "id": sheet.slide_id,
        "case": sheet.case_id,
        "patient": sheet.patient_id,
        "about": " · ".join(v for v in (sheet.stain, sheet.site, sheet.laterality) if v),
        "held_out": held_out(plan.config.cohort, row),
        "status": row.status,
        "badge": BADGES[row.status],
        "codes": list(dict.fromkeys(o.problem.code for o in row.outcomes)),
        "thumb": _thumb(row),
        "tissue": row.tissue_mm2,
        "qc": _qc(row.qc),
        "cells": _cells(row.cells, sheet.labels.get(column, "") if column else ""),
        "answers": answers,
        "foreign": any(a is not None and a.get("foreign", False) for a in answers),
        "flags": row.flags,
        "notes": row.info.notes if row.info else (),
        "has_draft": row.has_draft,
    }


def _qc(qc: Qc | None) -> dict[str, Any] | None:
    """What of the tissue can be used, and how sharp it is, in a few words."""
    if qc is None:
        return None
    lost = f"{1 - qc.usable:.0%} left out" if qc.usable < 0.995 else ""
    focus = "" if qc.focus_um is None else f"edges {qc.focus_um:.1f} µm"
    return {"lost": lost, "focus": focus}


def _cells(cells: CellsAttrs | None, reference: str) -> dict[str, Any] | None:
    if cells is None:
        return None
    classes = [(n, c) for n, c in zip(cells.classes, cells.class_counts, strict=True) if c]
    return {
        "count": cells.count,
        "density": cells.density_per_mm2,
        "classes": classes if len(cells.classes) > 1 else (),
        "reference": _grouped(reference),
    }


def _grouped(text: str) -> str:
    """A whole number of the sheet as the page writes numbers; other text as it is."""
    return f"{int(text):,}" if text.isascii() and text.isdigit() else text


def _answer(answer: PredictionAttrs | None, reference: str) -> dict[str, Any] | None:
    if answer is None:
        return None
    chance, leading = max(zip(answer.prob, answer.classes, strict=False), default=(None, ""))
    return {
        "label": answer.label,
        "prob": _chance(chance),
        "raw": f"{leading} {_chance(chance)}" if leading and answer.abstained else "",
        "order": answer.prob[-1] if answer.prob and not answer.abstained else None,
        "set": answer.set,
        "undecided": len(answer.set) > 1,
        "foreign": answer.out_of_distribution,
        "abstained": answer.abstained,
        "reason": answer.reason,
        "reference": reference,
    }


def _chance(p: float | None) -> str:
    """Two digits, and never the certainty that rounding would claim."""
    if p is None:
        return ""
    return ">0.99" if p > 0.99 else "<0.01" if p < 0.01 else f"{p:.2f}"


def _thumb(row: SlideRow) -> str:
    """Tissue of a slide as a small picture; nothing where there is none."""
    if row.box is None:
        return ""
    try:
        tiles = row.folder.open_tiles()
        box = _around(row.box, tiles.size.width, tiles.size.height)
        level = tiles.level_for(min(box.width / THUMB[0], box.height / THUMB[1]))
        return thumbnail(tiles.read(box, level), *THUMB)
    except PathaiError:
        return ""  # damage is the business of verify; the page goes on without the picture


def _around(box: Box, width: int, height: int) -> Box:
    margin = MARGIN * max(box.width, box.height)
    x, y = max(box.x - margin, 0), max(box.y - margin, 0)
    right, bottom = min(box.right + margin, width), min(box.bottom + margin, height)
    return Box(x, y, max(right - x, 1), max(bottom - y, 1))


# --- evaluation ------------------------------------------------------------------------------


def _evaluation(metrics: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    chosen = " and ".join(f"{c} = {v}" for c, v in metrics["evaluate_on"].items())
    return {
        "chosen": chosen,
        "tasks": [_task_card(name, metrics["tasks"][name]) for name in models],
        "counts": _count_card(metrics["counts"]),
    }


def _task_card(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    card: dict[str, Any] = {"name": name, "evaluated": found["evaluated"]}
    card["left_out"] = _left_out(found.get("left_out", {}))
    if not found["evaluated"]:
        return {**card, "reason": found["reason"]}
    model, area = found["model"]["auroc"], found["tissue_area"]
    bars = [_bar("this model", model, 1.0, 2, main=True)]
    if area["evaluated"]:
        bars.append(_bar("tissue area alone", area["auroc"], 1.0, 2))
    else:
        bars.append(_absent("tissue area alone", area["reason"]))
    constant = {**found["constant"]["auroc"], "low": None, "high": None}
    bars.append(_bar("a constant", constant, 1.0, 2))
    return {
        **card,
        "question": found["question"],
        "label": f"{found['label']} = {found['classes'][1]}",
        "unit": found["unit"],
        "patients": found["n_patients"],
        "slides": found["n_slides"],
        "positive": found["model"]["n_positive"],
        "negative": found["model"]["n"] - found["model"]["n_positive"],
        "bars": bars,
        "words": _auc_words(found),
        "trained_here": found["trained_here"],
    }


def _left_out(reasons: Mapping[str, int]) -> str:
    """Slides that were to be scored and could not be, in words."""
    return "; ".join(f"{n} {'slide' if n == 1 else 'slides'} ({r})" for r, n in reasons.items())


def _auc_words(found: Mapping[str, Any]) -> list[str]:
    auc, area = found["model"]["auroc"], found["tissue_area"]
    low, high = auc["low"], auc["high"]
    pos, neg = found["n_positive_patients"], found["n_negative_patients"]
    words = []
    if min(pos, neg) < FEW_PATIENTS:
        words.append(
            f"{pos} positive and {neg} negative patients are few: with others of the same kind the "
            f"AUC may well turn out anywhere between {low:.2f} and {high:.2f}."
        )
    if low <= 0.5:
        words.append("These patients do not show that the model is better than a constant.")
    else:
        words.append("On these patients the model is better than a constant.")
    if area["evaluated"] and area["auroc"]["value"] is not None:
        if area["auroc"]["value"] >= auc["value"]:
            words.append("The tissue area alone does as well: the model has shown no skill.")
        elif area["auroc"]["high"] >= low:
            words.append("The interval of the tissue area overlaps the model's.")
    words.append("It says nothing about other laboratories, scanners or stains.")
    return words


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
    for words, key in kinds:
        if not found[key]["evaluated"]:
            bars.append(_absent(words, found[key]["reason"]))
            continue
        bar = _bar(words, found[key]["mape"], top, 1, main=key == "model", percent=True)
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
    words = []
    if found["n_patients"] < FEW_PATIENTS:
        words.append(
            f"{found['n_patients']} patients are few; the intervals are from resampling them and "
            "show how much the error moves from patient to patient."
        )
    direction = "too many" if signed > 0 else "too few"
    words.append(f"On average the detector counts {abs(signed):.1%} {direction}.")
    others = [found[k]["mape"]["value"] for k in ("tissue_area", "constant")
              if found[k]["evaluated"]]  # fmt: skip
    if others and own["mape"]["value"] >= min(others):
        spread = found["reference_density_variation"]
        words.append(
            "A baseline that looks at no nucleus does as well, so these slides do not show that "
            f"counting adds anything; their true density varies by {spread:.0%}."
        )
    return words


def _bar(
    words: str,
    estimate: Mapping[str, float | None],
    top: float,
    digits: int,
    *,
    main: bool = False,
    percent: bool = False,
) -> dict[str, Any]:
    """A value with its interval as text and as places between 0 and 100 of a plot."""
    shown = {k: None if v is None else 100 * v if percent else v for k, v in estimate.items()}
    unit = "%" if percent else ""
    low, high = shown["low"], shown["high"]
    between = "" if low is None or high is None else (
        f"{number(low, digits)} to {number(high, digits)}{unit}"
    )  # fmt: skip
    places = {k: None if v is None else round(100 * v / top, 2) for k, v in estimate.items()}
    return {
        "words": words,
        "main": main,
        "value": f"{number(shown['value'], digits)}{unit}",
        "between": between,
        "places": places,
        "reason": "",
        "signed": "",
    }


def _absent(words: str, reason: str) -> dict[str, Any]:
    return {"words": words, "main": False, "value": "", "between": "", "places": {},
            "reason": reason, "signed": ""}  # fmt: skip
