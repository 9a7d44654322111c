"""How the cohort's slides spread: figures of quality as histograms, and every site beside others.

A site whose slides are paler, softer or emptier than the others' shows here before a model errs.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from pathai.cohort.gather import SlideRow
from pathai.page import number
from pathai.plots import histogram

BINS = 16
FEWEST = 3
"""With fewer slides than this a histogram shows no shape."""
NO_SITE = "(not given)"
Reading = Callable[[SlideRow], float | None]


def _left_out(row: SlideRow) -> float | None:
    return None if row.qc is None else 100 * (1 - row.qc.usable)


def _focus(row: SlideRow) -> float | None:
    return None if row.qc is None else row.qc.focus_um


def _density(row: SlideRow) -> float | None:
    return None if row.cells is None else row.cells.density_per_mm2.value


FIGURES: tuple[tuple[str, str, Reading], ...] = (
    ("Tissue", "mm²", lambda row: row.tissue_mm2),
    ("Left out of the tissue", "%", _left_out),
    ("Softness of edges", "µm", _focus),
    ("Nuclei", "per mm²", _density),
)
"""Name, unit and value of what is shown; a value that is not known is in no bar."""


def histograms(rows: Sequence[SlideRow]) -> list[dict[str, Any]]:
    """A histogram of each figure that enough slides have.

    Returns
    -------
    list of dict
        ``name``, ``said`` (how many slides, median and range) and ``plot``, an SVG.
    """
    found = []
    for name, unit, read in FIGURES:
        values = [v for row in rows if (v := read(row)) is not None and math.isfinite(v)]
        if len(values) < FEWEST:
            continue
        low, high = _round_range(min(values), max(values))
        counts, _ = np.histogram(values, np.linspace(low, high, BINS + 1))
        median, least, most = (_short(float(f(values))) for f in (np.median, np.min, np.max))
        said = f"{len(values):,} slides, median {median} {unit}, from {least} to {most}"
        plot = histogram(counts.tolist(), low, high, None, title=name, said=said,
                         labels=(f"{name.lower()}, {unit}", "slides"))  # fmt: skip
        # Made of numbers and of words of this module alone.
        found.append({"name": name, "said": said, "plot": Markup(plot)})  # noqa: S704
    return found


def _round_range(low: float, high: float) -> tuple[float, float]:
    """Around both values, from zero where that is not far, in steps of a round number."""
    low = 0.0 if low >= 0 and low < 0.5 * high else low
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
    below, above = math.floor(low / step) * step, math.ceil(high / step) * step
    return below, max(above, below + step)


def sites(rows: Sequence[SlideRow]) -> list[dict[str, Any]]:
    """One line per site: slides, what went wrong, and the middle half of its figures.

    Returns
    -------
    list of dict
        ``name``, ``slides``, ``failed``, ``flagged``, ``share`` (percent of the largest site's
        slides, the length of its bar), ``tissue`` and ``density``: ``text`` and ``places`` (low
        quarter, median, high quarter; percent of the largest of all sites) or None.
    """
    names = sorted({row.row.site for row in rows})
    if len(names) < 2:
        return []
    members = {name: [row for row in rows if row.row.site == name] for name in names}
    largest = max(map(len, members.values()))
    quarters = {
        key: {name: _quarters([read(row) for row in found]) for name, found in members.items()}
        for key, read in (("tissue", FIGURES[0][2]), ("density", _density))
    }
    tops = {
        key: max((q[2] for q in of.values() if q), default=0.0) or 1.0
        for key, of in quarters.items()
    }
    return [
        {
            "name": name or NO_SITE,
            "slides": len(found),
            "share": round(100 * len(found) / largest, 1),
            "failed": sum(row.status == "failed" for row in found),
            "flagged": sum(bool(row.flags) for row in found),
            **{key: _bar(of[name], tops[key]) for key, of in quarters.items()},
        }
        for name, found in members.items()
    ]


def _quarters(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return None
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


def _short(value: float) -> str:
    """Two digits behind the point of a small number, none of a large one."""
    return number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2)


def _bar(found: tuple[float, float, float] | None, top: float) -> dict[str, Any] | None:
    if found is None:
        return None
    low, middle, high = (_short(v) for v in found)
    return {"value": middle, "between": f"{low} to {high}",
            "places": [round(100 * v / top, 2) for v in found]}  # fmt: skip
