"""The fitted model of cost finds terms that are known, and memory that grows is seen."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TRUE = {"tile": (0.02, 0.05), "features": (0.1, 0.02), "cells": (0.3, 8.0)}
UNIT = {"tile": "mpx", "features": "tiles", "cells": "mm2"}


@pytest.fixture(scope="module")
def model():
    spec = importlib.util.spec_from_file_location("scale_model", BENCHMARKS / "scale_model.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules["scale_model"] = found
    spec.loader.exec_module(found)
    yield found
    del sys.modules["scale_model"]


def slides(count, seed=0):
    """Slides of 1 to 16 times the pixels, and what they cost, with 3 % of noise."""
    rng = np.random.default_rng(seed)
    units, costs = {}, {}
    for i in range(count):
        mm2 = 0.1 * 2 ** rng.uniform(0, 4)
        units[f"S{i:03d}"] = {"mm2": mm2, "mpx": 4 * mm2, "tiles": round(80 * mm2)}
        noise = rng.normal(1, 0.03, 3)
        costs[f"S{i:03d}"] = {
            stage: (once + rate * units[f"S{i:03d}"][UNIT[stage]]) * noise[k]
            for k, (stage, (once, rate)) in enumerate(TRUE.items())
        } | {"ingest": 0.01}
    return units, costs


def test_per_slide_and_per_unit(model):
    units, costs = slides(60)
    found = model.per_slide(costs, units)
    for stage, (once, rate) in TRUE.items():
        assert found[stage]["unit_s"] == pytest.approx(rate, rel=0.1)
        assert found[stage]["slide_s"] == pytest.approx(once, rel=0.2)
        assert found[stage]["low"] < rate < found[stage]["high"]


def test_starts_are_told_from_work_and_a_fresh_run_is_foretold(model):
    units, costs = slides(48)
    job_s, run_s, per_job, case_s = {"ingest": 1.0, "tile": 1.5, "features": 1.2, "cells": 2.5,
                                     "report": 2.0}, 3.0, 0.05, 0.25  # fmt: skip
    cases = {f"C{i:03d}": case_s for i in range(24)}
    names = sorted(units)

    def run(count):
        used = {
            stage: [
                (start + sum(costs[i][stage] for i in names[k : min(k + 8, count)]),
                 tuple(names[k : min(k + 8, count)]))
                for k in range(0, count, 8)
            ]
            for stage, start in job_s.items() if stage != "report"
        }  # fmt: skip
        chosen = sorted(cases)[: count // 2]
        batches = [chosen[k : k + 8] for k in range(0, len(chosen), 8)]
        used["report"] = [(2.0 + case_s * len(b), tuple(b)) for b in batches]
        jobs = {stage: len(found) for stage, found in used.items()} | {"cohort": 1}
        inside = sum(u for found in used.values() for u, _ in found)
        return {"cpu_s": inside + run_s + per_job * sum(jobs.values()), "jobs": jobs, "used": used}

    runs = [run(count) for count in (8, 24, 48)]
    found = model.starts(runs, {"slides": costs, "cases": cases})
    assert found["job_s"] == pytest.approx(job_s)
    assert found["run_s"] == pytest.approx(run_s)
    assert found["snakemake_job_s"] == pytest.approx(per_job)
    whole = {**found, "stages": model.per_slide(costs, units), "ingest_s": 0.01, "case_s": case_s,
             "page_s": 0.0}  # fmt: skip
    other, spent = slides(40, seed=9)
    jobs = {**dict.fromkeys(("ingest", "tile", "features", "cells"), 5), "report": 3, "cohort": 1}
    truth = sum(sum(c.values()) for c in spent.values()) + 20 * case_s + run_s
    truth += per_job * sum(jobs.values()) + sum(job_s[s] * n for s, n in jobs.items() if s in job_s)
    assert model.predicted(whole, other, jobs, 20) == pytest.approx(truth, rel=0.03)


def test_a_slide_without_tissue_costs_its_ingest_alone(model):
    units, costs = slides(20)
    whole = {"stages": model.per_slide(costs, units), "job_s": {}, "run_s": 0.0, "case_s": 0.0,
             "snakemake_job_s": 0.0, "ingest_s": 0.01, "page_s": 0.02}  # fmt: skip
    assert model.predicted(whole, {"E1": {}}, {}, 0) == pytest.approx(0.03)


def test_memory_that_grows_is_seen_and_a_cache_that_fills_is_not(model):
    rng = np.random.default_rng(1)
    fills = 300 - 80 * np.exp(-np.arange(200) / 8) + rng.normal(0, 0.5, 200)
    assert abs(model.slope(fills.tolist())) < 0.01
    assert model.slope((fills + 0.4 * np.arange(200)).tolist()) == pytest.approx(0.4, abs=0.02)
