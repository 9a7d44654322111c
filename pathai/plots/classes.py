"""Plots of answers that are classes: ROC, precision, reliability, risk, decision, confusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pathai.figure_words import words
from pathai.plots.svg import Axis, Canvas, known, look, plain, range_of, shortened, width_px

Curve = Mapping[str, Any]


def _title(name: str) -> str:
    return words().plots[name].name


def _named(canvas: Canvas, curves: Sequence[Curve]) -> None:
    """A legend, where more than one curve needs it."""
    if len(curves) > 1:
        canvas.legend([(str(c.get("class", "")), look(i)) for i, c in enumerate(curves)])


def roc(curves: Sequence[Curve], said: str) -> str:
    """Sensitivity against false alarms, a curve per class, with the diagonal of guessing.

    Parameters
    ----------
    curves : sequence of dict
        ``class``, ``x`` (false positive rate) and ``y`` (true positive rate), float[n] each.
    said : str
        Key figure in words.

    Returns
    -------
    str
        SVG.
    """
    canvas = Canvas(Axis("False alarms (1 − specificity)", 0, 1, percent=True),
                    Axis("Found (sensitivity)", 0, 1, percent=True), 280, 280)  # fmt: skip
    canvas.segment((0, 0), (1, 1), "guide")
    for i, curve in enumerate(curves):
        canvas.line(known(curve["x"], curve["y"]), look(i))
    _named(canvas, curves)
    return canvas.done(_title("roc"), said)


def precision_recall(curves: Sequence[Curve], said: str) -> str:
    """Precision against recall, a curve per class, with the share of positives as dotted line.

    Parameters
    ----------
    curves : sequence of dict
        ``class``, ``x`` (recall), ``y`` (precision), float[n] each, and ``prevalence``.
    said : str
        Key figure in words.

    Returns
    -------
    str
        SVG.
    """
    canvas = Canvas(Axis("Found (recall, sensitivity)", 0, 1, percent=True),
                    Axis("Right among those called (precision)", 0, 1, percent=True),
                    280, 280)  # fmt: skip
    for i, curve in enumerate(curves):
        share = curve.get("prevalence")
        if share is not None:
            canvas.segment((0, share), (1, share), f"curve thin {look(i).split()[0]} dotted")
        canvas.line(known(curve["x"], curve["y"]), look(i))
    _named(canvas, curves)
    return canvas.done(_title("pr"), said)


def reliability(curve: Curve, said: str, unit: str = "patient", size: float = 280) -> str:
    """Observed share against stated probability, with interval and number of each group.

    Parameters
    ----------
    curve : dict
        ``class``; ``predicted``, ``observed``, ``low``, ``high`` float[b]; ``n`` int[b].
    said : str
        Key figure in words.
    unit : str
        ``patient`` or ``slide``.
    size : float
        Side of the area between the axes, px; small where many stand side by side.

    Returns
    -------
    str
        SVG.
    """
    canvas = Canvas(Axis("Stated probability", 0, 1, percent=True),
                    Axis("Share that came true", 0, 1, percent=True), size, size,
                    top=26.0)  # fmt: skip
    canvas.write(canvas.left, 14, f"“{curve['class']}”", "first", room=size)
    canvas.segment((0, 0), (1, 1), "guide")
    for x, low, high in known(curve["predicted"], curve["low"], curve["high"]):
        canvas.segment((x, low), (x, high), "whisker c0")
    points = known(curve["predicted"], curve["observed"], curve["n"])
    canvas.line(points, "thin c0")
    for x, y, _ in points:
        canvas.dot(x, y, "c0")
    _counts(canvas, [(x, n) for x, _, n in points], unit)
    return canvas.done(f"{_title('reliability')}: {curve['class']}", said)


def _counts(canvas: Canvas, bars: Sequence[tuple[float, float]], unit: str) -> None:
    """Bars with numbers below the plot; a number that would cover its neighbor is left out."""
    base = canvas.bottom + 62
    top = max((n for _, n in bars), default=1) or 1
    canvas.write(canvas.left, canvas.bottom + 12, f"{unit.capitalize()}s in each group", "soft")
    free = -math.inf
    for x, n in sorted(bars):
        px, height = canvas.px(x), round(max(26 * n / top, 1), 2)
        canvas.box(round(px - 3, 2), base - height, 6, height, "bar c0")
        label = f"{n:,.0f}"
        if px - width_px(label) / 2 > free:
            canvas.write(px, base - height - 4, label, "tick middle count")
            free = px + width_px(label) / 2 + 2
    canvas.bottom = base + 8


def risk_coverage(curve: Curve, said: str, unit: str = "patient", risk: str = "") -> str:
    """Error among the answered against the share that is answered, the surest first.

    Parameters
    ----------
    curve : dict
        ``coverage`` and ``risk``, float[n] each.
    said : str
        Key figure in words.
    unit : str
        ``patient`` or ``slide``.
    risk : str
        Label of the error where it is no share of wrong answers.

    Returns
    -------
    str
        SVG.
    """
    points = known(curve["coverage"], curve["risk"])
    low, high = range_of(y for _, y in points)
    y = Axis(risk or "Wrong among the answered", low, min(high, 1.0) if not risk else high,
             percent=not risk)  # fmt: skip
    canvas = Canvas(Axis(f"{unit.capitalize()}s that get an answer", 0, 1, percent=True), y)
    canvas.line(points, look(0))
    return canvas.done(_title("risk_coverage"), said)


def decision(curve: Curve, said: str, unit: str = "patient") -> str:
    """Net benefit of acting on the model, on everybody and on nobody, by threshold.

    Parameters
    ----------
    curve : dict
        ``threshold``, ``model`` and ``all``, float[n] each.
    said : str
        Key figure in words.
    unit : str
        ``patient`` or ``slide``.

    Returns
    -------
    str
        SVG.

    References
    ----------
    .. [1] Vickers and Elkin, "Decision curve analysis", Medical Decision Making 26:565-574, 2006.
    """
    model, everybody = known(curve["threshold"], curve["model"]), known(
        curve["threshold"], curve["all"])  # fmt: skip
    top = 1.08 * max((y for _, y in (*model, *everybody)), default=0.0)
    top = top if top > 0 else 0.01
    # Acting on everybody falls without end; what lies far below 0 is of no use.
    floor = max(min([-top / 4, *(y for _, y in model)]), -top)
    canvas = Canvas(Axis("Chance of the finding at which you would act", 0, 1, percent=True),
                    Axis(f"Net benefit per 100 {unit}s", 100 * floor, 100 * top))  # fmt: skip
    names = ("the model", f"act on every {unit}", "act on nobody")
    nobody: list[tuple[float, ...]] = [(0.0, 0.0), (1.0, 0.0)]
    curves = (model, _above(everybody, floor), nobody)
    for i, points in enumerate(curves):
        canvas.line([(x, 100 * y) for x, y in points], look(i))
    canvas.legend([(name, look(i)) for i, name in enumerate(names)])
    return canvas.done(_title("decision"), said)


def _above(points: Sequence[tuple[float, ...]], floor: float) -> list[tuple[float, ...]]:
    """The curve up to where it first falls through the floor, which it then touches."""
    out: list[tuple[float, ...]] = []
    for x, y in points:
        if y < floor:
            if out and out[-1][1] > floor:
                x0, y0 = out[-1]
                out.append((x0 + (x - x0) * (y0 - floor) / (y0 - y), floor))
            break
        out.append((x, y))
    return out


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str], said: str) -> str:
    """Counts and shares of each row; a row is a true class, a column an answer.

    Parameters
    ----------
    matrix : int[C, C]
        Row: truth, column: answer.
    classes : sequence of str, length C
        Names, in the order of the matrix.
    said : str
        Key figure in words.

    Returns
    -------
    str
        SVG.
    """
    cell_w, cell_h = 66.0, 46.0
    names = [str(c) for c in classes]
    left = min(max(width_px(n) for n in names), 150.0) + 34
    tilted = max(width_px(n) for n in names) > cell_w - 8
    top = 30.0 + (min(max(width_px(n) for n in names), 150.0) * 0.62 + 10 if tilted else 20)
    width, height = left + cell_w * len(names) + (70 if tilted else 10), top + cell_h * len(names)
    parts = [f'<text class="label middle" x="{left + cell_w * len(names) / 2:g}" y="16">Answer of '
             "the model</text>", f'<text class="label middle" transform="translate(14 '
             f'{(top + height) / 2:g}) rotate(-90)">Truth</text>']  # fmt: skip
    for i, (name, row) in enumerate(zip(names, matrix, strict=True)):
        x, y = left + cell_w * (i + 0.5), top + cell_h * (i + 0.5)
        cut = plain(shortened(name, 150.0))
        where = f'transform="translate({x:g} {top - 8:g}) rotate(-38)"' if tilted else (
            f'class="middle" x="{x:g}" y="{top - 8:g}"')  # fmt: skip
        parts.append(f"<text {where}><title>{plain(name)}</title>{cut}</text>")
        parts.append(f'<text class="end" x="{left - 8:g}" y="{y + 4:g}">'
                     f"<title>{plain(name)}</title>{cut}</text>")  # fmt: skip
        total = sum(row)
        for j, n in enumerate(row):
            parts.append(_cell(left + cell_w * j, y - cell_h / 2, (cell_w, cell_h), n,
                               n / total if total else None, i == j))  # fmt: skip
    return (f'<svg class="plot" role="img" viewBox="0 0 {width:g} {height + 6:g}" '
            f'width="{width:g}" height="{height + 6:g}"><title>{plain(_title("confusion"))}</title>'
            f"<desc>{plain(said)}</desc>{''.join(parts)}</svg>")  # fmt: skip


def _cell(x: float, y: float, size: tuple[float, float], n: int, share: float | None,
          right: bool) -> str:  # fmt: skip
    """A field of the confusion matrix, darker for a larger share of its row."""
    middle = x + size[0] / 2
    level = 0 if share is None else math.ceil(10 * share)
    said = "–" if share is None else f"{100 * share:.0f}%"
    return (f'<rect class="cell s{level}{" right" if right else ""}" x="{x + 1:g}" y="{y + 1:g}" '
            f'width="{size[0] - 2:g}" height="{size[1] - 2:g}" rx="4"/>'
            f'<text class="middle number" x="{middle:g}" y="{y + 21:g}">{n:,}</text>'
            f'<text class="middle soft" x="{middle:g}" y="{y + 36:g}">{said}</text>')  # fmt: skip
