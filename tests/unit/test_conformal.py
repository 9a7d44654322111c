"""Sets and intervals hold the truth as often as they promise."""

import numpy as np
import pytest
from scipy.stats import binom

from pathai import conformal
from pathai.calibration import softmax


def test_conformal_sets_cover_each_class() -> None:
    rng = np.random.default_rng(2)
    hits, n_new = np.zeros(2), np.zeros(2)
    sizes = []
    for _ in range(300):
        y = np.repeat([0, 1], [60, 25])
        prob = softmax(np.column_stack([np.zeros(85), rng.normal(3 * y - 1.0, 1.5)]))
        reference = [1 - prob[:-1][y[:-1] == c, c] for c in (0, 1)]
        c = int(rng.random() < 0.5)
        new = softmax([[0.0, rng.normal(3 * c - 1.0, 1.5)]])[0]
        kept = [k for k, p in enumerate(conformal.conformal_p(reference, new)) if p > 0.2]
        hits[c] += c in kept
        n_new[c] += 1
        sizes.append(len(kept))
    for c in (0, 1):
        low, high = binom.interval(0.999, int(n_new[c]), 0.8)
        assert low <= hits[c] <= high + 0.05 * n_new[c]  # discreteness may add a little
    assert np.mean(sizes) < 1.5  # sets that hold everything would cover too


def test_a_small_reference_leaves_no_class_out() -> None:
    few = [[0.01] * 8, [0.02] * 8]
    assert min(conformal.conformal_p(few, [0.999, 0.001])) > 0.1
    assert min(conformal.conformal_p([[0.01] * 9, [0.02] * 9], [0.999, 0.001])) <= 0.1
    assert conformal.conformal_p([[], []], [0.9, 0.1]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="classes"):
        conformal.conformal_p([[0.1]], [0.5, 0.5])
