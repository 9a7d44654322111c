"""Plots of an evaluation as SVG text, from the curves of ``metrics.json``.

Every function takes a curve as it stands there and ``said``, the key figure in words for a screen
reader, and returns one ``<svg>`` that refers to nothing outside of itself. Points that are None
or not finite are not drawn. Colors and fonts come from ``plots.css``.
"""

from pathai.plots.classes import (
    confusion,
    decision,
    precision_recall,
    reliability,
    risk_coverage,
    roc,
)
from pathai.plots.histogram import histogram
from pathai.plots.numbers import comparison, kaplan_meier, scatter

__all__ = [
    "comparison",
    "confusion",
    "decision",
    "histogram",
    "kaplan_meier",
    "precision_recall",
    "reliability",
    "risk_coverage",
    "roc",
    "scatter",
]
