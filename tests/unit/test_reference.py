"""Foreign slides stand out, and a cohort's own do not."""

import math

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.covariance import LedoitWolf

from pathai import reference


@pytest.mark.parametrize(("n", "dim"), [(12, 40), (60, 9)])
def test_covariance_is_ledoit_wolf(n: int, dim: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim))
    ref = reference.fit_reference(x, [str(i) for i in range(n)])
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
        ref = reference.fit_reference(x[:-1], [str(i) for i in range(n)])
        home.append(ref.percentile(x[-1]) / 100)
        abroad.append(ref.percentile(x[-1] + 8))
    assert np.mean(np.array(home) > 0.99) <= 0.035  # 99.5 % point of Binomial(150, 0.01)
    assert kstest(home, "uniform").statistic < 0.2
    assert np.mean(np.array(abroad) > 99) > 0.95


def test_slides_of_a_patient_are_left_out_together() -> None:
    rng = np.random.default_rng(5)
    x = np.repeat(rng.normal(size=(10, 6)), 3, axis=0) + rng.normal(0, 0.01, (30, 6))
    together = reference.fit_reference(x, [str(i // 3) for i in range(30)])
    apart = reference.fit_reference(x, [str(i) for i in range(30)])
    assert together.n == 10
    assert together.root_mean > apart.root_mean  # near copies of oneself make everything look near


def test_features_without_variation_do_no_harm() -> None:
    x = np.zeros((5, 3))
    x[:, 0] = [1, 2, 3, 4, 5]
    ref = reference.fit_reference(x, list("abcde"))
    assert ref.percentile([3.0, 0, 0]) < 60
    assert ref.percentile([3.0, 1e3, 0]) > 99
    constant = reference.fit_reference(np.ones((4, 2)), list("abcd"))
    assert math.isfinite(constant.percentile([1.0, 1.0]))
    with pytest.raises(ValueError, match="3 patients"):
        reference.fit_reference(np.ones((4, 2)), list("aabb"))
