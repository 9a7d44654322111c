"""Length along a core: known lengths at any angle, bent or straight, with tumor of known place."""

import numpy as np
import pytest

from pathai.quantities.cores import core_axis, tumor_length
from pathai.units import Mpp

EIGHT = Mpp(8.0, 8.0)
Y, X = np.mgrid[:900, :1500]


def bar(length_mm: float, width_mm: float, degrees: float, mpp: Mpp = EIGHT):
    """A straight core in the middle of a map, and the place along it, in mm from one end."""
    turn = np.deg2rad(degrees)
    x, y = (X - 750) * mpp.x / 1000, (Y - 450) * mpp.y / 1000
    along = x * np.cos(turn) + y * np.sin(turn) + length_mm / 2
    across = np.abs(-x * np.sin(turn) + y * np.cos(turn))
    return (along >= 0) & (along < length_mm) & (across < width_mm / 2), along


@pytest.mark.parametrize("degrees", [0, 17, 45, 80])
def test_length_does_not_depend_on_the_angle(degrees):
    inside, _ = bar(5.5, 0.7, degrees)
    axis = core_axis(inside, EIGHT)
    assert axis.length_mm == pytest.approx(5.5, rel=0.03)


def test_length_of_a_bent_core_is_along_the_bend():
    x, y = (X - 750) * 0.008, (Y - 100) * 0.008
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    inside = (np.abs(radius - 3) < 0.35) & (angle > 0.3) & (angle < 2.8)
    assert core_axis(inside, EIGHT).length_mm == pytest.approx(3 * 2.5, rel=0.03)


def test_pixels_need_not_be_square():
    inside, _ = bar(4.0, 0.8, 90, Mpp(12.0, 6.0))
    assert core_axis(inside, Mpp(12.0, 6.0)).length_mm == pytest.approx(4.0, rel=0.03)


@pytest.mark.parametrize("degrees", [0, 30])
def test_tumor_by_both_conventions(degrees):
    inside, along = bar(8.0, 0.8, degrees)
    axis = core_axis(inside, EIGHT)
    two = inside & (((along > 1) & (along < 2.5)) | ((along > 5) & (along < 6)))
    found = tumor_length(axis, two, EIGHT)
    assert found.tumor_mm == pytest.approx(2.5, abs=0.15)
    assert found.span_mm == pytest.approx(5.0, abs=0.15)
    every = tumor_length(axis, inside, EIGHT)
    assert every.tumor_mm == pytest.approx(axis.length_mm, rel=0.01)
    assert tumor_length(axis, inside & False, EIGHT).span_mm == 0
    assert found.tumor_mm <= found.span_mm <= axis.length_mm


def test_tumor_at_the_very_end_reaches_the_end():
    inside, along = bar(6.0, 0.8, 0)
    axis = core_axis(inside, EIGHT)
    found = tumor_length(axis, inside & (along < 2.0), EIGHT)
    assert found.tumor_mm == pytest.approx(2.0, abs=0.15)


def test_holes_and_a_ragged_edge_do_not_make_a_core_longer():
    rng = np.random.default_rng(0)
    inside = bar(6.0, 0.8, 25)[0]
    ragged = inside & (rng.random(inside.shape) > 0.05)
    ragged[445:455, 700:720] = False
    assert core_axis(ragged, EIGHT).length_mm == pytest.approx(6.0, rel=0.04)


def test_a_resection_or_a_speck_is_no_core():
    assert core_axis(np.hypot(X - 750, Y - 450) < 300, EIGHT) is None
    assert core_axis(bar(0.7, 0.1, 0)[0], EIGHT) is None
    assert core_axis(np.zeros((50, 50), bool), EIGHT) is None
    assert core_axis(np.ones((3, 3), bool), EIGHT) is None
