"""Calibration recovers known temperatures, sets cover, foreign slides stand out."""

import math

import numpy as np
import pytest
from scipy.stats import binom, kstest
from sklearn.covariance import LedoitWolf

from pathai import calibration as cal


def draw(rng: np.random.Generator, n: int, sharpness: float, offset: float = 0.0):
    """Cases whose true log-odds are z + offset, and a model that says sharpness * z."""
    z = rng.normal(0, 2, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-(z + offset)))).astype(int)
    return np.column_stack([np.zeros(n), sharpness * z]), y


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_temperature_undoes_overconfidence(sharpness: float) -> None:
    logits, y = draw(np.random.default_rng(0), 4000, sharpness)
    assert cal.fit_temperature(logits, y) == pytest.approx(sharpness, rel=0.12)


def test_offset_is_not_mistaken_for_temperature() -> None:
    logits, y = draw(np.random.default_rng(1), 4000, 2.0, offset=-1.5)
    share = [[0.0, -1.5]]
    t = cal.fit_temperature(logits, y, share)
    assert t == pytest.approx(2.0, rel=0.12)
    prob = cal.calibrate(logits, t, share)[:, 1]
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (prob >= low) & (prob < low + 0.2)
        assert prob[inside].mean() == pytest.approx(y[inside].mean(), abs=0.06)


def test_few_cases_never_sharpen_and_none_change_nothing() -> None:
    separated = np.array([[0, 1.0], [0, 0.8], [0, -0.7], [0, -0.9]])
    assert cal.fit_temperature(separated, [1, 1, 0, 0]) == pytest.approx(1.0, abs=1e-6)
    assert cal.fit_temperature(separated, [0, 0, 1, 1]) > 1.2
    assert cal.fit_temperature(np.zeros((0, 2)), []) == 1.0


def test_a_handful_of_separated_cases_is_no_certainty() -> None:
    certain = np.array([[0, 9.0], [0, 8.0], [0, -9.0], [0, -7.0], [0, -8.0]])
    y = [1, 1, 0, 0, 0]
    worst = cal.calibrate(certain, cal.fit_temperature(certain, y), [0.0, 0.0]).max()
    assert 0.7 < worst < 0.97
    many = np.tile(certain, (200, 1))
    sure = cal.calibrate(many, cal.fit_temperature(many, y * 200), [0.0, 0.0]).max()
    assert sure > 0.995


def test_brier() -> None:
    assert cal.brier([1, 0], [1.0, 0.5]) == pytest.approx(0.125)


def test_conformal_sets_cover_each_class() -> None:
    rng = np.random.default_rng(2)
    hits, n_new = np.zeros(2), np.zeros(2)
    sizes = []
    for _ in range(300):
        y = np.repeat([0, 1], [60, 25])
        prob = cal.softmax(np.column_stack([np.zeros(85), rng.normal(3 * y - 1.0, 1.5)]))
        reference = [1 - prob[:-1][y[:-1] == c, c] for c in (0, 1)]
        c = int(rng.random() < 0.5)
        new = cal.softmax([[0.0, rng.normal(3 * c - 1.0, 1.5)]])[0]
        kept = [k for k, p in enumerate(cal.conformal_p(reference, new)) if p > 0.2]
        hits[c] += c in kept
        n_new[c] += 1
        sizes.append(len(kept))
    for c in (0, 1):
        low, high = binom.interval(0.999, int(n_new[c]), 0.8)
        assert low <= hits[c] <= high + 0.05 * n_new[c]  # discreteness may add a little
    assert np.mean(sizes) < 1.5  # sets that hold everything would cover too


def test_a_small_reference_leaves_no_class_out() -> None:
    few = [[0.01] * 8, [0.02] * 8]
    assert min(cal.conformal_p(few, [0.999, 0.001])) > 0.1
    assert min(cal.conformal_p([[0.01] * 9, [0.02] * 9], [0.999, 0.001])) <= 0.1
    assert cal.conformal_p([[], []], [0.9, 0.1]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="classes"):
        cal.conformal_p([[0.1]], [0.5, 0.5])


@pytest.mark.parametrize(("n", "dim"), [(12, 40), (60, 9)])
def test_covariance_is_ledoit_wolf(n: int, dim: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim))
    ref = cal.fit_reference(x, [str(i) for i in range(n)])
    ours = ref.axes.T @ np.diag(ref.variances - ref.floor) @ ref.axes + ref.floor * np.eye(dim)
    theirs = LedoitWolf().fit(x).covariance_
    np.testing.assert_allclose(ours, theirs, atol=1e-8 * np.abs(theirs).max())
    probe = rng.normal(size=dim) * 5
    d = probe - x.mean(0)
    assert ref.distance(probe) == pytest.approx(math.sqrt(d @ np.linalg.inv(theirs) @ d), rel=1e-6)


@pytest.mark.parametrize(("n", "dim"), [(8, 60), (40, 12)])
def test_percentile_is_uniform_at_home_and_high_abroad(n: int, dim: int) -> None:
    rng = np.random.default_rng(4)
    home, abroad = [], []
    for _ in range(150):
        mix = rng.normal(size=(4, dim))
        x = rng.normal(size=(n + 1, 4)) @ mix + 0.5 * rng.normal(size=(n + 1, dim))
        ref = cal.fit_reference(x[:-1], [str(i) for i in range(n)])
        home.append(ref.percentile(x[-1]) / 100)
        abroad.append(ref.percentile(x[-1] + 8))
    assert np.mean(np.array(home) > 0.99) <= 0.035  # 99.5 % point of Binomial(150, 0.01)
    assert kstest(home, "uniform").statistic < 0.2
    assert np.mean(np.array(abroad) > 99) > 0.95


def test_slides_of_a_patient_are_left_out_together() -> None:
    rng = np.random.default_rng(5)
    x = np.repeat(rng.normal(size=(10, 6)), 3, axis=0) + rng.normal(0, 0.01, (30, 6))
    together = cal.fit_reference(x, [str(i // 3) for i in range(30)])
    apart = cal.fit_reference(x, [str(i) for i in range(30)])
    assert together.n == 10
    assert together.root_mean > apart.root_mean  # near copies of oneself make everything look near


def test_features_without_variation_do_no_harm() -> None:
    x = np.zeros((5, 3))
    x[:, 0] = [1, 2, 3, 4, 5]
    ref = cal.fit_reference(x, list("abcde"))
    assert ref.percentile([3.0, 0, 0]) < 60
    assert ref.percentile([3.0, 1e3, 0]) > 99
    constant = cal.fit_reference(np.ones((4, 2)), list("abcd"))
    assert math.isfinite(constant.percentile([1.0, 1.0]))
    with pytest.raises(ValueError, match="3 patients"):
        cal.fit_reference(np.ones((4, 2)), list("aabb"))
