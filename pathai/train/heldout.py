"""What models said about patients they never met: calibrated, with sets and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pathai import outputs as mean_of
from pathai.answers import bounds, class_logits, value_and_spread
from pathai.calibration import calibrate, fit_isotonic, fit_temperature, isotonic
from pathai.conformal import class_scores, number_scores
from pathai.outputs import columns
from pathai.store.bundle import TargetState
from pathai.task import Target
from pathai.train.cohort import Cohort
from pathai.train.nested import Nested

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
NOTHING: Floats = np.zeros(0)

MIN_FOR_ISOTONIC = 50
"""Patients below which isotonic calibration would fit their noise; temperature is used instead."""


@dataclass(frozen=True)
class HeldOut:
    """One question, over the slides for which the truth is known; ``m`` of them.

    Parameters
    ----------
    target : Target
        The question.
    truth : float64[m, 2]
        See `pathai.labels.read_truth`.
    fold : intp[m]
        Outer fold in which a slide was tested.
    patients : tuple of str, length m
        Patient of each slide.
    rows : intp[m]
        Place of each slide in the cohort.
    logits, offset, raw, prob : float64[m, C]
        Classes: raw logits, log share of classes in the training part, probabilities before and
        after calibration with the other folds' answers.
    value, spread : float64[m]
        Numbers: answer and expected spread.
    risk, alive, median : float64[m]
        Survival: risk score, probability of living past the horizon, median time.
    """

    target: Target
    truth: Floats
    fold: Ints
    patients: tuple[str, ...]
    rows: Ints
    logits: Floats = field(default_factory=lambda: NOTHING)
    offset: Floats = field(default_factory=lambda: NOTHING)
    raw: Floats = field(default_factory=lambda: NOTHING)
    prob: Floats = field(default_factory=lambda: NOTHING)
    value: Floats = field(default_factory=lambda: NOTHING)
    spread: Floats = field(default_factory=lambda: NOTHING)
    risk: Floats = field(default_factory=lambda: NOTHING)
    alive: Floats = field(default_factory=lambda: NOTHING)
    median: Floats = field(default_factory=lambda: NOTHING)

    @property
    def labels(self) -> Ints:
        """Class intp[m] of each slide."""
        return self.truth[:, 0].astype(np.intp)


def held_out(cohort: Cohort, found: Nested, calibration: str) -> tuple[HeldOut, ...]:
    """Answers of nested cross-validation, one ``HeldOut`` per target."""
    return tuple(_target(cohort, found, t, calibration) for t in range(len(cohort.targets)))


def _target(cohort: Cohort, found: Nested, t: int, calibration: str) -> HeldOut:
    target, truth = cohort.targets[t], cohort.truth[t]
    rows = np.flatnonzero(~np.isnan(truth[:, 0]))
    common = (target, truth[rows], found.fold[rows], tuple(cohort.patients[i] for i in rows), rows)
    if target.has_classes:
        logits, offset = _gather(found, len(truth), t, _logits(target)), _offsets(found, cohort, t)
        logits, offset = logits[rows], offset[rows]
        raw, prob = calibrated_by_others(
            logits, offset, common[1][:, 0].astype(np.intp), common[2], calibration
        )
        return HeldOut(*common, logits=logits, offset=offset, raw=raw, prob=prob)
    if target.kind == "survival":
        said = _gather(found, len(truth), t, _survival(target))[rows]
        return HeldOut(*common, risk=said[:, 0], alive=said[:, 1], median=said[:, 2])
    sizes = cohort.bags.sizes
    said = _gather(found, len(truth), t, _number(sizes))[rows]
    return HeldOut(*common, value=said[:, 0], spread=said[:, 1])


def _gather(found: Nested, n: int, t: int, convert) -> Floats:  # type: ignore[no-untyped-def]
    """Answers float64[n, k] to one target, each fold's in its own scales."""
    parts = []
    for answered in found.folds:
        mine = answered.outputs[:, columns(answered.specs)[t]]
        parts.append(convert(answered.specs[t], mine, answered.test))
    out = np.empty((n, parts[0].shape[1]))
    for answered, part in zip(found.folds, parts, strict=True):
        out[answered.test] = part
    return out


def _logits(target: Target):  # type: ignore[no-untyped-def]
    return lambda spec, outputs, test: class_logits(target, outputs)


def _number(sizes: Ints):  # type: ignore[no-untyped-def]
    return lambda spec, outputs, test: np.stack(value_and_spread(spec, outputs, sizes[test]), 1)


def _survival(target: Target):  # type: ignore[no-untyped-def]
    return lambda spec, outputs, test: np.stack(
        [
            mean_of.risk(outputs),
            mean_of.survival_at(outputs, spec.edges, target.horizon),
            mean_of.median_survival(outputs, spec.edges),
        ],
        axis=1,
    )


def _offsets(found: Nested, cohort: Cohort, t: int) -> Floats:
    out = np.empty((len(cohort), len(cohort.targets[t].classes)))
    for answered in found.folds:
        out[answered.test] = answered.offsets[t]
    return out


def calibrated_by_others(
    logits: Floats, offset: Floats, labels: Ints, fold: Ints, calibration: str
) -> tuple[Floats, Floats]:
    """Probabilities float64[m, C] before and after calibration with the answers of other folds."""
    raw, prob = calibrate(logits, 1.0, offset), np.empty_like(logits)
    for f in np.unique(fold):
        rest, test = fold != f, fold == f
        temperature = fit_temperature(logits[rest], labels[rest], offset[rest])
        prob[test] = calibrate(logits[test], temperature, offset[test])
        if calibration == "isotonic" and rest.sum() >= MIN_FOR_ISOTONIC:
            corners = fit_isotonic(calibrate(logits[rest], temperature, offset[rest]), labels[rest])
            prob[test] = isotonic(prob[test], corners)
    return raw, prob


# --- what is shipped -------------------------------------------------------------------------


def states(
    held: Sequence[HeldOut], found: Nested, priors: Sequence[Floats], calibration: str
) -> tuple[TargetState, ...]:
    """Calibration and conformal scores of the shipped model, from all held-out answers."""
    return tuple(
        _state(one, priors[t], calibration) for t, one in enumerate(held)
    )


def _state(one: HeldOut, prior: Floats, calibration: str) -> TargetState:
    if one.target.kind == "survival":
        return TargetState(target=one.target)
    if not one.target.has_classes:
        scores = number_scores(_point(one), one.value, one.spread, one.patients)
        return TargetState(target=one.target, conformal=(_rounded(scores),))
    temperature = fit_temperature(one.logits, one.labels, one.offset)
    prob, corners = calibrate(one.logits, temperature, one.offset), ()
    if calibration == "isotonic" and len(set(one.patients)) >= MIN_FOR_ISOTONIC:
        corners = fit_isotonic(prob, one.labels)
    scores = class_scores(one.prob, one.labels, one.patients)
    return TargetState(
        target=one.target,
        temperature=temperature,
        log_prior=tuple(prior.tolist()),
        isotonic=corners,
        conformal=tuple(_rounded(s) for s in scores),
    )


def _rounded(scores: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(s), 6) for s in scores)


def _point(one: HeldOut) -> Floats:
    from pathai.labels import point

    return point(one.target, one.truth)
