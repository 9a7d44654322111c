"""Intervals cover as often as they say, patients stay together, sums are right."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score

from pathai import stats


def covers(hits: int, repetitions: int, level: float = 0.95) -> bool:
    """Whether a coverage lies in the 99.9 % binomial band of its nominal level."""
    low, high = binom.interval(0.999, repetitions, level)
    return bool(low <= hits <= high)


def test_auroc_equals_sklearn_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        y, s = rng.integers(0, 2, 30), rng.integers(0, 6, 30)
        assert stats.auroc(y, s) == pytest.approx(roc_auc_score(y, s))
    assert math.isnan(stats.auroc([1, 1], [0.2, 0.4]))
    with pytest.raises(ValueError, match="finite"):
        stats.auroc([0, 1], [0.1, math.nan])


def test_auroc_interval_solves_its_equation() -> None:
    auc, m, n = 0.83, 9, 14
    extra = (m + n) / 2 - 1
    for limit in stats.auroc_interval(auc, m, n):
        spread = 1 + extra * ((1 - limit) / (2 - limit) + limit / (1 + limit))
        variance = limit * (1 - limit) * spread / (m * n)
        assert abs(auc - limit) == pytest.approx(norm.ppf(0.975) * math.sqrt(variance), rel=1e-6)


def test_auroc_interval_is_honest_at_the_edge() -> None:
    lows = [stats.auroc_interval(1.0, k, k)[0] for k in (1, 2, 3, 5, 20)]
    assert all(a < b for a, b in pairwise(lows))
    assert lows[2] < 0.55  # three against three, perfectly separated, excludes hardly anything
    assert stats.auroc_interval(1.0, 5, 5)[1] == 1.0
    low, high = stats.auroc_interval(0.0, 4, 9)
    mirrored = stats.auroc_interval(1.0, 4, 9)
    assert (low, high) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]))


@pytest.mark.parametrize(("auc", "m", "n"), [(0.5, 6, 6), (0.8, 5, 12), (0.95, 20, 20)])
def test_auroc_interval_covers(auc: float, m: int, n: int) -> None:
    rng = np.random.default_rng(1)
    gap, hits = norm.ppf(auc) * math.sqrt(2), 0
    y = np.r_[np.ones(m), np.zeros(n)]
    for _ in range(400):
        found = stats.auroc(y, np.r_[rng.normal(gap, 1, m), rng.normal(0, 1, n)])
        low, high = stats.auroc_interval(found, m, n)
        hits += low <= auc <= high
    assert covers(hits, 400)


def test_wilson() -> None:
    known = stats.wilson(8, 10)
    assert (known.low, known.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert stats.wilson(0, 10).low == 0.0
    assert stats.wilson(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    nothing = stats.wilson(0, 0)
    assert (nothing.low, nothing.high) == (0.0, 1.0)
    rng = np.random.default_rng(2)
    limits = [stats.wilson(int(k), 25) for k in rng.binomial(25, 0.3, 400)]
    assert covers(sum(e.low <= 0.3 <= e.high for e in limits), 400)


def test_bootstrap_resamples_patients_not_slides() -> None:
    rng = np.random.default_rng(3)
    hits = naive = 0
    for seed in range(200):
        x = np.repeat(rng.normal(1, 1, 15), 4) + rng.normal(0, 0.1, 60)
        patient = [str(i // 4) for i in range(60)]
        slide = [str(i) for i in range(60)]
        found, wrong = (
            stats.bootstrap_interval(
                lambda i, x=x: float(x[i].mean()), g, n_resamples=200, seed=seed
            )
            for g in (patient, slide)
        )
        hits += found.low <= 1 <= found.high
        naive += wrong.low <= 1 <= wrong.high
    assert covers(hits, 200)
    assert not covers(naive, 200)  # the test would notice slides taken for patients


def test_bootstrap_is_deterministic_and_knows_its_limits() -> None:
    x = np.arange(10.0)
    who = [str(i) for i in range(10)]
    runs = [stats.bootstrap_interval(lambda i: float(x[i].mean()), who, seed=4) for _ in range(2)]
    assert runs[0] == runs[1]
    alone = stats.bootstrap_interval(lambda i: 0.5, ["a", "a"])
    assert math.isnan(alone.low)
    assert alone.as_json() == {"value": 0.5, "low": None, "high": None}
    perfect = stats.binary_metrics([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], list("abcd"))
    assert perfect["auroc_bootstrap"] == {"value": 1.0, "low": None, "high": None}


def test_strata_keep_both_classes() -> None:
    y = np.r_[np.ones(2), np.zeros(8)]
    seen = []
    stats.bootstrap_interval(
        lambda i: seen.append(y[i].sum()) or 0.0, [str(i) for i in range(10)], strata=y
    )
    assert set(seen) == {2.0}


@pytest.mark.parametrize("seed", range(5))
def test_patients_never_straddle_folds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [f"p{i}" for i in rng.integers(0, 23, 80)]
    kind = {p: int(rng.random() < 0.3) for p in sorted(set(groups))}
    labels = np.array([kind[p] for p in groups])
    fold = stats.grouped_folds(groups, labels, 4, seed)
    homes = {p: {int(f) for f, g in zip(fold, groups, strict=True) if g == p} for p in kind}
    assert all(len(h) == 1 for h in homes.values())
    for c in (0, 1):
        sizes = [sum(kind[p] == c and homes[p] == {k} for p in kind) for k in range(4)]
        assert max(sizes) - min(sizes) <= 1
    order = rng.permutation(80)
    again = stats.grouped_folds([groups[i] for i in order], labels[order], 4, seed)
    assert (again == fold[order]).all()


def test_folds_refuse_too_few_patients() -> None:
    with pytest.raises(ValueError, match="at least 3 patients"):
        stats.grouped_folds(["a", "b"], [0, 1], 3, 0)


def test_binary_metrics_count_patients_not_slides() -> None:
    y, p = np.array([1, 0] * 4), np.array([0.9, 0.1, 0.8, 0.3] * 2)
    own = stats.binary_metrics(y, p, [str(i) for i in range(8)])
    shared = stats.binary_metrics(y, p, [str(i % 4) for i in range(8)])
    assert own["auroc"]["value"] == shared["auroc"]["value"] == 1.0
    assert shared["auroc"]["low"] < own["auroc"]["low"] < 1
    assert own["brier"]["value"] == pytest.approx(np.mean((p - y) ** 2))
    assert own["sensitivity"]["value"] == own["specificity"]["value"] == 1.0


def test_shares_of_clustered_slides_are_as_wide_as_their_patients() -> None:
    """Ten slides of each of eight patients, alike within: the patients are the sample."""
    right = np.repeat([1, 1, 1, 1, 1, 0, 1, 0], 10)
    y = np.repeat([1, 1, 1, 1, 0, 0, 0, 0], 10)
    p = np.where(right == y, 0.9, 0.1)
    who = np.repeat(list("abcdefgh"), 10).tolist()
    found = stats.binary_metrics(y, p, who)["specificity"]
    naive = stats.wilson(20, 40)
    honest = stats.wilson(2, 4)
    assert found["value"] == 0.5
    assert found["high"] - found["low"] > 1.5 * (naive.high - naive.low)
    assert found["high"] - found["low"] >= honest.high - honest.low
    nothing = stats.binary_metrics(y, p, who)["sensitivity"]  # all right: no interval of no width
    assert nothing == {"value": 1.0, "low": None, "high": None}


def test_patients_with_slides_of_both_classes() -> None:
    y, p = np.array([1, 0] * 6), np.linspace(0.2, 0.8, 12)
    mixed = stats.binary_metrics(y, p, list("aabbccddeeff"))
    swapped = stats.binary_metrics(y[::-1], p[::-1], list("ffeeddccbbaa"))
    assert mixed["n_patients"] == 6
    assert mixed["brier"] == swapped["brier"]  # whichever slide comes first


def test_relative_error() -> None:
    truth, found = np.array([100.0, 200, 50, 0]), np.array([110.0, 180, 50, 3])
    e = stats.relative_error(truth, found, list("abcd"))
    assert (e.n, e.n_zero) == (3, 1)
    assert e.mape.value == pytest.approx(0.2 / 3)
    assert e.median.value == pytest.approx(0.1)
    assert e.signed.value == pytest.approx(0.0)
    assert e.mape.low <= e.mape.value <= e.mape.high
    assert math.isnan(stats.relative_error([0.0], [1.0], ["a"]).mape.value)


def test_relative_error_covers() -> None:
    rng, hits = np.random.default_rng(5), 0
    for seed in range(100):
        truth = rng.integers(200, 4000, 20).astype(float)
        found = truth * (1 + rng.normal(0.05, 0.1, 20))
        e = stats.relative_error(truth, found, [str(i) for i in range(20)], seed).signed
        hits += e.low <= 0.05 <= e.high
    assert covers(hits, 100)
