"""Outlines from a point or a box: against nuclei that people outlined, on images not tuned on."""

import csv
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image
from scipy import ndimage

from pathai import microsam
from pathai.errors import PathaiError
from pathai.segment import Outline, nucleus_at, object_in, outline_at, outline_in, ring_of
from pathai.units import Box, Mpp

USUAL_RADIUS_UM = 3.3
SETS = {"dsb2018_he": "labels", "nucls": "instances"}
needs_data = pytest.mark.skipif(
    "PATHAI_TEST_DATA" not in os.environ, reason="PATHAI_TEST_DATA is not set"
)


def dice(one, other) -> float:
    return 2 * (one & other).sum() / max(one.sum() + other.sum(), 1)


def labelled(name: str, every: int):
    """Image, one nucleus, µm/px; of the DSB images the half that no setting was chosen on.

    These images come without µm/px: it is set so that the image's typical nucleus has a usual
    radius. NuCLS has an assumed one.
    """
    folder = Path(os.environ["PATHAI_TEST_DATA"]) / "nuclei" / name
    with (folder / "images.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    number = 0
    for row in rows[1::2] if name == "dsb2018_he" else rows:
        rgb = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
        labels = np.asarray(Image.open(folder / SETS[name] / f"{row['image']}.png"))
        nominal = float(np.clip(USUAL_RADIUS_UM / float(row["r_px"]), 0.12, 0.6))
        mpp = float(row["mpp"]) if name == "nucls" else nominal
        for value, place in enumerate(ndimage.find_objects(labels), start=1):
            if place is None:
                continue
            nucleus = labels == value
            cut = any(s.start == 0 or s.stop == n for s, n in zip(place, labels.shape, strict=True))
            if cut or nucleus.sum() * mpp**2 < 8:
                continue
            number += 1
            if number % every == 0:
                yield rgb, nucleus, place, Mpp(mpp, mpp)


@needs_data
@pytest.mark.parametrize(
    ("name", "every", "least"), [("dsb2018_he", 21, 0.75), ("nucls", 10, 0.78)]
)
def test_a_click_outlines_most_nuclei(name, every, least):
    random, found = np.random.default_rng(1), []
    for rgb, nucleus, _, mpp in labelled(name, every):
        depth = ndimage.distance_transform_edt(nucleus)
        ys, xs = np.nonzero(depth >= 0.5 * depth.max())  # a click somewhere in its middle
        k = random.integers(len(ys))
        mask = nucleus_at(rgb, xs[k] + 0.5, ys[k] + 0.5, mpp)
        assert ndimage.label(mask)[1] <= 1
        assert np.array_equal(ndimage.binary_fill_holes(mask), mask)
        found.append(dice(mask, nucleus))
    assert len(found) > 30
    assert np.median(found) > least


@needs_data
def test_a_box_outlines_almost_every_nucleus():
    random, found = np.random.default_rng(1), []
    for rgb, nucleus, place, _ in labelled("nucls", 8):
        corners = [place[1].start, place[0].start, place[1].stop, place[0].stop]
        x, y, right, bottom = np.array(corners) + random.integers(-2, 3, 4)
        left, top = max(x - 12, 0), max(y - 12, 0)
        view = np.s_[top : bottom + 12, left : right + 12]
        mask = object_in(rgb[view], Box(x - left, y - top, right - x, bottom - y))
        found.append(dice(mask, nucleus[view]))
    assert np.median(found) > 0.8
    assert np.mean(np.array(found) < 0.5) < 0.05


# --- known truth -----------------------------------------------------------------------------


class Drawn:
    """A slide of one level with two touching nuclei, and a large gland."""

    mpp = Mpp(0.25, 0.25)

    def __init__(self) -> None:
        rgb = np.full((1200, 1200, 3), (236, 214, 226), np.uint8)
        y, x = np.mgrid[:1200, :1200]
        self.first = ((x - 200) / 16) ** 2 + ((y - 220) / 13) ** 2 <= 1
        self.second = ((x - 229) / 15) ** 2 + ((y - 222) / 14) ** 2 <= 1
        self.gland = ((x - 700) / 260) ** 2 + ((y - 720) / 180) ** 2 <= 1
        rgb[self.gland] = (190, 120, 175)
        rgb[self.first | self.second] = (95, 60, 140)
        noise = np.random.default_rng(0).normal(0, 6, rgb.shape)
        smooth = ndimage.gaussian_filter(rgb.astype(float), (1, 1, 0)) + noise
        self.rgb = np.clip(smooth, 0, 255).astype(np.uint8)

    def read(self, box: Box):
        out = np.full((round(box.height), round(box.width), 3), 255, np.uint8)
        x, y = round(box.x), round(box.y)
        top, left = max(y, 0), max(x, 0)
        part = self.rgb[top : y + out.shape[0], left : x + out.shape[1]]
        out[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]] = part
        return out

    def read_at(self, box: Box, size):
        whole = Image.fromarray(self.read(box))
        return np.asarray(whole.resize((size.width, size.height), Image.Resampling.BOX))


def filled(outline: Outline, shape) -> np.ndarray:
    y, x = np.indices(shape)
    return shapely.contains_xy(shapely.Polygon(outline.ring_px0), x + 0.5, y + 0.5)


def test_touching_nuclei_are_told_apart_and_lie_where_they_are():
    slide = Drawn()
    for x, y, truth in ((196, 219, slide.first), (233, 223, slide.second)):
        found = outline_at(slide, x + 0.5, y + 0.5)
        assert dice(filled(found, truth.shape), truth) > 0.85
        assert found.area_um2 == pytest.approx(truth.sum() / 16, rel=0.2)


def test_a_box_around_a_gland_gives_its_outline_at_a_coarser_level():
    slide = Drawn()
    found = outline_in(slide, Box(425, 525, 555, 390))
    assert dice(filled(found, slide.gland.shape), slide.gland) > 0.95
    assert found.area_um2 == pytest.approx(slide.gland.sum() / 16, rel=0.06)
    assert len(found.ring_px0) < 400


def test_nothing_is_outlined_where_nothing_is():
    slide = Drawn()
    slide.rgb[:] = 240
    with pytest.raises(PathaiError, match="stands out"):
        outline_at(slide, 100, 100)
    with pytest.raises(PathaiError, match="box is empty"):
        outline_in(slide, Box(10, 10, 1, 50))


def test_an_outline_at_the_slides_corner_stays_a_plain_ring():
    slide = Drawn()
    slide.rgb[:20, :18] = (90, 60, 140)
    found = outline_at(slide, 6, 7)
    assert shapely.Polygon(found.ring_px0).is_valid


def test_a_ring_runs_along_the_edges_of_pixels():
    mask = np.zeros((40, 40), bool)
    mask[10:30, 5:25] = True
    ring = ring_of(mask, Box(1000, 2000, 80, 80))  # two level-0 px per pixel
    left, top, right, bottom = shapely.Polygon(ring).bounds
    assert (left, top, right, bottom) == pytest.approx((1010, 2020, 1050, 2060), abs=0.5)
    assert ring_of(np.zeros((5, 5), bool), Box(0, 0, 5, 5)) == ()


# --- micro-sam -------------------------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch):
    """A module with micro-sam's functions that segments what is dark: no network, no weights."""
    calls = []
    util, prompts = types.ModuleType("micro_sam.util"), types.ModuleType("p")

    def get_sam_model(model_type="vit_b_lm", device=None, checkpoint_path=None):
        calls.append(("model", model_type, checkpoint_path))
        return "predictor"

    def precompute_image_embeddings(predictor, input_, save_path=None, ndim=None):
        calls.append(("embedding", predictor, ndim))
        return {"features": input_}

    def dark(picture, row, column):
        labels, _ = ndimage.label(picture["features"].sum(axis=2) < 400)
        return (labels == labels[row, column])[None]

    def segment_from_points(predictor, points, labels, image_embeddings=None):
        assert labels.tolist() == [1]
        row, column = np.rint(points[0]).astype(int)
        return dark(image_embeddings, row, column)

    def segment_from_box(predictor, box, image_embeddings=None):
        top, left, bottom, right = box
        return dark(image_embeddings, int((top + bottom) / 2), int((left + right) / 2))

    util.get_sam_model, util.precompute_image_embeddings = (
        get_sam_model,
        precompute_image_embeddings,
    )
    prompts.segment_from_points, prompts.segment_from_box = segment_from_points, segment_from_box
    package = types.ModuleType("micro_sam")
    package.__path__ = []
    package.__spec__ = types.SimpleNamespace(name="micro_sam")
    for name, module in (
        ("micro_sam", package), ("micro_sam.util", util),
        ("micro_sam.prompt_based_segmentation", prompts),
    ):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def test_micro_sam_is_asked_as_it_wants_to_be(stand_in, tmp_path):
    weights = tmp_path / "vit_b_histopathology.pt"
    weights.write_bytes(b"weights")
    by, slide = microsam.MicroSam(weights), Drawn()
    both = slide.first | slide.second
    found = outline_at(slide, 196.5, 219.5, by)
    assert dice(filled(found, both.shape), both) > 0.9
    found = outline_in(slide, Box(180, 200, 68, 40), by)
    assert dice(filled(found, both.shape), both) > 0.9
    by.at(slide.rgb[190:250, 170:260], 26.5, 29.5, slide.mpp)
    by.at(slide.rgb[190:250, 170:260], 30.5, 29.5, slide.mpp)
    assert stand_in[0] == ("model", "vit_b_histopathology", str(weights))
    assert [call[0] for call in stand_in] == ["model"] + ["embedding"] * 3  # the last one is kept


def test_without_micro_sam_or_its_weights_it_is_said(stand_in, tmp_path, monkeypatch):
    monkeypatch.delenv(microsam.VARIABLE, raising=False)
    with pytest.raises(PathaiError, match=microsam.VARIABLE):
        microsam.MicroSam()
    monkeypatch.setattr(microsam, "installed", lambda: False)
    with pytest.raises(PathaiError, match="E194"):
        microsam.MicroSam(tmp_path)
