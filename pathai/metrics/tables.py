"""What the reports share: figures of a part of the units, subgroups, JSON-ready lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.stats import Estimate

MIN_PATIENTS = 10
"""Patients below which a subgroup gets values without intervals."""

MAX_POINTS = 200
"""Points that a curve is thinned to."""

Figures = dict[str, Estimate]
Json = dict[str, Any]
Rows = NDArray[np.intp]


def as_json(figures: Figures) -> Json:
    """Every figure as value, low and high."""
    return {name: estimate.as_json() for name, estimate in figures.items()}


def subgroup_table(
    subgroups: Mapping[str, Sequence[str]],
    groups: Sequence[str],
    figures: Callable[[Rows, bool], Figures],
) -> list[Json]:
    """Figures of every value of every column; small subgroups get no intervals.

    Parameters
    ----------
    subgroups : mapping of str to sequence of str
        Column name to its value for each unit; an empty value is shown as "not given".
    groups : sequence of str, length n
        Patient of each unit.
    figures : callable
        Gets the rows of a subgroup, intp[m], and whether intervals are wanted.
    """
    who, table = np.asarray(groups, str), []
    for column, values in subgroups.items():
        given = np.asarray([v or "not given" for v in values], str)
        if len(given) != len(who):
            raise ValueError(f"{len(given)} values of {column} for {len(who)} units")
        for value in np.unique(given):
            rows = np.flatnonzero(given == value)
            n_patients = len(np.unique(who[rows]))
            found = figures(rows, n_patients >= MIN_PATIENTS)
            table.append(
                {
                    "column": column,
                    "value": str(value),
                    "n": len(rows),
                    "n_patients": n_patients,
                    "figures": as_json(found),
                }
            )
    return table


def numbers(values: ArrayLike) -> list[float | None]:
    """Values rounded to six digits; None for what is not finite."""
    x = np.asarray(values, float)
    return [round(v, 6) if math.isfinite(v) else None for v in x.tolist()]


def p_value(p: float) -> float | None:
    """Give three significant digits: a small p-value must not become 0."""
    return float(f"{p:.3g}") if math.isfinite(p) else None


def thinned(n: int) -> Rows:
    """At most ``MAX_POINTS`` places out of n, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).round().astype(np.intp))


def curve(x: ArrayLike, y: ArrayLike, names: tuple[str, str] = ("x", "y")) -> Json:
    """A thinned curve as two lists."""
    at = thinned(len(np.asarray(x)))
    return {names[0]: numbers(np.asarray(x)[at]), names[1]: numbers(np.asarray(y)[at])}
