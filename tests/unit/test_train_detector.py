"""Targets, crops, judging and the training of the nuclei detector."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imsave

from pathai.detectors import load_detector
from pathai.detectors.nuclei_small import NucleiSmall, read_weights
from pathai.errors import PathaiError
from pathai.testing.crowd import crowded_field
from pathai.train_detector import Wanted, train_detector
from pathai.train_detector.augment import affine, as_ihc, density, light
from pathai.train_detector.fields import DISC_UM, Field, centers, labeled, synthetic
from pathai.train_detector.fit import Crops, Settings, losses
from pathai.train_detector.judge import Tally, count_error, f1, f1_interval, match
from pathai.train_detector.targets import UNKNOWN, targets
from pathai.units import Mpp


def discs(places, radius, edge=96):
    labels = np.zeros((edge, edge), np.int32)
    rows, columns = np.indices(labels.shape) + 0.5
    for i, (x, y) in enumerate(places):
        labels[np.hypot(columns - x, rows - y) <= radius] = i + 1
    return labels


def test_heat_is_highest_at_centers_and_rays_reach_the_edge():
    places = [(24.0, 30.0), (60.0, 70.0)]
    found = targets(discs(places, 9), rays=16)
    top = np.argwhere(found.heat > 0.97)
    assert {tuple(t) for t in top // 4} == {(int(y) // 4, int(x) // 4) for x, y in places}
    assert len(found.at) == 10  # a center and its four neighbors, twice
    middle = found.rays[(found.at == (15, 12)).all(axis=1)]
    assert np.abs(middle - 9).max() < 2  # the middle of a half px lies 1.4 px off the center
    assert middle.mean() == pytest.approx(9, abs=0.3)
    assert found.inside.sum() == pytest.approx(2 * np.pi * 81 / 4, rel=0.03)


def test_unknown_places_neither_reward_nor_punish():
    labels = discs([(24.0, 30.0)], 9)
    labels[60:80, 60:80] = UNKNOWN
    found = targets(labels, rays=16)
    truth = [torch.from_numpy(v)[None] for v in (found.heat, found.known, found.inside)]
    at = torch.from_numpy(np.concatenate([np.zeros((len(found.at), 1), int), found.at], axis=1))
    answer = [torch.zeros(1, 96, 96), torch.zeros(1, 48, 48), torch.ones(1, 16, 48, 48)]
    before = losses(tuple(answer), (*truth, at, torch.from_numpy(found.rays)))
    answer[0][0, 62:78, 62:78] = 9.0
    answer[1][0, 32:38, 32:38] = 9.0
    after = losses(tuple(answer), (*truth, at, torch.from_numpy(found.rays)))
    assert all(float(before[k]) == float(after[k]) for k in before)


def test_points_take_the_nearest_outline_and_outlines_without_points_are_unknown(tmp_path):
    labels = discs([(20.0, 20.0), (70.0, 70.0)], 8)
    (tmp_path / "labels").mkdir()
    imsave(tmp_path / "a.png", np.full((96, 96, 3), 200, np.uint8), check_contrast=False)
    imsave(tmp_path / "labels" / "a.png", labels.astype(np.uint16), check_contrast=False)
    (tmp_path / "images.csv").write_text("image,file,mpp\na,a.png,0.5\n")
    (tmp_path / "gt_points.csv").write_text("image,x,y\na,21.5,19.5\na,70,20\n")
    (one,) = labeled(tmp_path)
    assert (one.labels[labels == 1] == 1).all()
    assert (one.labels[labels == 2] == UNKNOWN).all()
    disc = one.labels == 2
    assert disc.sum() == pytest.approx(np.pi * (DISC_UM / 0.5) ** 2, rel=0.1)
    assert centers(np.where(disc, 1, 0).astype(np.int32))[0] == pytest.approx((70.5, 20.5), abs=0.3)


@pytest.mark.parametrize(
    ("csv", "said"),
    [
        (None, "images.csv is missing"),
        ("image,file\na,a.png\n", "has no mpp"),
        ("image,file,mpp\nb,a.png,0.5\n", "b.png is missing"),
    ],
)
def test_a_folder_that_is_not_as_it_should_be(tmp_path, csv, said):
    (tmp_path / "labels").mkdir()
    if csv:
        (tmp_path / "images.csv").write_text(csv)
    with pytest.raises(PathaiError, match=rf"E191.*{said}"):
        list(labeled(tmp_path))


def test_crowds_are_as_crowded_as_asked_and_separated_ones_never_touch():
    for layout in ("separated", "touching", "overlapping"):
        crowd = crowded_field(3, layout, 3000, edge_px=384)
        area = (384 * 0.5 / 1000) ** 2
        assert len(crowd.xy_px0) == pytest.approx(3000 * area, rel=0.25)
    apart = crowded_field(3, "separated", 3000, edge_px=384)
    grown = np.pad(apart.labels, 1)
    for dy, dx in ((0, 1), (1, 0)):
        one, other = apart.labels, grown[1 + dy : 385 + dy, 1 + dx : 385 + dx]
        assert not ((one > 0) & (other > 0) & (one != other)).any()


def test_centers_stay_on_their_nuclei_through_turning_and_stretching():
    (field,) = synthetic(1, 5, edge_px=192)
    pixels, maps = affine([field.rgb], [field.labels], [1.2], 128, np.random.default_rng(0))
    ink = density(pixels)[0].mean(dim=0).numpy()
    labels = maps[0].numpy()
    assert ink[labels > 0].mean() > 1.5 * ink[labels == 0].mean()
    known = set(np.unique(field.labels))
    assert set(np.unique(labels)) <= known | {UNKNOWN}


def test_density_and_light_undo_each_other():
    image = torch.linspace(0.02, 1, 300).reshape(3, 10, 10)
    assert torch.allclose(light(density(image)), image, atol=1e-5)


def test_some_nuclei_turn_brown():
    (field,) = synthetic(1, 5, edge_px=192)
    od = density(torch.from_numpy(field.rgb.copy()).permute(2, 0, 1).float() / 255)
    labels = torch.from_numpy(field.labels)
    brown = as_ihc(od, labels, np.random.default_rng(3))
    ratio = (brown[2] / brown[0].clamp(min=1e-3))[labels > 0]  # blue over red: high in DAB
    assert float(ratio.max()) > 1.3
    assert float(ratio.min()) < 0.9


def test_a_batch_depends_on_its_number_alone():
    pool = list(synthetic(5, 1, edge_px=160))
    crops = Crops(pool, [], Settings(batch=4, edge_px=64), range(3))
    alone, among = crops.batch(1), list(crops)[1]
    assert all(torch.equal(a, b) for a, b in zip(alone, among, strict=True))


def test_matching_is_one_to_one():
    truth = np.array([(0, 0), (10, 0)], float)
    found = np.array([(1, 0), (2, 0), (30, 0)], float)
    assert match(found, truth, 3) == 1
    assert match(found[::-1], truth, 9.5) == 2
    assert match(found[:0], truth, 3) == 0


def test_error_of_counts_finds_bias_and_spread_that_were_put_in():
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        true = int(rng.integers(200, 400))
        found = int(true * np.exp(-0.1 + 0.15 * rng.standard_normal()))
        rows.append(Tally(min(true, found), found, true, 0.1))
    error = count_error(rows, "drawn")
    assert error.log_ratio == pytest.approx(0.1, abs=0.03)
    assert error.sd(300) == pytest.approx(0.15, abs=0.02)
    low, high = f1_interval(rows)
    assert low < f1(rows) < high


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two folders of labeled pictures, drawn."""
    root = tmp_path_factory.mktemp("data")
    for name, seed in (("one", 11), ("two", 12)):
        folder = root / name
        (folder / "labels").mkdir(parents=True)
        lines = ["image,file,mpp"]
        for i, field in enumerate(synthetic(2, seed, edge_px=160)):
            imsave(folder / f"p{i}.png", field.rgb, check_contrast=False)
            labels = field.labels.astype(np.uint16)
            imsave(folder / "labels" / f"p{i}.png", labels, check_contrast=False)
            lines.append(f"p{i},p{i}.png,{field.mpp}")
        (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "detector"
    wanted = Wanted((data / "one", data / "two"), out, fields=5, steps=6, judging=0.5)
    return wanted, train_detector(wanted)


def test_training_writes_a_detector_that_loads(trained):
    wanted, card = trained
    assert set(card["judged"]) == {"one", "two"}
    kept = json.loads((wanted.out / "card.json").read_text())
    assert kept["labeled"]["one"]["pictures"] == 2
    assert kept["curve"] == []
    detector = NucleiSmall(file=wanted.out)
    found = detector.detect(np.full((64, 64, 3), 230, np.uint8), Mpp(0.5, 0.5))
    assert found.outline_start[-1] == len(found.outline)
    assert detector.digest != replace(detector, dab_cutoff_od=0.3).digest


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(trained, data):
    wanted, _ = trained
    again = replace(wanted, out=wanted.out.with_name("b"), judging=0)
    other = replace(again, out=wanted.out.with_name("c"), seed=2)
    assert train_detector(again)["threshold"] == 0.4
    train_detector(other)
    raw = read_weights(wanted.out).raw
    assert read_weights(again.out).raw == raw != read_weights(other.out).raw


def test_a_name_that_is_taken_and_damaged_weights(trained):
    wanted, _ = trained
    with pytest.raises(PathaiError, match="E193"):
        train_detector(wanted)
    copy = wanted.out.with_name("damaged")
    copy.mkdir()
    (copy / "card.json").write_bytes((wanted.out / "card.json").read_bytes())
    raw = bytearray((wanted.out / "weights.safetensors").read_bytes())
    raw[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(raw)
    with pytest.raises(PathaiError, match=r"E182.*not those of their card"):
        read_weights(copy)
    with pytest.raises(PathaiError, match=r"E183.*card.json"):
        read_weights(copy / "nothing")


def test_a_trained_detector_is_named_by_its_folder(trained, monkeypatch):
    wanted, _ = trained
    monkeypatch.chdir(wanted.out.parent)
    made = load_detector("nuclei-small@detector", stain="Ki-67", dab_cutoff_od=0.2)
    assert made.error is None or made.error.fields > 0
    assert made.classes == ("negative", "positive")


@pytest.mark.slow
def test_one_folder_is_judged_by_halves(data, tmp_path):
    card = train_detector(Wanted((data / "one",), tmp_path / "x", fields=5, steps=4, judging=0.5))
    assert set(card["judged"]) == {"one, part 1", "one, part 2"}


def test_fields_keep_their_truth_when_reduced():
    from pathai.train_detector.fields import reduced

    labels = discs([(40.0, 60.0)], 14)
    rgb = np.full((96, 96, 3), 220, np.uint8)
    one = reduced(Field("a", "g", rgb, labels, np.array([(40, 60)], np.float32), 0.25), 0.5)
    assert one.labels.shape == (48, 48)
    assert one.xy[0] == pytest.approx((20, 30))
    assert centers(one.labels)[0] == pytest.approx((20, 30), abs=0.3)
