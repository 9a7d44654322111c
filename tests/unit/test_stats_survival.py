"""Survival against tables worked by hand and against the remission data of a classic trial."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf

from pathai import stats

# Weeks in remission, 6-mercaptopurine and placebo (Freireich et al., Blood 21:699, 1963).
TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
TREATED_LOST = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
TIME = np.array(TREATED + TREATED_LOST, float)
EVENT = np.arange(21) < 9

cohorts = st.lists(
    st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 4)), min_size=2, max_size=14
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))


def test_kaplan_meier_of_the_remission_trial() -> None:
    km = stats.kaplan_meier(TIME, EVENT)
    known = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    for week, survival in known.items():
        assert km.at(week) == pytest.approx(survival, abs=5e-4)
    assert (km.at(0), km.at(5.9), km.at(40)) == (1.0, 1.0, km.at(23))
    assert km.at_risk[km.time == 6].tolist() == [21]
    assert km.at_risk[km.time == 23].tolist() == [6]


def test_intervals_are_log_log_greenwood() -> None:
    km = stats.kaplan_meier(TIME, EVENT)
    theirs = ecdf(CensoredData(uncensored=TIME[EVENT], right=TIME[~EVENT])).sf
    inner = theirs.confidence_interval(0.95, method="log-log")
    inside = (km.time >= 6) & (km.time <= 35)
    for ours, other in ((km.low, inner.low), (km.high, inner.high)):
        np.testing.assert_allclose(ours[inside], other.evaluate(km.time[inside]), atol=1e-9)
    assert math.isnan(km.low[0])


def test_log_rank_of_the_remission_trial() -> None:
    time = np.r_[TIME, PLACEBO]
    event = np.r_[EVENT, np.ones(21, bool)]
    chi_square, p = stats.log_rank(time, event, np.arange(42) < 21)
    assert chi_square == pytest.approx(16.79, abs=0.005)
    assert p == pytest.approx(4.17e-5, rel=0.01)
    assert math.isnan(stats.log_rank(time, event, np.ones(42))[0])


def test_concordance_by_hand() -> None:
    """Pairs known: (1,2) (1,3) (1,4) (2,3) (2,4); 3 was lost at 4, 4 died at 5."""
    time, event = [1, 2, 4, 5], [1, 1, 0, 1]
    assert stats.concordance(time, event, [9, 8, 1, 0]) == 1.0
    assert stats.concordance(time, event, [8, 9, 1, 0]) == pytest.approx(4 / 5)
    assert stats.concordance(time, event, [8, 8, 1, 0]) == pytest.approx(4.5 / 5)
    assert stats.concordance(time, event, [1, 2, 3, 4]) == 0.0


def test_concordance_of_equal_times() -> None:
    assert math.isnan(stats.concordance([3, 3], [1, 1], [1, 0]))  # who died first is not known
    assert stats.concordance([3, 3], [1, 0], [1, 0]) == 1.0  # the lost one outlived the other
    assert math.isnan(stats.concordance([3, 3], [0, 0], [1, 0]))
    with pytest.raises(ValueError, match="above 0"):
        stats.concordance([0, 3], [1, 1], [1, 0])


@given(cohorts)
@settings(max_examples=80, deadline=None)
def test_concordance_equals_counting_pairs(cohort: tuple[np.ndarray, ...]) -> None:
    time, event, risk = cohort
    won = known = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                known += 1
                won += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    expected = won / known if known else math.nan
    assert stats.concordance(time, event, risk) == pytest.approx(expected, nan_ok=True)


@given(cohorts, st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_weighted_deaths_are_kaplan_meier(cohort: tuple[np.ndarray, ...], horizon: int) -> None:
    """The weighted share of deaths by the horizon is one minus the Kaplan-Meier curve."""
    time, event, _ = cohort
    if not (time >= horizon).any():
        return
    weight = stats.known_at(time, event, horizon)(np.ones((1, len(time))))[0]
    assert weight.sum() == pytest.approx(len(time))
    dead = weight[event & (time <= horizon)].sum() / len(time)
    assert dead == pytest.approx(1 - stats.kaplan_meier(time, event).at(horizon))


def test_at_a_horizon_without_losses_it_is_the_plain_figure() -> None:
    rng = np.random.default_rng(0)
    time, risk, alive = rng.exponential(1, 50), rng.normal(size=50), rng.random(50)
    event, died = np.ones(50, bool), time <= 0.7
    assert stats.brier_at(time, event, alive, 0.7) == pytest.approx(np.mean((alive - ~died) ** 2))
    assert stats.auroc_at(time, event, risk, 0.7) == pytest.approx(stats.auroc(died, risk))


def test_losses_at_random_do_not_bias_the_figures_at_a_horizon() -> None:
    rng = np.random.default_rng(1)
    n = 20_000
    risk = rng.normal(size=n)
    death, loss = rng.exponential(np.exp(-risk)), rng.exponential(1.2, n)
    alive = np.exp(-np.exp(risk) * 0.8)
    seen, event = np.minimum(death, loss), death <= loss
    full = np.ones(n, bool)
    pairs = [(stats.brier_at, alive, 0.006), (stats.auroc_at, risk, 0.012)]
    for figure, answer, tolerance in pairs:
        truth = figure(death, full, answer, 0.8)
        assert figure(seen, event, answer, 0.8) == pytest.approx(truth, abs=tolerance)
    kept = event | (seen > 0.8)  # dropping the lost is what the weights are there against
    naive = np.mean((alive - (seen > 0.8))[kept] ** 2)
    assert abs(naive - stats.brier_at(death, full, alive, 0.8)) > 0.006


def test_beyond_the_last_visit_nothing_is_known() -> None:
    assert math.isnan(stats.brier_at([1, 2], [1, 0], [0.5, 0.5], 3))
    assert math.isnan(stats.auroc_at([1, 2], [1, 0], [1, 0], 3))
    assert stats.auroc_at([1, 2], [1, 0], [1, 0], 2) == 1.0  # last seen at the horizon, alive
