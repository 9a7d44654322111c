"""Classes of nuclei: context, training, what it is worth, and the file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from class_cases import DARK, PALE, labeled, made_up
from docs_pages import DOCS

from pathai.cell_classes import CLASSES, classify, load_model, model_file, open_model
from pathai.cell_classes.context import FEATURES, RADIUS_UM, Neighborhood
from pathai.cell_classes.fit import Labeled, fit, train, validate
from pathai.cell_classes.model import ClassModel
from pathai.detectors.classical import Classical
from pathai.errors import PathaiError
from pathai.morphometry import MEASURES, measure
from pathai.stain import slide_background, stain_matrix
from pathai.testing.looks import TEST_LOOKS
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp


@pytest.fixture(scope="module")
def model() -> ClassModel:
    return train(labeled(range(4), 60), {"name": "test"})[0]


@pytest.fixture(scope="module")
def shipped() -> ClassModel:
    return load_model(model_file("shipped"))


def column(name: str) -> int:
    return FEATURES.index(name)


# --- context ---------------------------------------------------------------------------------


def test_context_is_that_of_the_nearest_within_the_radius() -> None:
    xy_um = np.array([[0, 0], [10, 0], [0, 20], [0, RADIUS_UM + 1]], float)
    measures = np.ones((4, len(MEASURES)), np.float32)
    measures[:, MEASURES.index("hematoxylin_od")] = [0.1, 0.2, 0.6, 9.0]
    found = Neighborhood(xy_um, measures).features(slice(0, 4))
    assert found[0, column("neighbors_mean_hematoxylin_od")] == pytest.approx(0.4)
    assert found[0, column("neighbors_sd_hematoxylin_od")] == pytest.approx(0.2)
    assert found[0, column("nearest_um")] == 10
    assert found[0, column("near_mean_um")] == pytest.approx((10 + 20 + 3 * RADIUS_UM) / 5)
    assert found[0, column("neighbors_15um")] == 1
    assert found[0, column("neighbors_30um")] == 2


def test_a_lone_nucleus_has_no_context() -> None:
    xy_um, measures, _ = made_up(0, 1)
    found = Neighborhood(xy_um, measures).features(slice(0, 1))[0]
    assert np.isfinite(found).all()
    assert found[column("neighbors_mean_eccentricity")] == found[column("eccentricity")]
    assert found[column("nearest_um")] == RADIUS_UM
    assert found[column("coherence")] == 0


def test_coherence_tells_parallel_from_crossed_axes() -> None:
    xy_um, measures, _ = made_up(3, 60)
    angle, form = MEASURES.index("orientation_deg"), MEASURES.index("eccentricity")
    measures[:, form] = 0.95
    measures[:, angle] = 179.0
    measures[::2, angle] = 1.0  # nearly the same axis as 179
    along = Neighborhood(xy_um, measures).features(slice(0, 60))[:, column("coherence")]
    measures[::2, angle] = 89.0
    crossed = Neighborhood(xy_um, measures).features(slice(0, 60))[:, column("coherence")]
    assert np.median(along) > 0.85
    assert np.median(crossed) < 0.5


def test_far_cells_do_not_matter_and_order_does_not() -> None:
    xy_um, measures, _ = made_up(4, 200)
    whole = Neighborhood(xy_um, measures).features(slice(0, 200))
    far = np.array([[900.0, 900.0], [950.0, 20.0]])
    more = Neighborhood(np.concatenate([xy_um, far]), np.concatenate([measures, measures[:2]]))
    assert (more.features(slice(0, 200)) == whole).all()
    order = np.random.default_rng(0).permutation(200)
    mixed = Neighborhood(xy_um[order], measures[order]).features(slice(0, 200))
    assert mixed == pytest.approx(whole[order])


# --- classify --------------------------------------------------------------------------------


def test_cells_of_a_new_slide_are_told_apart(model: ClassModel) -> None:
    xy_um, measures, truth = made_up(99)
    class_, prob = classify(xy_um, measures, model)
    assert class_.dtype == np.uint8
    assert prob.shape == (300, 5)
    assert prob.sum(axis=1) == pytest.approx(1)
    assert (class_ == prob.argmax(axis=1)).all()
    assert (class_ == truth).mean() > 0.95


def test_bands_change_nothing(model: ClassModel, monkeypatch: pytest.MonkeyPatch) -> None:
    xy_um, measures, _ = made_up(98)
    _, whole = classify(xy_um, measures, model)
    monkeypatch.setattr("pathai.cell_classes.model.BAND", 37)
    _, banded = classify(xy_um, measures, model)
    assert banded == pytest.approx(whole, abs=1e-6)


def test_no_cells_and_other_measures(model: ClassModel) -> None:
    class_, prob = classify(np.empty((0, 2)), np.empty((0, len(MEASURES)), np.float32), model)
    assert len(class_) == len(prob) == 0
    with pytest.raises(PathaiError, match="E181"):
        classify(np.zeros((3, 2)), np.zeros((3, 4), np.float32), model)


def test_what_was_never_seen_stays_a_probability(model: ClassModel) -> None:
    xy_um, measures, _ = made_up(97, 20)
    _, prob = classify(xy_um, measures * 1e6, model)
    assert np.isfinite(prob).all()


# --- training --------------------------------------------------------------------------------


def test_held_back_figures_are_those_of_new_slides(model: ClassModel) -> None:
    cells = labeled(range(6), 50, apart=0.8)
    held = validate(cells)
    fresh = labeled(range(50, 70), apart=0.8)
    network = fit(cells, 0.2)
    true_accuracy = (network.logits(fresh.features).argmax(axis=1) == fresh.class_).mean()
    told = held.figures()["accuracy"]
    assert 0.6 < told["value"] < 0.97  # neither hopeless nor trivial
    assert told["value"] == pytest.approx(true_accuracy, abs=0.06)
    assert told["low"] <= told["value"] <= told["high"]


def test_labels_by_chance_are_worth_nothing() -> None:
    cells = labeled(range(4), 60)
    shuffled = np.random.default_rng(0).permutation(cells.class_)
    held = validate(replace(cells, class_=shuffled))
    most = np.bincount(shuffled).max() / len(shuffled)
    assert held.figures()["accuracy"]["value"] < most + 0.06
    assert held.prob.max(axis=1).mean() < most + 0.1  # and it does not claim more


def test_confusion_counts_every_cell_once(model: ClassModel) -> None:
    held = validate(labeled(range(3), 40, apart=1.0))
    assert held.confusion.sum() == len(held.class_)
    assert (held.confusion.sum(axis=1) == np.bincount(held.class_, minlength=5)).all()
    assert (
        held.confusion[DARK, PALE]
        == ((held.class_ == DARK) & (held.prob.argmax(axis=1) == PALE)).sum()
    )
    recall = held.figures()["recall"]
    assert recall["stromal"]["cells"] == 0
    assert recall["stromal"]["value"] is None
    dark = held.confusion[DARK]
    assert recall["lymphocyte"]["value"] == pytest.approx(dark[DARK] / dark.sum(), abs=1e-6)


def test_calibration_lowers_an_overconfident_models_loss() -> None:
    held = validate(labeled(range(4), 40, apart=0.7))
    claimed, right = held.prob.max(axis=1), held.prob.argmax(axis=1) == held.class_
    assert claimed.mean() == pytest.approx(right.mean(), abs=0.1)


def test_design_effect_is_that_of_cells_that_are_alike_within_slides(model: ClassModel) -> None:
    def with_interval(cells: int, half: float) -> ClassModel:
        accuracy = {"value": 0.7, "low": 0.7 - half, "high": 0.7 + half}
        return replace(model, card={"held_out": {"cells": cells, "accuracy": accuracy}})

    single = 1.96 * (0.7 * 0.3 / 400) ** 0.5  # half width if every cell stood for itself
    assert with_interval(400, single).design_effect == pytest.approx(1)
    assert with_interval(400, 3 * single).design_effect == pytest.approx(9)
    assert with_interval(400, single / 2).design_effect == 1
    assert replace(model, card={}).design_effect == 1


def test_same_cells_same_model(model: ClassModel) -> None:
    again = train(labeled(range(4), 60), {"name": "test"})[0]
    assert again.digest == model.digest
    assert train(labeled(range(1, 4), 20), {"name": "test"})[0].digest != model.digest


def test_copies_of_a_held_back_slide_are_held_back_too() -> None:
    cells = labeled(range(4), 60)
    shuffled = replace(cells, class_=np.random.default_rng(1).permutation(cells.class_))
    # a copy of each cell would give its label away
    held = validate(shuffled, extra=shuffled)
    most = np.bincount(shuffled.class_).max() / len(shuffled.class_)
    assert held.figures()["accuracy"]["value"] < most + 0.06


def test_one_slide_cannot_be_validated() -> None:
    with pytest.raises(PathaiError, match=r"E184.*two slides"):
        validate(labeled(range(1)))


def test_few_cells_leave_a_base_nearly_as_it_was(model: ClassModel) -> None:
    few = labeled(range(30, 32), 6)
    near = fit(few, 0.02, model.network)
    assert np.abs(near.direct - model.network.direct).max() < 0.02
    test = labeled(range(60, 64))
    kept = (near.logits(test.features).argmax(1) == test.class_).mean()
    assert kept > 0.95


def test_a_lab_whose_cells_differ_gains_by_training_from_the_base(model: ClassModel) -> None:
    swapped = labeled(range(40, 43), 60)
    other = replace(swapped, class_=np.where(swapped.class_ == DARK, PALE, DARK))
    made, held = train(other, {}, base=model)
    assert held.figures()["accuracy"]["value"] > 0.8
    before = (model.network.logits(other.features).argmax(1) == other.class_).mean()
    assert before < 0.2
    assert made.card["base"] == model.digest


# --- the file --------------------------------------------------------------------------------


def test_a_model_comes_back_as_it_was(model: ClassModel, tmp_path: Path) -> None:
    path = tmp_path / "lab.safetensors"
    model.save(path)
    back = load_model(path)
    assert back.digest == model.digest
    assert (back.confusion == model.confusion).all()
    assert back.card == json.loads(json.dumps(model.card))
    model.save(tmp_path / "again.safetensors")
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flipped header", "pickle", "other arrays", "empty"])
def test_damaged_files_are_refused(model: ClassModel, tmp_path: Path, damage: str) -> None:
    from safetensors.numpy import save

    path = tmp_path / "lab.safetensors"
    model.save(path)
    data = path.read_bytes()
    bad = {
        "cut": data[:-100],
        "flipped header": data[:9] + b"#" + data[10:],
        "pickle": b"\x80\x04]\x94.",
        "other arrays": save({"weight": np.zeros(3)}),
        "empty": b"",
    }
    path.write_bytes(bad[damage])
    with pytest.raises(PathaiError, match="E182"):
        load_model(path)


def test_arrays_that_do_not_fit_are_refused(model: ClassModel, tmp_path: Path) -> None:
    short = replace(model.network, outward=model.network.outward[:-1])
    replace(model, network=short).save(tmp_path / "short.safetensors")
    with pytest.raises(PathaiError, match="E182"):
        load_model(tmp_path / "short.safetensors")


def test_names_of_models(tmp_path: Path) -> None:
    with pytest.raises(PathaiError, match="E183"):
        model_file("none.safetensors", tmp_path)
    with pytest.raises(PathaiError, match=r"E142.*Ki-67"):
        open_model("shipped", "Ki-67")
    assert open_model("shipped", "H&E").classes == CLASSES


# --- the shipped model -----------------------------------------------------------------------


def test_the_shipped_model_says_what_it_is_worth(shipped: ClassModel) -> None:
    assert shipped.experimental
    assert model_file("shipped").stat().st_size < 1_000_000
    rows = shipped.confusion.sum(axis=1)
    assert rows[CLASSES.index("epithelial")] == 0  # no real benign epithelium was ever checked
    assert (np.delete(rows, CLASSES.index("epithelial")) > 20).all()
    told = shipped.card["held_out"]
    assert told["cells"] == rows.sum()
    assert shipped.design_effect > 3  # ten tiles, not 317 cells
    assert told["accuracy"]["value"] == pytest.approx(np.trace(shipped.confusion) / rows.sum())


def test_the_shipped_model_does_better_than_one_class_on_an_unseen_look(
    shipped: ClassModel,
) -> None:
    mpp, names = Mpp(0.5, 0.5), ("epithelial", "tumor", "lymphocyte", "stromal")
    image, truth = synthetic_field(77, TEST_LOOKS["A"], width=384, height=384)
    background = slide_background(image, stain_matrix("H&E"))
    found = Classical(background=background).detect(image, mpp)
    measures = measure(image, mpp, background, found)
    class_, _ = classify(found.centers * 0.5, measures, shipped)
    gap = np.linalg.norm(found.centers[:, None] - truth.xy_px0[None], axis=2)
    of, near = gap.argmin(axis=1), gap.min(axis=1) < 5
    true = np.array([CLASSES.index(n) for n in names])[truth.class_[of]]
    most = np.bincount(true[near]).max() / near.sum()
    assert (class_ == true)[near].mean() > most + 0.1


def test_the_page_tells_the_confusion_of_the_shipped_model(shipped: ClassModel) -> None:
    page = (DOCS / "cell-classes.md").read_text("utf-8")
    for name, row in zip(CLASSES, shipped.confusion.tolist(), strict=True):
        assert f"| {name} ({sum(row)}) | {' | '.join(map(str, row))} |" in page
    told = shipped.card["held_out"]["accuracy"]
    value, low, high = (round(100 * told[k]) for k in ("value", "low", "high"))
    assert f"{value} % are right (95 % interval over tiles {low} to {high})" in page


def test_labeled_cells_can_be_chosen() -> None:
    cells = labeled(range(2), 10)
    part = cells.take(np.array([3, 12]))
    assert isinstance(part, Labeled)
    assert part.group == ("S0", "S1")
    assert (part.features == cells.features[[3, 12]]).all()
