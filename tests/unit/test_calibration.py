"""Calibration recovers known temperatures and curves."""

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
