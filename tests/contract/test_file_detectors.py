"""Promises that every detector from a file keeps, each with a stand-in for its network."""

import json
import shutil
import sys
from importlib.machinery import ModuleSpec
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from detector_cases import (
    HALF,
    LABELS,
    MAPS,
    Blobs,
    CellposeModel,
    Pieces,
    all_tissue,
    discs,
    exactly_same,
    matched,
    save_cellpose,
    save_instanseg,
    save_onnx,
    save_stardist,
    save_torchscript,
)
from shapely.geometry import Polygon

from pathai.cells.blocks import detect_slide
from pathai.detectors import FILE_DETECTORS
from pathai.detectors.base import Detector
from pathai.errors import PathaiError
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

STAND_INS = {
    "torchscript, labels": lambda to: save_torchscript(to / "pieces.pt", Pieces(), **LABELS),
    "torchscript, maps": lambda to: save_torchscript(to / "blobs.pt", Blobs(), **MAPS),
    "instanseg": lambda to: save_instanseg(to / "instanseg.pt"),
    "stardist": lambda to: save_stardist(to / "stars"),
    "cellpose": lambda to: save_cellpose(to / "cpsam.pth"),
    "onnx, maps": lambda to: save_onnx(to / "blobs.onnx", **MAPS),
}
"""Kind and what is special, to the file of a network of that kind."""
CASES = list(product(STAND_INS, ("H&E", "H-DAB")))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {name: make(folder) for name, make in STAND_INS.items()}


@pytest.fixture
def make(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    package = ModuleType("cellpose")  # some gigabytes with its weights: its interface stands for it
    package.models = ModuleType("cellpose.models")
    package.models.CellposeModel = CellposeModel
    package.__spec__ = ModuleSpec("cellpose", None)
    monkeypatch.setitem(sys.modules, "cellpose", package)
    monkeypatch.setitem(sys.modules, "cellpose.models", package.models)

    def made(name: str, stain: str, cutoff: float = 0.15, file: Path | None = None) -> Detector:
        kind = FILE_DETECTORS.load(name.partition(",")[0])
        found: Detector = kind(file=file or weights[name], stain=stain, dab_cutoff_od=cutoff)
        return found

    return made


def copied(file: Path, to: Path) -> Path:
    if file.is_dir():
        return Path(shutil.copytree(file, to / file.name))
    for part in file.parent.glob(f"{file.stem}.*"):
        shutil.copy(part, to)
    return to / file.name


def test_every_kind_has_a_stand_in() -> None:
    assert {name.partition(",")[0] for name in STAND_INS} == set(FILE_DETECTORS.names())


@pytest.mark.parametrize(("name", "stain"), CASES)
def test_separated_discs_in_foreign_stains(name: str, stain: str, make: Any) -> None:
    image, truth, brown = discs(1, stain)
    detector = make(name, stain)
    found = detector.detect(image, HALF)
    index = matched(found.centers, truth, 6.0)
    hits = int((index >= 0).sum())
    assert 2 * hits / (len(found) + len(truth)) >= 0.97
    assert detector.classes == (("nucleus",) if stain == "H&E" else ("negative", "positive"))
    if stain == "H-DAB":
        assert (found.class_[index >= 0] != brown[index[index >= 0]]).mean() <= 0.02
        assert (found.dab_od > 0.1).sum() == pytest.approx(brown.sum(), abs=4)
    count = len(found)
    assert found.prob.shape == (count, len(detector.classes))
    assert np.allclose(found.prob.sum(axis=1), 1)
    assert ((found.score > 0) & (found.score <= 1)).all()
    assert found.outline_start[-1] == len(found.outline)
    for i in range(count):
        shape = Polygon(found.outline[found.outline_start[i] : found.outline_start[i + 1]])
        assert shape.is_valid
        assert shape.area > 10
    assert (np.diff(found.centers[:, 1]) >= 0).all()
    assert exactly_same(found, detector.detect(image, HALF))


@pytest.mark.parametrize(("name", "stain"), CASES)
@pytest.mark.parametrize("value", [0, 200, 255])
def test_plain_image_has_none(name: str, stain: str, value: int, make: Any) -> None:
    detector = make(name, stain)
    for height, width in ((100, 130), (1, 3)):
        found = detector.detect(np.full((height, width, 3), value, np.uint8), HALF)
        assert len(found) == 0
        assert found.prob.shape == (0, len(detector.classes))
        assert found.outline.shape == (0, 2)
        assert found.outline_start.tolist() == [0]


@pytest.mark.parametrize("name", STAND_INS)
@pytest.mark.parametrize("stain", ["H&E", "H-DAB"])
def test_blocks_equal_the_whole(name: str, stain: str, make: Any) -> None:
    kind = "H&E" if stain == "H&E" else "Ki-67"
    image, _ = synthetic_field(7, width=420, height=330, stain=kind)
    detector = make(name, stain).for_slide(image)
    view = image[11:, 37:]
    tissue = all_tissue(view.shape[1], view.shape[0])
    whole = detector.detect(view, HALF)
    assert len(whole) > 20  # enough for borders to run through some
    for block, workers in ((144, 1), (208, 2)):  # multiples of every stand-in's stride
        found = detect_slide(view, HALF, tissue, detector, block, workers=workers)
        assert exactly_same(found, whole)


@pytest.mark.parametrize("name", STAND_INS)
def test_finer_slides_are_reduced(name: str, make: Any) -> None:
    image, _, _ = discs(6, "H&E", size=256, count=20)
    fine = image.repeat(2, axis=0).repeat(2, axis=1)
    detector = make(name, "H&E")
    one, two = detector.detect(image, HALF), detector.detect(fine, Mpp(0.25, 0.25))
    assert np.array_equal(one.centers * 2, two.centers)
    assert np.array_equal(one.outline * 2, two.outline)


@pytest.mark.parametrize("name", STAND_INS)
def test_digest_follows_file_contract_and_settings(
    name: str, make: Any, weights: dict[str, Path], tmp_path: Path
) -> None:
    digest = make(name, "H&E").digest
    assert digest == make(name, "H&E").for_slide(discs(5, "H&E")[0]).digest
    file = copied(weights[name], tmp_path)
    assert make(name, "H&E", file=file).digest == digest
    others = {make(name, "H&E", cutoff=0.3).digest, make(name, "H-DAB").digest}
    beside = file / "pathai.json" if file.is_dir() else file.with_suffix(".json")
    said = json.loads(beside.read_text()) if beside.is_file() else {}
    beside.write_text(json.dumps({**said, "area_um2": 11}))
    others.add(make(name, "H&E", file=file).digest)
    assert len(others | {digest}) == 4


@pytest.mark.parametrize("name", STAND_INS)
def test_what_cannot_be_done_is_refused(name: str, make: Any, tmp_path: Path) -> None:
    detector = make(name, "H&E")
    with pytest.raises(PathaiError, match="E131"):
        detector.detect(np.full((20, 20, 3), 200, np.uint8), Mpp(4.0, 4.0))
    with pytest.raises(PathaiError, match="E142"):
        make(name, "Giemsa")
    with pytest.raises(PathaiError, match=r"E183.*gone"):
        make(name, "H&E", file=tmp_path / "gone")


@pytest.mark.parametrize("name", STAND_INS)
def test_a_damaged_file_is_named(
    name: str, make: Any, weights: dict[str, Path], tmp_path: Path
) -> None:
    file = copied(weights[name], tmp_path)
    network = next(p for p in (file.iterdir() if file.is_dir() else [file]) if p.suffix != ".json")
    whole = network.read_bytes()
    for damaged in (b"", b"not a network", whole[: len(whole) // 2], whole[: -len(whole) // 3]):
        network.write_bytes(damaged)
        with pytest.raises(PathaiError, match=rf"E182.*{network.name}"):
            make(name, "H&E", file=file).detect(np.zeros((64, 64, 3), np.uint8), HALF)
