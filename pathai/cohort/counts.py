"""How good counts of nuclei are on slides that are held out, beside baselines without a nucleus."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathai.cohort.gather import SlideRow
from pathai.cohort.training import held_out, not_evaluated
from pathai.config import CohortConfig
from pathai.stats import RelativeError, relative_error

SEED = 0


@dataclass(frozen=True)
class _Count:
    patient: str
    truth: float
    found: float
    area: float


def evaluate_counts(
    section: CohortConfig, detector: str, rows: Sequence[SlideRow]
) -> dict[str, Any]:
    """Error of a detector's counts against ``cohort.count_column``, ready for JSON.

    Constant and density of the baselines are those of slides that are not scored, and whose
    patients are not.
    """
    column = section.count_column
    if not column:
        return not_evaluated("cohort.count_column names no reference count")
    if not section.evaluate_on:
        return not_evaluated("cohort.evaluate_on names no slides to score")
    tested = {r.row.patient_id for r in rows if held_out(section, r)}
    left_out: Counter[str] = Counter()
    scored: list[_Count] = []
    trained: list[_Count] = []
    for row in rows:
        test = held_out(section, row)
        if not test and row.row.patient_id in tested:
            continue  # patients never straddle
        truth = _reference(row.row.labels.get(column, ""))
        if truth is None or row.cells is None or row.tissue_mm2 is None:
            if test:
                left_out["no reference count" if truth is None else "failed or skipped"] += 1
            continue
        count = _Count(row.row.patient_id, truth, row.cells.count.value, row.tissue_mm2)
        (scored if test else trained).append(count)
    about = {"column": column, "detector": detector, "left_out": dict(sorted(left_out.items()))}
    if not any(c.truth > 0 for c in scored):
        return {**not_evaluated("no counted slide with a reference count"), **about}
    truths, who = [c.truth for c in scored], [c.patient for c in scored]

    def against(found: Sequence[float]) -> dict[str, Any]:
        return _error(relative_error(truths, found, who, SEED))

    figures = {"model": against([c.found for c in scored])}
    area = math.fsum(c.area for c in trained)
    if area > 0:
        total = math.fsum(c.truth for c in trained)
        mean, density = total / len(trained), total / area
        figures["constant"] = {**against([mean] * len(scored)), "count": round(mean, 6)}
        by_area = against([density * c.area for c in scored])
        figures["tissue_area"] = {**by_area, "density_per_mm2": round(density, 6)}
    else:
        nothing = not_evaluated("no training slide with a reference count in this sheet")
        figures["constant"] = figures["tissue_area"] = nothing
    densities = np.array([c.truth / c.area for c in scored if c.area > 0])
    spread = float(densities.std() / densities.mean()) if len(densities) else 0.0
    return {
        **about,
        "evaluated": True,
        "n_slides": len(scored),
        "n_patients": len(set(who)),
        "reference_density_variation": round(spread, 6),
        "n_training_slides": len(trained),
        **figures,
    }


def _reference(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and value >= 0 else None


def _error(error: RelativeError) -> dict[str, Any]:
    return {
        "evaluated": True,
        "n": error.n,
        "n_zero": error.n_zero,
        "mape": error.mape.as_json(),
        "median": error.median.as_json(),
        "signed": error.signed.as_json(),
    }
