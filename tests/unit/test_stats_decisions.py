"""Thresholds, comparisons, folds by site, and columns that tell the label."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from pathai import stats


def people(n: int, slides: int = 1) -> list[str]:
    return [f"p{i // slides}" for i in range(n)]


# --- acting ----------------------------------------------------------------------------------


def test_threshold_is_the_largest_that_finds_enough() -> None:
    y, s = [1, 1, 1, 1, 0, 0], [0.9, 0.7, 0.5, 0.2, 0.6, 0.1]
    assert stats.threshold_for(y, s, 0.75) == 0.5
    assert stats.threshold_for(y, s, 0.76) == 0.2
    assert stats.threshold_for(y, s, 0.01) == 0.9
    assert math.isnan(stats.threshold_for([0], [0.3], 0.9))
    with pytest.raises(ValueError, match="sensitivity"):
        stats.threshold_for(y, s, 0.0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_threshold_meets_its_aim_and_no_higher_one_does(
    rows: list[tuple[bool, int]], aim: float
) -> None:
    y, s = (np.array(column) for column in zip(*rows, strict=True))
    if not y.any():
        return
    at = stats.threshold_for(y, s, aim)
    assert (s[y] >= at).mean() >= aim - 1e-9
    assert (s[y] > at).mean() < aim


def test_operating_point_by_hand() -> None:
    y, s = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([0.9, 0.8, 0.1, 0.85, 0.2, 0.3, 0.4])
    at = stats.operating_point(y, s, people(7), 0.8)
    values = [at.sensitivity.value, at.specificity.value, at.ppv.value, at.npv.value]
    assert values == pytest.approx([2 / 3, 3 / 4, 2 / 3, 3 / 4])
    assert at.ppv == stats.wilson(2, 3)


def test_decision_curve_by_hand() -> None:
    """At 0.2 a false alarm costs a quarter of a finding."""
    y, p = [1, 1, 0, 0, 0], [0.9, 0.1, 0.5, 0.1, 0.2]
    model, everyone = stats.decision_curve(y, p, [0.0, 0.2, 0.95])
    assert model == pytest.approx([0.4, 0.2 - 0.4 / 4, 0.0])
    assert everyone == pytest.approx([0.4, 0.4 - 0.6 / 4, 0.4 - 0.6 * 19])
    with pytest.raises(ValueError, match="thresholds"):
        stats.decision_curve(y, p, [1.0])


def test_risk_and_coverage_by_hand() -> None:
    coverage, risk = stats.risk_coverage([0, 1, 0, 1], [0.9, 0.6, 0.6, 0.5])
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 3, 1 / 2])


# --- comparing -------------------------------------------------------------------------------


def two_models(
    rng: np.random.Generator, n: int, gap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two correlated scores whose AUROCs differ by their gap alone."""
    y = np.arange(n) < n // 2
    common = rng.normal(size=n)
    first, second = (g * y + 0.7 * common + 0.7 * rng.normal(size=n) for g in (1.0, 1.0 + gap))
    return y, first, second


def test_delong_variance_by_definition() -> None:
    y, a, b = two_models(np.random.default_rng(0), 24, 0.5)
    a, b = a.round(1), b.round(1)  # ties

    def beats(s: np.ndarray) -> np.ndarray:
        return (1 + np.sign(s[y][:, None] - s[~y])) / 2

    gap = beats(b) - beats(a)
    variance = gap.mean(axis=1).var(ddof=1) / 12 + gap.mean(axis=0).var(ddof=1) / 12
    found = stats.delong(y, a, b)
    assert found.first == pytest.approx(stats.auroc(y, a))
    assert found.difference.value == pytest.approx(stats.auroc(y, b) - stats.auroc(y, a))
    half = 1.959964 * math.sqrt(variance)
    assert found.difference.high - found.difference.value == pytest.approx(half)


def test_delong_knows_equal_models_and_too_few_cases() -> None:
    same = stats.delong([1, 1, 0, 0], [3, 1, 2, 0], [30, 10, 20, 0])
    assert (same.difference.value, same.p) == (0.0, 1.0)
    with pytest.raises(ValueError, match="two units"):
        stats.delong([1, 0, 0], [1, 2, 3], [1, 2, 3])


def test_p_values_are_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(1)
    by_delong, by_bootstrap = [], []
    for seed in range(200):
        y, a, b = two_models(rng, 60, 0.0)
        by_delong.append(stats.delong(y, a, b).p)
        drawn = stats.resample(people(60), strata=y, n_resamples=300, seed=seed)
        pair = [stats.weighted_auroc(y, s) for s in (a, b)]
        by_bootstrap.append(stats.paired_bootstrap(*pair, drawn).p)
    for p in (by_delong, by_bootstrap):
        assert kstest(p, "uniform").statistic < 1.95 / math.sqrt(200)  # 0.1 % point
        assert binom.interval(0.999, 200, 0.05)[1] >= sum(np.array(p) < 0.05)


def test_a_true_difference_is_found() -> None:
    y, a, b = two_models(np.random.default_rng(2), 300, 1.0)
    drawn = stats.resample(people(300), strata=y)
    found = stats.paired_bootstrap(stats.weighted_auroc(y, a), stats.weighted_auroc(y, b), drawn)
    assert found.p < 0.01
    assert found.difference.low > 0
    assert found.p >= 2 / 1001  # never 0
    same = stats.paired_bootstrap(stats.weighted_auroc(y, a), stats.weighted_auroc(y, a), drawn)
    assert same.p == 1.0


# --- folds by site ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_sites_and_patients_never_straddle_folds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [f"p{i}" for i in rng.integers(0, 60, 150)]
    home = {p: f"s{rng.integers(0, 14)}" for p in sorted(set(groups))}
    sites = [home[p] if rng.random() < 0.97 else "s0" for p in groups]  # some were seen at s0 too
    labels = rng.integers(0, 2, 150)
    fold = stats.site_folds(groups, sites, labels, 3, seed)
    for column in (groups, sites):
        found = {}
        for name, f in zip(column, fold, strict=True):
            found.setdefault(name, set()).add(f)
        assert all(len(f) == 1 for f in found.values())
    assert set(fold) == {0, 1, 2}
    order = rng.permutation(150)
    again = stats.site_folds(
        [groups[i] for i in order], [sites[i] for i in order], labels[order], 3, seed
    )
    assert (again == fold[order]).all()


def test_site_folds_are_even_where_sites_allow() -> None:
    sites = [f"s{i // 10}" for i in range(120)]
    labels = np.array([int(i % 10 < (2 if i < 60 else 7)) for i in range(120)])
    fold = stats.site_folds(people(120), sites, labels, 3, 0)
    assert set(Counter(fold.tolist()).values()) == {40}
    positive = [int(labels[fold == k].sum()) for k in range(3)]
    assert max(positive) - min(positive) <= 5


def test_site_folds_refuse_too_few_sites() -> None:
    who = people(6)
    with pytest.raises(ValueError, match="at least 3 sites, there are 2: ask for fewer folds"):
        stats.site_folds(who, list("aaabbb"), [0, 1] * 3, 3, 0)
    shared = ["x", "x", "y", "y", "z", "z"]
    with pytest.raises(ValueError, match="there are 3, 2 that share no patient"):
        stats.site_folds(shared, list("abbacc"), [0] * 6, 3, 0)


# --- confounding -----------------------------------------------------------------------------


def test_cramers_v_by_hand() -> None:
    """Table [[8, 2], [2, 8]]: chi-square 7.2 of 20."""
    labels = [0] * 10 + [1] * 10
    values = list("a" * 8 + "b" * 2 + "a" * 2 + "b" * 8)
    found = stats.association(values, labels, people(20))
    assert found.v == pytest.approx(0.6)
    assert found.p == pytest.approx(0.0230, abs=0.01)  # Fisher's exact test
    assert math.isnan(stats.association(["a"] * 20, labels, people(20)).v)


def test_a_scanner_that_tells_the_label_is_named() -> None:
    labels = np.arange(60) % 2
    scanner = np.where(labels == 1, "new", "old").tolist()
    text = stats.confounder_warning("scanner", scanner, labels, people(60))
    assert text.startswith("scanner predicts the label (Cramer's V 1.00, p = 0.0005, 60 patients")
    assert "\n" not in text
    assert stats.confounder_warning("site", ["here"] * 60, labels, people(60)) == ""


def test_patients_not_slides_decide_whether_a_column_tells_the_label() -> None:
    """Fifty slides each of two patients are two patients."""
    labels = np.repeat([0, 1], 50)
    site = np.where(labels == 1, "a", "b").tolist()
    assert stats.confounder_warning("site", site, labels, people(100, 50)) == ""


def test_columns_without_meaning_seldom_warn() -> None:
    rng = np.random.default_rng(3)
    p = [
        stats.association(
            [f"s{k}" for k in rng.integers(0, 6, 40)],
            rng.integers(0, 2, 40),
            people(40),
            n_permutations=300,
        ).p
        for _ in range(200)
    ]
    assert binom.interval(0.999, 200, 0.05)[1] >= sum(np.array(p) <= 0.05)
    assert kstest(p, "uniform").statistic < 0.15
