"""From a head's raw outputs to what is said about a slide, by kind of target; no torch.

Training uses it on held-out slides, prediction and external validation on new ones: the same
steps, so that what was measured is what is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai import outputs as mean_of
from pathai.calibration import Isotonic, calibrate
from pathai.conformal import conformal_p, interval
from pathai.outputs import TargetSpec
from pathai.store.bundle import TargetState
from pathai.task import Target

Floats = NDArray[np.float64]

RATIO_FLOOR = 0.05
"""Least spread of a share, so that shares near 0 and 1 get intervals of some width."""


@dataclass(frozen=True)
class Said:
    """What a model says about one slide and target.

    Parameters
    ----------
    prob : tuple of float
        Calibrated probability of each class; survival: of living past the horizon.
    set : tuple of int
        Classes of the conformal set.
    value, low, high : float or None
        Numbers: answer and conformal interval; survival: median time, without an interval.
    risk : float or None
        Survival: larger means an earlier event.
    """

    prob: tuple[float, ...] = ()
    set: tuple[int, ...] = ()
    value: float | None = None
    low: float | None = None
    high: float | None = None
    risk: float | None = None


def spec_of(state: TargetState) -> TargetSpec:
    """Meaning of the outputs of a stored target."""
    target = state.target
    return TargetSpec(
        target.kind, len(target.classes), state.location, state.scale, edges=state.edges
    )


def class_logits(target: Target, outputs: ArrayLike) -> Floats:
    """Logits float64[n, C] of the classes from raw outputs[n, W]."""
    z = np.asarray(outputs, float)
    return mean_of.ordinal_log_prob(z) if target.kind == "ordinal" else z


def value_and_spread(spec: TargetSpec, outputs: ArrayLike, tiles: ArrayLike) -> tuple[Floats, ...]:
    """Answer and expected spread float64[n] of a number, from raw outputs[n, W].

    The spread makes errors of small and large answers comparable: the standard deviation of a
    count or a share, one for regression.
    """
    z = np.asarray(outputs, float)
    z = z + np.array(spec.shift) if spec.shift else z
    if spec.kind == "count":
        return mean_of.count_mean(z, tiles), np.maximum(mean_of.count_sd(z, tiles), 1)
    if spec.kind == "ratio":
        share = mean_of.ratio_share(z)
        return share, np.maximum(np.sqrt(share * (1 - share)), RATIO_FLOOR)
    return spec.location + spec.scale * z[:, 0], np.full(len(z), spec.scale)


def bounds(kind: str) -> tuple[float, float]:
    """Least and largest possible answer of a number."""
    return (0.0, 1.0) if kind == "ratio" else (0.0 if kind == "count" else -np.inf, np.inf)


def probabilities(state: TargetState, outputs: ArrayLike) -> Floats:
    """Calibrated probabilities float64[n, C] of the classes from raw outputs[n, W]."""
    logits = class_logits(state.target, outputs)
    prob = calibrate(logits, state.temperature, state.log_prior)
    if not state.isotonic_x:
        return prob
    return Isotonic(state.isotonic_x, state.isotonic_y).apply(prob)


def say(state: TargetState, outputs: ArrayLike, tiles: int, alpha: float) -> Said:
    """Answer for one slide.

    Parameters
    ----------
    state : TargetState
        Calibration and conformal scores of the target.
    outputs : float[W]
        Of the model, for this target.
    tiles : int
        Tiles of the slide.
    alpha : float
        1 - coverage of set or interval.
    """
    target, row = state.target, np.asarray(outputs, float)[None]
    if target.has_classes:
        prob = probabilities(state, row)[0]
        p_values = conformal_p(state.conformal, prob)
        kept = tuple(i for i, p in enumerate(p_values) if p > alpha)
        return Said(prob=tuple(prob.tolist()), set=kept)
    if target.kind == "survival":
        alive = float(mean_of.survival_at(row, state.edges, target.horizon)[0])
        median = float(mean_of.median_survival(row, state.edges)[0])
        value = median if np.isfinite(median) else None
        return Said(prob=(alive,), value=value, risk=float(mean_of.risk(row)[0]))
    answer, spread = value_and_spread(spec_of(state), row, [tiles])
    ends = np.clip(interval(state.conformal[0], answer, spread, alpha), *bounds(target.kind))
    low, high = (float(end) if np.isfinite(end) else None for end in ends[:, 0])
    return Said(value=float(answer[0]), low=low, high=high)
