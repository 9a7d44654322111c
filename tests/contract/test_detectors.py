"""Promises that every registered detector keeps."""

from itertools import product

import numpy as np
import pytest
from detector_cases import HALF, all_tissue, discs, matched, same
from scipy.spatial.distance import cdist
from shapely.geometry import Polygon

from pathai.cells.blocks import detect_slide
from pathai.detectors import DETECTORS
from pathai.detectors.base import Detector
from pathai.errors import PathaiError
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

CASES = list(product(DETECTORS.names(), ("H&E", "H-DAB")))


def make(name: str, stain: str) -> Detector:
    made: Detector = DETECTORS.load(name)(stain=stain, dab_cutoff_od=0.15)
    return made


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
