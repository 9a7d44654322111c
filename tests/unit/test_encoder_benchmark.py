"""The evaluation of encoders splits by patient, and training's truths are those of the picture."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from pathai.testing.picture import synthetic_field

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def script(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(name)


def test_own_tiles_are_probed_by_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = script(monkeypatch, "encoders")
    monkeypatch.setattr(encoders, "DRAWS", 20)
    rng = np.random.default_rng(0)
    for name, red in (("pale", 220), ("stained", 150)):
        for patient in range(5):
            folder = tmp_path / name / f"{name}-{patient}"
            folder.mkdir(parents=True)
            for k in range(2):
                tile = rng.integers(red - 20, red + 20, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(tile).save(folder / f"{k}.png")
    tiles, labels, groups = encoders.own_tiles(tmp_path)
    assert tiles.shape == (20, 64, 64, 3)
    assert len(set(groups)) == 10
    x = encoders.color_histograms(tiles)
    said = encoders.class_scores(labels, encoders.probe(x, labels, groups, 0.03, 5), groups)
    assert said["balanced_accuracy"]["value"] == said["mean_auroc"]["value"] == 1
    # what tells patients apart but not classes must not help
    number = np.unique(groups, return_inverse=True)[1]
    own = np.eye(10, dtype=np.float32)[number]
    blind = encoders.class_scores(labels, encoders.probe(own, labels, groups, 0.03, 5), groups)
    assert blind["balanced_accuracy"]["value"] <= 0.7
    with pytest.raises(SystemExit, match="no tiles"):
        encoders.own_tiles(tmp_path / "pale" / "pale-0")


def test_patches_lie_around_their_nuclei(monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = script(monkeypatch, "encoders")
    image = np.zeros((100, 120, 3), np.uint8)
    image[30, 50] = 255
    (patch,) = encoders.patches(image, np.array([[50.0, 30.0]]))
    assert np.argwhere(patch[..., 0]).tolist() == [[32, 32]]


def test_truths_of_a_window_are_those_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    data = script(monkeypatch, "encoder_data")
    (source,) = data.synthetic(range(4, 5))
    truth = synthetic_field(4)[1]  # the look does not move a nucleus
    inside = ((truth.xy_px0 >= [64, 128]) & (truth.xy_px0 < [64 + 160, 128 + 160])).all(axis=1)
    said = dict(zip(data.TARGETS, data._truth(source, 128, 64, 160), strict=True))
    assert np.expm1(said["log_count"]) == pytest.approx(inside.sum(), rel=1e-4)
    classes = np.bincount(truth.class_[inside], minlength=4) / inside.sum()
    assert [said[k] for k in data.TARGETS[3:]] == pytest.approx(classes.tolist())
    # areas as they look in a view of 128 px
    area = np.exp(said["log_area_um2"])
    assert said["nuclear_share"] == pytest.approx(inside.sum() * area * 4 / 128**2, rel=1e-4)


def test_views_are_drawn_alike_from_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = script(monkeypatch, "encoder_data")
    (source,) = data.synthetic(range(4, 5))
    one, two = (data.pair(source, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one[0][0], two[0][0])
    assert np.array_equal(one[1][1], two[1][1])
    assert one[0][0].shape == (128, 128, 3)
    assert not np.array_equal(one[0][0], one[1][0])
