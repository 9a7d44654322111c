"""Nuclei drawn at known places are found there."""

import numpy as np
import pytest
from shapely.geometry import Polygon

from pathai.errors import PathaiError
from pathai.nuclei import find_nuclei
from pathai.resample import area_reduce, reduction
from pathai.stain import STAINS, compose
from pathai.units import Mpp

HALF = Mpp(0.5, 0.5)


def drawn(
    centers_um: np.ndarray, radius_um: float, size_um: float, mpp: Mpp, stain: str = "H&E"
) -> np.ndarray:
    """Discs of hematoxylin on pale eosin."""
    h, w = round(size_um / mpp.y), round(size_um / mpp.x)
    y, x = np.mgrid[:h, :w]
    density = np.zeros((3, h, w))
    density[1] = 0.12
    for cx, cy in centers_um:
        away = np.hypot((x + 0.5) * mpp.x - cx, (y + 0.5) * mpp.y - cy)
        inside = np.clip((radius_um - away) / mpp.mean + 0.5, 0, 1)
        density[0] = np.maximum(density[0], 0.6 * inside)
    return compose(density, STAINS[stain])


def lattice(step_um: float = 18.0, size_um: float = 110.0) -> np.ndarray:
    at = np.arange(20.0, size_um - 15, step_um)
    return np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("radius", [2.5, 3.5, 5.0, 6.5])
@pytest.mark.parametrize(
    "mpp", [Mpp(0.5, 0.5), Mpp(0.25, 0.25), Mpp(0.33, 0.33), Mpp(0.252, 0.248), Mpp(0.7, 0.7)]
)
def test_place_and_area_at_any_scale(radius: float, mpp: Mpp) -> None:
    truth = lattice()
    found = find_nuclei(drawn(truth, radius, 110, mpp), mpp)
    place = found.centers * [mpp.x, mpp.y]
    assert len(found) == len(truth)
    order = np.lexsort((truth[:, 0], truth[:, 1]))
    nearest = np.hypot(*(place[:, None] - truth[None]).transpose(2, 0, 1)).argmin(axis=1)
    assert sorted(nearest) == sorted(order)
    assert np.abs(place - truth[nearest]).max() < 0.5  # µm
    area = np.pi * radius**2
    assert found.area_um2.mean() == pytest.approx(area, rel=0.25)


def test_touching_nuclei_are_split() -> None:
    truth = np.array([[30.0, 30.0], [37.6, 30.0], [34.0, 60.0], [34.0, 67.8]])
    found = find_nuclei(drawn(truth, 4.0, 100, HALF), HALF)
    assert len(found) == 4


def test_labels_outlines_and_measures_agree() -> None:
    truth = lattice()
    found = find_nuclei(drawn(truth, 4.0, 110, Mpp(0.25, 0.25)), Mpp(0.25, 0.25))
    area = np.bincount(found.labels.ravel())[1:] * found.mpp.x * found.mpp.y
    assert np.allclose(area, found.area_um2)
    assert (np.diff(found.centers[:, 1]) >= 0).all()
    assert np.allclose(found.first_od, 0.55, atol=0.08)
    assert found.eccentricity.max() < 0.45
    for i, outline in enumerate(found.outlines):
        shape = Polygon(outline)
        assert shape.is_valid
        assert shape.area * 0.25**2 == pytest.approx(found.area_um2[i], rel=0.1)


def test_ellipse_is_eccentric() -> None:
    y, x = np.mgrid[:120, :120]
    density = np.zeros((3, 120, 120))
    density[0] = 0.6 * (((x - 60) / 14) ** 2 + ((y - 60) / 7) ** 2 < 1)
    found = find_nuclei(compose(density, STAINS["H&E"]), HALF)
    assert len(found) == 1
    assert found.eccentricity[0] == pytest.approx(np.sqrt(1 - 0.25), abs=0.06)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (7, 3), (64, 63)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_plain_images_have_none(shape: tuple[int, int], value: int) -> None:
    found = find_nuclei(np.full((*shape, 3), value, np.uint8), HALF)
    assert len(found) == 0
    assert found.outlines.shape == (0, 24, 2)
    assert found.eccentricity.shape == (0,)


def test_same_light_in_a_part_gives_the_same_nuclei() -> None:
    image = drawn(lattice(12.0, 200.0), 3.5, 200, HALF)
    white = (255, 255, 255)
    whole = find_nuclei(image, HALF, white=white)
    part = find_nuclei(image[100:, 80:], HALF, white=white)
    shifted = part.centers + np.array([80, 100])
    inner = (shifted > [80 + 80, 100 + 80]).all(axis=1)
    assert inner.sum() > 20
    known = {tuple(c) for c in whole.centers.round(3)}
    assert all(tuple(c) in known for c in shifted[inner].round(3))


@pytest.mark.parametrize("mpp", [0.02, 1.5, float("nan")])
def test_resolution_out_of_range_is_refused(mpp: float) -> None:
    with pytest.raises(PathaiError, match="E131"):
        find_nuclei(np.zeros((8, 8, 3), np.uint8), Mpp(mpp, mpp))


def test_area_reduce_is_the_exact_mean() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    means = image.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    out = area_reduce(image, (2.0, 2.0), (0, 0), (0, 0), (48, 32))
    assert np.abs(out - means).max() <= 0.5
    flat = np.full((50, 50, 3), 77, np.uint8)
    assert (area_reduce(flat, (1.37, 2.71), (0, 0), (0, 0), (36, 18)) == 77).all()


@pytest.mark.parametrize("factor", [(2.0, 2.0), (1.9841, 1.9841), (1.5, 2.3)])
def test_area_reduce_of_a_part_is_a_part_of_the_whole(factor: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (120, 140, 3), dtype=np.uint8)
    size = (int(140 / factor[0]), int(120 / factor[1]))
    whole = area_reduce(image, factor, (0, 0), (0, 0), size)
    start, part = (11, 7), (20, 25)
    x0, y0 = int(start[0] * factor[0]), int(start[1] * factor[1])
    x1, y1 = int((start[0] + part[0]) * factor[0]) + 2, int((start[1] + part[1]) * factor[1]) + 2
    found = area_reduce(image[y0:y1, x0:x1], factor, (x0, y0), start, part)
    assert (found == whole[start[1] : start[1] + part[1], start[0] : start[0] + part[0]]).all()


def test_reduction_leaves_near_and_coarse_alone() -> None:
    assert reduction(Mpp(0.499, 0.51), 0.5) == (1.0, 1.0)
    assert reduction(Mpp(0.25, 0.2), 0.5) == (2.0, 2.5)
    assert reduction(Mpp(0.9, 0.9), 0.5) == (1.0, 1.0)
