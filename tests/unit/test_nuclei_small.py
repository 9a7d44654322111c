"""The network of `nuclei-small`, its reading out, and its weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pathai.cells.blocks import detect_slide
from pathai.detectors.nuclei_small import NucleiSmall, nuclear_dab, shipped
from pathai.detectors.nuclei_small.decode import APART_PX, REACH_PX, SAME, decode, directions
from pathai.detectors.nuclei_small.net import HALO_PX, RAYS, NucleusNet, fused
from pathai.errors import PathaiError
from pathai.stain import Background, compose, stain_matrix
from pathai.store.records import TissueMap
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

HALF = Mpp(0.5, 0.5)


def test_no_pixel_beyond_the_halo_takes_part():
    torch.manual_seed(0)
    network = NucleusNet().eval()
    for parameter in network.parameters():
        parameter.data.abs_()  # nothing cancels
    x = torch.ones(1, 3, 256, 256, requires_grad=True)
    heat, inside, rays = network(x)
    for row in (128, 131, 135):
        for one in (
            heat[0, row, row],
            inside[0, row // 2, row // 2],
            rays[0, 3, row // 2, row // 2],
        ):
            (gradient,) = torch.autograd.grad(one, x, retain_graph=True)
            seen = gradient[0].abs().sum(dim=0).nonzero()
            assert int((seen - row).abs().max()) <= HALO_PX
    halo_px = NucleiSmall.halo_um / NucleiSmall.mpp_range[1]
    assert halo_px >= HALO_PX + APART_PX + SAME * REACH_PX


def test_folding_normalization_changes_nothing():
    torch.manual_seed(1)
    network = NucleusNet()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 3, 64, 64))
        network.eval()
        x = torch.randn(1, 3, 64, 64)
        before = network(x)
        after = fused(network)(x)
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def blank(edge=64):
    return torch.full((edge, edge), 0.01), torch.full((RAYS, edge // 2, edge // 2), 5.0)


def test_peaks_become_nuclei_with_outlines():
    heat, rays = blank()
    heat[20, 31], heat[50, 8] = 0.9, 0.5
    found = decode(heat, rays, 0.3)
    assert found.xy.tolist() == [[31.5, 20.5], [8.5, 50.5]]
    assert found.score == pytest.approx([0.9, 0.5])
    gap = np.hypot(*(found.outline - np.array([[31, 21], [9, 51]])[:, None]).transpose(2, 0, 1))
    assert gap == pytest.approx(5.0, abs=0.07)  # softplus of 5
    assert len(decode(heat, rays, 0.95).xy) == 0


def test_of_equal_neighbors_the_upper_left_stays():
    heat, rays = blank()
    heat[20, 30:33] = 0.8
    assert decode(heat, rays, 0.3).xy.tolist() == [[30.5, 20.5]]


def test_two_peaks_deep_in_each_other_are_one_nucleus_and_beside_each_other_two():
    heat, rays = blank()
    heat[20, 20], heat[20, 23] = 0.9, 0.6
    assert decode(heat, rays, 0.3).xy.tolist() == [[20.5, 20.5]]
    heat, rays = blank()
    heat[20, 20], heat[20, 26] = 0.9, 0.6
    assert len(decode(heat, rays, 0.3).xy) == 2


def test_directions_go_around_once():
    unit = directions(RAYS)
    assert np.hypot(*unit.T) == pytest.approx(1, abs=1e-3)
    assert unit.sum(axis=0) == pytest.approx((0, 0), abs=1e-6)


def test_mean_dab_of_a_nucleus_is_what_was_painted():
    stain = stain_matrix("H-DAB")
    rows, columns = np.indices((64, 64)) + 0.5
    inside = np.hypot(columns - 30, rows - 34) <= 9
    layers = np.zeros((3, 64, 64))
    layers[0], layers[1][inside] = 0.1, 0.6
    image = compose(layers, stain, (240, 240, 240))
    xy = np.array([(30, 34)], np.float32)
    outline = xy[:, None] + 9 * directions(RAYS)
    found = nuclear_dab(image, xy, outline, Background((240, 240, 240), stain, 0.0))
    assert found == pytest.approx([0.6], abs=0.04)


def test_in_float32_blocks_of_any_size_give_the_same_bits():
    image, _ = synthetic_field(20, width=600, height=520)
    detector = replace(NucleiSmall().for_slide(image), precise=True)
    tissue = TissueMap(np.ones((65, 75), np.uint8), 8.0, Mpp(4, 4))
    whole = detector.detect(image, HALF)
    for block in (200, 336):
        part = detect_slide(image, HALF, tissue, detector, block)
        for field in ("centers", "score", "prob", "outline"):
            assert np.array_equal(getattr(part, field), getattr(whole, field)), field


def test_short_numbers_hardly_matter():
    image, truth = synthetic_field(21, width=512, height=512)
    short = NucleiSmall().detect(image, HALF)
    exact = NucleiSmall(precise=True).detect(image, HALF)
    assert len(short) == pytest.approx(len(exact), rel=0.01)
    assert len(exact) == pytest.approx(len(truth.xy_px0), rel=0.08)


def test_weights_in_the_package_are_small_and_belong_to_their_card():
    weights = shipped()
    assert len(weights.raw) <= 5_000_000
    assert 0 < weights.threshold < 1
    error = weights.error
    assert error is not None
    assert error.log_sd > 0


def test_resolution_outside_its_range():
    for mpp in (0.09, 0.7):
        with pytest.raises(PathaiError, match="E131"):
            NucleiSmall().detect(np.full((64, 64, 3), 230, np.uint8), Mpp(mpp, mpp))


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (64, 9)])
def test_pictures_smaller_than_its_grid(shape):
    found = NucleiSmall().detect(np.full((*shape, 3), 230, np.uint8), HALF)
    assert len(found) == 0
