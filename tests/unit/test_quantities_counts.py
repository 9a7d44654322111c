"""Intervals of counts and shares hold the truth as often as they say, and say what they hold."""

import numpy as np
import pytest

from pathai.errors import PathaiError
from pathai.quantities.counting import (
    COVERS,
    count_interval,
    half_width,
    per_mm2,
    tissue_count,
    true_count,
)
from pathai.quantities.crowding import EVEN, crowding
from pathai.quantities.error import CountError, ShareError, calibrate, calibrate_share
from pathai.quantities.shares import (
    COVERS_SHARE,
    ClassError,
    class_count_intervals,
    tissue_share,
    true_share,
)
from pathai.quantities.squares import squares
from pathai.store.records import TissueMap
from pathai.units import Box, Mpp

KNOWN = CountError(0.08, 0.04, 6000.0, 120, "drawn tissue")
MAP_MPP = Mpp(8.0, 8.0)


def band(trials: int, level: float = 0.95) -> tuple[float, float]:
    from scipy.stats import binom

    return tuple(binom.ppf([0.005, 0.995], trials, level) / trials)


def drawn(rng, fields, common, each, smallest=20, largest=400):
    """Fields whose found and true counts differ by a slide's error and by single nuclei."""
    found = rng.integers(smallest, largest, fields)
    sd = np.sqrt(common**2 + each / found)
    return found, found * np.exp(0.06 + sd * rng.standard_normal(fields))


@pytest.mark.parametrize(("common", "each"), [(0.1, 0.5), (0.05, 0.0), (0.0, 0.8)])
def test_the_error_is_measured_and_what_averages_out_is_told_from_what_does_not(common, each):
    rng = np.random.default_rng(7)
    made = [calibrate(*drawn(rng, 100, common, each), np.full(100, 0.05)) for _ in range(12)]
    assert np.mean([m.log_ratio for m in made]) == pytest.approx(0.06, abs=0.015)
    # The careful side: at many nuclei never less than the truth, and not far more.
    assert common - 0.01 <= np.mean([m.log_sd for m in made]) <= common + 0.04
    total = np.mean([m.sd(150) for m in made])
    assert total == pytest.approx(np.sqrt(common**2 + each / 150.5), rel=0.15)


@pytest.mark.parametrize("sizes", [(20, 400), (60, 90)])
def test_coverage_of_the_true_count_is_nominal_on_new_fields(sizes):
    rng = np.random.default_rng(11)
    hits, trials = 0, 0
    for _ in range(10):
        error = calibrate(*drawn(rng, 80, 0.07, 0.5, *sizes), np.full(80, 0.05))
        found, true = drawn(rng, 60, 0.07, 0.5, *sizes)
        for f, t in zip(found, true, strict=True):
            held = true_count(np.array([f]), np.array([0.05]), error)
            hits, trials = hits + (held.low <= t <= held.high), trials + 1
    low, high = band(trials)
    assert low <= hits / trials <= high


def test_the_interval_of_tissue_holds_the_density_of_its_kind():
    """Squares vary and the detector errs at once; either interval alone would be too narrow."""
    rng = np.random.default_rng(3)
    areas, rate, trials = np.full(30, 0.0625), 3000.0, 600
    hits = dict.fromkeys(("both", "scatter", "detector"), 0)
    for _ in range(trials):
        true = rng.poisson(rate * areas * rng.gamma(4, 1 / 4, len(areas)))
        found = rng.binomial(true, np.clip(np.exp(-rng.normal(0.2, 0.1)), 0, 1))
        error = CountError(0.2, 0.1, 1e9, 200, "")
        wanted = rate * areas.sum()
        for name, made in (
            ("both", tissue_count(found, areas, error)),
            ("scatter", count_interval(found, areas)),
            ("detector", true_count(found, areas, error)),
        ):
            hits[name] += made.low <= wanted <= made.high
    low, high = band(trials)
    assert low - 0.01 <= hits["both"] / trials <= high + 0.01
    assert hits["scatter"] / trials < low
    assert hits["detector"] / trials < low


def test_without_a_measured_error_the_interval_says_that_it_is_sampling_alone():
    counts, areas = np.array([20, 40, 30]), np.full(3, 0.06)
    made = true_count(counts, areas, None)
    assert made == count_interval(counts, areas) == tissue_count(counts, areas, None)
    assert made.covers == COVERS
    assert "not errors of the detector" in made.covers
    known = true_count(counts, areas, KNOWN)
    assert "drawn tissue" in known.covers
    assert "120 held-back fields" in known.covers
    assert per_mm2(known, 0.18).high == pytest.approx(known.high / 0.18)


def test_more_nuclei_do_not_make_a_slides_own_error_smaller():
    few, many = (
        true_count(np.array([n]), np.array([1.0]), CountError(0, 0.05, 1e9, 90, "", 0.5))
        for n in (50, 500_000)
    )
    assert (few.high - few.low) / 50 > 1.5 * (many.high - many.low) / 500_000
    assert (many.high - many.low) / 500_000 == pytest.approx(4 * 0.05, rel=0.05)


@pytest.mark.parametrize("found", [0, 1, 9])
def test_few_nuclei_still_have_an_honest_upper_end(found):
    made = true_count(np.array([found]), np.array([0.5]), CountError(0, 0.02, 1e9, 90, ""))
    assert made.low <= found < made.high
    assert made.high >= {0: 3.68, 1: 5.57, 9: 17.0}[found]


def test_a_biased_detector_moves_the_interval_but_the_value_is_what_was_found():
    made = true_count(np.array([1000]), np.array([1.0]), CountError(0.2, 0.01, 1e9, 90, ""))
    assert (made.value, made.low) == (1000, 1000)
    assert made.high == pytest.approx(1000 * np.exp(0.2 + 0.01 * 2), rel=0.01)


def test_too_few_fields_are_refused():
    with pytest.raises(PathaiError, match="E193"):
        calibrate([10] * 7, [11] * 7, [1.0] * 7)


# --- crowding --------------------------------------------------------------------------------


def crowded_map() -> tuple[TissueMap, np.ndarray, np.ndarray]:
    """2 x 2 mm of tissue at 2,000 per mm², with a corner of 0.5 x 0.25 mm at 12,000."""
    tissue = TissueMap(np.ones((250, 250), np.uint8), 16.0, MAP_MPP)
    rng = np.random.default_rng(5)
    even = rng.uniform(0, 4000, (8000, 2))
    dense = rng.uniform([0, 0], [1000, 500], (1250, 2))
    return tissue, even.astype(np.float32), np.concatenate([even, dense]).astype(np.float32)


def test_crowding_is_found_where_it_is_and_nowhere_else():
    tissue, even, both = crowded_map()
    cut = squares(tissue, square_um=125.0)
    assert crowding(cut, cut.count(even), KNOWN) == EVEN
    seen = crowding(cut, cut.count(both), KNOWN)
    assert len(seen.boxes) == 1
    # 16 map pixels of 8 µm to a square: the corner is 3.9 x 1.95 squares.
    assert seen.area_mm2 == pytest.approx(8 * 0.128**2, rel=0.01)
    assert seen.boxes[0] == Box(0.0, 0.0, 4 * 256.0, 2 * 256.0)
    assert seen.nuclei == ((both < [1024, 512]).all(axis=1)).sum()
    assert crowding(cut, cut.count(both), None) == EVEN


def test_crowding_widens_by_the_stated_rule():
    tissue, _, both = crowded_map()
    cut = squares(tissue, square_um=125.0)
    counts = cut.count(both)
    seen = crowding(cut, counts, KNOWN)
    plain, wide = (half_width(len(both), KNOWN, c) for c in (EVEN, seen))
    dense = counts / cut.areas_mm2 > KNOWN.densest_per_mm2
    excess = (counts * np.log(counts / cut.areas_mm2 / KNOWN.densest_per_mm2))[dense].sum()
    expected = plain * (1 + counts[dense].sum() / len(both)) + excess / len(both)
    assert wide == pytest.approx(expected)
    assert wide > 1.2 * plain
    told = true_count(counts, cut.areas_mm2, KNOWN, seen)
    assert "denser than 6,000 per mm²" in told.covers
    assert "denser" not in true_count(counts, cut.areas_mm2, KNOWN).covers


def test_a_sliver_of_tissue_is_not_called_crowded():
    classes = np.zeros((64, 64), np.uint8)
    classes[:2, :2] = 1
    cut = squares(TissueMap(classes, 16.0, MAP_MPP), square_um=125.0)
    assert crowding(cut, np.array([50]), KNOWN) == EVEN


# --- shares ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "alike"), [(0.05, 0.02), (0.3, 0.1)])
def test_coverage_of_a_share_from_squares_that_are_not_alike(p, alike):
    rng = np.random.default_rng(2)
    trials, hits, naive = 800, 0, 0
    for _ in range(trials):
        total = rng.poisson(80, 40)
        heads = rng.beta(p * (1 / alike - 1), (1 - p) * (1 / alike - 1), len(total))
        part = rng.binomial(total, heads)
        held = tissue_share(part, total, None)
        alone = tissue_share(np.array([part.sum()]), np.array([total.sum()]), None)
        hits += held.low <= p <= held.high
        naive += alone.low <= p <= alone.high
    assert 0.92 <= hits / trials <= 0.975
    assert naive / trials < 0.9


def test_coverage_of_a_share_with_misclassification():
    rng = np.random.default_rng(4)

    def made(n):
        total = rng.integers(40, 900, n)
        real = rng.beta(2, 6, n)
        wrong = np.exp(-0.3 + 0.15 * rng.standard_normal(n))  # odds of a slide's own error
        seen = real * wrong / (1 - real + real * wrong)
        truly = rng.binomial(total, real)
        given = rng.binomial(truly, np.minimum(seen / np.maximum(real, 1e-9), 1))
        return given, total, truly

    hits, trials = 0, 0
    for _ in range(8):
        given, total, truly = made(90)
        error = calibrate_share(given, total, truly, total, "drawn")
        for k, n, t in zip(*made(60), strict=True):
            held = true_share(np.array([k]), np.array([n]), error)
            hits, trials = hits + (held.low <= t / n <= held.high), trials + 1
    low, high = band(trials)
    assert low - 0.015 <= hits / trials <= high + 0.01
    assert error.log_odds > 0.15


def test_none_and_all_are_never_certain():
    none = tissue_share(np.array([0, 0]), np.array([40, 60]), None)
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(0.037, abs=0.001)  # Wilson: z² / (n + z²)
    assert none.covers == COVERS_SHARE
    every = tissue_share(np.array([50]), np.array([50]), None)
    assert (every.value, every.high) == (1, 1)
    assert every.low < 0.95
    error = ShareError(0.0, 0.2, 0.3, 50, "drawn")
    held = true_share(np.array([0]), np.array([100]), error)
    assert held.low == 0
    assert held.high > 0.01
    with pytest.raises(PathaiError, match="no nuclei"):
        tissue_share(np.array([0]), np.array([0]), None)


# --- classes ---------------------------------------------------------------------------------

CALLED = np.array(
    [
        [0.80, 0.10, 0.05, 0.03, 0.02],
        [0.12, 0.75, 0.03, 0.08, 0.02],
        [0.02, 0.03, 0.90, 0.03, 0.02],
        [0.03, 0.06, 0.06, 0.80, 0.05],
        [0.10, 0.10, 0.10, 0.20, 0.50],
    ]
)
NAMES = ("tumor", "epithelial", "lymphocyte", "stromal", "other")


def confusion_of(rng, per_class):
    rows = [rng.multinomial(per_class, row).tolist() for row in CALLED]
    return ClassError(NAMES, tuple(map(tuple, rows)), "drawn")


@pytest.mark.parametrize(("per_class", "nuclei"), [(60, 500), (400, 20_000)])
def test_coverage_of_class_counts(per_class, nuclei):
    rng = np.random.default_rng(9)
    hits, raw, trials = np.zeros(5), np.zeros(5), 60
    for _ in range(trials):
        true = rng.multinomial(nuclei, rng.dirichlet(np.ones(5)))
        given = sum(rng.multinomial(n, row) for n, row in zip(true, CALLED, strict=True))
        held = class_count_intervals(given, confusion_of(rng, per_class))
        hits += [i.low <= t <= i.high for i, t in zip(held, true, strict=True)]
        raw += np.abs(given - true) < 2 * np.sqrt(given)
    assert hits.min() / trials >= 0.88
    assert hits.mean() / trials >= 0.94
    assert raw.mean() / trials < 0.8  # what counting errors alone would claim


def test_class_bands_hold_the_count_and_stay_within_all_nuclei():
    error = confusion_of(np.random.default_rng(1), 100)
    given = np.array([0, 3, 900, 80, 17])
    held = class_count_intervals(given, error)
    assert [i.value for i in held] == given.tolist()
    assert all(0 <= i.low <= i.value <= i.high <= 1000 for i in held)
    assert "500 held-back nuclei (drawn)" in held[0].covers
    assert held == class_count_intervals(given, error)  # seeded
    alike = ClassError(NAMES, error.confusion, "drawn", design_effect=8.0)
    even = [200] * 5  # far from the edges of the simplex, where bands are cut off
    spans = [[i.high - i.low for i in class_count_intervals(even, e)] for e in (error, alike)]
    assert sum(spans[1]) > 1.7 * sum(spans[0])


def test_without_a_confusion_a_class_count_claims_nothing():
    unknown = class_count_intervals([30, 12], None)
    assert [(i.low, i.high) for i in unknown] == [(0, 42), (0, 42)]
    assert "not measured" in unknown[0].covers
    assert [i.high for i in class_count_intervals([0, 0], None)] == [0, 0]
    with pytest.raises(PathaiError, match="E193"):
        class_count_intervals([1, 2, 3], ClassError(("a", "b"), ((5, 1), (1, 5))))
    with pytest.raises(PathaiError, match="E193"):
        ClassError(("a", "b"), ((5, 1),))


def test_classes_that_cannot_be_told_apart_have_wide_bands():
    blind = ClassError(("a", "b"), ((50, 50), (50, 50)))
    held = class_count_intervals([500, 500], blind)
    assert held[0].high - held[0].low > 300
