"""Quantiles are those of scipy.stats to the last bit, and jobs do not pay for loading it."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from pathai.stats.quantiles import chi2_quantile, t_quantile

CHANCES = (0.0005, 0.025, 0.5, 0.9, 0.975, 0.9999)
JOBS = ("cells", "cells.classes", "findings", "report.draft", "cohort", "tiling", "features")


@pytest.mark.parametrize("freedom", [1, 2, 7, 40, 2001])
def test_the_same_bits_as_scipy_stats(freedom):
    for p in CHANCES:
        assert t_quantile(p, freedom) == stats.t.ppf(p, freedom)
        assert chi2_quantile(p, freedom) == stats.chi2.ppf(p, freedom)


def test_known_values():
    assert t_quantile(0.975, 4) == pytest.approx(2.7764451051977987)
    assert chi2_quantile(0.95, 10) == pytest.approx(18.307038053275146)
    assert np.isfinite(chi2_quantile(0.025, 2))


def test_no_job_loads_scipy_stats_to_start():
    code = (
        f"import importlib, sys\nfor name in {JOBS!r}:\n"
        "    importlib.import_module('pathai.' + name)\n"
        "    assert 'scipy.stats' not in sys.modules, name\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
