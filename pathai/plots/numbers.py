"""Plots of answers that are numbers or times, and of figures beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pathai.figure_words import words
from pathai.plots.svg import Axis, Canvas, known, look, range_of, shortened, width_px

Curve = Mapping[str, Any]


def _title(name: str) -> str:
    return words().plots[name].name


def scatter(curve: Curve, said: str, value: str = "", *, log: bool = False) -> str:
    """Answers against the truth, each with its interval, and the line where both agree.

    Parameters
    ----------
    curve : dict
        ``truth``, ``value``, ``low``, ``high``, float[n] each; the last two may be missing.
    said : str
        Key figure in words.
    value : str
        What is measured, with its unit.
    log : bool
        Logarithmic axes where values that are not negative spread over a factor of 20 or more.

    Returns
    -------
    str
        SVG.
    """
    points = known(curve["truth"], curve["value"])
    ends = known(curve["truth"], curve.get("low") or [], curve.get("high") or [])
    low, high = range_of([v for p in points for v in p], zero=False)
    reach = [v for _, a, b in ends for v in (a, b) if low - (high - low) / 2 <= v <= 1.6 * high]
    every = [v for p in points for v in p] + reach
    positive = [x for x, _ in points if x > 0]
    bend = None
    if log and positive and min(every) >= 0 and max(every) >= 20 * min(positive):
        bend = 10.0 ** math.floor(math.log10(min(positive)))  # what is below has room beside 0
        low, high = (0.0 if min(every) < bend else bend), 1.15 * max(every)
    else:
        low, high = range_of(every, zero=bool(every) and 0 <= min(every) < max(every) / 2)
    measured = f" ({value})" if value else ""
    canvas = Canvas(Axis(f"Truth{measured}", low, high, bend),
                    Axis(f"Answer of the model{measured}", low, high, bend), 300, 300)  # fmt: skip
    canvas.segment((low, low), (high, high), "guide")
    for x, a, b in ends:
        canvas.segment((x, a), (x, b), "interval c0")
    for x, y in points:
        canvas.dot(x, y, "c0", 2.8)
    return canvas.done(_title("scatter"), said)


# --- survival --------------------------------------------------------------------------------


def kaplan_meier(groups: Sequence[Curve], said: str, time: str = "Time") -> str:
    """Share still free of the event, as steps with bands, and the numbers at risk.

    Parameters
    ----------
    groups : sequence of dict
        ``group``; ``time``, ``survival``, ``low``, ``high`` float[n]; ``at_risk`` int[n], just
        before each time.
    said : str
        Key figure in words.
    time : str
        Label of the time axis, with the unit.

    Returns
    -------
    str
        SVG.

    References
    ----------
    .. [1] Kaplan and Meier, "Nonparametric estimation from incomplete observations",
       JASA 53:457-481, 1958.
    """
    last = max((t for g in groups for (t,) in known(g["time"])), default=1.0) or 1.0
    names = [shortened(str(g["group"]), 110) for g in groups]
    left = max((width_px(n) for n in names), default=0) + 30
    canvas = Canvas(Axis(time, 0, last), Axis("Free of the event", 0, 1, percent=True), 380, 240,
                    max(58.0, left))  # fmt: skip
    for i, group in enumerate(groups):
        canvas.band(_steps(known(group["time"], group["low"], group["high"])), look(i))
    for i, group in enumerate(groups):
        canvas.line(_steps(known(group["time"], group["survival"])), look(i))
    _at_risk(canvas, groups, names)
    canvas.legend([(name, look(i)) for i, name in enumerate(names)])
    return canvas.done(_title("kaplan_meier"), said)


def _steps(points: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The curve that starts with everybody and keeps each value until the next time."""
    if not points:
        return []
    out: list[tuple[float, ...]] = [(0.0, *(1.0 for _ in points[0][1:]))]
    for point in points:
        out += [(point[0], *out[-1][1:]), point]
    return out


def _at_risk(canvas: Canvas, groups: Sequence[Curve], names: Sequence[str]) -> None:
    """A row of numbers per group, below the ticks of the time axis."""
    row = canvas.bottom + 12
    canvas.write(4, row, "Still at risk", "soft")
    for name, group in zip(names, groups, strict=True):
        row += 18
        canvas.write(canvas.left - 24, row, name, "end")
        steps = known(group["time"], group["at_risk"])
        for tick in canvas.x.ticks():
            left = next((n for t, n in steps if t >= tick), None)
            said = "–" if left is None else f"{left:,.0f}"  # after the last time it is not known
            canvas.write(canvas.px(tick), row, said, "middle risk")
    canvas.bottom = row + 14


# --- figures side by side --------------------------------------------------------------------


def comparison(
    rows: Sequence[tuple[str, Mapping[str, Any]]], label: str, said: str,
    *, chance: float | None = None, percent: bool = False,
) -> str:  # fmt: skip
    """Estimates with their intervals, one below the other; the first is the model's.

    Parameters
    ----------
    rows : sequence of (str, dict)
        Name, and ``value``, ``low``, ``high``; without a value the row says so.
    label : str
        Name of the figure, with its unit.
    said : str
        Key figure in words.
    chance : float, optional
        Value without skill, drawn as a dashed line.
    percent : bool
        Ticks as percentages of 1.

    Returns
    -------
    str
        SVG.
    """
    ends = [v for _, e in rows for k in ("value", "low", "high") if (v := e.get(k)) is not None]
    low, high = range_of([*ends, *([] if chance is None else [chance, 1.0])])
    if chance is not None:
        high = min(high, 1.0)
    left = max(width_px(name) for name, _ in rows) + 20
    places = Axis("", 0, len(rows), bare=True)
    canvas = Canvas(Axis(label, low, high, percent=percent), places, 300, 30.0 * len(rows), left)
    if chance is not None:
        canvas.segment((chance, 0), (chance, len(rows)), "guide")
    for i, (name, estimate) in enumerate(rows):
        y, kind = len(rows) - i - 0.5, "c0" if i == 0 else "quiet"
        canvas.write(canvas.left - 10, canvas.py(y) + 4, name, f"end {'first' if i == 0 else ''}")
        for a, b in known([estimate.get("low")], [estimate.get("high")]):
            canvas.segment((a, y), (b, y), f"range {kind}")
        for (value,) in known([estimate.get("value")]):
            canvas.dot(value, y, kind, 5)
    return canvas.done(_title("comparison"), said)
