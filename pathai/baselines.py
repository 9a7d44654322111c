"""What knows nothing of pathology says: a constant, and the tissue area of the slide.

Both are learned on slides with a known truth and asked about others; whatever a model adds must
show beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.labels import point
from pathai.task import Target

Floats = NDArray[np.float64]


def typical(target: Target, truth: Floats) -> Floats:
    """What a constant says: share of each class float64[C], or the mean float64[1].

    Parameters
    ----------
    target : Target
        The question.
    truth : float64[n, 2]
        Of the slides to learn from; see `pathai.labels.read_truth`.
    """
    if target.has_classes:
        counts = np.bincount(truth[:, 0].astype(np.intp), minlength=len(target.classes))
        return counts / len(truth)
    return np.array([goal(target, truth).mean()])


def by_area(
    target: Target, truth: Floats, area: Floats, new_area: Floats, constant: Floats
) -> Floats:
    """What the tissue area says of new slides.

    Parameters
    ----------
    target : Target
        The question.
    truth : float64[n, 2]
        Of the slides to learn from.
    area, new_area : float64[n], float64[m]
        Tissue area of those slides and of the new ones, mm².
    constant : float64[m, C] or float64[m]
        What the constant says of the new ones.

    Returns
    -------
    float64[m, C] or float64[m]
        Logistic regression for classes; the density of the training slides times the area for a
        count; a line for other numbers and, on minus the time, for survival.
    """
    middle, scale = area.mean(), max(float(area.std()), 1e-12)
    x, new = ((area - middle) / scale)[:, None], ((new_area - middle) / scale)[:, None]
    if target.has_classes:
        return _logistic(x, truth[:, 0].astype(np.intp), new, constant)
    value = goal(target, truth)
    if target.kind == "count":
        density: float = value.sum() / max(float(area.sum()), 1e-12)
        return np.asarray(density * new_area)
    slope = float((x[:, 0] * (value - value.mean())).mean())
    return np.asarray(constant + slope * new[:, 0])


def _logistic(x: Any, labels: NDArray[np.intp], new: Any, constant: Floats) -> Floats:
    from sklearn.linear_model import LogisticRegression

    out = constant.copy()
    if len(np.unique(labels)) > 1:
        model = LogisticRegression().fit(x, labels)
        out[:, model.classes_] = model.predict_proba(new)
    return out


def goal(target: Target, truth: Floats) -> Floats:
    """The number to hit; survival: minus the time, so that larger means a larger risk."""
    value = point(target, truth)
    return -value if target.kind == "survival" else value
