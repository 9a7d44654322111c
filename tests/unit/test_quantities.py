"""Hot spots against brute force, spacing against chance, bins, regions and the whole summary."""

from itertools import combinations

import numpy as np
import pytest
from quantity_cases import (
    CONFUSION,
    COUNTED,
    EIGHT,
    KINDS,
    STEP,
    nuclei,
    on,
    two_pieces,
    write_drawn,
)

from pathai.errors import PathaiError
from pathai.quantities.hotspots import densest_circle, radius_um
from pathai.quantities.intensity import allred, h_score, intensity_bins
from pathai.quantities.markers import marker, on_membrane
from pathai.quantities.regions import drawn_parts, pieces, read_drawn
from pathai.quantities.spacing import pattern
from pathai.quantities.squares import map_pixel
from pathai.quantities.summary import Known, Nuclei, known_of, summarize
from pathai.quantities.tumor import in_tumor, tumor_mask
from pathai.store.cells_summary import read_summary, write_regions, write_summary
from pathai.store.records import TissueMap


def brute(points: np.ndarray, radius: float) -> int:
    """Most points in any circle: some best circle has a point in its middle or two on its rim."""
    centers = [*points]
    for a, b in combinations(points, 2):
        gap = float(np.hypot(*(b - a)))
        if 0 < gap <= 2 * radius:
            rise = np.sqrt(radius**2 - gap**2 / 4)
            normal = np.array([a[1] - b[1], b[0] - a[0]]) / gap
            centers += [(a + b) / 2 + side * rise * normal for side in (-1, 1)]
    away = np.hypot(*(np.array(centers)[:, None] - points[None]).transpose(2, 0, 1))
    return int((away <= radius + 1e-7).sum(axis=1).max())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("area", [1.0, 0.25])
def test_a_hot_spot_is_the_densest_circle_of_all_places(seed, area):
    rng = np.random.default_rng(seed)
    side = rng.choice([500, 2000, 6000])
    points = rng.uniform(0, side, (rng.integers(1, 70), 2))
    if seed % 3 == 0:
        points = rng.normal(2000, rng.uniform(100, 900), points.shape)
    circle = densest_circle(points, area)
    away = np.hypot(*(points - [circle.x_um, circle.y_um]).T)
    assert (away <= circle.radius_um).sum() == circle.count == brute(points, radius_um(area))


def test_a_hot_spot_does_not_depend_on_where_or_in_which_order_points_lie():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform(0, 5000, (3000, 2)), rng.normal(3000, 150, (400, 2))])
    first = densest_circle(points, 0.25)
    again = densest_circle(points[rng.permutation(len(points))], 0.25)
    assert first == again
    assert np.hypot(first.x_um - 3000, first.y_um - 3000) < 150
    assert densest_circle(points + np.array([1234.5, -77.25]), 0.25).count == first.count
    assert densest_circle(np.empty((0, 2)), 1.0) is None
    assert densest_circle(np.array([[5.0, 5.0]] * 3), 1.0).count == 3


# --- spacing ---------------------------------------------------------------------------------


def disc() -> TissueMap:
    y, x = np.mgrid[:110, :140]
    return TissueMap((np.hypot(y - 55, (x - 70) / 1.3) < 48).astype(np.uint8), STEP, EIGHT)


def test_random_nuclei_have_the_spacing_of_chance_up_to_the_edge_of_the_tissue():
    rng, tissue = np.random.default_rng(0), disc()
    found = [pattern(on(tissue, 900, rng), tissue) for _ in range(4)]
    assert np.mean([f.clark_evans for f in found]) == pytest.approx(1, abs=0.03)
    inside = [
        abs(value) <= chance
        for f in found
        for value, chance in zip(f.ripley_l_um, f.chance_um, strict=True)
    ]
    assert np.mean(inside) > 0.75
    expected = 0.5 / np.sqrt(900 / (tissue.area_mm2(1) * 1e6))
    assert np.mean([f.nearest_um[1] for f in found]) == pytest.approx(expected, rel=0.1)


def test_clusters_and_lattices_are_told_from_chance():
    rng, tissue = np.random.default_rng(2), disc()
    heads = on(tissue, 60, rng)
    tight = np.repeat(heads, 15, axis=0) + rng.normal(0, 15, (900, 2)).astype(np.float32)
    held = tissue.classes[map_pixel(tissue, tight)] == 1
    clustered = pattern(tight[held], tissue)
    assert clustered.clark_evans < 0.7
    assert clustered.ripley_l_um[1] > 3 * clustered.chance_um[1]
    y, x = np.mgrid[0:1760:40, 0:2240:40]
    grid = np.stack([x.ravel() + 3, y.ravel() + 3], axis=1).astype(np.float32)
    even = pattern(grid[tissue.classes[map_pixel(tissue, grid)] == 1], tissue)
    assert even.clark_evans > 1.7
    assert even.nearest_um == pytest.approx((20, 20, 20), abs=0.01)
    assert pattern(grid[:10], tissue) is None


# --- intensity -------------------------------------------------------------------------------


def test_bins_h_score_and_allred_by_hand():
    cut = (0.15, 0.4, 0.6)
    od = np.array([0.0, 0.149, 0.15, 0.39, 0.4, 0.6, 2.0])
    assert intensity_bins(od, cut).tolist() == [0, 0, 1, 1, 2, 3, 3]
    # 40 x 0, 30 x 1, 20 x 2, 10 x 3 in two equal squares: 30 + 40 + 30.
    score = h_score(np.array([50, 50]), np.array([50, 50]))
    assert (score.value, score.low, score.high) == pytest.approx((100, 100, 100))
    one = h_score(np.array([100]), np.array([100]))
    assert (one.value, one.low, one.high) == (100, 0, 300)


@pytest.mark.parametrize(
    ("counts", "scores"),
    [
        ((100, 0, 0, 0), (0, 0)),
        ((995, 5, 0, 0), (1, 1)),
        ((99, 0, 0, 1), (2, 3)),
        ((90, 0, 10, 0), (2, 2)),
        ((89, 11, 0, 0), (3, 1)),
        ((200, 0, 0, 100), (3, 3)),
        ((66, 17, 17, 0), (4, 2)),
        ((33, 0, 0, 67), (5, 3)),
        ((0, 50, 0, 50), (5, 2)),
    ],
)
def test_allred_at_its_limits(counts, scores):
    assert allred(counts) == scores


def test_h_score_covers_the_tissue_it_is_a_sample_of():
    rng, hits, trials = np.random.default_rng(6), 0, 300
    for _ in range(trials):
        total = rng.poisson(60, 25)
        shares = rng.dirichlet([8, 4, 3, 1], len(total))
        level = np.array([rng.multinomial(n, p) @ [0, 1, 2, 3] for n, p in zip(total, shares,
                          strict=True)])  # fmt: skip
        made = h_score(level, total)
        hits += made.low <= 100 * (4 + 6 + 3) / 16 <= made.high
    assert 0.91 <= hits / trials <= 0.985


def test_markers():
    assert [marker(s) for s in ("MIB-1", "ki 67", "ER", "HER2", "PD-L1", "H-DAB", "H&E")] == [
        "ki67", "ki67", "er", "her2", "pdl1", "other", "other",
    ]  # fmt: skip
    assert on_membrane("HER2")
    assert on_membrane("CD8")
    assert not on_membrane("p53")


# --- regions ---------------------------------------------------------------------------------


def test_pieces_are_connected_tissue_without_specks():
    found = list(pieces(two_pieces()))
    assert [p.name for p in found] == ["piece 1", "piece 2"]
    assert [int(p.inside.sum()) for p in found] == [8000, 6200]
    assert (found[0].box.x, found[0].box.y, found[0].box.width) == (160, 160, 1280)


SQUARE = [[[320, 320], [960, 320], [960, 960], [320, 960], [320, 320]]]
BOW = [[[0, 0], [640, 640], [640, 0], [0, 640], [0, 0]]]


def test_drawn_regions_are_read_as_qupath_writes_them(tmp_path):
    path = write_drawn(
        tmp_path / "s.geojson",
        ("Polygon", SQUARE, {"objectType": "annotation", "classification": {"name": "Tumor"}}),
        ("Polygon", BOW, {"name": "hand-drawn"}),
        ("LineString", [[0, 0], [9, 9]], {}),
        ("Polygon", SQUARE, None),
    )
    drawn = read_drawn(path)
    assert [d.name for d in drawn] == ["Tumor", "hand-drawn", "region"]
    parts = drawn_parts(two_pieces(), drawn)
    by_name = {p.name: p for p in parts}
    assert int(by_name["Tumor"].inside.sum()) == 40 * 40
    # A line that crosses itself encloses two triangles, of which tissue takes a part.
    assert 0 < int(by_name["hand-drawn"].inside.sum()) < 800


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[1, 2]", '{"features": [{"geometry": {"type": "Polygon"}}]}',
             '{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}']
)  # fmt: skip
def test_files_that_hold_no_region_are_refused(tmp_path, text):
    (tmp_path / "s.geojson").write_text(text)
    with pytest.raises(PathaiError, match="E155"):
        read_drawn(tmp_path / "s.geojson")
    with pytest.raises(PathaiError, match="E155"):
        read_drawn(tmp_path / "none.geojson")


# --- the whole -------------------------------------------------------------------------------


def summary_of(classes, stain, family, known=None, tissue=None):
    tissue = tissue or two_pieces()
    return summarize(
        nuclei(classes, tissue), tissue, detector="d", digest="ab", stain=stain, family=family,
        cutoffs_od=(0.15, 0.4, 0.6), known=known,
    )  # fmt: skip


def test_every_count_adds_up_and_every_value_lies_in_its_interval():
    made = summary_of(KINDS, "H&E", "he", Known(COUNTED, None, CONFUSION))
    slide, *parts = made.regions
    assert slide.count.value == 3000
    assert 2990 <= sum(p.count.value for p in parts) <= 3000  # a speck holds a few
    assert sum(c.count.value for c in slide.classes) == 3000
    assert slide.tissue_mm2 == pytest.approx((8000 + 6200 + 1) * 64e-6)
    for region in made.regions:
        assert region.count.low <= region.count.value <= region.count.high
        density = region.density_per_mm2
        assert density.value == pytest.approx(region.count.value / region.tissue_mm2)
        assert (density.high / density.low) > (region.count.high / region.count.low) * 0.999
        for one in region.classes:
            assert one.share.value == pytest.approx(one.count.value / region.count.value)
    assert made.bins is None
    assert slide.positive is None
    assert {(s.counted, s.area_mm2) for s in made.hot_spots} == {
        (name, area) for name in ("nuclei", "tumor", "lymphocyte") for area in (1.0, 0.25)
    }
    for spot in made.hot_spots:
        assert spot.tissue_mm2 <= spot.area_mm2 * 1.01
        assert spot.count.value <= spot.nuclei <= 3000
    assert known_of(made) == Known(COUNTED, None, CONFUSION)


def test_a_nucleus_whose_center_lies_off_the_tissue_is_not_lost():
    tissue = two_pieces()
    cells = nuclei(KINDS, tissue)
    moved = cells.xy_px0.copy()
    moved[:5] = [0.0, 900.0]  # glass, nearest to the first piece
    made = summarize(
        Nuclei(moved, cells.class_, cells.dab_od, KINDS), tissue, detector="d", digest="a",
        stain="H&E", family="he", cutoffs_od=(0.15, 0.4, 0.6),
    )  # fmt: skip
    assert made.slide.count.value == 3000
    assert sum(c.count.value for c in made.slide.classes) == 3000


def test_classes_by_stain_give_shares_and_bins():
    made = summary_of(("negative", "positive"), "ER", "ihc")
    slide = made.slide
    assert slide.classes == ()
    assert (slide.positive.numerator + made.bins.counts[0]) == slide.positive.denominator == 3000
    assert sum(made.bins.counts[1:]) == slide.positive.numerator
    assert made.bins.counts[2] > 0
    assert made.bins.allred == made.bins.proportion_score + made.bins.intensity_score
    assert made.error is None
    assert "not errors of the detector" in slide.count.covers
    assert {s.counted for s in made.hot_spots} == {"nuclei", "positive"}


def test_one_class_gives_a_total_and_never_a_class_count():
    made = summary_of(("nucleus",), "H&E", "he")
    assert made.slide.classes == ()
    assert made.slide.positive is None
    assert made.crowded.densest_per_mm2 is None


@pytest.mark.parametrize("classes", [("nucleus",), ("negative", "positive"), KINDS])
def test_a_slide_without_nuclei_or_tissue_has_a_summary(classes):
    for tissue in (two_pieces(), TissueMap(np.zeros((9, 9), np.uint8), STEP, EIGHT)):
        none = Nuclei(np.empty((0, 2), np.float32), np.empty(0, np.uint8), np.empty(0), classes)
        made = summarize(none, tissue, detector="d", digest="a", stain="Ki-67", family="ihc",
                         cutoffs_od=(0.15, 0.4, 0.6), known=Known(COUNTED))  # fmt: skip
        assert made.slide.count.value == 0
        assert made.slide.count.high > 3
        assert made.bins is None
        assert made.hot_spots == ()


def test_a_summary_is_read_back_as_it_was_written(tmp_path):
    made = summary_of(KINDS, "H&E", "he", Known(COUNTED, None, CONFUSION))
    path = tmp_path / "d.summary.json"
    write_summary(path, made)
    write_regions(tmp_path / "d.regions.csv", made)
    assert read_summary(path) == made
    table = (tmp_path / "d.regions.csv").read_text().splitlines()
    assert len(table) == 1 + len(made.regions) * (1 + len(KINDS))
    assert table[1].startswith("slide,slide,0.908")
    path.write_text("{")
    with pytest.raises(PathaiError, match="E164"):
        read_summary(path)
    assert read_summary(tmp_path / "elsewhere") is None


def test_figures_in_tumor_are_those_of_its_region():
    tissue = two_pieces()
    known, cells = Known(COUNTED, None, CONFUSION), nuclei(KINDS, tissue)
    inside = np.zeros(tissue.classes.shape, bool)
    inside[:, :60] = True
    inside &= tissue.classes == 1
    found = in_tumor(inside, cells, tissue, known, source="drawn")
    held = cells.xy_px0[:, 0] < 60 * STEP
    assert found.region.count.value == held.sum()
    assert found.region.tissue_mm2 == pytest.approx(inside.sum() * 64e-6)
    part = found.cellularity
    assert part.numerator == (held & (cells.class_ == 0)).sum()
    assert part.denominator == held.sum()
    lymphocytes = (held & (cells.class_ == 2)).sum()
    assert found.lymphocytes_per_mm2.value == pytest.approx(lymphocytes / found.region.tissue_mm2)
    # About as much as discs of 15 µm around so many random points cover; on px of 8 µm a disc is
    # nine px, a fifth less than its true area.
    covered = 1 - np.exp(-lymphocytes / (found.region.tissue_mm2 * 1e6) * np.pi * 15**2)
    assert found.lymphocyte_area == pytest.approx(covered, abs=0.08)
    assert found.area_share == pytest.approx(inside.sum() / 14201)
    bare = in_tumor(inside, nuclei(("nucleus",), tissue), tissue, known, source="model", model="m")
    assert bare.cellularity is None
    assert bare.lymphocyte_area is None


def test_a_models_tiles_become_a_region():
    tissue = two_pieces()
    corners = np.array([[160, 160], [480, 160], [2000, 800]], np.int32)
    mask = tumor_mask(corners, np.array([320, 320], np.float32), np.array([2.0, 0.5, 1.5]), 1.0,
                      tissue)  # fmt: skip
    assert mask[10:30, 10:30].all()
    assert not mask[10:30, 30:50].any()
    assert int(mask.sum()) == 400 + (tissue.classes[50:70, 125:145] == 1).sum()
