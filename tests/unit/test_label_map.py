"""Label maps as nuclei: measured right, the same in any part of an image."""

import numpy as np
import pytest
import shapely
from scipy import ndimage

from pathai.label_map import from_labels, split, star_outlines


def map_of_discs(seed: int, size: int = 400, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Label map int64[size, size] of separate ellipses, and their center, radii and angle."""
    rng = np.random.default_rng(seed)
    facts: list[np.ndarray] = []
    while len(facts) < count:
        place = rng.uniform(20, size - 20, 2)
        if all(np.hypot(*(place - f[:2])) > 27 for f in facts):
            facts.append(
                np.array([*place, rng.uniform(5, 13), rng.uniform(5, 13), rng.uniform(0, 3)])
            )
    y, x = np.mgrid[:size, :size] + 0.5
    labels = np.zeros((size, size), np.int64)
    for i, (cx, cy, a, b, turn) in enumerate(facts):
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        labels[(u / a) ** 2 + (v / b) ** 2 <= 1] = 3 * i + 7
    return labels, np.array(facts)


def test_ellipses_are_measured() -> None:
    labels, facts = map_of_discs(1)
    shapes = from_labels(labels)
    assert len(shapes) == len(facts)
    truth = facts[(shapes.number - 7) // 3]
    assert np.abs(shapes.centers - truth[:, :2]).max() < 0.3
    assert (shapes.poles == shapes.centers).all()
    assert np.allclose(shapes.area_px, np.pi * truth[:, 2] * truth[:, 3], rtol=0.04)
    assert (np.diff(shapes.centers[:, 1]) >= 0).all()
    drawn = shapely.polygons(shapes.outlines)
    assert shapely.is_valid(drawn).all()
    assert np.allclose(shapely.area(drawn), shapes.area_px, rtol=0.1)
    assert shapely.contains_xy(drawn, *shapes.centers.T).all()


def test_names_do_not_matter() -> None:
    labels, _ = map_of_discs(2)
    rng = np.random.default_rng(0)
    want = from_labels(labels)
    for top in (200, 2**40):  # a table of names, and a sorted list of them
        other = rng.permutation(top if top < 1000 else 1000) + 1 + (top if top > 1000 else 0)
        table = np.zeros(1000, np.int64)
        table[: len(other)] = other[:1000]
        found = from_labels(np.where(labels > 0, table[labels], 0))
        assert (found.labels == want.labels).all()
        assert (found.outlines == want.outlines).all()


@pytest.mark.parametrize("shift", [(0, 0), (3, 1), (128, 77)])
def test_a_part_gives_the_same_nuclei(shift: tuple[int, int]) -> None:
    labels, _ = map_of_discs(3)
    whole, (dx, dy) = from_labels(labels), shift
    part = from_labels(labels[dy : dy + 220, dx : dx + 240])
    place = part.centers + np.array(shift, np.float32)
    inner = ((part.centers > 30) & (part.centers < [210, 190])).all(axis=1)
    row = [int(np.flatnonzero((whole.centers == p).all(axis=1))[0]) for p in place[inner]]
    assert len(row) > 8
    assert (part.outlines[inner] + np.array(shift, np.float32) == whole.outlines[row]).all()


def test_the_outline_of_a_crescent_starts_inside_of_it() -> None:
    y, x = np.mgrid[:60, :60] + 0.5
    labels = (np.hypot(x - 30, y - 30) < 20) & (np.hypot(x - 38, y - 30) > 18)
    shapes = from_labels(labels.astype(np.uint8))
    x0, y0 = np.floor(shapes.centers[0]).astype(int)
    assert not labels[y0, x0]
    x1, y1 = np.floor(shapes.poles[0]).astype(int)
    assert labels[y1, x1]
    polygon = shapely.Polygon(shapes.outlines[0])
    assert polygon.is_valid
    assert polygon.area > 0.3 * labels.sum()


def test_small_pieces_are_left_out_and_means_are_means() -> None:
    labels = np.zeros((40, 50), np.int32)
    labels[5:15, 5:15], labels[30, 40] = 4, 9
    assert from_labels(labels).number.tolist() == [4, 9]
    shapes = from_labels(labels, least_px=2)
    assert shapes.number.tolist() == [4]
    values = np.arange(2000.0).reshape(40, 50)
    assert shapes.mean(values) == [values[5:15, 5:15].mean()]
    assert shapes.centers.tolist() == [[10, 10]]


def test_nothing_and_nonsense() -> None:
    empty = from_labels(np.zeros((0, 30), np.int32))
    assert len(empty) == 0
    assert empty.outlines.shape == (0, 24, 2)
    for wrong in (np.zeros((3, 3)), np.zeros((1, 3, 3), int), np.full((3, 3), -1)):
        with pytest.raises(ValueError, match="label"):
            from_labels(wrong)


def test_a_ray_passes_holes_and_no_gaps() -> None:
    labels = np.zeros((40, 90), np.int32)
    labels[15:25, 5:40] = 1
    labels[18:22, 30:32] = 0  # a hole of 2 px
    labels[15:25, 50:80] = 1  # the same name beyond 10 px
    right = star_outlines(labels, np.array([[22.5, 20.0]]))[0, 0]
    assert right[0] == pytest.approx(40, abs=2)


def two_discs(distance: float, shift: int = 0) -> np.ndarray:
    y, x = np.mgrid[:80, :120] + 0.5
    return (np.hypot(x - 40 - shift, y - 40) < 12) | (
        np.hypot(x - 40 - shift - distance, y - 40) < 12
    )


def test_touching_nuclei_are_split_at_the_neck() -> None:
    inside = two_discs(20)
    depth = ndimage.distance_transform_edt(inside)
    heat = ndimage.gaussian_filter(depth / depth.max(), 2)
    labels, anchors, height = split(heat, inside, heat, threshold=0.3, apart_px=6, reach_px=30)
    assert labels.max() == 2
    assert np.abs(anchors - [[40, 40], [60, 40]]).max() < 1.5
    assert ((height > 0.3) & (height <= 1)).all()
    border = np.flatnonzero(labels[40, :-1] != labels[40, 1:])
    assert 49 in (border[1], border[1] - 1, border[1] + 1)
    assert ((labels > 0) == inside).all()


def test_a_plateau_is_one_nucleus_and_noise_in_the_last_bits_is_none() -> None:
    inside = two_discs(40)
    flat = inside * 0.8
    noisy = flat + np.random.default_rng(0).normal(0, 1e-6, flat.shape)
    want = split(flat, inside, flat, threshold=0.5, apart_px=4, reach_px=30)
    found = split(noisy, inside, noisy, threshold=0.5, apart_px=4, reach_px=30)
    assert want[0].max() == 2
    for one, two in zip(want, found, strict=True):
        assert (one == two).all()
    assert np.abs(want[1] - [[40, 40], [80, 40]]).max() < 0.1


def test_no_nucleus_without_a_maximum_or_beyond_its_reach() -> None:
    inside = np.ones((60, 60), bool)
    heat = np.zeros((60, 60))
    assert split(heat, inside, heat, threshold=0.0, apart_px=3, reach_px=9)[0].max() == 0
    heat[30, 30] = 1
    labels, anchors, height = split(heat, inside, heat, threshold=0.5, apart_px=3, reach_px=9)
    assert (labels > 0).sum() == pytest.approx(np.pi * 81, rel=0.1)
    assert anchors.tolist() == [[30.5, 30.5]]
    assert height.tolist() == [1]
