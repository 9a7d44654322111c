"""What models said about patients they never met: calibrated, with sets and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pathai import outputs as mean_of
from pathai.answers import class_logits, value_and_spread
from pathai.calibration import Isotonic, calibrate, fit_isotonic, fit_temperature
from pathai.conformal import class_scores, number_scores
from pathai.errors import PathaiError
from pathai.labels import point
from pathai.outputs import TargetSpec, columns
from pathai.store.bundle import TargetState
from pathai.task import Target
from pathai.train.cohort import Cohort
from pathai.train.nested import Nested

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
NOTHING: Floats = np.zeros(0)


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
        one = HeldOut(*common, logits=logits[rows], offset=offset[rows])
        raw, prob = calibrated_by_others(one, calibration)
        return replace(one, raw=raw, prob=prob)
    if target.kind == "survival":
        said = _gather(found, len(truth), t, _survival(target))[rows]
        return HeldOut(*common, risk=said[:, 0], alive=said[:, 1], median=said[:, 2])
    sizes = cohort.bags.sizes
    said = _gather(found, len(truth), t, _number(sizes))[rows]
    return HeldOut(*common, value=said[:, 0], spread=said[:, 1])


Convert = Callable[[TargetSpec, Floats, Ints], Floats]
"""Meaning of a fold's outputs float64[n, W], and its slides intp[n], to float64[n, k]."""


def _gather(found: Nested, n: int, t: int, convert: Convert) -> Floats:
    """Answers float64[n, k] to one target, each fold's in its own scales."""
    parts = []
    for answered in found.folds:
        mine = answered.outputs[:, columns(answered.specs)[t]]
        parts.append(convert(answered.specs[t], mine, answered.test))
    out = np.empty((n, parts[0].shape[1]))
    for answered, part in zip(found.folds, parts, strict=True):
        out[answered.test] = part
    return out


def _logits(target: Target) -> Convert:
    return lambda spec, outputs, test: class_logits(target, outputs)


def _number(sizes: Ints) -> Convert:
    return lambda spec, outputs, test: np.stack(value_and_spread(spec, outputs, sizes[test]), 1)


def _survival(target: Target) -> Convert:
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


def calibrated_by_others(one: HeldOut, calibration: str) -> tuple[Floats, Floats]:
    """Probabilities float64[m, C] before and after calibration with the answers of other folds."""
    raw, prob = calibrate(one.logits, 1.0, one.offset), np.empty_like(one.logits)
    for f in np.unique(one.fold):
        rest, test = np.flatnonzero(one.fold != f), np.flatnonzero(one.fold == f)
        who = [one.patients[i] for i in rest]
        temperature = fit_temperature(one.logits[rest], one.labels[rest], one.offset[rest])
        prob[test] = calibrate(one.logits[test], temperature, one.offset[test])
        if calibration == "isotonic":
            known = calibrate(one.logits[rest], temperature, one.offset[rest])
            prob[test] = _curve(known, one.labels[rest], who).apply(prob[test])
    return raw, prob


def check_calibration(cohort: Cohort, fold: Ints, calibration: str) -> None:
    """Refuse, before any fit, a curve for which the other folds have too few patients (E184)."""
    if calibration != "isotonic":
        return
    for target, truth in zip(cohort.targets, cohort.truth, strict=True):
        for f in np.unique(fold) if target.has_classes else ():
            rest = np.flatnonzero((fold != f) & ~np.isnan(truth[:, 0]))
            flat = np.full((len(rest), len(target.classes)), 1 / len(target.classes))
            _curve(flat, truth[rest, 0].astype(np.intp), [cohort.patients[i] for i in rest])


def _curve(prob: Floats, labels: Ints, who: Sequence[str]) -> Isotonic:
    try:
        return fit_isotonic(prob, labels, who)
    except ValueError as error:
        remedy = "set calibration: temperature in the task"
        raise PathaiError("E184", str(error), remedy) from None


# --- what is shipped -------------------------------------------------------------------------


def states(
    held: Sequence[HeldOut], priors: Sequence[Floats], calibration: str
) -> tuple[TargetState, ...]:
    """Calibration and conformal scores of the shipped model, from all held-out answers."""
    return tuple(state_of(one, priors[t], calibration) for t, one in enumerate(held))


def state_of(one: HeldOut, prior: Floats, calibration: str) -> TargetState:
    """Calibration and conformal scores of one question; ``prior`` is the log share of classes."""
    target = one.target.model_validate(one.target.model_dump(include=set(Target.model_fields)))
    if not target.has_classes:
        value = point(target, one.truth)
        typical = (float(value.mean()),)
        if target.kind == "survival":
            return TargetState(target=target, typical=typical)
        scores = number_scores(value, one.value, one.spread, one.patients)
        return TargetState(target=target, typical=typical, conformal=(_rounded(scores),))
    temperature = fit_temperature(one.logits, one.labels, one.offset)
    prob = calibrate(one.logits, temperature, one.offset)
    isotonic = calibration == "isotonic"
    curve = _curve(prob, one.labels, one.patients) if isotonic else Isotonic((), ())
    return TargetState(
        target=target,
        temperature=temperature,
        log_prior=tuple(prior.tolist()),
        typical=tuple(np.exp(prior).tolist()),
        isotonic_x=curve.x,
        isotonic_y=curve.y,
        conformal=tuple(_rounded(s) for s in class_scores(one.prob, one.labels, one.patients)),
    )


def _rounded(scores: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(s), 6) for s in scores)
