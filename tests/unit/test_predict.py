"""A model answers for its own features only, knows what is foreign, and points at the tiles."""

import pickle
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mil_cases import ATTRS, DIM, TUMOR, about, features, row
from safetensors.numpy import save

from pathai import predict
from pathai.config import PredictConfig, TrainConfig
from pathai.errors import PathaiError
from pathai.store.bundle import WEIGHTS, check_bundle, read_bundle, read_weights
from pathai.store.commit import Commit, Skipped
from pathai.store.folders import SlideFolder, write_slide_info
from pathai.store.groups import write_features
from pathai.store.records import Features, SlideInfo
from pathai.train import train

TASK = TUMOR.model_copy(update={"train_on": {}})
SECTION = PredictConfig()
QUICK = TrainConfig(folds=3, inner_folds=0, epochs=10, hidden=32)


def slide(rng: np.random.Generator, tumor: bool, shift: float = 0.0) -> Features:
    """Forty tiles; in a tumor slide tiles 3 to 8 carry the signal."""
    x = rng.normal(size=(40, DIM)) + 0.3 * rng.normal(size=DIM) + shift
    if tumor:
        x[3:9, :3] += 5
    return replace(features(rng, 0), x=x.astype(np.float16))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("models") / "tumor"
    store = {f"s{i:02d}": slide(rng, i % 2 == 1) for i in range(24)}
    rows = [row(i, name, name, tumor=TASK.classes[i % 2]) for i, name in enumerate(store)]
    train(TASK, rows, store.get, about, QUICK, folder)
    return folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> predict.Model:
    return predict.load(bundle)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "tumor"
    target.mkdir()
    for file in bundle.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_new_slides_are_answered_and_the_planted_tiles_found(model: predict.Model) -> None:
    rng = np.random.default_rng(1)
    for i in range(10):
        given = slide(rng, i % 2 == 1)
        found = model.answer(given, SECTION)
        assert found.attrs.label == TASK.classes[i % 2]
        assert found.attrs.label in found.attrs.set
        assert sum(found.attrs.prob) == pytest.approx(1, abs=1e-5)
        assert found.attention.dtype == np.float32
        assert found.attention.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
        assert not found.attrs.abstained
        if i % 2:
            assert set(np.argsort(found.attention)[-6:].tolist()) == set(range(3, 9))


def test_the_set_widens_with_the_coverage(model: predict.Model) -> None:
    given = slide(np.random.default_rng(2), tumor=True)
    sizes = [len(model.answer(given, PredictConfig(alpha=a)).attrs.set) for a in (0.01, 0.1, 0.2)]
    assert sizes[0] == 2  # twelve patients per class cannot give 99 %
    assert sizes[2] == 1


def test_foreign_slides_are_flagged_and_own_ones_are_not(model: predict.Model) -> None:
    rng = np.random.default_rng(3)
    own = [model.answer(slide(rng, i % 2 == 1), SECTION).attrs for i in range(40)]
    assert sum(a.out_of_distribution for a in own) <= 3
    assert 25 < np.mean([a.ood_percentile for a in own]) < 75
    for shift in (2.0, -3.0, 50.0):
        found = model.answer(slide(rng, False, shift), SECTION)
        assert found.attrs.out_of_distribution
        assert found.attrs.abstained
        assert found.attrs.reason == predict.FOREIGN
        assert (found.attrs.label, found.attrs.set) == ("", ())
        assert sum(found.attrs.prob) == pytest.approx(1, abs=1e-5)  # the raw output is kept
        assert found.attention.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    given, trusting = slide(rng, False, 50.0), PredictConfig(ood_percentile=100)
    answered = model.answer(given, trusting).attrs
    assert not answered.abstained
    assert answered.prob == model.answer(given, SECTION).attrs.prob


def test_order_of_tiles_only_orders_the_attention(model: predict.Model) -> None:
    rng = np.random.default_rng(4)
    given = slide(rng, tumor=True)
    order = rng.permutation(40)
    a, b = (model.answer(replace(given, x=x), SECTION) for x in (given.x, given.x[order]))
    assert a.attrs.prob == pytest.approx(b.attrs.prob, abs=1e-5)
    np.testing.assert_allclose(a.attention[order], b.attention, atol=1e-6)
    again = model.answer(given, SECTION)
    assert (again.attention == a.attention).all()
    assert again.attrs == a.attrs


def test_no_tile_is_an_abstention(model: predict.Model) -> None:
    given = slide(np.random.default_rng(5), tumor=True)
    found = model.answer(replace(given, x=given.x[:0]), SECTION)
    assert (found.attrs.abstained, found.attrs.reason) == (True, predict.NO_TISSUE)
    assert (found.attrs.label, found.attrs.prob) == ("", ())
    assert found.attention.shape == (0,)


@pytest.mark.parametrize(
    "change", [{"encoder": "other"}, {"encoder_digest": "f" * 64}, {"mpp": 1.0}, {"tile_px": 224}]
)
def test_other_features_are_refused(model: predict.Model, change: dict[str, object]) -> None:
    given = slide(np.random.default_rng(6), tumor=True)
    with pytest.raises(PathaiError, match="needs morphology") as caught:
        model.answer(replace(given, attrs=ATTRS.model_copy(update=change)), SECTION)
    assert caught.value.code == "E181"


def test_features_that_do_not_fit_are_refused(model: predict.Model) -> None:
    given = slide(np.random.default_rng(6), tumor=True)
    with pytest.raises(PathaiError, match="E181"):
        model.answer(replace(given, x=given.x[:, :-1]), SECTION)
    x = given.x.copy()
    x[0, 0] = np.inf
    with pytest.raises(PathaiError, match="E180"):
        model.answer(replace(given, x=x), SECTION)


def test_every_flipped_byte_is_found(bundle: Path, copy: Path) -> None:
    assert check_bundle(copy) == check_bundle(bundle)
    for path in sorted(copy.iterdir()):
        raw = path.read_bytes()
        for at in (0, len(raw) // 2, len(raw) - 1):
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
            with pytest.raises(PathaiError, match="E182"):
                read_bundle(copy)
        path.write_bytes(raw)
    read_bundle(copy)


def test_missing_and_foreign_files_are_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "extra.pt").write_bytes(b"x")
    with pytest.raises(PathaiError, match=r"E182.*extra\.pt"):
        read_bundle(copy)
    (copy / "extra.pt").unlink()
    (copy / WEIGHTS).unlink()
    with pytest.raises(PathaiError, match=r"E182.*model\.safetensors is missing"):
        read_bundle(copy)
    with pytest.raises(PathaiError, match="E183"):
        read_bundle(tmp_path)


def test_bad_weights_are_refused(copy: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    good = (copy / WEIGHTS).read_bytes()
    cases = {
        "pickle": pickle.dumps({"a": 1}),
        "a pickle": b"PK\x03\x04" + good,
        "truncated": good[:-9],
        "truncated or not": struct.pack("<Q", 2**33) + good[8:],
        "not safetensors": b"",
    }
    for words, raw in cases.items():
        file.write_bytes(raw)
        with pytest.raises(PathaiError, match="E182") as caught:
            read_weights(file)
        assert words in caught.value.message or words == "truncated"


def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    """Of headers of any length, one in 32 has 0x80 as its first byte."""
    file = tmp_path / "w.safetensors"
    for length in range(1, 300):
        raw = save({"x" * length: np.ones(3, np.float32)})
        if raw[0] == 0x80:
            break
    file.write_bytes(raw)
    assert raw[0] == 0x80
    assert read_weights(file)["x" * length].tolist() == [1, 1, 1]


def test_weights_of_another_head_are_refused(bundle: Path) -> None:
    loaded = read_bundle(bundle)
    network = loaded.spec.networks[0].model_copy(update={"hidden": 33})
    spec = loaded.spec.model_copy(update={"networks": (network,)})
    with pytest.raises(PathaiError, match=r"E182.*do not fit"):
        predict.Model(replace(loaded, spec=spec))
    arrays = {k: v for k, v in loaded.arrays.items() if k != "reference.axes"}
    with pytest.raises(PathaiError, match=r"E182.*reference\.axes"):
        predict.Model(replace(loaded, arrays=arrays))


def folder_with(path: Path, stain: str) -> SlideFolder:
    folder = SlideFolder(path / "slides" / "s1")
    info = SlideInfo(
        slide_id="s1",
        sha256="0" * 64,
        width=512 * 40,
        height=512,
        mpp_x=0.25,
        mpp_y=0.25,
        mpp_source="file",
        reader="synthetic",
        level_downsamples=(1.0,),
        stain=stain,
    )
    write_slide_info(folder.slide_json, info)
    folder.features("morphology").parent.mkdir(parents=True)
    write_features(folder.features("morphology"), slide(np.random.default_rng(8), tumor=True))
    return folder


def test_stage_writes_what_the_model_answers(bundle: Path, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "H&E")
    out = Commit(folder.base("predictions", "tumor"), ("tumor.zarr",))
    predict.run(folder, SECTION, out, model=bundle, name="tumor", labels={}, site="")
    out.finish()
    found = folder.read_prediction("tumor")
    assert found.attrs.label == "yes"
    assert found.attrs.model_digest == check_bundle(bundle)
    assert found.attrs.grid_digest == "grid"
    assert len(found.attention) == 40


def test_another_stain_is_skipped(bundle: Path, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "Ki-67")
    with pytest.raises(Skipped, match=r"E142.*stain Ki-67"):
        predict.run(
            folder,
            SECTION,
            Commit(tmp_path / "x", ("tumor.zarr",)),
            model=bundle,
            name="tumor",
            labels={},
            site="",
        )
