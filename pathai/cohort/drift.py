"""Whether a batch of slides as a whole is like those that a model was trained on.

A slide's ``ood_percentile`` says which share of training-like slides would lie nearer to the
training slides. Of slides like those it is uniform between 0 and 100; a batch that is stained or
scanned in another way has too many high ones, also where no slide is beyond the limit.

The patient is the unit: slides of one patient are alike, and counted one by one they would make
a batch look surely different that merely has several slides of one unusual patient. A patient's
slides are joined by the mean of their normal scores, as the percentile itself rests on means by
patient; two slides that agree give no surer value than one.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.cohort.gather import SlideRow
from pathai.cohort.training import Training, not_evaluated
from pathai.stats import wilson

ALARM_WHOLE, ALARM_TAIL = 0.04, 0.01
"""Chance of a false alarm of each of the two tests; together at most 5 %."""
ENOUGH = 20
"""With fewer patients the absence of an alarm says nothing."""
BINS = 10
Verdict = Literal["like", "unlike", "partly", "unknown"]

Floats = NDArray[np.float64]


def drift(model: str, training: Training, rows: Sequence[SlideRow], limit: float) -> dict[str, Any]:
    """How unusual the slides of the sheet are for a model, ready for JSON.

    Parameters
    ----------
    model : str
        Name of the model.
    training : Training
        What it was trained on; training slides and other slides of their patients are left out.
    rows : sequence of SlideRow
        Every slide of the sheet.
    limit : float
        Percentile beyond which a slide gets no answer.

    Returns
    -------
    dict
        ``evaluated``; ``verdict``, `judge`'s figures, ``histogram`` (patients by percentile),
        ``n_slides``, ``slides_beyond``, and ``groups``: the same by site and by scanner.
    """
    seen = [row for row in rows if (a := row.answers.get(model)) and (a.top_tiles or a.prob)]
    seen = [row for row in seen if not (training.slide(row) or training.patient(row))]
    if not seen:
        return not_evaluated("no slide of patients that the model was not trained on")
    percentile = np.array([row.answers[model].ood_percentile for row in seen])
    who = np.array([row.row.patient_id for row in seen])
    values = by_patient(percentile, who)
    columns = {
        "site": np.array([row.row.site for row in seen]),
        "scanner": np.array([row.info.vendor if row.info else "" for row in seen]),
    }
    parts = [(name, value, column == value) for name, column in columns.items()
             for value in np.unique(column).tolist() if len(set(column.tolist())) > 1]  # fmt: skip
    groups = [
        {
            "column": name,
            "value": value,
            "n_slides": int(rows_of.sum()),
            **judge(by_patient(percentile[rows_of], who[rows_of]), limit, tests=len(parts)),
        }
        for name, value, rows_of in parts
    ]
    counts, _ = np.histogram(values, np.linspace(0, 100, BINS + 1))
    return {
        "evaluated": True,
        "limit": limit,
        "n_slides": len(seen),
        "slides_beyond": int((percentile > limit).sum()),
        **judge(values, limit),
        "histogram": counts.tolist(),
        "groups": groups,
    }


def by_patient(percentile: ArrayLike, patients: ArrayLike) -> Floats:
    """One percentile per patient, float64[p]: the mean of the slides' normal scores."""
    from scipy.special import ndtr, ndtri

    share = np.clip(np.asarray(percentile, float) / 100, 1e-4, 1 - 1e-4)
    _, place = np.unique(np.asarray(patients), return_inverse=True)
    mean = np.bincount(place, weights=ndtri(share)) / np.bincount(place)
    found: Floats = 100 * ndtr(mean)
    return found


def judge(values: ArrayLike, limit: float, tests: int = 1) -> dict[str, Any]:
    """Whether percentiles are too high to be of training-like patients.

    Parameters
    ----------
    values : float[p]
        One per patient, 0 to 100.
    limit : float
        Percentile beyond which a slide gets no answer.
    tests : int
        How many such questions are asked; the chance of a false alarm is shared among them.

    Returns
    -------
    dict
        ``n_patients``, ``median``, ``beyond`` and ``expected_beyond`` (patients), ``share_beyond``
        with Wilson's interval, ``p_whole`` (one-sided Kolmogorov-Smirnov test [1]_ that the
        percentiles are larger than uniform ones: exact with any number of patients), ``p_tail``
        (binomial: as many beyond the limit by chance), ``verdict``: ``unlike`` by the first,
        ``partly`` by the second alone, ``like``, or ``unknown`` with few patients.

    References
    ----------
    .. [1] Birnbaum and Tingey, "One-sided confidence contours for probability distribution
       functions", Annals of Mathematical Statistics 22:592-596, 1951.
    """
    from scipy.stats import binom, kstest

    x = np.asarray(values, float)
    n, beyond, chance = len(x), int((x > limit).sum()), 1 - limit / 100
    # "less": the distribution function lies below the uniform one, so values are larger.
    p_whole = float(kstest(x / 100, "uniform", alternative="less").pvalue)
    p_tail = float(binom.sf(beyond - 1, n, chance))
    verdict: Verdict = "like" if n >= ENOUGH else "unknown"
    if p_whole < ALARM_WHOLE / tests:
        verdict = "unlike"
    elif p_tail < ALARM_TAIL / tests:
        verdict = "partly"
    return {
        "verdict": verdict,
        "n_patients": n,
        "median": round(float(np.median(x)), 4),
        "beyond": beyond,
        "expected_beyond": round(n * chance, 6),
        "share_beyond": wilson(beyond, n).as_json(),
        "p_whole": round(p_whole, 6),
        "p_tail": round(p_tail, 6),
    }
