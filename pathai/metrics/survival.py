"""Report of a target whose answer is a time to an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai import stats
from pathai.metrics.tables import Figures, Json, as_json, numbers, p_value, subgroup_table, thinned
from pathai.stats import Estimate, FloatArray, Statistic

LEAST = 10
"""Events below which the report warns."""


def survival_report(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    alive_at_horizon: ArrayLike,
    horizon: float,
    groups: Sequence[str],
    *,
    baselines: Mapping[str, tuple[ArrayLike, ArrayLike | None]] | None = None,
    subgroups: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> Json:
    """Everything a model is judged by on one target of survival.

    Parameters
    ----------
    time : float[n]
        Time of the event or of the last visit, above 0.
    event : bool[n]
        Whether the event was seen.
    risk : float[n]
        Larger means an earlier event; from models that never saw the unit's patient.
    alive_at_horizon : float[n]
        Predicted probability of no event up to the horizon.
    horizon : float
        In the unit of ``time``.
    groups : sequence of str, length n
        Patient of each unit.
    baselines : mapping of str to (risk float[n], alive_at_horizon float[n] or None), optional
        Answers that know nothing of pathology; without the second there is no Brier score.
    subgroups : mapping of str to sequence of str, optional
        Columns whose values get their own figures.
    seed : int
        Seed of every resampling.

    Returns
    -------
    dict
        Ready for JSON: kind, n, n_patients, n_events, horizon, figures, baselines, calibration,
        conformal, operating_points, subgroups, log_rank, warnings, curves. All intervals are a
        bootstrap of patients, those of the Kaplan-Meier curves Greenwood's. The curves and the
        log-rank test compare the patients above the median risk with the others, one row per
        patient (mean risk, first time).

    Raises
    ------
    ValueError
        Arrays that do not fit each other, no unit, a time that is not above 0.
    """
    t, d = np.asarray(time, float), np.asarray(event, bool)
    alive = None if alive_at_horizon is None else np.asarray(alive_at_horizon, float)
    r, who = np.asarray(risk, float), list(groups)
    of = np.asarray(who, str)
    if len({len(t), len(d), len(r), len(who)}) != 1:
        raise ValueError(f"{len(t)} times, {len(d)} events, {len(r)} risks, {len(who)} patients")

    def figures(rows: NDArray[np.intp], intervals: bool) -> Figures:
        return survival_figures(
            *(t[rows], d[rows], r[rows], None if alive is None else alive[rows]),
            *(horizon, of[rows].tolist()),
            intervals=intervals,
            seed=seed,
        )

    curves, test = _curves(t, d, r, of)
    return {
        "kind": "survival",
        "n": len(t),
        "n_patients": len(np.unique(of)),
        "n_events": int(d.sum()),
        "horizon": horizon,
        "figures": as_json(figures(np.arange(len(t)), True)),
        "baselines": {
            name: as_json(survival_figures(t, d, b, a, horizon, who, seed=seed))
            for name, (b, a) in (baselines or {}).items()
        },
        "calibration": None,
        "conformal": None,
        "operating_points": [],
        "subgroups": subgroup_table(subgroups or {}, who, figures),
        "log_rank": test,
        "warnings": _warnings(t, d, horizon),
        "curves": {"kaplan_meier": curves},
    }


def survival_statistics(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, alive: ArrayLike | None, horizon: float
) -> dict[str, Statistic]:
    """Every figure as a function of resamples; see ``pathai.stats.bootstrap``."""
    out = {"c_index": stats.weighted_concordance(time, event, risk)}
    if alive is not None:
        out["brier_at_horizon"] = stats.weighted_brier_at(time, event, alive, horizon)
    out["auroc_at_horizon"] = stats.weighted_auroc_at(time, event, risk, horizon)
    return out


def survival_figures(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    alive: ArrayLike | None,
    horizon: float,
    groups: Sequence[str],
    *,
    intervals: bool = True,
    seed: int = 0,
) -> Figures:
    """Every figure with the interval of a bootstrap of patients."""
    wanted = survival_statistics(time, event, risk, alive, horizon)
    if not intervals:
        one = np.ones((1, len(groups)))
        return {k: Estimate(float(s(one)[0])) for k, s in wanted.items()}
    drawn = stats.resample(groups, seed=seed)
    return {k: drawn.interval(s) for k, s in wanted.items()}


def _curves(
    t: FloatArray, d: NDArray[np.bool_], r: FloatArray, who: NDArray[np.str_]
) -> tuple[list[Json], Json]:
    """Curves of all, low and high risk, and the log-rank test of the last two."""
    _, first, place = np.unique(who, return_index=True, return_inverse=True)
    t, d = t[first], d[first]
    r = np.bincount(place, weights=r) / np.bincount(place)
    high = r > np.median(r)
    parts = {"all": np.ones(len(t), bool)}
    if high.any():
        parts |= {"low risk": ~high, "high risk": high}
    chi_square, p = stats.log_rank(t, d, high)
    return [_curve(name, t[m], d[m]) for name, m in parts.items()], {
        "chi_square": numbers([chi_square])[0],
        "p": p_value(p),
    }


def _curve(name: str, time: FloatArray, event: NDArray[np.bool_]) -> Json:
    km = stats.kaplan_meier(time, event)
    at = thinned(len(km.time))
    columns = {k: numbers(getattr(km, k)[at]) for k in ("time", "survival", "low", "high")}
    return {"group": name, **columns, "at_risk": km.at_risk[at].tolist()}


def _warnings(t: FloatArray, d: NDArray[np.bool_], horizon: float) -> list[str]:
    found = []
    if d.sum() < LEAST:
        found.append(f"only {int(d.sum())} events were seen: too few to judge the model")
    if not (t >= horizon).any():
        found.append(f"nobody was followed up to the horizon of {horizon:g}: choose a nearer one")
    return found
