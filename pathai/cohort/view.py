"""From figures to words and pictures: the context of the cohort page's template."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pathai import answer_words
from pathai.cohort.cards import drift_cards, evaluation
from pathai.cohort.gather import STATUSES, Outcome, Severity, SlideRow
from pathai.cohort.spread import NO_SITE, histograms, sites
from pathai.cohort.training import held_out
from pathai.errors import PathaiError
from pathai.page import page, shipped, template, thumbnail
from pathai.plan import Model, Plan
from pathai.store.records import Answer, CellsAttrs, PredictionAttrs, Qc
from pathai.task import Target
from pathai.units import Box

THUMBS = ((300, (192, 144), 82), (1000, (144, 108), 74), (math.inf, (112, 84), 66))
"""Up to how many slides, size of a thumbnail in px, and JPEG quality: a page must stay light."""
FIRST = 200
"""Rows that a browser with scripts shows at a time: laying out thousands takes it seconds."""
MARGIN = 0.04
"""Of the tissue's box, shown around it."""
URGENCY: tuple[Severity, ...] = ("failed", "degraded", "warning", "skipped", "ok")
"""The order in which problems are listed."""
BADGES = {"ok": "good", "warning": "warn", "degraded": "warn", "skipped": "", "failed": "bad"}


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
    told = sorted(outcomes, key=lambda o: URGENCY.index(o.status))
    looks: dict[str, int] = {}
    for place, outcome in enumerate(told, start=1):
        looks.setdefault(outcome.slide_id, place)
    thumb = next((size, quality) for most, size, quality in THUMBS if len(rows) <= most)
    context = {
        "title": title,
        "slides": len(rows),
        "patients": len({row.row.patient_id for row in rows}),
        "cases": len({row.row.case_id for row in rows}),
        "statuses": [(s, sum(row.status == s for row in rows), BADGES[s]) for s in STATUSES],
        "evaluation": evaluation(plan, metrics),
        "drift": drift_cards(metrics, models),
        "columns": [
            _heading(model, t) for model in plan.models for t in range(len(model.task.asked))
        ],
        "alphas": sorted({a.alpha for row in rows for a in row.answers.values()}),
        # One after the other, so that of all pictures only the page's own text is kept.
        "rows": (_row(plan, row, looks, thumb) for row in rows),
        "outcomes": [
            {"slide_id": o.slide_id, "status": o.status, "badge": BADGES[o.status], **_said(o)}
            for o in told
        ],
        "first": FIRST,
        "histograms": histograms(rows),
        "sites": sites(rows),
        "covers": sorted({row.cells.count.covers for row in rows if row.cells} - {""}),
        "detector": plan.config.cells.detector,
    }
    body = template("index.html.jinja", "pathai.cohort").render(context)
    style = shipped("plots.css", "pathai.plots") + shipped("index.css", "pathai.cohort")
    return page(title, body, style, shipped("index.js", "pathai.cohort"))


def _heading(model: Model, t: int) -> str:
    """Head of a column: the model, and which of its further questions."""
    return f"{model.name}: {model.task.asked[t].name}" if t else model.name


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


def _row(
    plan: Plan, row: SlideRow, looks: Mapping[str, int], thumb: tuple[tuple[int, int], int]
) -> dict[str, Any]:
    sheet = row.row
    answers = [cell for model in plan.models for cell in _cells_of(model, row)]
    column = plan.config.cohort.count_column
    return {
        "id": sheet.slide_id,
        "case": sheet.case_id,
        "patient": sheet.patient_id,
        "site": sheet.site or NO_SITE,
        "about": " · ".join(v for v in (sheet.stain, sheet.site, sheet.laterality) if v),
        "held_out": held_out(plan.config.cohort, row),
        "status": row.status,
        "badge": BADGES[row.status],
        "codes": list(dict.fromkeys(o.problem.code for o in row.outcomes)),
        "thumb": _thumb(row, *thumb),
        "look": looks.get(sheet.slide_id),
        "review": f"pathai review {plan.config.results}/slides/{sheet.slide_id}",
        "tissue": row.tissue_mm2,
        "qc": _qc(row.qc),
        "cells": _cells(row.cells, sheet.labels.get(column, "") if column else ""),
        "answers": answers,
        "foreign": any(a.out_of_distribution for a in row.answers.values()),
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


def _cells_of(model: Model, row: SlideRow) -> list[dict[str, Any] | None]:
    """What a model says of a slide, one cell per question."""
    asked, attrs = model.task.asked, row.answers.get(model.name)
    if model.name in row.not_applicable:
        return [{"not_applicable": row.row.stain} for _ in asked]
    if attrs is None:
        return [None for _ in asked]
    told = attrs.answers
    return [
        _answer(attrs, told[t], _reference(one, row.row.labels), first=t == 0)
        if t < len(told)
        else None
        for t, one in enumerate(asked)
    ]


def _answer(
    attrs: PredictionAttrs, answer: Answer, reference: str, *, first: bool
) -> dict[str, Any]:
    """One cell; the reason why there is no answer stands in the model's first."""
    chances = dict(zip(answer.classes, answer.prob, strict=False))
    return {
        "said": "" if attrs.abstained else answer_words.said(answer),
        "prob": answer_words.chance(chances.get(answer.label)) if answer.label else "",
        "raw": answer_words.raw(answer) if attrs.abstained else "",
        "order": None if attrs.abstained else answer_words.order(answer),
        "beside": "" if attrs.abstained else answer_words.beside(answer, attrs.alpha),
        "foreign": attrs.out_of_distribution and first,
        "abstained": attrs.abstained,
        "reason": attrs.reason if first else "",
        "reference": reference,
    }


def _reference(target: Target, labels: Mapping[str, str]) -> str:
    """What the sheet says, as the page writes it."""
    text = labels.get(target.label, "").strip()
    if target.kind == "survival":
        time = f"{labels.get(target.time, '')} {target.unit_of_value}".strip()
        words = {"1": "event at", "0": "no event until"}.get(text)
        return f"{words} {time}" if words else text
    total = labels.get(target.total, "").strip() if target.total else ""
    return f"{_grouped(text)} of {_grouped(total)}" if text and total else _grouped(text)


def _thumb(row: SlideRow, size: tuple[int, int], quality: int) -> str:
    """Tissue of a slide as a small picture; nothing where there is none."""
    if row.box is None:
        return ""
    try:
        tiles = row.folder.open_tiles()
        box = _around(row.box, tiles.size.width, tiles.size.height)
        level = tiles.level_for(min(box.width / size[0], box.height / size[1]))
        return thumbnail(tiles.read(box, level), *size, quality)
    except PathaiError:
        return ""  # damage is the business of verify; the page goes on without the picture


def _around(box: Box, width: int, height: int) -> Box:
    margin = MARGIN * max(box.width, box.height)
    x, y = max(box.x - margin, 0), max(box.y - margin, 0)
    right, bottom = min(box.right + margin, width), min(box.bottom + margin, height)
    return Box(x, y, max(right - x, 1), max(bottom - y, 1))
