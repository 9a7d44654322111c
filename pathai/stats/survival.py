"""Time to an event that not everyone lives to see: curves, concordance, errors at a horizon.

Deaths come before censorings of the same time. ``event`` is True where the event was seen at
``time``, False where the patient was last seen without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.stats.bootstrap import Statistic, ratio, run_starts
from pathai.stats.estimate import FloatArray, two_sided_z
from pathai.stats.ranking import weighted_auroc

_PAIRS = 2_000_000
"""Pairs of patients looked at together: bounds the memory, changes nothing else."""


@dataclass(frozen=True)
class KaplanMeier:
    """Share still free of the event, from time 0 on and at every time of an event or censoring.

    Attributes
    ----------
    time : float64[m]
    survival, low, high : float64[m]
        At and after ``time``; the interval is NaN where no or every patient had the event.
    at_risk : int64[m]
        Patients under observation just before ``time``.
    """

    time: FloatArray
    survival: FloatArray
    low: FloatArray
    high: FloatArray
    at_risk: NDArray[np.int64]

    def at(self, time: float) -> float:
        """Give the survival at a time."""
        return float(self.survival[np.searchsorted(self.time, time, side="right") - 1])


def kaplan_meier(time: ArrayLike, event: ArrayLike, level: float = 0.95) -> KaplanMeier:
    """Kaplan-Meier curve with log-log intervals (Greenwood's variance).

    Parameters
    ----------
    time : float[n]
        Above 0; one row per patient.
    event : bool[n]
        Whether the event was seen.
    level : float
        Nominal coverage at each time.

    References
    ----------
    .. [1] Kaplan and Meier, "Nonparametric estimation from incomplete observations", JASA
       53:457-481, 1958.
    .. [2] Kalbfleisch and Prentice, "The Statistical Analysis of Failure Time Data", 2nd ed.,
       2002 (section 1.4: the log-log interval).
    """
    t, d = _checked(time, event)
    times, place = np.unique(t, return_inverse=True)
    deaths = np.bincount(place, weights=d, minlength=len(times))
    seen = np.bincount(place, minlength=len(times))
    at_risk = seen[::-1].cumsum()[::-1]
    survival = np.cumprod(1 - deaths / at_risk)
    variance = np.cumsum(ratio(deaths, (at_risk * (at_risk - deaths)).astype(float)))
    low, high = np.full((2, len(times)), np.nan)
    inside = (survival > 0) & (survival < 1)
    log = np.log(survival[inside])
    half = two_sided_z(level) * np.sqrt(variance[inside]) / -log
    low[inside], high[inside] = np.exp(log * np.exp(half)), np.exp(log * np.exp(-half))
    return KaplanMeier(
        np.r_[0.0, times],
        np.r_[1.0, survival],
        np.r_[np.nan, low],
        np.r_[np.nan, high],
        np.r_[len(t), at_risk],
    )


def log_rank(time: ArrayLike, event: ArrayLike, member: ArrayLike) -> tuple[float, float]:
    """Whether two groups differ in survival: chi-square with 1 degree of freedom, and p.

    Parameters
    ----------
    time : float[n]
        One row per patient.
    event, member : bool[n]
        Whether the event was seen; True for one group.

    Returns
    -------
    tuple of float
        NaN where a group is empty or no event was seen.

    References
    ----------
    .. [1] Mantel, "Evaluation of survival data and two new rank order statistics arising in its
       consideration", Cancer Chemotherapy Reports 50:163-170, 1966.
    """
    from scipy.stats import CensoredData, logrank

    t, d = _checked(time, event)
    one = np.asarray(member, bool)
    if not d.any() or one.all() or not one.any():
        return np.nan, np.nan
    sides = [CensoredData(uncensored=t[m & d], right=t[m & ~d]) for m in (one, ~one)]
    found = logrank(*sides)
    return float(found.statistic) ** 2, float(found.pvalue)


def concordance(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> float:
    """Harrell's C-index: how often, of two patients, the one at higher risk has the event first.

    A pair counts where it is known who had the event first: the earlier time is an event, or
    both times are equal and only one is an event. Equal risks count one half.

    Parameters
    ----------
    time : float[n]
        Time of the event or of the last visit.
    event : bool[n]
        Whether the event was seen.
    risk : float[n]
        Larger means an earlier event.

    Returns
    -------
    float
        NaN where no pair counts.

    References
    ----------
    .. [1] Harrell et al., "Evaluating the yield of medical tests", JAMA 247:2543-2546, 1982.
    """
    return float(weighted_concordance(time, event, risk)(np.ones((1, len(np.asarray(time)))))[0])


def weighted_concordance(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> Statistic:
    """``concordance`` of every resample at once; a patient is never paired with a copy."""
    t, d = _checked(time, event)
    r = np.asarray(risk, float)
    if not np.isfinite(r).all():
        raise ValueError("risks must be finite")
    first = np.flatnonzero(d)
    parts = np.array_split(first, max(1, len(first) * len(t) // _PAIRS))

    def statistic(w: FloatArray) -> FloatArray:
        won, known = np.zeros((2, len(w)))
        for rows in parts:
            later = (t > t[rows, None]) | ((t == t[rows, None]) & ~d)
            right = later * (1 + np.sign(r[rows, None] - r)) / 2
            known += ((w @ later.T.astype(float)) * w[:, rows]).sum(axis=1)
            won += ((w @ right.T) * w[:, rows]).sum(axis=1)
        return ratio(won, known)

    return statistic


# --- at a horizon ----------------------------------------------------------------------------


def known_at(time: ArrayLike, event: ArrayLike, horizon: float) -> Statistic:
    """Weights that let patients of known state at the horizon stand for those lost before.

    A patient who had the event by the horizon, or was seen at it or later, gets one over the
    probability of not having been lost until then; the others get 0. Within each resample the
    weights times the counts add up to the number of rows.

    Returns
    -------
    callable
        Counts of rows float64[b, n] to weights float64[b, n].

    References
    ----------
    .. [1] Satten and Datta, "The Kaplan-Meier estimator as an inverse-probability-of-censoring
       weighted average", The American Statistician 55:207-210, 2001.
    """
    t, d = _checked(time, event)
    _, place = np.unique(t, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = run_starts(place[order])
    before = place.copy()  # of the grid that begins with "nobody lost yet"
    before[t >= horizon] = int(np.searchsorted(np.unique(t), horizon))
    known = d | (t >= horizon)

    def weights(w: FloatArray) -> FloatArray:
        ranked = w[:, order]
        lost = np.add.reduceat(ranked * ~d[order], starts, axis=1)
        died = np.add.reduceat(ranked * d[order], starts, axis=1)
        exposed = np.cumsum((lost + died)[:, ::-1], axis=1)[:, ::-1] - died
        kept = np.cumprod(1 - np.nan_to_num(ratio(lost, exposed)), axis=1)
        kept = np.concatenate([np.ones((len(w), 1)), kept], axis=1)
        given = np.broadcast_to(known, w.shape).astype(float)
        out: FloatArray = np.nan_to_num(ratio(given, kept[:, before]))
        return out

    return weights


def weighted_brier_at(
    time: ArrayLike, event: ArrayLike, alive: ArrayLike, horizon: float
) -> Statistic:
    """Brier score of the predicted survival at a horizon, corrected for censoring.

    Parameters
    ----------
    time : float[n]
        Time of the event or of the last visit.
    event : bool[n]
        Whether the event was seen.
    alive : float[n]
        Predicted probability of no event up to and including the horizon.
    horizon : float
        In the unit of ``time``; NaN results where nobody was followed so long.

    References
    ----------
    .. [1] Graf et al., "Assessment and comparison of prognostic classification schemes for
       survival data", Statistics in Medicine 18:2529-2545, 1999.
    """
    t, d = _checked(time, event)
    lived = ~(d & (t <= horizon))
    loss = (np.asarray(alive, float) - lived) ** 2
    weights = known_at(t, d, horizon)
    followed = t >= horizon

    def statistic(w: FloatArray) -> FloatArray:
        weight = w * weights(w)
        out = ratio(weight @ loss, w.sum(axis=1))
        out[(w * followed).sum(axis=1) == 0] = np.nan
        return out

    return statistic


def weighted_auroc_at(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float
) -> Statistic:
    """AUROC of "event by the horizon" against "none until then", corrected for censoring.

    References
    ----------
    .. [1] Uno et al., "Evaluating prediction rules for t-year survivors with censored regression
       models", JASA 102:527-537, 2007.
    """
    t, d = _checked(time, event)
    weights = known_at(t, d, horizon)
    plain = weighted_auroc(d & (t <= horizon), risk)

    def statistic(w: FloatArray) -> FloatArray:
        return plain(w * weights(w))

    return statistic


def brier_at(time: ArrayLike, event: ArrayLike, alive: ArrayLike, horizon: float) -> float:
    """``weighted_brier_at`` of the rows themselves."""
    one = np.ones((1, len(np.asarray(time))))
    return float(weighted_brier_at(time, event, alive, horizon)(one)[0])


def auroc_at(time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float) -> float:
    """``weighted_auroc_at`` of the rows themselves."""
    one = np.ones((1, len(np.asarray(time))))
    return float(weighted_auroc_at(time, event, risk, horizon)(one)[0])


def _checked(time: ArrayLike, event: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    t, d = np.asarray(time, float), np.asarray(event, bool)
    if len(t) != len(d) or len(t) == 0:
        raise ValueError("times and events must be of one length, and at least one")
    if not (np.isfinite(t) & (t > 0)).all():
        raise ValueError("survival times must be finite and above 0")
    return t, d
