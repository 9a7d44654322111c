"""Promises that every registered detector keeps."""

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from shapely.geometry import Polygon

from pathai.cells.blocks import detect_slide
from pathai.detectors import DETECTORS
from pathai.detectors.base import Detections, Detector
from pathai.errors import PathaiError
from pathai.stain import StainMatrix, compose
from pathai.store.records import TissueMap
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

HALF = Mpp(0.5, 0.5)
HE = StainMatrix("foreign", ("h", "e", "residual"), ((0.55, 0.76, 0.35), (0.11, 0.92, 0.38)))
DAB = StainMatrix("foreign", ("h", "dab", "residual"), ((0.58, 0.70, 0.42), (0.33, 0.55, 0.77)))
CASES = list(product(DETECTORS.names(), ("H&E", "H-DAB")))


def make(name: str, stain: str) -> Detector:
    made: Detector = DETECTORS.load(name)(stain=stain, dab_cutoff_od=0.15)
    return made


def all_tissue(width: int, height: int, downsample: float = 8.0) -> TissueMap:
    shape = (int(np.ceil(height / downsample)), int(np.ceil(width / downsample)))
    return TissueMap(np.ones(shape, np.uint8), downsample, Mpp(0.5 * downsample, 0.5 * downsample))


def discs(
    seed: int, stain: str, size: int = 512, count: int = 90
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Separated discs in foreign stain vectors; image, centers, which are brown."""
    rng = np.random.default_rng(seed)
    centers: list[np.ndarray] = []
    while len(centers) < count:
        place = rng.uniform(15, size - 15, 2)
        if all(np.hypot(*(place - c)) > 26 for c in centers):
            centers.append(place)
    xy = np.array(centers)
    brown = rng.random(count) < 0.4
    radius = rng.uniform(5.5, 9, count)
    y, x = np.mgrid[:size, :size] + 0.5
    density = np.zeros((3, size, size))
    pale = 0.10 * rng.random((size, size)) + 0.08
    density[1] = pale if stain == "H&E" else 0.1 * pale
    for (cx, cy), r, is_brown in zip(xy, radius, brown, strict=True):
        inside = np.clip(r - np.hypot(x - cx, y - cy) + 0.5, 0, 1)
        density[0] = np.maximum(density[0], inside * (0.3 if stain != "H&E" and is_brown else 0.5))
        if stain != "H&E" and is_brown:
            density[1] = np.maximum(density[1], 0.5 * inside)
    image = compose(density, HE if stain == "H&E" else DAB, (244, 240, 242))
    return image, xy, brown


def matched(found: np.ndarray, truth: np.ndarray, radius: float) -> np.ndarray:
    """Index of the truth that each detection is matched to, -1 for none."""
    near = csr_array(cdist(found, truth) <= radius)
    index: np.ndarray = maximum_bipartite_matching(near, perm_type="column")
    return index


def same(one: Detections, two: Detections) -> bool:
    """The same nuclei; a network in bfloat16 may move a corner by an eighth of a pixel."""
    exact = all(
        np.array_equal(getattr(one, field), getattr(two, field))
        for field in ("centers", "anchors", "class_", "outline_start")
    )
    near = {"score": 0.01, "prob": 0.02, "dab_od": 0.01, "outline": 0.26}
    return exact and all(
        np.allclose(getattr(one, field), getattr(two, field), rtol=0, atol=most)
        for field, most in near.items()
    )


@pytest.mark.parametrize(("name", "stain"), CASES)
def test_separated_discs_in_foreign_stains(name: str, stain: str) -> None:
    detector = make(name, stain)
    for seed in (1, 2):
        image, truth, brown = discs(seed, stain)
        found = detector.detect(image, HALF)
        index = matched(found.centers, truth, 6.0)
        hits = int((index >= 0).sum())
        assert 2 * hits / (len(found) + len(truth)) >= 0.97
        if stain == "H-DAB":
            wrong = found.class_[index >= 0] != brown[index[index >= 0]]
            assert wrong.mean() <= 0.02


@pytest.mark.parametrize(("name", "stain"), CASES)
def test_shape_of_the_answer(name: str, stain: str) -> None:
    detector = make(name, stain)
    image, _, _ = discs(3, stain)
    found = detector.detect(image, HALF)
    count = len(found)
    assert found.prob.shape == (count, len(detector.classes))
    assert np.allclose(found.prob.sum(axis=1), 1)
    assert (found.prob.argmax(axis=1) == found.class_).all()
    assert found.outline_start[0] == 0
    assert found.outline_start[-1] == len(found.outline)
    for i in range(count):
        shape = Polygon(found.outline[found.outline_start[i] : found.outline_start[i + 1]])
        assert shape.is_valid
        assert shape.area > 10
    assert (np.diff(found.centers[:, 1]) >= 0).all()
    assert same(found, detector.detect(image, HALF))


@pytest.mark.parametrize(("name", "stain"), CASES)
@pytest.mark.parametrize("value", [0, 200, 255])
def test_plain_image_has_none(name: str, stain: str, value: int) -> None:
    detector = make(name, stain)
    found = detector.detect(np.full((100, 130, 3), value, np.uint8), HALF)
    assert len(found) == 0
    assert found.prob.shape == (0, len(detector.classes))
    assert found.outline_start.tolist() == [0]


@pytest.mark.parametrize(("name", "stain"), CASES)
@pytest.mark.parametrize("shift", [(8, 0), (0, 24), (48, 32)])
def test_translation_moves_centers(name: str, stain: str, shift: tuple[int, int]) -> None:
    dx, dy = shift
    image, _, _ = discs(4, stain)
    detector = make(name, stain).for_slide(image)
    halo = int(detector.halo_um / HALF.x)
    whole = detector.detect(image, HALF).centers
    part = detector.detect(image[dy:, dx:], HALF).centers + np.array(shift)
    inner = (part > [halo + dx, halo + dy]).all(axis=1)
    assert inner.sum() > 30
    away = cdist(part[inner], whole)
    assert away.min(axis=1).max() < 1e-3


@pytest.mark.parametrize(("name", "stain"), CASES)
def test_any_shift_gives_nearly_the_same_nuclei(name: str, stain: str) -> None:
    image, _, _ = discs(4, stain)
    detector = make(name, stain).for_slide(image)
    halo = int(detector.halo_um / HALF.x)
    whole = detector.detect(image, HALF).centers
    for dx, dy in ((1, 0), (3, 5), (37, 11)):
        part = detector.detect(image[dy:, dx:], HALF).centers + np.array((dx, dy))
        inner = part[(part > [halo + dx, halo + dy]).all(axis=1)]
        away = cdist(inner, whole).min(axis=1)
        assert (away < 2).mean() > 0.97  # px, 1 µm


@pytest.mark.parametrize(("name", "stain"), CASES)
def test_blocks_equal_the_whole(name: str, stain: str) -> None:
    kind = "H&E" if stain == "H&E" else "Ki-67"
    image, _ = synthetic_field(7, width=700, height=610, stain=kind)
    detector = make(name, stain).for_slide(image)
    for dx, dy in ((0, 0), (37, 11)):  # offsets of the blocks against the tissue
        view = image[dy:, dx:]
        tissue = all_tissue(view.shape[1], view.shape[0])
        whole = detector.detect(view, HALF)
        assert len(whole) > 100
        for block in (128, 200, 336, 4096):
            assert same(detect_slide(view, HALF, tissue, detector, block), whole)


@pytest.mark.parametrize(("name", "stain"), CASES)
def test_blocks_equal_the_whole_at_odd_resolution(name: str, stain: str) -> None:
    mpp = Mpp(0.2532, 0.2509)
    kind = "H&E" if stain == "H&E" else "Ki-67"
    image, _ = synthetic_field(8, width=700, height=610, stain=kind, mpp=0.25)
    detector = make(name, stain).for_slide(image)
    tissue = all_tissue(700, 610)
    whole = detect_slide(image, mpp, tissue, detector, 4096)
    assert len(whole) > 20
    for block, workers in ((96, 1), (160, 2)):
        assert same(detect_slide(image, mpp, tissue, detector, block, workers=workers), whole)


@pytest.mark.parametrize(("name", "stain"), CASES)
def test_digest_follows_the_settings(name: str, stain: str) -> None:
    detector = make(name, stain)
    assert detector.digest == make(name, stain).digest
    assert detector.digest != DETECTORS.load(name)(stain=stain, dab_cutoff_od=0.3).digest
    assert detector.digest == detector.for_slide(discs(5, stain)[0]).digest


@pytest.mark.parametrize("name", DETECTORS.names())
def test_what_cannot_be_done_is_refused(name: str) -> None:
    detector = make(name, "H&E")
    image = np.full((20, 20, 3), 200, np.uint8)
    with pytest.raises(PathaiError, match="E131"):
        detector.detect(image, Mpp(4.0, 4.0))
    with pytest.raises(PathaiError, match=r"E142"):
        make(name, "Giemsa")
