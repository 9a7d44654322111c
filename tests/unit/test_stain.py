"""Color deconvolution gives back what was drawn."""

import numpy as np
import pytest

from pathai.errors import PathaiError
from pathai.stain import (
    STAINS,
    StainMatrix,
    compose,
    densities,
    estimate_stains,
    given_matrix,
    optical_density,
    slide_background,
    stain_matrix,
    white_point,
)
from pathai.testing.picture import synthetic_field

FOREIGN = StainMatrix("foreign", ("h", "e", "residual"), ((0.55, 0.76, 0.35), (0.11, 0.92, 0.38)))


def random_density(seed: int, most: tuple[float, float] = (1.0, 0.8)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    density = rng.random((3, 40, 50)) * np.array([*most, 0])[:, None, None]
    return density.astype(np.float32)


@pytest.mark.parametrize("name", sorted(STAINS))
@pytest.mark.parametrize("white", [(255, 255, 255), (240, 235, 243)])
def test_deconvolution_inverts_drawing(name: str, white: tuple[int, int, int]) -> None:
    truth = random_density(1)
    found = densities(compose(truth, STAINS[name], white), STAINS[name], white)
    # 8-bit rounding is the only loss; it is largest where little light is left
    assert np.abs(found - truth).max() < 0.06
    assert np.abs(found - truth).mean() < 0.006


def test_tables_equal_the_formula() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    white = np.array([250.0, 240.0, 245.0])
    od = np.maximum(np.log10(white / np.maximum(rgb, 1)), 0)
    assert np.allclose(optical_density(rgb, white), od, atol=1e-6)
    matrix = STAINS["H-DAB"].matrix
    expected = (od @ np.linalg.inv(matrix)).transpose(2, 0, 1)
    assert np.allclose(densities(rgb, STAINS["H-DAB"], white), expected, atol=1e-4)


def test_a_stain_scales_only_its_own_density() -> None:
    truth = random_density(2, (0.5, 0.4))
    more = truth * np.array([1, 2, 1], np.float32)[:, None, None]
    one, two = (densities(compose(d, STAINS["H&E"]), STAINS["H&E"]) for d in (truth, more))
    assert np.abs(one[0] - two[0]).mean() < 0.006
    assert two[1].mean() == pytest.approx(2 * one[1].mean(), rel=0.02)


def test_extremes_stay_finite() -> None:
    for value in (0, 255):
        image = np.full((4, 4, 3), value, np.uint8)
        assert np.isfinite(densities(image, STAINS["H&E"])).all()
    assert (densities(np.full((4, 4, 3), 255, np.uint8), STAINS["H&E"]) == 0).all()


def test_white_point_is_the_lamp_and_ignores_absent_chunks() -> None:
    density = random_density(3)
    density[:, :8] = 0  # a lumen
    image = compose(density, STAINS["H&E"], (238, 231, 244))
    assert np.abs(white_point(image) - [238, 231, 244]).max() <= 1
    framed = np.full((200, 200, 3), 255, np.uint8)
    framed[:40, :50] = image
    assert np.abs(white_point(framed) - [238, 231, 244]).max() <= 2
    assert (white_point(np.full((5, 5, 3), 255, np.uint8)) == 255).all()


def test_dark_tissue_does_not_become_glass() -> None:
    assert (white_point(np.full((9, 9, 3), 90, np.uint8)) == 180).all()


def test_haze_is_found_and_bounded() -> None:
    density = random_density(4, (0.6, 0.0))
    density[1] = 0.06
    density[:, :4] = 0  # glass
    image = compose(density, STAINS["H-DAB"], (250, 250, 250))
    fixed = slide_background(image, STAINS["H-DAB"], estimate=False)
    assert fixed.haze == pytest.approx(0.06, abs=0.02)
    # a haze over every nucleus is in the slide's own hematoxylin as well: it counts once
    own = slide_background(image, STAINS["H-DAB"])
    second = densities(image[:, 4:], own.stain, own.white)[1] - own.haze
    assert abs(float(np.median(second))) < 0.04
    density[1, 4:] = 0.9
    image = compose(density, STAINS["H-DAB"], (250, 250, 250))
    assert slide_background(image, STAINS["H-DAB"], estimate=False).haze == pytest.approx(0.1)
    nothing = np.full((30, 30, 3), 255, np.uint8)
    assert slide_background(nothing, STAINS["H-DAB"]).haze == 0


def test_estimate_finds_foreign_vectors() -> None:
    rng = np.random.default_rng(5)
    nuclei = rng.random((60, 60)) < 0.3
    density = np.zeros((3, 60, 60))
    density[0] = np.where(nuclei, 0.6, 0.02) + 0.05 * rng.random((60, 60))
    density[1] = np.where(nuclei, 0.02, 0.35) + 0.05 * rng.random((60, 60))
    image = compose(density, FOREIGN)
    found = estimate_stains(image, STAINS["H&E"]).matrix
    named = STAINS["H&E"].matrix
    for k in range(2):
        assert found[k] @ FOREIGN.matrix[k] > 0.995
        assert found[k] @ FOREIGN.matrix[k] > named[k] @ FOREIGN.matrix[k]


def test_estimate_falls_back_on_one_stain_or_none() -> None:
    density = np.zeros((3, 40, 40))
    assert estimate_stains(compose(density, FOREIGN), STAINS["H&E"]) is STAINS["H&E"]
    density[0] = 0.5
    assert estimate_stains(compose(density, FOREIGN), STAINS["H&E"]) is STAINS["H&E"]


def test_unknown_or_parallel_stains_are_refused() -> None:
    assert stain_matrix("Ki-67") is STAINS["H-DAB"]
    with pytest.raises(PathaiError, match=r"E142.*PAS.*H&E"):
        stain_matrix("PAS")
    twice = StainMatrix("twice", ("a", "b", "residual"), ((0.6, 0.7, 0.3), (0.6, 0.7, 0.3)))
    with pytest.raises(PathaiError, match=r"E142"):
        _ = twice.matrix


def two_stains(matrix: StainMatrix) -> np.ndarray:
    rng = np.random.default_rng(6)
    density = np.zeros((3, 90, 90))
    nuclei = rng.random((90, 90)) < 0.3
    density[0] = np.where(nuclei, 0.7, 0.03) * rng.uniform(0.8, 1.2, (90, 90))
    density[1] = np.where(nuclei, 0.05, 0.4) * rng.uniform(0.8, 1.2, (90, 90))
    density[:, :6] = 0
    return compose(density, matrix, (244, 243, 245))


def test_a_slides_own_vectors_are_used_only_if_they_are_hematoxylin_and_eosin() -> None:
    scanner = StainMatrix("scanner", ("h", "e", "residual"), ((0.60, 0.71, 0.36), (0.2, 0.82, 0.5)))
    found = slide_background(two_stains(scanner), STAINS["H&E"])
    assert (found.stain.matrix[:2] * scanner.matrix[:2]).sum(axis=1).min() > 0.995
    assert found.haze == 0
    purple = StainMatrix("purple", ("a", "b", "residual"), ((0.6, 0.79, 0.09), (0.36, 0.93, 0.05)))
    assert slide_background(two_stains(purple), STAINS["H&E"]).stain is STAINS["H&E"]
    fixed = slide_background(two_stains(scanner), STAINS["H-DAB"], estimate=False)
    assert fixed.stain is STAINS["H-DAB"]


@pytest.mark.parametrize(("share", "leaning"), [(0.0, True), (0.6, True), (1.0, False)])
def test_hematoxylin_that_leans_toward_brown_is_learned_from_blue_nuclei(share, leaning):
    named = stain_matrix("H-DAB")
    own = StainMatrix("own", named.names, ((0.50, 0.76, 0.42), named.vectors[1]))
    rng = np.random.default_rng(0)
    layers = np.zeros((3, 128, 128))
    brown = rng.uniform(size=(128, 128)) < share
    layers[0] = np.where(brown, 0.0, rng.uniform(0.3, 0.7, brown.shape))
    layers[1] = np.where(brown, rng.uniform(0.3, 0.9, brown.shape), 0.0)
    layers[:, ::2, ::3] = 0
    known = slide_background(compose(layers, own, (240, 240, 240)), named)
    usual = np.allclose(known.stain.vectors[0], named.vectors[0])
    assert usual is not leaning  # a slide without blue nuclei tells nothing of hematoxylin
    if leaning:
        first = np.asarray(known.stain.vectors[0])
        assert first @ np.array([0.50, 0.76, 0.42]) / np.hypot(0.5, np.hypot(0.76, 0.42)) > 0.999
    fixed = slide_background(compose(layers, own, (240, 240, 240)), named, estimate=False)
    assert fixed.stain == named


def test_given_vectors_are_used_as_they_are_and_nonsense_is_refused() -> None:
    given = given_matrix("Ki-67", "0.6 0.7 0.4; 0.3, 0.6, 0.75")
    assert given.is_dab
    assert given.vectors == ((0.6, 0.7, 0.4), (0.3, 0.6, 0.75))
    for text in ("0.6 0.7 0.4 0.6 0.7 0.4", "1 1 1 0 0 0", "1 2 3", "0.6 0.7 0.4 1.2 1.4 0.8"):
        with pytest.raises(PathaiError, match="E142"):
            given_matrix("H&E", text)


def test_fixed_vectors_are_not_estimated() -> None:
    picture = synthetic_field(1, width=256, height=256)[0]
    fixed = slide_background(picture, STAINS["H&E"], estimate=False)
    assert fixed.stain == STAINS["H&E"]
    assert slide_background(picture, STAINS["H&E"]).stain != STAINS["H&E"]
