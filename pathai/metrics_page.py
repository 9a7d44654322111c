"""One calm page that tells a pathologist how good a model is, from its ``metrics.json`` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pathai import plots
from pathai.figure_words import (
    CLASSES,
    Words,
    answer,
    between,
    doubts,
    figure,
    shown,
    told,
    words,
)
from pathai.page import number, page, shipped, template

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A table with its heading and how to read it; the first row is the main one if ``main``."""

    name: str
    read: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True
    main: bool = False


def metrics_page(metrics: Json, *, title: str, about: Sequence[str] = ()) -> str:
    """How good a model is, as one HTML file that loads nothing.

    Whatever is missing or None in ``metrics`` is left out or printed as not known.

    Parameters
    ----------
    metrics : dict
        Contents of ``metrics.json`` (schema 2).
    title : str
        Heading, as a rule the model's name.
    about : sequence of str
        Lines below it: encoder, head, where the patients come from.

    Returns
    -------
    str
        HTML; the same bytes for the same metrics.
    """
    unit = metrics.get("unit") or "patient"
    targets = [_target(name, target, unit, i)
               for i, (name, target) in enumerate(metrics["targets"].items())]  # fmt: skip
    shared = [*_compared(metrics), _learning(metrics), _folds(metrics, unit), _left_out(metrics),
              _meanings(metrics, targets)]  # fmt: skip
    context = {
        "title": title,
        "about": list(about),
        "out_of_fold": _evaluated(metrics),
        "targets": targets,
        "shared": [part for part in shared if part.rows],
    }
    body = template("metrics_page.html.jinja", "pathai").render(context)
    return page(title, body, shipped("plots.css", "pathai.plots") + shipped("metrics_page.css"))


def _compared(metrics: Json) -> list[Part]:
    """Two models on the same patients, a table per target."""
    beside = metrics.get("comparison") or {}
    head = ("figure", f"{beside.get('against')}", "this model", "difference", "p")
    read = (
        "Both models answered the same patients. The difference is this model's figure less the "
        "other's; where its interval holds 0, the two cannot be told apart here. The p-values are "
        "not corrected for their number: name the figure that decides beforehand."
    )
    parts = []
    for name, found in (beside.get("targets") or {}).items():
        rows = [
            (figure(key).name, shown(figure(key).shown, one.get("first")),
             shown(figure(key).shown, one.get("second")),
             told(figure(key).shown, one.get("difference")), _p(one.get("p")))
            for key, one in found["figures"].items()
        ]  # fmt: skip
        parts.append(Part(f"Beside another model: {name}", read, head, tuple(rows)))
    return parts


def _p(value: float | None) -> str:
    return "" if value is None else "below 0.001" if value < 0.001 else f"{value:.3f}"


def _learning(metrics: Json) -> Part:
    """How a linear probe grows with labeled patients."""
    points = (metrics.get("few_shot") or {}).get("learning_curve") or []
    keys = list(points[0]["figures"]) if points else []
    rows = [
        ("all" if point["k"] is None else str(point["k"]), str(point["n_patients"]),
         *(told(figure(key).shown, point["figures"].get(key)) for key in keys))
        for point in points
    ]  # fmt: skip
    read = (
        "Patients of each class were drawn again and again, a probe was fitted on them and tested "
        "on all others. Brackets: the range over the draws, which share patients; it is no "
        "confidence interval. If the last rows still get better, more labels will help."
    )
    head = ("per class", "patients", *(figure(key).name for key in keys))
    return Part("What more labels would bring", read, head, tuple(rows))


def _evaluated(metrics: Json) -> str:
    about = words().notions["out_of_fold"]
    folds = len(metrics.get("folds") or ())
    how = f"Measured out of fold, in {folds} parts. {about.means}" if folds else ""
    if few := metrics.get("few_shot"):
        how = (f"The probe learned from {number(few['patients'])} of "
               f"{number(metrics.get('n_patients'))} patients; every figure is of "
               f"{few['tested_on']}.")  # fmt: skip
    by = "" if metrics.get("unit") != "slide" else (
        " Slides are scored, not patients: read “slide” where “patient” stands below. Intervals "
        "count patients all the same, since slides of one patient are alike.")  # fmt: skip
    return (f"{number(metrics.get('n_patients'))} patients, {number(metrics.get('n_slides'))} "
            f"slides. {how}{by}").strip()  # fmt: skip


# --- one target ------------------------------------------------------------------------------


def _target(name: str, target: Json, unit: str, place: int) -> dict[str, Any]:
    main = words().main(target["kind"])
    about = figure(main)
    own = (target.get("figures") or {}).get(main)
    value_unit = target.get("unit_of_value") or ""
    tables = (_operating_points(target), _coverage(target), _subgroups(target, unit),
              _figures(target))  # fmt: skip
    return {
        "id": f"target-{place + 1}",
        "name": name,
        "question": target.get("question") or name,
        "answer": answer(target, unit),
        "who": _who(target, unit),
        "main_name": about.name[:1].upper() + about.name[1:],
        "main": told(about.shown, own, value_unit),
        "main_means": about.means,
        "comparison": Markup(_comparison(target, main)),  # noqa: S704 (the plot escapes)
        "comparison_read": words().plots["comparison"].means,
        "warnings": [*map(_sentence, target.get("warnings") or ()), *doubts(target)],
        "plots": _plots(target, unit),
        "tables": [part for part in tables if part.rows],
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _who(target: Json, unit: str) -> str:
    """Patients, units and classes of a target, in one line."""
    parts = [f"{number(target.get('n_patients'))} patients"]
    if unit != "patient":
        parts.append(f"{number(target.get('n'))} {unit}s")
    by_class = target.get("n_by_class") or {}
    if by_class:
        parts.append(", ".join(f"“{name}”: {number(n)}" for name, n in by_class.items()))
    if target.get("n_events") is not None:
        parts.append(f"{number(target['n_events'])} events")
    if target.get("horizon") is not None:
        parts.append(f"horizon {target['horizon']:g} {target.get('unit_of_value') or ''}".strip())
    where = f"Truth from the sheet's column “{target['column']}”." if target.get("column") else ""
    return f"{' · '.join(parts)}. {where}".strip()


def _comparison(target: Json, main: str) -> str:
    about, unit = figure(main), target.get("unit_of_value") or ""
    found: list[tuple[str, Json]] = [("this model", (target.get("figures") or {}).get(main) or {})]
    for key, figures in (target.get("baselines") or {}).items():
        label = words().notions[key].name if key in words().notions else key
        found.append((label, (figures or {}).get(main) or {}))
    said = "; ".join(f"{name}: {told(about.shown, e, unit)}" for name, e in found)
    rows = [(f"{name}  {shown(about.shown, e.get('value'), missing='not measured')}", e)
            for name, e in found]  # fmt: skip
    label = f"{about.name}, {unit}" if unit and about.shown == "value" else about.name
    return plots.comparison(rows, label, f"{about.name}. {said}.", chance=about.chance,
                            percent=about.shown == "percent")  # fmt: skip


def _plots(target: Json, unit: str) -> list[dict[str, Any]]:
    """Every plot that the curves allow, each with the sentence that says how to read it."""
    curves = target.get("curves") or {}
    found = target.get("figures") or {}
    kind = target["kind"]
    value_unit = target.get("unit_of_value") or ""

    def key(name: str) -> str:
        return f"{figure(name).name} {told(figure(name).shown, found.get(name), value_unit)}."

    risk = "" if kind in CLASSES else "Error among the answered"
    calibrated = "The probabilities are compared with what came true. " + key("ece")
    draw: dict[str, Callable[[Any], list[str]]] = {
        "confusion": lambda c: [plots.confusion(c, target["classes"], answer(target, unit))],
        "scatter": lambda c: [plots.scatter(c, answer(target, unit), value_unit,
                                            log=kind == "count")],
        "kaplan_meier": lambda c: [plots.kaplan_meier(c, key("c_index"), _time(value_unit))],
        "roc": lambda c: [plots.roc(_chosen(c, target), key("auroc"))],
        "pr": lambda c: [plots.precision_recall(_chosen(c, target), key("auprc"))],
        "reliability": lambda c: _reliabilities(_chosen(c, target), calibrated, unit),
        "risk_coverage": lambda c: [plots.risk_coverage(c, key("accuracy"), unit, risk)],
        "decision": lambda c: [plots.decision(c, _benefit(c), unit)],
    }  # fmt: skip
    out = []
    for name, paint in draw.items():
        if not curves.get(name):
            continue
        about, drawn = words().plots[name], paint(curves[name])
        broad = name == "kaplan_meier" or (name == "confusion" and len(target["classes"]) > 4)
        svgs = [Markup(svg) for svg in drawn]  # noqa: S704 (the plots escape)
        read = about.means + (_log_rank(target) if name == "kaplan_meier" else "")
        out.append({"key": name, "name": about.name, "read": read, "svgs": svgs,
                    "room": "whole" if len(drawn) > 1 else "wide" if broad else ""})  # fmt: skip
    return out


def _reliabilities(curves: Sequence[Json], said: str, unit: str) -> list[str]:
    """A plot per class, small where there are several."""
    size = 280 if len(curves) == 1 else 190
    return [plots.reliability(curve, said, unit, size) for curve in curves]


def _chosen(curves: Sequence[Json], target: Json) -> list[Json]:
    """Curves that say different things: of two classes, only the positive one's."""
    if target["kind"] != "binary":
        return list(curves)
    positive = [c for c in curves if c.get("class") == target["classes"][1]]
    return positive[:1] or list(curves[-1:])


def _log_rank(target: Json) -> str:
    """Whether low and high risk differ, where it was tested."""
    p = (target.get("log_rank") or {}).get("p")
    if p is None:
        return ""
    return f" Low against high risk, log-rank test: p {'< 0.001' if p < 0.001 else f'= {p:.2g}'}."


def _time(unit: str) -> str:
    return f"Time ({unit})" if unit else "Time"


def _benefit(curve: Json) -> str:
    """Where acting on the model is the best of the three, in words."""
    rows = zip(curve["threshold"], curve["model"], curve["all"], strict=True)
    best = [t for t, m, a in rows if None not in (t, m, a) and m > max(a, 0.0)]
    if not best:
        return "At no threshold is the model better than acting on everybody or nobody."
    return (
        f"The model is better than acting on everybody or nobody at {len(best)} of "
        f"{len(curve['threshold'])} thresholds, between {min(best):.0%} and {max(best):.0%}."
    )


# --- its tables ------------------------------------------------------------------------------


def _operating_points(target: Json) -> Part:
    about = words().notions["operating_point"]
    columns = ("sensitivity", "specificity", "ppv", "npv")
    rows = tuple(
        (f"{figure(p['of']).name} of {shown('share', p['aim'])}",
         "at least " + shown("small", p.get("threshold")),
         *(told("share", p.get(c)) if p.get(c) else "–" for c in columns))
        for p in target.get("operating_points") or ()
    )  # fmt: skip
    head = ("aim", "positive if the probability is", *(figure(c).name for c in columns))
    return Part("Operating points", about.means, head, rows)


def _coverage(target: Json) -> Part:
    """What was promised of sets or intervals, and what came of it."""
    found = target.get("conformal") or {}
    classes = target["kind"] in CLASSES
    about = words().notions["prediction_set" if classes else "prediction_interval"]
    name = "Prediction sets" if classes else "Prediction intervals"
    if not found:
        return Part(name, about.means, (), ())
    aim = f"{100 * (1 - found['alpha']):.0f}%"
    covered = [("all", target.get("n"), found.get("coverage"))]
    covered += [(k, v.get("n"), v.get("coverage"))
                for k, v in (found.get("by_class") or {}).items()]  # fmt: skip
    rows = [(part, number(n), aim, told("percent", e)) for part, n, e in covered]
    unit = target.get("unit_of_value") or ""
    if found.get("single"):
        rows.append(("sets with one answer only", "", "", told("percent", found["single"])))
    if found.get("mean_size"):
        rows.append(("answers in a set, on average", "", "", told("number", found["mean_size"])))
    if found.get("median_width"):
        rows.append(("width of the interval, median", "", "",
                     told("value", found["median_width"], unit)))  # fmt: skip
    head = ("class" if classes else "", "n", "promised", "held the truth")
    return Part(name, about.means, head, tuple(rows))


def _subgroups(target: Json, unit: str) -> Part:
    about, groups = words().notions["subgroup"], target.get("subgroups") or ()
    known = {n for g in groups for n in g.get("figures") or ()}
    names = [n for n in words().first[target["kind"]] if n in known] or sorted(known)
    value_unit = target.get("unit_of_value") or ""
    rows = tuple(
        (f"{g['column']}: {g['value']}", *_sizes(g, unit),
         *(told(figure(n).shown, (g.get("figures") or {}).get(n), value_unit) for n in names))
        for g in groups
    )  # fmt: skip
    head = ("group", *_sized(unit), *(figure(n).name for n in names))
    return Part("Subgroups", f"{about.means} {about.distrust}", head, rows)


def _sizes(part: Json, unit: str) -> tuple[str, ...]:
    """Patients of a part, and slides where these are what is scored."""
    patients = number(part.get("n_patients"))
    return (patients,) if unit == "patient" else (patients, number(part.get("n")))


def _sized(unit: str) -> tuple[str, ...]:
    return ("patients",) if unit == "patient" else ("patients", f"{unit}s")


def _figures(target: Json) -> Part:
    """Every figure, beside what the baselines reach and what it was before calibration."""
    own, unit = target.get("figures") or {}, target.get("unit_of_value") or ""
    main = words().main(target["kind"])
    order = sorted(own, key=lambda name: name != main)
    baselines = target.get("baselines") or {}
    before = (target.get("calibration") or {}).get("figures_before") or {}
    labels = [words().notions[b].name if b in words().notions else b for b in baselines]

    def row(name: str) -> tuple[str, ...]:
        style = figure(name).shown
        cells = [figure(name).name, shown(style, (own[name] or {}).get("value"), unit),
                 between(style, own[name], "–")]  # fmt: skip
        if before:
            cells.append(told(style, before[name]) if name in before else "")
        cells += [told(style, b[name], unit) if (b or {}).get(name) else ""
                  for b in baselines.values()]  # fmt: skip
        return tuple(cells)

    calibrated = ("before calibration",) if before else ()
    head = ("figure", "value", "95% interval", *calibrated, *labels)
    method = (target.get("calibration") or {}).get("method")
    read = f"Probabilities are calibrated by {method}." if method and method != "none" else ""
    return Part("All figures", read, head, tuple(map(row, order)), main=True)


# --- the whole model -------------------------------------------------------------------------


def _folds(metrics: Json, unit: str) -> Part:
    folds = metrics.get("folds") or ()
    names = list(dict.fromkeys(n for f in folds for n in f.get("figures") or ()))
    rows = tuple(
        (str(i), *_sizes(f, unit),
         *(shown(figure(n).shown, (f.get("figures") or {}).get(n)) for n in names),
         ", ".join(f"{k} {_setting(v)}" for k, v in (f.get("chosen") or {}).items()) or "–")
        for i, f in enumerate(folds, start=1)
    )  # fmt: skip
    head = ("part", *_sized(unit), *(figure(n).name for n in names), "settings chosen")
    read = ("Each part was answered by a model that never saw it; its settings were chosen on the "
            "other parts alone. Expect the parts to differ: each has few patients.")  # fmt: skip
    return Part("The parts of the cross-validation", read, head, rows)


def _setting(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _left_out(metrics: Json) -> Part:
    left_out = metrics.get("left_out") or {}
    rows = tuple((str(reason), number(n)) for reason, n in left_out.items() if n)
    read = "These slides were neither right nor wrong. If they are many, ask why."
    return Part("Slides left out", read, ("reason", "slides"), rows)


def _meanings(metrics: Json, targets: Sequence[Mapping[str, Any]]) -> Part:
    """One row for every figure, plot and notion that this page uses."""
    found = metrics["targets"].values()
    used: dict[str, None] = {}
    for target in found:
        used |= dict.fromkeys([words().main(target["kind"]), *(target.get("figures") or ())])
        for group in target.get("subgroups") or ():
            used |= dict.fromkeys(group.get("figures") or ())
        if target.get("operating_points"):
            used |= dict.fromkeys(("sensitivity", "specificity", "ppv", "npv"))
    plotted = dict.fromkeys(p["key"] for t in targets for p in t["plots"])
    table = words()
    about: list[Words] = [figure(n) for n in used if figure(n).means]
    about += [a for n, a in table.notions.items() if _uses(n, found)]
    about += [table.plots[n] for n in plotted]
    rows = tuple((a.name, a.means, a.distrust, a.compare) for a in about)
    head = ("name", "means", "when to distrust it", "compare it with")
    return Part("What every figure means", "", head, rows, numbers=False)


def _uses(notion: str, targets: Any) -> bool:
    """Whether a page of these targets speaks of the notion."""
    classes = {"prediction_set": True, "prediction_interval": False}
    if notion in classes:
        return any(t.get("conformal") and (t["kind"] in CLASSES) == classes[notion]
                   for t in targets)  # fmt: skip
    parts = {"operating_point": "operating_points", "subgroup": "subgroups",
             "calibration": "calibration"}  # fmt: skip
    if notion in parts:
        return any(t.get(parts[notion]) for t in targets)
    if notion in ("constant", "tissue_area"):
        return any(notion in (t.get("baselines") or {}) for t in targets)
    return True
