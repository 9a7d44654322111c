"""Aligning two slides by picked points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathai.errors import PathaiError
from pathai.pairs import IDENTITY, fit_pairs

angle, scale, shift = st.floats(-3.1, 3.1), st.floats(0.8, 1.25), st.floats(-5000, 5000)
TRIANGLE = np.array([(0.0, 0.0), (4000.0, 300.0), (700.0, 5000.0), (3500.0, 4200.0)])


@given(angle, scale, scale, shift, shift)
def test_a_known_affine_map_is_found_and_undone(turn, kx, ky, dx, dy):
    c, s = np.cos(turn), np.sin(turn)
    matrix = np.array([[c * kx, -s * ky], [s * kx, c * ky]])
    target = TRIANGLE @ matrix.T + (dx, dy)
    fit = fit_pairs(TRIANGLE.tolist(), target.tolist())
    assert fit.residual_um == pytest.approx(0, abs=1e-6)
    assert fit.scale == pytest.approx(np.sqrt(kx * ky))
    places = np.array([(123.0, 456.0), (9000.0, -20.0)])
    assert np.allclose(fit.apply(places), places @ matrix.T + (dx, dy), atol=1e-5)
    assert np.allclose(fit.inverse().apply(fit.apply(places)), places, atol=1e-5)


def test_the_residual_is_the_distance_that_is_left():
    square = [(0, 0), (100, 0), (100, 100), (0, 100)]
    moved = [(3, 0), (97, 0), (103, 100), (-3, 100)]  # no affine map does that
    assert fit_pairs(square, moved).residual_um == pytest.approx(3)


@pytest.mark.parametrize(
    "points", [[(0, 0), (9, 9)], [(0, 0), (50, 50), (100, 100.4)], [(5, 5)] * 3]
)
def test_too_few_or_collinear_pairs_are_refused(points):
    with pytest.raises(PathaiError, match=r"triangle|far apart"):
        fit_pairs(points, TRIANGLE[: len(points)].tolist())
    with pytest.raises(PathaiError, match=r"triangle|far apart"):
        fit_pairs(TRIANGLE[: len(points)].tolist(), points)


def test_without_pairs_a_place_stays_where_it_is():
    assert np.array_equal(IDENTITY.apply(TRIANGLE), TRIANGLE)
