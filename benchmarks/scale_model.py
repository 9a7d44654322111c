"""What a run costs as a sum of few terms, fitted to measured runs.

Processor seconds of a stage = starts of its jobs + a share per slide + a share per unit of work
(mm² of tissue, tiles, million px), and Snakemake's own: once per run, and per job.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

UNITS = {"tile": "mpx", "features": "tiles", "cells": "mm2"}
Costs = Mapping[str, Mapping[str, float]]


def per_slide(costs: Costs, units: Costs) -> dict[str, dict[str, float]]:
    """Seconds per slide and per unit of each stage, by least squares of the relative error.

    Parameters
    ----------
    costs : dict
        Slide to stage to processor seconds, measured without starts.
    units : dict
        Slide to ``mpx``, ``tiles`` and ``mm2``; slides without tissue are not in it.
    """
    found = {}
    for stage, unit in UNITS.items():
        ids = sorted(units)[1:]  # the first also loads what all share
        y = np.array([costs[i][stage] for i in ids])
        x = np.array([[1.0, units[i][unit]] for i in ids])
        weight = 1 / np.maximum(y, np.median(y) / 2)
        (slide, rate), _ = nnls(x * weight[:, None], y * weight)
        each = [
            (costs[i][stage] - slide) / units[i][unit]
            for i in ids
            if units[i][unit] >= np.quantile([units[k][unit] for k in ids], 0.8)
        ]
        found[stage] = {"slide_s": slide, "unit_s": rate, "low": max(min(each), 0.0),
                        "high": max(each)}  # fmt: skip
    return found


def predicted(
    model: Mapping[str, Any], slides: Costs, jobs: Mapping[str, int], cases: int
) -> float:
    """Processor seconds of a whole run whose work is known.

    Parameters
    ----------
    model : dict
        ``per_slide`` under ``stages``, and ``job_s``, ``run_s``, ``snakemake_job_s``,
        ``ingest_s``, ``case_s``, ``page_s``.
    slides : dict
        Slide to units; without tissue an empty one.
    jobs : dict
        Jobs of each stage.
    cases : int
        Cases with a report.
    """
    total = model["run_s"] + model["snakemake_job_s"] * sum(jobs.values())
    total += sum(model["job_s"].get(stage, 0.0) * n for stage, n in jobs.items())
    total += cases * model["case_s"] + len(slides) * (model["ingest_s"] + model["page_s"])
    for one in slides.values():
        for stage, unit in UNITS.items():
            fit = model["stages"][stage]
            total += fit["slide_s"] + fit["unit_s"] * one[unit] if one else 0.0
    return float(total)


def starts(runs: Sequence[Mapping[str, Any]], alone: Mapping[str, Any]) -> dict[str, Any]:
    """What starting costs: each stage's jobs, Snakemake once, and Snakemake per job.

    Parameters
    ----------
    runs : sequence of dict
        ``cpu_s``, ``jobs`` by stage, and ``used``: stage to (processor seconds of the job, its
        members) of each job, as pathai notes them.
    alone : dict
        Costs of the same slides and cases in one process.
    """
    job_s = {}
    costs = {**alone["slides"], **{c: {"report": s} for c, s in alone["cases"].items()}}
    for stage in runs[0]["used"]:
        over = [
            used - sum(costs[m].get(stage, 0.0) for m in members)
            for run in runs
            for used, members in run["used"][stage]
        ]
        job_s[stage] = max(float(np.mean(over)), 0.0)
    rest = [r["cpu_s"] - sum(u for s in r["used"].values() for u, _ in s) for r in runs]
    count = np.array([[1.0, sum(r["jobs"].values())] for r in runs])
    weight = 1 / np.array(rest)
    (run_s, per_job), _ = nnls(count * weight[:, None], np.array(rest) * weight)
    return {"job_s": job_s, "run_s": run_s, "snakemake_job_s": per_job}


def slope(values: Sequence[float]) -> float:
    """Median slope per step over the last three quarters, after caches have filled (Theil-Sen).

    References
    ----------
    .. [1] Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", Journal of the
       American Statistical Association 1968, doi:10.1080/01621459.1968.10480934.
    """
    from scipy.stats import theilslopes

    late = np.asarray(values[len(values) // 4 :], float)
    return float(theilslopes(late)[0]) if len(late) > 2 else 0.0
