"""Every file of the test data ends as ``expected_slides.yaml`` says; none is left out."""

from pathlib import Path

import pytest
import yaml
import zarr
from ome_zarr_models.v05 import Image, ImageLabel

from pathai import chain
from pathai.config import Config
from pathai.errors import CODES
from pathai.store.folders import SlideFolder

TABLE = yaml.safe_load((Path(__file__).parents[1] / "expected_slides.yaml").read_text())
CASES = [(name, case) for name, cases in TABLE.items() for case in cases]
KEYS = {"mpp", "stain", "outcome", "reader", "result_mpp"}


def test_the_table_is_well_formed() -> None:
    for name, case in CASES:
        assert set(case) <= KEYS, name
        assert case["outcome"] in {"store", *CODES}, name
        assert ("result_mpp" in case) == (case["outcome"] == "store"), name


@pytest.mark.real
def test_every_file_of_the_data_is_listed(test_data: Path) -> None:
    there = {
        path.relative_to(test_data).as_posix()
        for folder in ("slides", "broken")
        for path in (test_data / folder).rglob("*")
        if path.is_file()
    }
    assert there == set(TABLE)


def _name(number: int) -> str:
    name, case = CASES[number]
    return f"{Path(name).name[-20:].replace(' ', '-')}-{case['outcome']}-{number}"


@pytest.mark.real
@pytest.mark.parametrize("number", range(len(CASES)), ids=_name)
def test_outcome(number: int, test_data: Path, tmp_path: Path) -> None:
    name, case = CASES[number]
    path, config = test_data / name, Config()
    folder = SlideFolder(tmp_path / "results" / "S1")
    asked = (path, case.get("mpp"), case.get("stain", "H&E"))
    made = chain.ingest_step(config, folder, *asked).run()
    if made.status == "ok":
        made = chain.tile_step(config, folder, path).run()
    if case["outcome"] != "store":
        assert made.status in ("failed", "skipped")
        assert [problem.code for problem in made.problems] == [case["outcome"]]
        assert not folder.tiles.exists()
        return
    assert made.status == "ok", made.problems
    info = folder.read_slide()
    assert info.reader == case["reader"]
    assert info.mpp.mean == pytest.approx(case["result_mpp"], rel=1e-3)
    assert info.mpp_source == ("sheet" if "mpp" in case else "file")
    assert info.stain == case.get("stain", "H&E")
    model = Image.from_zarr(zarr.open_group(folder.tiles, mode="r"))
    scale = model.attributes.ome.multiscales[0].datasets[0].coordinateTransformations[0].scale
    assert scale == pytest.approx([1.0, info.mpp_y, info.mpp_x])
    ImageLabel.from_zarr(zarr.open_group(folder.tissue, mode="r"))
    assert zarr.open_group(folder.tiles, mode="r")["0"].shape == (3, info.height, info.width)
    for written in folder.path.rglob("*.json"):
        assert path.name[:20] not in written.read_text("utf-8", "replace")
