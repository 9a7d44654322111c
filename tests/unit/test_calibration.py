"""Calibration recovers known temperatures and curves."""

import json

import numpy as np
import pytest

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


def people(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_temperature_is_unbiased_over_repetitions() -> None:
    """Two hundred cohorts of 150: the mean log temperature is that of the truth."""
    rng = np.random.default_rng(3)
    logs = [np.log(cal.fit_temperature(*draw(rng, 150, 2.0))) for _ in range(200)]
    standard_error = np.std(logs, ddof=1) / np.sqrt(200)
    # Platt's targets pull a little towards modesty: at most 5 %.
    assert abs(np.mean(logs) - np.log(2)) < 3.3 * standard_error + 0.05


@pytest.mark.parametrize("shape", [lambda p: p**3, lambda p: 1 - (1 - p) ** 2])
def test_isotonic_undoes_any_rising_distortion(shape) -> None:
    rng = np.random.default_rng(4)
    gaps, before = [], []
    for _ in range(200):
        honest = rng.beta(1.5, 1.5, 1000)
        y = (rng.random(1000) < honest).astype(int)
        said = np.column_stack([1 - shape(honest), shape(honest)])
        curve = cal.fit_isotonic(said[:600], y[:600], people(600))
        gaps.append(curve.apply(said[600:])[:, 1] - honest[600:])
        before.append(said[600:, 1] - honest[600:])
    assert abs(np.mean(gaps)) < 0.01
    assert np.mean(np.abs(gaps)) < 0.06
    assert np.mean(np.abs(gaps)) < 0.4 * np.mean(np.abs(before))


def test_isotonic_of_three_classes() -> None:
    rng = np.random.default_rng(5)
    honest = rng.dirichlet([1, 1, 1], 6000)
    y = (rng.random(6000)[:, None] > honest.cumsum(axis=1)).sum(axis=1)
    said = honest**2 / (honest**2).sum(axis=1, keepdims=True)
    curve = cal.fit_isotonic(said[:3000], y[:3000], people(3000))
    fixed = curve.apply(said[3000:])
    np.testing.assert_allclose(fixed.sum(axis=1), 1)
    assert (fixed > 0).all()
    after, before = np.abs(fixed - honest[3000:]).mean(), np.abs(said - honest)[3000:].mean()
    assert after < 0.5 * before


def test_isotonic_rises_and_is_never_certain_and_travels_as_json() -> None:
    rng = np.random.default_rng(6)
    y = np.repeat([0, 1], 60)
    p = np.clip(0.5 + 0.4 * (2 * y - 1) + rng.normal(0, 0.02, 120), 0.01, 0.99)
    said = np.column_stack([1 - p, p])
    curve = cal.fit_isotonic(said, y, people(120))
    grid = np.linspace(0, 1, 50)
    mapped = curve.apply(np.column_stack([1 - grid, grid]))[:, 1]
    assert (np.diff(mapped) >= 0).all()
    assert (mapped[0], mapped[-1]) == pytest.approx((1 / 62, 61 / 62))
    x, height = json.loads(json.dumps([curve.x, curve.y]))
    again = cal.Isotonic(tuple(map(tuple, x)), tuple(map(tuple, height)))
    assert again == curve
    with pytest.raises(ValueError, match="curves"):
        curve.apply(np.ones((2, 3)) / 3)


def test_isotonic_refuses_few_patients_not_few_slides() -> None:
    said, y = np.full((400, 2), 0.5), np.arange(400) % 2
    with pytest.raises(ValueError, match=r"class 0 has 20: calibrate by temperature"):
        cal.fit_isotonic(said, y, [f"p{i % 40}" for i in range(400)])


def test_reliability_bins() -> None:
    p = np.r_[np.full(50, 0.2), np.full(50, 0.9)]
    y = np.r_[np.ones(10), np.zeros(40), np.ones(25), np.zeros(25)]
    low, high = cal.reliability(y, p, people(100))
    assert (low.predicted, low.observed.value, low.n) == pytest.approx((0.2, 0.2, 50))
    assert (high.predicted, high.observed.value, high.n) == pytest.approx((0.9, 0.5, 50))
    assert low.observed.low < 0.2 < low.observed.high
    assert high.observed.high < 0.9  # overconfidence shows
