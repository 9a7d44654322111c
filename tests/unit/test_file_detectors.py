"""Contracts of foreign networks, what is refused, and what is measured on the slide."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detector_cases import (
    HALF,
    LABELS,
    MAPS,
    Blobs,
    Pieces,
    discs,
    exactly_same,
    save_onnx,
    save_torchscript,
)
from folder_cases import make_folder

from pathai import detectors
from pathai.chain import cells_step
from pathai.config import Config
from pathai.detectors.cards import CARDS
from pathai.detectors.contract import Contract
from pathai.detectors.onnx import Onnx
from pathai.detectors.torchscript import TorchScript
from pathai.errors import PathaiError
from pathai.store.commit import Key, run_stage


class Fixed(torch.nn.Module):
    """A square of 20 px as label 5, and support for three classes."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.arange(x.shape[2])[:, None]
        column = torch.arange(x.shape[3])[None]
        square = (y >= 10) & (y < 30) & (column >= 40) & (column < 60)
        support = x[0].mean(dim=0)[None] * torch.tensor([0.0, 3.0, 1.0])[:, None, None]
        return square.float()[None, None] * 5, support[None]


def test_the_contract_may_be_in_the_file(tmp_path: Path) -> None:
    bare = save_onnx(tmp_path / "bare.onnx")
    with pytest.raises(PathaiError, match=r"E183.*bare\.json is missing"):
        Onnx(bare)
    inside = save_onnx(tmp_path / "inside.onnx", stated=MAPS)
    beside = save_onnx(tmp_path / "beside.onnx", **MAPS)
    assert Onnx(inside).contract == Onnx(beside).contract == Contract.model_validate(MAPS)
    image = discs(1, "H&E", 256, 20)[0]
    assert exactly_same(Onnx(inside).detect(image, HALF), Onnx(beside).detect(image, HALF))
    inside.with_suffix(".json").write_text(json.dumps({**MAPS, "threshold": 0.9}))
    assert Onnx(inside).contract.threshold == 0.9  # the file beside comes first


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"mpp": None}, "mpp"),
        ({"mpp": -1}, "mpp"),
        ({"treshold": 0.5}, "treshold"),
        ({"std": [1, 0, 1]}, "std"),
        ({"percentiles": [99, 1]}, "percentiles"),
        ({"classes": ["a", "b"]}, "maps.classes"),
        ({"output": "stars", "classes": ["a", "b"]}, "stars"),
        ({"output": "boxes"}, "output"),
    ],
)
def test_a_wrong_contract_names_its_key(change: dict, key: str, tmp_path: Path) -> None:
    said = {k: v for k, v in {**MAPS, **change}.items() if v is not None}
    file = save_torchscript(tmp_path / "blobs.pt", Blobs(), **said)
    with pytest.raises(PathaiError, match=rf"E182.*blobs\.json.*{key}.*docs/detectors\.md"):
        TorchScript(file)


def test_classes_come_from_the_second_output(tmp_path: Path) -> None:
    contract = {**LABELS, "classes": ["tumor", "lymphocyte", "other"]}
    file = save_torchscript(tmp_path / "fixed.pt", Fixed(), **contract)
    for stain in ("H&E", "Ki-67"):  # with classes of its own, DAB changes none of them
        detector = TorchScript(file, stain=stain)
        found = detector.detect(np.full((50, 90, 3), 100, np.uint8), HALF)
        assert detector.classes == ("tumor", "lymphocyte", "other")
        assert found.centers.tolist() == [[50, 20]]
        assert found.class_.tolist() == [1]
        assert found.prob[0] == pytest.approx([0, 0.75, 0.25], abs=0.002)
        assert found.score.tolist() == [1]


@pytest.mark.parametrize(
    ("network", "contract", "said"),
    [
        (Blobs(), {**LABELS}, "not whole"),
        (Pieces(), {**MAPS}, "channel 1 is named, and there are 1"),
        (torch.nn.AvgPool2d(2), {**LABELS}, "output 1x3x32x32, for an image of 64x64"),
        (torch.nn.Flatten(), {**LABELS}, "output 1x12288"),
        (torch.nn.LayerNorm([80]), {**LABELS}, "RuntimeError"),
        (torch.nn.Threshold(300, float("nan")), {**LABELS}, "not finite"),
        (Fixed(), {**LABELS, "classes": list("abcd")}, "no second output of 4 channels"),
    ],
)
def test_an_output_that_is_not_as_told(
    network: torch.nn.Module, contract: dict, said: str, tmp_path: Path
) -> None:
    file = save_torchscript(tmp_path / "n.pt", network, **contract)
    image = discs(1, "H&E", 64, 1)[0]
    with pytest.raises(PathaiError, match=rf"E182.*n\.pt.*{said}"):
        TorchScript(file).detect(image, HALF)


class Saves(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "stolen")
        return x


class Maps(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("secret", size=1)


@pytest.mark.parametrize(
    ("network", "said"), [(Saves(), "torch.save"), (Maps(), "torch.from_file")]
)
def test_torchscript_that_touches_files_is_not_loaded(
    network: torch.nn.Module, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), "n.pt")
    Path("n.json").write_text(json.dumps(LABELS))
    with pytest.raises(PathaiError, match=rf"E182.*n\.pt touches files: {said}"):
        TorchScript(Path("n.pt")).detect(np.zeros((32, 32, 3), np.uint8), HALF)
    assert not Path("stolen").exists()


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    torch.save({"weight": torch.zeros(3)}, file)
    file.with_suffix(".json").write_text(json.dumps(LABELS))
    with pytest.raises(PathaiError, match=r"E182.*no code in it"):
        TorchScript(file).detect(np.zeros((32, 32, 3), np.uint8), HALF)


class Bright(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.mean(dim=1, keepdim=True) > 0.75).float()


@pytest.mark.parametrize("per_channel", [True, False])
def test_percentiles_are_of_the_slide_not_of_the_block(per_channel: bool, tmp_path: Path) -> None:
    contract = {**LABELS, "percentiles": [0, 100], "per_channel": per_channel}
    detector = TorchScript(save_torchscript(tmp_path / "bright.pt", Bright(), **contract))
    block = np.full((40, 40, 3), 50, np.uint8)
    block[10:20, 10:20] = 120  # the brightest of the block, not of the slide
    assert len(detector.detect(block, HALF)) == 1
    slide = np.zeros((64, 64, 3), np.uint8)
    slide[:9] = 240, 250, 260 - 20
    fitted = detector.for_slide(slide)
    assert len(fitted.detect(block, HALF)) == 0
    block[10:20, 10:20] = 230
    assert len(fitted.detect(block, HALF)) == 1
    assert fitted.digest == detector.digest


class Odd(torch.nn.Module):
    """Fails unless both edges are multiples of 32; every px is nucleus 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(x[:, :1], 32)
        return torch.ones_like(x[:, :1]) + 0 * torch.nn.functional.interpolate(
            small, scale_factor=32.0
        )


def test_images_are_padded_to_the_stride(tmp_path: Path) -> None:
    file = save_torchscript(tmp_path / "odd.pt", Blobs(), **MAPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Odd()), str(file))
    file.with_suffix(".json").write_text(json.dumps({**LABELS, "step_px": 32}))
    detector = TorchScript(file)
    found = detector.detect(np.full((70, 45, 3), 90, np.uint8), HALF)
    assert detector.step_px == 32
    assert found.centers.tolist() == [[22.5, 35]]


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_onnx(tmp_path / "blobs.onnx", **MAPS)
    return tmp_path


def test_a_slide_is_counted_again_when_the_file_changes(run_folder: Path) -> None:
    image, truth, _ = discs(2, "H&E")
    folder = make_folder(run_folder / "s1", image, HALF)
    name = "onnx@blobs.onnx"
    run_stage(folder.base("tile"), "s1", Key("tile", 1, "", (), {}), {}, lambda out: None)
    assert cells_step(Config(), folder, name).run().status == "ok"
    cells = folder.read_cells(name)
    assert cells.attrs.detector == name
    assert cells.attrs.count.value == pytest.approx(len(truth), abs=3)
    assert cells_step(Config(), folder, name).manifest() is not None
    Path("blobs.json").write_text(json.dumps({**MAPS, "area_um2": 1000}))
    again = cells_step(Config(), folder, name)
    assert again.manifest() is None
    again.run()
    assert folder.read_cells(name).attrs.count.value == 0


def use(name: str) -> None:
    detectors.check_ready(name)
    detector = detectors.load_detector(name, stain="H&E", dab_cutoff_od=0.1)
    detector.detect(np.zeros((9, 9, 3), np.uint8), HALF)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onnx", "E191.*onnx needs a file; write onnx@file"),
        ("onx@blobs.onnx", "E191.*no detector named 'onx'; try onnx"),
        ("classical@blobs.onnx", "E191.*takes no file"),
        ("onnx@/tmp/blobs.onnx", "E190.*blobs.onnx: absolute path"),
        ("onnx@gone.onnx", "E183.*gone.onnx not found"),
        ("torchscript@blobs.onnx", "E182"),
    ],
)
def test_what_cannot_be_used_is_refused_beforehand(name: str, said: str, run_folder: Path) -> None:
    with pytest.raises(PathaiError, match=said):
        use(name)


def test_a_missing_package_is_named_with_its_extra(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detectors.check_ready("onnx@blobs.onnx")
    monkeypatch.setitem(CARDS, "onnx", replace(CARDS["onnx"], module="no_such_package"))
    with pytest.raises(PathaiError, match=r"E194.*no_such_package.*pip install 'pathai\[onnx\]'"):
        detectors.check_ready("onnx@blobs.onnx")
    assert CARDS["onnx"].needs == "pathai[onnx], missing"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    save_onnx(run_folder / "other.onnx", stated=MAPS)
    with pytest.raises(PathaiError, match=r"E194.*pip install 'pathai\[onnx\]'"):
        Onnx(run_folder / "other.onnx")


def test_every_detector_has_a_card() -> None:
    assert set(CARDS) == set(detectors.names())
    for card in CARDS.values():
        assert card.title
        assert card.licence
        assert bool(card.module) == bool(card.extra)
