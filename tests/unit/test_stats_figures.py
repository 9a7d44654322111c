"""Figures equal their definitions, and resamples at once equal resamples one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics as sk

from pathai import stats
from pathai.metrics.classes import class_statistics
from pathai.metrics.numbers import number_statistics
from pathai.metrics.survival import survival_statistics


def classes(seed: int, n: int = 30, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Truth and probabilities with ties."""
    rng = np.random.default_rng(seed)
    prob = rng.integers(1, 6, (n, n_classes)).astype(float)
    return rng.integers(0, n_classes, n), prob / prob.sum(axis=1, keepdims=True)


def statistics_of(seed: int) -> dict[str, tuple[stats.Statistic, object]]:
    """Every figure of every kind, and a function that makes it of chosen rows."""
    rng = np.random.default_rng(seed)
    n = 30
    (y2, p2), (y3, p3) = classes(seed, n, 2), classes(seed, n, 3)
    t, v = rng.integers(0, 9, n).astype(float), rng.integers(0, 9, n).astype(float)
    time, event = rng.integers(1, 8, n).astype(float), rng.random(n) < 0.6
    risk, alive = rng.integers(0, 6, n).astype(float), rng.random(n)
    out = {}
    for name, make in {
        "binary": lambda i: class_statistics(y2[i], p2[i], ordinal=False),
        "ordinal": lambda i: class_statistics(y3[i], p3[i], ordinal=True),
        "count": lambda i: number_statistics(t[i], v[i], kind="count"),
        "survival": lambda i: survival_statistics(time[i], event[i], risk[i], alive[i], 4.0),
    }.items():
        for figure, statistic in make(np.arange(n)).items():
            if figure != "ece":  # whose bins are those of the whole
                out[f"{name} {figure}"] = (statistic, lambda i, m=make, f=figure: m(i)[f])
    return out


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_rows_equal_repeated_rows(seed: int) -> None:
    """Also for rows that are drawn never, or thrice."""
    counts = np.random.default_rng(seed).integers(0, 4, (5, 30)).astype(float)
    for name, (statistic, of_rows) in statistics_of(seed).items():
        for got, count in zip(statistic(counts), counts, strict=True):
            rows = np.repeat(np.arange(30), count.astype(int))
            plain = of_rows(rows)(np.ones((1, len(rows))))[0]
            assert got == pytest.approx(plain, abs=1e-9, nan_ok=True), name


def test_both_forms_of_the_bootstrap_draw_the_same_patients() -> None:
    rng = np.random.default_rng(1)
    x, who = rng.normal(size=40), [f"p{i // 3}" for i in range(40)]
    kind = np.array([int(p[1:]) % 2 for p in who])
    for strata in (None, kind):
        slow = stats.bootstrap_interval(
            lambda i: float(x[i].mean()), who, strata=strata, n_resamples=200, seed=5
        )
        fast = stats.resample(who, strata=strata, n_resamples=200, seed=5)
        assert fast.n_patients == 14
        got = fast.interval(stats.weighted_mean(x))
        assert (got.low, got.high) == pytest.approx((slow.low, slow.high))


@pytest.mark.parametrize("seed", range(10))
def test_figures_equal_sklearn_and_scipy(seed: int) -> None:
    y, p = classes(seed)
    answer = p.argmax(axis=1)
    event = y == 1
    rng = np.random.default_rng(seed)
    t, v = rng.normal(size=20), rng.integers(0, 5, 20)
    pairs = [
        (stats.average_precision(event, p[:, 1]), sk.average_precision_score(event, p[:, 1])),
        (stats.balanced_accuracy(y, answer, 3), sk.balanced_accuracy_score(y, answer)),
        (stats.kappa(y, answer, 3), sk.cohen_kappa_score(y, answer)),
        (
            stats.kappa(y, answer, 3, quadratic=True),
            sk.cohen_kappa_score(y, answer, weights="quadratic"),
        ),
        (stats.log_loss(y, p), sk.log_loss(y, p)),
        (stats.brier_losses(y, p).mean(), sk.brier_score_loss(y, p, scale_by_half=True)),
        (stats.r2(t, v), sk.r2_score(t, v)),
        (stats.spearman(t, v), spearmanr(t, v).statistic),
    ]
    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs)


def test_figures_that_do_not_exist_are_nan() -> None:
    assert math.isnan(stats.average_precision([0, 0], [0.1, 0.2]))
    assert math.isnan(stats.kappa([1, 1], [1, 1], 2))
    assert math.isnan(stats.r2([2, 2, 2], [1, 2, 3]))
    assert math.isnan(stats.spearman([1, 2, 3], [4, 4, 4]))
    assert stats.balanced_accuracy([0, 0, 2], [0, 1, 2], 3) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="finite"):
        stats.average_precision([0, 1], [math.nan, 1])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_median_of_counts(counts: list[int]) -> None:
    x = np.arange(len(counts)) ** 1.5
    found = stats.weighted_median(x)(np.array([counts], float))[0]
    if sum(counts):
        assert found == pytest.approx(np.median(np.repeat(x, counts)))
    else:
        assert math.isnan(found)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.integers(-3, 3)), min_size=2, max_size=15
    )
)
@settings(max_examples=60, deadline=None)
def test_ranking_sees_order_alone(rows: list[tuple[bool, int, int]]) -> None:
    y, a, b = (np.array(column) for column in zip(*rows, strict=True))
    for figure in (stats.auroc, stats.average_precision):
        assert figure(y, a) == pytest.approx(figure(y, np.exp(a / 2) - 7), nan_ok=True)
    assert stats.spearman(a, b) == pytest.approx(stats.spearman(np.exp(a), b**3), nan_ok=True)
    assert stats.spearman(a, b) == pytest.approx(-stats.spearman(a, -b), nan_ok=True)
    assert stats.auroc(y, a) == pytest.approx(1 - stats.auroc(~y, a), nan_ok=True)


def test_calibration_error_by_hand() -> None:
    """Two bins of ten: 0.2 claimed and 0.4 observed, 0.9 claimed and 0.6 observed."""
    p = np.r_[np.full(10, 0.2), np.full(10, 0.9)]
    y = np.r_[np.ones(4), np.zeros(6), np.ones(6), np.zeros(4)].astype(int)
    both = np.column_stack([1 - p, p])
    assert stats.probability_bins(p, 2).tolist() == [0] * 10 + [1] * 10
    assert stats.expected_calibration_error(y, both, 2) == pytest.approx((0.2 + 0.3) / 2)
    third = np.column_stack([1 - p, p, np.zeros(20)])  # 0.8 claimed for class 0, 0.6 observed
    assert stats.expected_calibration_error(y, third, 2) == pytest.approx((0.2 + 0.3) / 2)


def test_bins_keep_equal_probabilities_together() -> None:
    p = np.random.default_rng(0).choice([0.1, 0.1, 0.5, 0.7], 100)
    place = stats.probability_bins(p)
    for value in np.unique(p):
        assert len(np.unique(place[p == value])) == 1
    assert np.unique(place).tolist() == list(range(place.max() + 1))
    assert stats.probability_bins(p, 1).tolist() == [0] * 100


def test_bins_are_as_many_as_patients_allow() -> None:
    assert [stats.bins_for([str(i) for i in range(n)]) for n in (0, 9, 25, 400)] == [1, 1, 2, 10]
    assert stats.bins_for([str(i // 10) for i in range(200)]) == 2
