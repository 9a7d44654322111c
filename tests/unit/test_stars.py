"""Star-convex polygons: where rays point, and which of two that overlap stays."""

import numpy as np
import pytest
import shapely

from pathai.detectors.stars import paint, star_polygons, suppress


def circles(centers: np.ndarray, radius: np.ndarray, rays: int = 32) -> np.ndarray:
    return star_polygons(centers, np.repeat(np.asarray(radius, float)[:, None], rays, axis=1))


def test_rays_start_at_x_and_turn_toward_y() -> None:
    polygon = star_polygons(np.array([[10.0, 20.0]]), np.array([[1.0, 2.0, 3.0, 4.0]]))[0]
    assert polygon.tolist() == [[11, 20], [10, 22], [7, 20], [10, 16]]


def brute(polygons: np.ndarray, score: np.ndarray, overlap: float) -> set[int]:
    """The rule, one pair after the other."""
    shapes = [shapely.Polygon(p) for p in polygons]
    kept: list[int] = []
    for i in np.argsort(-score, kind="stable"):
        covered = [
            shapes[i].intersection(shapes[j]).area > overlap * min(shapes[i].area, shapes[j].area)
            for j in kept
        ]
        if not any(covered):
            kept.append(int(i))
    return set(kept)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7])
def test_the_strongest_stay(seed: int, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 120, (150, 2))
    distances = rng.uniform(4, 12, (150, 32))  # jagged
    polygons, score = star_polygons(centers, distances), rng.permutation(150) / 150
    kept = suppress(polygons, score, overlap)
    assert set(kept.tolist()) == brute(polygons, score, overlap)
    assert (np.diff(score[kept]) < 0).all()
    assert 5 < len(kept) < 150


def test_equal_scores_do_not_depend_on_the_order() -> None:
    centers = np.random.default_rng(1).uniform(0, 80, (60, 2))
    polygons, score = circles(centers, np.full(60, 8)), np.full(60, 0.5)
    turn = np.random.default_rng(2).permutation(60)
    one, two = suppress(polygons, score, 0.3), suppress(polygons[turn], score, 0.3)
    assert one.tolist() == turn[two].tolist()


def test_none_at_all() -> None:
    nothing = star_polygons(np.empty((0, 2)), np.empty((0, 32)))
    assert suppress(nothing, np.empty(0), 0.3).tolist() == []
    assert paint(nothing, np.empty(0), (9, 9)).sum() == 0


def test_painted_polygons_have_their_area_and_the_stronger_is_on_top() -> None:
    polygons = circles(np.array([[20.0, 20.0], [30.0, 20.0]]), np.array([8.0, 8.0]))
    labels = paint(polygons, np.array([0.9, 0.5]), (40, 60))
    assert (labels == 1).sum() == pytest.approx(shapely.Polygon(polygons[0]).area, rel=0.06)
    assert labels[20, 24] == 1
    assert labels[20, 36] == 2
