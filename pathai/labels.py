"""The truth about a slide, from the text in the sheet to two numbers per question."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.sheet import SheetRow
from pathai.task import Target, Task

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

STRATA = 4
"""Parts of equal size into which numbers are sorted, so that folds hold the small and the large."""

Labels = Mapping[str, str]


def read_truth(target: Target, labels: Labels) -> tuple[float, float]:
    """What the sheet says about one slide.

    Parameters
    ----------
    target : Target
        The question.
    labels : mapping
        Column to text of the slide's row.

    Returns
    -------
    tuple of float
        Class index and 0; value and 0 (regression, count); numerator and denominator (ratio);
        time and 1 for an event or 0 (survival).

    Raises
    ------
    ValueError
        Naming column and text, and what should stand there.
    """
    text = labels.get(target.label, "").strip()
    if target.has_classes:
        if text not in target.classes:
            wanted = ", ".join(target.classes)
            raise ValueError(f"column {target.label}: {text!r} is none of {wanted}")
        return float(target.classes.index(text)), 0.0
    value = _number(target.label, text)
    if target.kind == "regression":
        return value, 0.0
    if target.kind == "count":
        return _not_negative(target.label, text, value), 0.0
    if target.kind == "ratio":
        return _ratio(target, labels, _not_negative(target.label, text, value))
    return _survival(target, labels, text, value)


def is_blank(target: Target, labels: Labels) -> bool:
    """Whether the sheet says nothing about the question."""
    return not labels.get(target.label, "").strip()


def _number(column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"column {column}: {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"column {column}: {text!r} is not a finite number")
    return value


def _not_negative(column: str, text: str, value: float) -> float:
    if value < 0:
        raise ValueError(f"column {column}: {text} is negative")
    return value


def _ratio(target: Target, labels: Labels, value: float) -> tuple[float, float]:
    if not target.total:
        if value > 1:
            raise ValueError(f"column {target.label}: {value:g} is no share between 0 and 1")
        return value, 1.0
    text = labels.get(target.total, "").strip()
    total = _number(target.total, text)
    if total <= 0 or value > total:
        raise ValueError(f"column {target.total}: {value:g} of {text} is no share")
    return value, total


def _survival(target: Target, labels: Labels, text: str, event: float) -> tuple[float, float]:
    if event not in (0.0, 1.0):
        raise ValueError(f"column {target.label}: {text!r} is neither 1 (event) nor 0")
    time_text = labels.get(target.time, "").strip()
    time = _number(target.time, time_text)
    if time <= 0:
        raise ValueError(f"column {target.time}: a time of {time_text} is not after the start")
    return time, event


def one_label_per_patient(
    target: Target, truth: Floats, rows: Sequence[SheetRow], remedy: str
) -> None:
    """Refuse a patient whose slides have different answers to a question asked per patient.

    Parameters
    ----------
    target : Target
        The question.
    truth : float64[n, 2]
        Of each slide; NaN where it is not known, which contradicts nothing.
    rows : sequence of SheetRow, length n
        Where it stands.
    remedy : str
        What can be done beside correcting the sheet.

    Raises
    ------
    PathaiError
        E184 naming both rows.
    """
    first: dict[str, int] = {}
    for i in np.flatnonzero(~np.isnan(truth[:, 0])).tolist():
        j = first.setdefault(rows[i].patient_id, i)
        if not np.array_equal(truth[i], truth[j]):
            message = (
                f"rows {rows[j].row} and {rows[i].row}, column {target.label}: patient "
                f"{rows[i].patient_id} has two labels"
            )
            raise PathaiError("E184", message, f"correct the sheet, or {remedy}")


def point(target: Target, truth: Floats) -> Floats:
    """The truth as one number each, float64[n, 2] -> float64[n]: class, value, share or time."""
    value: Floats = truth[:, 0] / truth[:, 1] if target.kind == "ratio" else truth[:, 0].copy()
    return value


def strata(target: Target, truth: Floats) -> Ints:
    """Part of each slide intp[n], to be spread evenly over folds; -1 where nothing is known.

    The class; whether there was an event; or the quarter of the values.
    """
    known = ~np.isnan(truth[:, 0])
    part = np.full(len(truth), -1, np.intp)
    if target.has_classes:
        part[known] = truth[known, 0]
    elif target.kind == "survival":
        part[known] = truth[known, 1]
    elif known.any():
        value = point(target, truth)
        cuts = np.quantile(value[known], np.arange(1, STRATA) / STRATA)
        part[known] = np.searchsorted(cuts, value[known], side="right")
    return part


def needed(target: Target, truth: Floats) -> tuple[Ints, dict[int, str]]:
    """Part of each slide intp[n], and by name the parts without which nothing is learned.

    Every class; an event; or any value.
    """
    part = strata(target, truth)
    if target.has_classes:
        return part, dict(enumerate(target.classes))
    if target.kind == "survival":
        return part, {1: "1 (event)"}
    return np.minimum(part, 0), {0: "a value"}


def read_covariates(task: Task, labels: Labels) -> tuple[float, ...]:
    """What the sheet says beside the slide; NaN where it says nothing.

    Raises
    ------
    ValueError
        Naming the column and its text when that is no number.
    """
    texts = {column: labels.get(column, "").strip() for column in task.covariates}
    return tuple(_number(c, text) if text else math.nan for c, text in texts.items())
