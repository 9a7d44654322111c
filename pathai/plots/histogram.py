"""How many fall into each part of a range, beside what is expected."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pathai.plots.svg import Axis, Canvas

GAP_PX = 1.5
"""Between bars, px."""


def histogram(
    counts: Sequence[int],
    low: float,
    high: float,
    expected: float | None,
    *,
    title: str,
    said: str,
    labels: tuple[str, str],
) -> str:
    """Bars over equal parts of a range, and a dashed line where all are expected to end, if known.

    Parameters
    ----------
    counts : sequence of int
        Of each part, from low to high.
    low, high : float
        Ends of the range.
    expected : float or None
        Height of the line; None draws none.
    title, said : str
        What it shows, and the key figure in words, for a screen reader.
    labels : (str, str)
        Of the axes along x and y.

    Returns
    -------
    str
        SVG.
    """
    top = max([*counts, math.ceil(expected or 0), 4])
    canvas = Canvas(Axis(labels[0], low, high), Axis(labels[1], 0.0, 1.08 * top), 260, 110)
    step = (high - low) / len(counts)
    base = canvas.py(0)
    for i, count in enumerate(counts):
        left, right = canvas.px(low + i * step) + GAP_PX, canvas.px(low + (i + 1) * step) - GAP_PX
        if count:
            height = round(base - canvas.py(count), 2)
            canvas.box(left, canvas.py(count), round(right - left, 2), height, "bar c0")
    if expected is not None:
        canvas.segment((low, expected), (high, expected), "guide")
    return canvas.done(title, said)
