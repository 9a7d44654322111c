"""Counting in regions: what a brute-force count of every nucleus gives, and known truth."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pathai.quantities.error import ShareError
from pathai.quantities.hotspots import densest_circle, densest_square
from pathai.quantities.regions import Drawn, drawn_parts
from pathai.quantities.summary import Known
from pathai.region_counts import AREAS_MM2, NONE, RegionIndex, circle, square, tissue_inside
from pathai.store.records import TISSUE, TissueMap
from pathai.units import Box, Mpp

MPP = Mpp(0.5, 0.25)
CLASSES = ("negative", "positive")


def nuclei(seed: int, n: int, side: float = 4000.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    xy = np.concatenate([rng.uniform(0, side, (n, 2)), rng.normal(side / 2, 90, (n // 2, 2))])
    return xy.astype(np.float32), rng.integers(0, 2, len(xy)).astype(np.uint8)


def star(seed: int, side: float = 4000.0) -> shapely.Polygon:
    """A region with a ragged line, and often with a hole."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 40)))
    reach = rng.uniform(0.05, 0.7, len(angle)) * side
    middle = rng.uniform(-0.1 * side, 1.1 * side, 2)
    line = middle + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    shape = shapely.make_valid(shapely.Polygon(line))
    hole = shapely.Point(*middle).buffer(0.1 * side * rng.uniform())
    return shape.difference(hole) if rng.uniform() < 0.6 else shape


def even_odd(shape: shapely.Geometry, xy: np.ndarray) -> np.ndarray:
    """Inside or not of each point by the crossings of a ray, one edge at a time."""
    inside = np.zeros(len(xy), bool)
    for ring in shapely.get_rings(shapely.get_parts(shapely.get_parts(shape))):
        for (xa, ya), (xb, yb) in zip(ring.coords[:-1], ring.coords[1:], strict=True):
            crosses = (ya > xy[:, 1]) != (yb > xy[:, 1])
            with np.errstate(divide="ignore", invalid="ignore"):
                at = xa + (xy[:, 1] - ya) * (xb - xa) / (yb - ya)
            inside ^= crosses & (xy[:, 0] < at)
    return inside


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 400))
def test_a_region_holds_what_a_ray_through_every_nucleus_says(seed, n):
    xy, class_ = nuclei(seed, n)
    index, shape = RegionIndex(xy, class_, MPP), star(seed)
    inside = even_odd(shape, xy.astype(np.float64))
    assert index.within(shape).tolist() == np.flatnonzero(inside).tolist()
    found = index.count(shape, CLASSES)
    assert found.by_class == {
        name: int((class_[inside] == i).sum()) for i, name in enumerate(CLASSES)
    }
    assert found.total == inside.sum()
    assert found.area_mm2 == pytest.approx(shape.area * MPP.x * MPP.y / 1e6)
    for name, number in found.by_class.items():
        assert found.per_mm2[name] * found.area_mm2 == pytest.approx(number)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 300))
def test_corrections_count_as_if_the_nuclei_had_been_found_so(seed, n):
    """Reclassified, rejected and added nuclei give what an index of the corrected ones gives."""
    rng = np.random.default_rng(seed)
    xy, class_ = nuclei(seed, n)
    index, shape = RegionIndex(xy, class_, MPP), star(seed)
    now = class_.astype(int)
    for _ in range(4):
        rows = rng.choice(len(xy), rng.integers(0, len(xy) + 1), replace=False)
        value = int(rng.integers(NONE, 2))
        index.correct(rows, value)
        now[rows] = value
    added, kinds = nuclei(seed + 1, 20)
    index.set_added(added, kinds)
    kept = now != NONE
    truth = RegionIndex(np.concatenate([xy[kept], added]), np.concatenate([now[kept], kinds]), MPP)
    assert index.count(shape, CLASSES) == truth.count(shape, CLASSES)
    index.set_added(np.empty((0, 2)), ())
    index.correct(np.arange(len(xy)), class_)
    assert index.count(shape, CLASSES) == RegionIndex(xy, class_, MPP).count(shape, CLASSES)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 200))
def test_the_nearest_nucleus_and_those_in_a_box(seed, n):
    rng = np.random.default_rng(seed)
    xy, class_ = nuclei(seed, n)
    index = RegionIndex(xy, class_, MPP)
    if len(xy):
        index.correct(rng.choice(len(xy), len(xy) // 3), NONE)
    place, reach = rng.uniform(-200, 4200, 2), float(rng.uniform(1, 300))
    away = np.hypot(*((xy - place) * (MPP.x, MPP.y)).T)
    away[index.class_ == NONE] = np.inf
    found = index.nearest(*place, reach)
    if len(xy) and away.min() <= reach:
        assert away[found] == pytest.approx(away.min())
    else:
        assert found is None
    box = Box(*place, *rng.uniform(0, 2000, 2))
    inside = ((xy >= (box.x, box.y)) & (xy <= (box.right, box.bottom))).all(axis=1)
    assert index.in_box(box).tolist() == np.flatnonzero(inside).tolist()


def test_the_order_of_nuclei_does_not_matter():
    xy, class_ = nuclei(3, 300)
    order = np.random.default_rng(0).permutation(len(xy))
    shape = star(5)
    a = RegionIndex(xy, class_, MPP).count(shape, CLASSES)
    assert a == RegionIndex(xy[order], class_[order], MPP).count(shape, CLASSES)
    assert a.total > 20


# --- regions of a fixed area -----------------------------------------------------------------


@pytest.mark.parametrize("area", AREAS_MM2)
@pytest.mark.parametrize("mpp", [MPP, Mpp(0.25, 0.25)])
def test_a_dropped_region_has_its_area_and_its_center(area, mpp):
    for draw in (square, circle):
        shape = draw(1000.0, -300.0, area, mpp)
        assert shape.area * mpp.x * mpp.y / 1e6 == pytest.approx(area, rel=1e-12)
        middle = shape.centroid
        assert (middle.x, middle.y) == pytest.approx((1000, -300))
    x0, y0, x1, y1 = circle(0, 0, area, mpp).bounds
    assert (x1 - x0) * mpp.x == pytest.approx((y1 - y0) * mpp.y, rel=1e-9)  # round in µm


def test_a_regular_lattice_has_its_known_density():
    """One nucleus per 10 x 10 µm: 10,000 per mm², in whatever region."""
    mpp = Mpp(0.5, 0.5)
    x, y = np.meshgrid(np.arange(400), np.arange(400))
    xy = (np.stack([x.ravel(), y.ravel()], axis=1) * 20 + 10).astype(np.float32)
    index = RegionIndex(xy, np.zeros(len(xy), np.uint8), mpp)
    one = index.count(square(4000, 4000, 1.0, mpp), ("nucleus",))
    assert one.by_class == {"nucleus": 10_000}
    assert one.per_mm2["nucleus"] == pytest.approx(10_000)
    assert one.positive is None
    assert one.tissue_mm2 is None
    assert one.per_tissue_mm2 == {}
    round_one = index.count(circle(4000, 4000, 2.0, mpp), ("nucleus",))
    assert round_one.per_mm2["nucleus"] == pytest.approx(10_000, rel=0.01)


# --- tissue ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_tissue_in_a_region_is_that_which_findings_are_counted_in(seed):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, (70, 90)).astype(np.uint8)
    tissue = TissueMap(classes, 32.0, Mpp(16.0, 8.0))
    shape = star(seed, 2500)
    part = drawn_parts(tissue, (Drawn("region", shape),))[0]
    area = part.inside.sum() * 16 * 8 / 1e6
    assert tissue_inside(shape, tissue) == pytest.approx(area, abs=1e-9)
    everything = shapely.box(-10, -10, 1e5, 1e5)
    assert tissue_inside(everything, tissue) == pytest.approx(tissue.area_mm2(TISSUE))


def test_tissue_at_the_edge_counts_for_the_share_on_the_slide():
    tissue = TissueMap(np.ones((10, 12), np.uint8), 32.0, Mpp(16, 16), edge=(0.25, 0.5))
    assert tissue_inside(shapely.box(0, 0, 999, 999), tissue) == pytest.approx(tissue.area_mm2(1))
    corner = shapely.box(11 * 32, 9 * 32, 12 * 32, 10 * 32)
    assert tissue_inside(corner, tissue) == pytest.approx(0.125 * 256 / 1e6)
    assert tissue_inside(shapely.Polygon(), tissue) == 0


def test_density_is_given_per_area_and_per_tissue():
    """A region of 1 mm², a quarter of it tissue, with 500 nuclei: 500 and 2000 per mm²."""
    mpp = Mpp(0.5, 0.5)
    classes = np.zeros((250, 250), np.uint8)
    classes[:125, :125] = 1
    tissue = TissueMap(classes, 8.0, Mpp(4, 4))
    xy = np.random.default_rng(0).uniform(1, 999, (500, 2)).astype(np.float32)
    found = RegionIndex(xy, np.zeros(500), mpp).count(
        square(1000, 1000, 1.0, mpp), ("nucleus",), tissue
    )
    assert found.tissue_mm2 == pytest.approx(0.25)
    assert found.per_mm2 == {"nucleus": pytest.approx(500)}
    assert found.per_tissue_mm2 == {"nucleus": pytest.approx(2000)}


# --- the positive share ----------------------------------------------------------------------


def test_the_positive_share_has_an_interval_and_says_what_it_holds():
    xy, class_ = nuclei(1, 3000)
    shape = shapely.box(0, 0, 4000, 4000)
    index = RegionIndex(xy, class_, MPP)
    found = index.count(shape, CLASSES).positive
    assert found.numerator / found.denominator == found.analyzed.value
    assert 0 < found.analyzed.low < found.analyzed.value < found.analyzed.high < 1
    assert "scatter" in found.analyzed.covers
    error = ShareError(0.05, 0.1, 0.4, 40, "test fields")
    checked = index.count(shape, CLASSES, known=Known(share=error)).positive
    assert "test fields" in checked.analyzed.covers
    assert index.count(shapely.box(-9, -9, -1, -1), CLASSES).positive is None
    index.correct(np.arange(len(xy)), 1)
    assert index.count(shape, CLASSES).positive.analyzed.value == 1


def test_the_interval_of_the_share_holds_the_true_share_of_clustered_tissue():
    """Nuclei of one place are alike; in 19 of 20 slides the interval still holds the truth."""
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        patch = rng.beta(3, 7, (8, 8))  # share of each 250 µm square; 0.3 on average
        xy = rng.uniform(0, 2000, (4000, 2))
        share = patch[(xy[:, 1] // 250).astype(int), (xy[:, 0] // 250).astype(int)]
        class_ = (rng.uniform(size=len(xy)) < share).astype(np.uint8)
        index = RegionIndex(xy.astype(np.float32), class_, Mpp(1, 1))
        found = index.count(shapely.box(0, 0, 2000, 2000), CLASSES).positive.analyzed
        held += found.low <= 0.3 <= found.high
    assert held >= 52


# --- the hottest window ----------------------------------------------------------------------


def densest_of_all_squares(xy: np.ndarray, edge: float) -> int:
    """Some best square has a nucleus on its left edge and one on its upper edge."""
    inside = [
        (((xy - (x, y)) >= -1e-9) & ((xy - (x, y)) <= edge + 1e-9)).all(axis=1).sum()
        for x in xy[:, 0]
        for y in xy[:, 1]
    ]
    return int(max(inside))


@pytest.mark.parametrize("seed", range(10))
def test_a_hot_square_is_the_densest_of_all_places(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, rng.choice([400, 2500]), (rng.integers(1, 45), 2))
    found = densest_square(points, 0.25)
    inside = np.abs(points - (found.x_um, found.y_um)).max(axis=1) <= found.edge_um / 2
    assert inside.sum() == found.count == found.at_most == densest_of_all_squares(points, 500)


@pytest.mark.parametrize("find", [densest_circle, densest_square])
@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_the_search_ends_on_a_lattice_and_bounds_what_it_did_not_look_at(find, jitter):
    """Every place of a lattice is as good as the best one: hardly any can be dropped."""
    rng = np.random.default_rng(2)
    x, y = np.meshgrid(np.arange(110) * 18.0, np.arange(110) * 18.0)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    points += rng.normal(0, jitter, points.shape) if jitter else 0
    found = find(points, 0.25, most_centers=10_000)
    distance = np.hypot(*(points - (found.x_um, found.y_um)).T)
    if find is densest_square:
        distance = np.abs(points - (found.x_um, found.y_um)).max(axis=1)
    reach = found.edge_um / 2 if find is densest_square else found.radius_um
    assert (distance <= reach).sum() == found.count
    assert found.count <= found.at_most <= 1.2 * found.count
    better = find(points, 0.25, most_centers=40_000)
    assert found.count <= better.at_most
    assert better.count <= found.at_most
    assert better.at_most <= found.at_most


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3000))
def test_a_short_search_never_promises_too_little(seed, budget):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 3000, (rng.integers(1, 60), 2))
    whole, short = densest_circle(points, 0.25), densest_circle(points, 0.25, budget)
    assert whole.count == whole.at_most
    assert short.count <= whole.count <= short.at_most


def test_a_hot_spot_of_a_search_cut_short_says_so_in_its_interval():
    from pathai.quantities.hotspots import Circle
    from pathai.quantities.summary import _or_more
    from pathai.store.records import Interval

    band = Interval(value=100, low=90, high=110, covers="errors of the detector")
    assert _or_more(Circle(0, 0, 1, 100, 100), band) == band
    wider = _or_more(Circle(0, 0, 1, 100, 1130), band)
    assert (wider.value, wider.low, wider.high) == (100, 90, 1130)
    assert wider.covers.startswith("errors of the detector; ")
    assert "1,130" in wider.covers


def test_the_hottest_window_counts_one_class_as_corrected():
    rng = np.random.default_rng(0)
    mpp = Mpp(0.5, 0.5)
    xy = np.concatenate([rng.uniform(0, 8000, (2000, 2)), rng.normal(6000, 200, (400, 2))])
    class_ = np.r_[np.zeros(2000), np.ones(400)].astype(np.uint8)
    index = RegionIndex(xy.astype(np.float32), class_, mpp)
    hot = index.hottest_circle([1], 0.25)
    assert np.hypot(hot.x_um - 3000, hot.y_um - 3000) < 150
    at = circle(hot.x_um / mpp.x, hot.y_um / mpp.y, 0.25, mpp)
    assert index.count(at, CLASSES).by_class["positive"] == pytest.approx(hot.count, abs=3)
    index.correct(np.flatnonzero(class_), NONE)
    assert index.hottest_circle([1], 0.25) is None
    index.set_added([[100, 100], [120, 100]], [1, 1])
    assert index.hottest_square([1], 0.25).count == 2
    assert index.hottest_square([0, 1], 1.0).count > 2


def test_no_nuclei_is_no_trouble():
    index = RegionIndex(np.empty((0, 2), np.float32), np.empty(0), MPP)
    assert index.count(star(1), CLASSES).total == 0
    assert index.nearest(0, 0, 50) is None
    assert len(index.in_box(Box(0, 0, 10, 10))) == 0
    assert index.hottest_circle([0], 1.0) is None
    one = RegionIndex(np.array([[5.0, 5.0]]), [1], MPP)
    assert one.count(shapely.box(0, 0, 9, 9), CLASSES).by_class == {"negative": 0, "positive": 1}
    assert one.count(shapely.Polygon(), CLASSES).per_mm2 == {}
    with pytest.raises(ValueError, match="1 places, 2 classes"):
        RegionIndex(np.array([[5.0, 5.0]]), [1, 2], MPP)
