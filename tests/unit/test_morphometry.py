"""Measures of nuclei: known shapes, known stain, and nothing from beyond the ring."""

from dataclasses import dataclass

import numpy as np
import pytest
from shapely.affinity import rotate
from shapely.geometry import Polygon

from pathai.detectors.base import Detections
from pathai.detectors.classical import Classical
from pathai.morphometry import MEASURES, RING_UM, measure
from pathai.outlines import inside, moments
from pathai.stain import STAINS, Background, compose
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

HALF = Mpp(0.5, 0.5)
KNOWN = Background((255.0, 255.0, 255.0), STAINS["H&E"], 0.0)


@dataclass(frozen=True)
class Drawn:
    """Outlines alone: all that `measure` asks for."""

    centers: np.ndarray
    outline: np.ndarray
    outline_start: np.ndarray


def drawn(rings: list[np.ndarray], centers: np.ndarray | None = None) -> Drawn:
    start = np.cumsum([0, *(len(r) for r in rings)]).astype(np.int64)
    if centers is None:
        centers = np.array([r.mean(axis=0) for r in rings])
    points = np.concatenate([np.empty((0, 2)), *rings])
    return Drawn(centers.astype(np.float32), points.astype(np.float32), start)


def ellipse_um(
    center_um: tuple[float, float], major: float, minor: float, turn: float, mpp: Mpp, corners=64
) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    a, b = major / 2 * np.cos(angle), minor / 2 * np.sin(angle)
    x = center_um[0] + a * np.cos(turn) - b * np.sin(turn)
    y = center_um[1] + a * np.sin(turn) + b * np.cos(turn)
    return np.stack([x / mpp.x, y / mpp.y], axis=1)


def painted(outline: Drawn, size: int, first: float, second: float, around: float) -> np.ndarray:
    """Nuclei of one density of hematoxylin and of eosin on a ground of other eosin."""
    density = np.zeros((3, size, size))
    density[1] = around
    runs = inside(outline.outline.astype(float), outline.outline_start)
    for row, left, right in zip(runs.row, runs.left, runs.right, strict=True):
        density[0, row, left:right] = first
        density[1, row, left:right] = second
    return compose(density, STAINS["H&E"])


def values(rgb: np.ndarray, mpp: Mpp, found: Drawn | Detections) -> dict[str, np.ndarray]:
    return dict(zip(MEASURES, measure(rgb, mpp, KNOWN, found).T, strict=True))


def whole(rows: np.ndarray, found: Detections) -> Detections:
    """Chosen detections."""
    length = np.diff(found.outline_start)[rows]
    place = np.concatenate(
        [np.arange(*found.outline_start[i : i + 2]) for i in rows] or [np.empty(0, int)]
    )
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    parts = (found.centers, found.anchors, found.score, found.class_, found.prob, found.dab_od)
    return Detections(*(p[rows] for p in parts), found.outline[place], start)


@pytest.mark.parametrize("mpp", [Mpp(0.25, 0.25), Mpp(0.5, 0.5), Mpp(0.4, 0.6)])
@pytest.mark.parametrize(("major", "minor"), [(8.0, 8.0), (12.0, 7.0), (16.0, 4.0)])
def test_size_and_form_of_known_ellipses(mpp: Mpp, major: float, minor: float) -> None:
    turns = np.deg2rad([0.0, 30.0, 77.0, 120.0, 165.0])
    found = drawn([ellipse_um((20.0, 20.3), major, minor, t, mpp) for t in turns])
    got = values(np.full((120, 180, 3), 255, np.uint8), mpp, found)
    assert got["area_um2"] == pytest.approx(np.pi / 4 * major * minor, rel=0.01)
    assert got["major_um"] == pytest.approx(major, rel=0.01)
    assert got["minor_um"] == pytest.approx(minor, rel=0.02)
    assert got["eccentricity"] == pytest.approx(
        np.sqrt(1 - (minor / major) ** 2), abs=0.05
    )  # a root: 1/64 px shows
    h = ((major - minor) / (major + minor)) ** 2  # Ramanujan's perimeter of an ellipse
    around = np.pi / 2 * (major + minor) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
    assert got["perimeter_um"] == pytest.approx(around, rel=0.02)
    assert (got["solidity"] > 0.97).all()
    if major > minor:
        off = (got["orientation_deg"] - np.rad2deg(turns) + 90) % 180 - 90
        assert np.abs(off).max() < 1


def test_a_notch_lowers_solidity_and_circularity() -> None:
    disc = ellipse_um((20, 20), 12, 12, 0, HALF)
    moon = Polygon(disc).difference(Polygon(ellipse_um((24, 20), 9, 9, 0, HALF)))
    got = values(
        np.full((90, 90, 3), 255, np.uint8), HALF, drawn([disc, np.array(moon.exterior.coords)])
    )
    assert got["solidity"][1] < 0.85 < got["solidity"][0]
    assert got["circularity"][1] < 0.7 < got["circularity"][0]


def test_area_and_pixels_agree_with_shapely() -> None:
    rng = np.random.default_rng(5)
    rings = []
    for _ in range(40):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 17))
        radius = rng.uniform(3, 14, 17)
        rings.append(
            np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) + rng.uniform(30, 70, 2)
        )
    found = drawn(rings)
    exact = moments(found.outline, found.outline_start)
    polygons = [Polygon(r) for r in rings]
    assert exact.area == pytest.approx([p.area for p in polygons], rel=1e-4)
    assert exact.x == pytest.approx([p.centroid.x for p in polygons], abs=1e-2)
    runs = inside(found.outline.astype(float), found.outline_start)
    pixels = np.bincount(runs.owner, runs.right - runs.left, minlength=len(rings))
    assert pixels == pytest.approx(exact.area, abs=8)


def test_stain_of_nucleus_and_ring() -> None:
    found = drawn([ellipse_um((18, 20), 10, 8, 0.4, HALF), ellipse_um((45, 20), 7, 7, 0, HALF)])
    rgb = painted(found, 128, 0.8, 0.1, 0.3)
    got = values(rgb, HALF, found)
    assert got["hematoxylin_od"] == pytest.approx(0.8, abs=0.01)
    assert got["second_od"] == pytest.approx(0.1, abs=0.01)
    assert got["hematoxylin_sd_od"] == pytest.approx(0, abs=0.01)
    assert got["ring_second_od"] == pytest.approx(0.3, abs=0.01)
    assert got["ring_hematoxylin_od"] == pytest.approx(0, abs=0.02)
    assert got["edge_contrast_od"] == pytest.approx(0.8, abs=0.02)
    assert got["ring_nuclear_share"] == pytest.approx(0, abs=0.01)
    assert got["ring_clear_share"] == pytest.approx(0, abs=0.01)


def test_a_pale_center_shows_as_rim() -> None:
    found = drawn([ellipse_um((20, 20), 12, 12, 0, HALF)])
    rgb = painted(found, 90, 0.8, 0.1, 0.3)
    hole = drawn([ellipse_um((20, 20), 6, 6, 0, HALF)])
    runs = inside(hole.outline.astype(float), hole.outline_start)
    pale = rgb.copy()
    for row, left, right in zip(runs.row, runs.left, runs.right, strict=True):
        pale[row, left:right] = compose(
            np.full((3, 1, 1), [[[0.3]], [[0.1]], [[0.0]]]), KNOWN.stain
        )
    solid, vesicular = values(rgb, HALF, found), values(pale, HALF, found)
    assert abs(solid["rim_minus_core_od"][0]) < 0.02
    assert vesicular["rim_minus_core_od"][0] > 0.2
    assert vesicular["gradient_od_per_um"][0] > solid["gradient_od_per_um"][0]


def test_quarter_turns_change_nothing_but_the_direction() -> None:
    rgb, _ = synthetic_field(11, width=160, height=160)
    found = Classical().detect(rgb, HALF)
    turned = np.stack([found.outline[:, 1], 160 - found.outline[:, 0]], axis=1)  # counter-clockwise
    centers = np.stack([found.centers[:, 1], 160 - found.centers[:, 0]], axis=1)
    before = measure(rgb, HALF, KNOWN, found)
    after = measure(
        np.ascontiguousarray(np.rot90(rgb)),
        HALF,
        KNOWN,
        Drawn(centers, turned, found.outline_start),
    )
    angle = MEASURES.index("orientation_deg")
    rest = np.delete(np.arange(len(MEASURES)), angle)
    # a pixel center that lies on an outline may change sides
    scale = before.std(axis=0)[rest]
    assert np.abs(after - before)[:, rest].max(axis=0) == pytest.approx(0 * scale, abs=0.2)
    assert np.median(np.abs(after - before)[:, rest] / scale) < 1e-3
    clear = before[:, MEASURES.index("eccentricity")] > 0.5
    off = (after[clear, angle] - before[clear, angle] + 90 + 90) % 180 - 90
    assert np.abs(off).max() < 0.5


def test_any_turn_of_the_outline_keeps_its_form() -> None:
    ring = np.array([[0, 0], [14, 0], [16, 6], [9, 10], [2, 8]], float) + 40
    rings = [np.array(rotate(Polygon(ring), a).exterior.coords)[:-1] for a in (0, 17, 45, 140)]
    got = values(np.full((96, 96, 3), 255, np.uint8), HALF, drawn(rings))
    for name in ("area_um2", "perimeter_um", "major_um", "minor_um", "eccentricity", "circularity"):
        assert got[name] == pytest.approx(got[name][0], rel=5e-3), name
    assert got["solidity"] == pytest.approx(got["solidity"][0], abs=0.03)


def test_other_dyes_and_light_give_the_same_densities() -> None:
    found = drawn([ellipse_um((20, 20), 10, 8, 0.4, HALF)])
    density = np.zeros((3, 90, 90))
    density[1] = 0.3
    runs = inside(found.outline.astype(float), found.outline_start)
    for row, left, right in zip(runs.row, runs.left, runs.right, strict=True):
        density[0, row, left:right] = 0.7
    dim = (236.0, 230.0, 240.0)
    rows = [
        measure(compose(density, stain, white), HALF, Background(white, stain, 0.0), found)
        for stain, white in ((STAINS["H&E"], KNOWN.white), (STAINS["H-DAB"], dim))
    ]
    assert rows[0] == pytest.approx(rows[1], rel=0.01, abs=0.05)


def test_a_block_gives_the_same_bits_as_the_whole() -> None:
    rgb, _ = synthetic_field(8, width=384, height=320)
    found = Classical().detect(rgb, HALF)
    all_ = measure(rgb, HALF, KNOWN, found)
    x0, y0, x1, y1 = 97, 61, 311, 257
    margin = 40  # px: more than any nucleus of the picture and its ring reach
    inner = (found.centers > [x0 + margin, y0 + margin]).all(1)
    inner &= (found.centers < [x1 - margin, y1 - margin]).all(1)
    rows = np.flatnonzero(inner)
    part = whole(rows, found)
    shifted = Drawn(part.centers - [x0, y0], part.outline - [x0, y0], part.outline_start)
    block = np.ascontiguousarray(rgb[y0:y1, x0:x1])
    assert len(rows) > 20
    assert (measure(block, HALF, KNOWN, shifted) == all_[rows]).all()


def test_pixels_beyond_the_ring_take_no_part() -> None:
    found = drawn([ellipse_um((20, 20), 10, 8, 0.4, HALF)])
    rgb = painted(found, 90, 0.8, 0.1, 0.3)
    far = painted(found, 90, 0.8, 0.1, 0.3)
    y, x = np.mgrid[:90, :90] + 0.5
    beyond = np.hypot(x - 40, y - 40) > 10 + RING_UM / 0.5 + 2  # px
    far[beyond] = 17
    assert (measure(rgb, HALF, KNOWN, found) == measure(far, HALF, KNOWN, found)).all()
    near = rgb.copy()
    near[np.hypot(x - 40, y - 40) > 12] = 17
    assert (measure(rgb, HALF, KNOWN, found) != measure(near, HALF, KNOWN, found)).any()


def test_order_of_nuclei_only_orders_the_rows() -> None:
    rgb, _ = synthetic_field(8, width=256, height=256)
    found = Classical().detect(rgb, HALF)
    order = np.random.default_rng(0).permutation(len(found))
    straight, mixed = (measure(rgb, HALF, KNOWN, f) for f in (found, whole(order, found)))
    assert (straight[order] == mixed).all()


def test_edge_and_degenerate_outlines_give_finite_numbers() -> None:
    rgb, _ = synthetic_field(8, width=64, height=64)
    rings = [
        ellipse_um((0, 0), 10, 10, 0, HALF),  # a quarter lies in the image
        ellipse_um((-40, 90), 10, 10, 0, HALF),  # none of it
        np.empty((0, 2)),
        np.array([[20.0, 20.0]]),
        np.array([[20.0, 20.0], [30.0, 20.0], [25.0, 20.0]]),  # a line
        np.array([[10.0, 10.0], [30.0, 30.0], [30.0, 10.0], [10.0, 30.0]]),  # crosses itself
        np.array([[5.2, 5.2], [5.3, 5.2], [5.3, 5.3]]),  # less than a pixel
    ]
    centers = np.array([[0, 0], [-80, 180], [9, 9], [20, 20], [25, 20], [20, 20], [5, 5]], float)
    got = measure(rgb, HALF, KNOWN, drawn(rings, centers))
    assert np.isfinite(got).all()
    table = dict(zip(MEASURES, got.T, strict=True))
    assert (table["area_um2"][2:5] == 0).all()
    full = np.pi / 4 * 10 * 10
    assert table["area_um2"][0] == pytest.approx(full, rel=0.01)  # form is that of the outline
    assert (table["hematoxylin_od"] >= -0.1).all()


def test_no_nuclei_and_no_pixels() -> None:
    none = drawn([])
    assert measure(np.full((9, 9, 3), 255, np.uint8), HALF, KNOWN, none).shape == (0, len(MEASURES))
    assert measure(np.empty((0, 0, 3), np.uint8), HALF, KNOWN, none).shape == (0, len(MEASURES))


def test_every_measure_is_named_once_and_differs() -> None:
    rgb, _ = synthetic_field(8, width=256, height=256)
    got = measure(rgb, HALF, KNOWN, Classical().detect(rgb, HALF))
    assert len(set(MEASURES)) == len(MEASURES) == got.shape[1]
    assert got.dtype == np.float32
    spread = got.std(axis=0)
    assert (spread > 0).all(), [n for n, s in zip(MEASURES, spread, strict=True) if s == 0]
