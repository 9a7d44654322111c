"""Cells of other programs: scaled, mended, counted; nothing is lost silently."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from folder_cases import make_folder

from pathai import chain, verbs
from pathai.cells.foreign import read_foreign
from pathai.config import Config
from pathai.errors import PathaiError
from pathai.export import export
from pathai.store.commit import Key, run_stage
from pathai.store.folders import SlideFolder
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp


@pytest.fixture
def folder(tmp_path: Path) -> SlideFolder:
    """A slide of 640 x 480 px at 0.25 µm/px; its right quarter is pen."""
    classes = np.ones((30, 40), np.uint8)
    classes[:, 30:] = 2
    made = make_folder(
        tmp_path / "s1", np.full((480, 640, 3), 220, np.uint8), Mpp(0.25, 0.25), classes
    )
    run_stage(made.base("tile"), "s1", Key("tile", 1, "", (), {}), {}, lambda out: None)
    return made


def ring(x: float, y: float, radius: float = 8) -> list[list[float]]:
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return [[x + radius * float(np.cos(a)), y + radius * float(np.sin(a))] for a in angle]


def write(folder: SlideFolder, said: Any, name: str = "cells.json") -> Path:
    file = folder.path.parent / name
    file.write_text(json.dumps(said))
    return file


def imported(folder: SlideFolder, file: Path, format: str, mpp: float | None = None) -> tuple:
    manifest = chain.import_step(folder, file, format, mpp).run()
    return manifest, folder.read_cells(f"import:{format}")


def test_hovernet_is_scaled_by_its_magnification(folder: SlideFolder) -> None:
    nuclei = {
        "7": {"centroid": [50, 60], "contour": ring(50, 60), "type": 1, "type_prob": 0.75},
        "3": {"centroid": [100, 30], "contour": ring(100, 30, 4), "type": 2, "type_prob": 1.0},
    }
    file = write(folder, {"mag": 20, "nuc": nuclei})  # 0.5 µm/px, of a slide at 0.25
    manifest, cells = imported(folder, file, "hovernet")
    assert manifest.status == "ok"
    assert cells.xy_px0.tolist() == [[200, 60], [100, 120]]
    assert cells.attrs.classes == ("type 1", "type 2")
    assert cells.class_.tolist() == [1, 0]
    assert cells.prob.tolist() == [[0, 1], [0.75, 0.25]]
    assert cells.attrs.class_counts == (1, 1)
    first = shapely.Polygon(cells.outline_px0[: cells.outline_start[1]])
    assert first.area == pytest.approx(shapely.Polygon(ring(0, 0, 8)).area, rel=1e-4)
    assert cells.raster[0].max() == 2
    for mag, mpp, place in ((None, None, [100, 30]), (20, 0.25, [100, 30]), (None, 0.5, [200, 60])):
        file = write(folder, {"mag": mag, "nuc": nuclei})
        assert imported(folder, file, "hovernet", mpp)[1].xy_px0[0].tolist() == place


def test_every_bad_outline_is_mended_or_counted(folder: SlideFolder) -> None:
    bow = [[100, 100], [120, 120], [120, 100], [100, 112]]
    contours = [
        ring(50, 50),
        ring(200, 200),
        bow,  # crosses itself
        ring(50, 50),  # once more
        [],
        [[1, 1], [2, 2]],
        [[5, 5], [10, 10], [15, 15]],  # flat
        ring(-40, 20),
        ring(100, 9000),
        ring(600, 100),  # on pen
        "text",
    ]
    file = write(folder, {"nuc": {str(i): {"contour": c} for i, c in enumerate(contours)}})
    manifest, cells = imported(folder, file, "hovernet")
    assert manifest.status == "degraded"
    assert [p.code for p in manifest.problems] == ["E187"]
    attrs = cells.attrs
    assert attrs.dropped == {"duplicate": 1, "empty": 3, "flat": 1, "outside": 2, "off tissue": 1}
    assert len(cells.xy_px0) + sum(attrs.dropped.values()) == len(contours)
    assert attrs.count.value == 3
    assert attrs.mended == 1
    for start, stop in zip(cells.outline_start[:-1], cells.outline_start[1:], strict=True):
        assert shapely.Polygon(cells.outline_px0[start:stop]).is_valid
    assert (np.diff(cells.xy_px0[:, 1]) >= 0).all()


def test_qupath_gives_nuclei_and_no_annotations(folder: SlideFolder) -> None:
    def feature(kind: str, outline: list, **more: Any) -> dict:
        closed = [*outline, outline[0]]
        geometry = {"type": "Polygon", "coordinates": [closed]}
        return {"type": "Feature", "geometry": geometry, "properties": {"objectType": kind}} | more

    tumor = {"objectType": "cell", "classification": {"name": "Tumor", "color": [200, 0, 0]}}
    nucleus = {"type": "Polygon", "coordinates": [[*ring(80, 90, 5), ring(80, 90, 5)[0]]]}
    features = [
        feature("cell", ring(80, 90, 12), properties=tumor, nucleusGeometry=nucleus),
        feature("detection", ring(30, 200)),
        feature("annotation", ring(200, 200, 90)),
    ]
    for said in ({"type": "FeatureCollection", "features": features}, features):
        _, cells = imported(folder, write(folder, said), "qupath-geojson")
        assert cells.attrs.classes == ("Tumor", "nucleus")
        assert cells.attrs.dropped == {"no nuclei": 1}
        area = shapely.Polygon(cells.outline_px0[: cells.outline_start[1]]).area
        assert area == pytest.approx(shapely.Polygon(ring(0, 0, 5)).area, rel=1e-4)


@pytest.mark.parametrize(
    ("format", "suffix"), [("qupath-geojson", "geojson"), ("geoparquet", "parquet")]
)
def test_what_is_exported_comes_back(format: str, suffix: str, tmp_path: Path) -> None:
    image, _ = synthetic_field(3, width=400, height=320)
    folder = make_folder(tmp_path / "s1", image, Mpp(0.5, 0.5))
    run_stage(folder.base("tile"), "s1", Key("tile", 1, "", (), {}), {}, lambda out: None)
    chain.cells_step(Config(), folder, "classical").run()
    want = folder.read_cells("classical")
    file = tmp_path / f"cells.{suffix}"
    export(folder, "geojson" if suffix == "geojson" else "geoparquet", file)
    _, cells = imported(folder, file, format)
    assert len(cells.xy_px0) == len(want.xy_px0) > 40
    assert cells.attrs.class_counts == want.attrs.class_counts
    got = np.sort(cells.outline_px0.round(0), axis=0)
    assert np.abs(got - np.sort(want.outline_px0.round(0), axis=0)).max() <= 1


@pytest.mark.parametrize(
    ("format", "text", "said"),
    [
        ("hovernet", "{", "not JSON"),
        ("hovernet", "\x80\x04pickle", "not JSON"),
        ("hovernet", "[]", "no object nuc"),
        ("hovernet", '{"mag": -3, "nuc": {}}', "mag is -3"),
        ("hovernet", '{"nuc": {"1": {"box": []}}}', "nucleus 1 has no contour"),
        ("qupath-geojson", '{"features": 3}', "no list of features"),
        ("qupath-geojson", '[{"type": "Point"}]', "feature 0 is none"),
        ("geoparquet", "PAR1", ""),
    ],
)
def test_what_is_no_such_file_is_named(
    format: str, text: str, said: str, folder: SlideFolder
) -> None:
    file = folder.path.parent / "cells.bin"
    file.write_text(text)
    with pytest.raises(PathaiError, match=rf"E187.*cells\.bin: .*{said}"):
        read_foreign(file, format, folder.read_slide())


def test_the_door_says_what_was_done(
    folder: SlideFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(folder, {"nuc": {"1": {"contour": ring(50, 50)}, "2": {"contour": []}}})
    run_stage(folder.base("ingest"), "s1", Key("ingest", 1, "", (), {}), {}, lambda out: None)
    assert verbs.import_cells([folder.path], file, "hovernet", None, "") == 0
    assert "1 cells as import:hovernet, 0 mended, 1 left out (empty)" in capsys.readouterr().err
    for format, detector in (("", ""), ("csv", ""), ("hovernet", "classical")):
        with pytest.raises(PathaiError, match="E193"):
            verbs.import_cells([folder.path], file, format, None, detector)
    gone = folder.path.parent / "gone.json"
    with pytest.raises(PathaiError, match=r"E183.*gone\.json"):
        verbs.import_cells([folder.path], gone, "hovernet", None, "")


def test_an_empty_file_is_no_cells(folder: SlideFolder) -> None:
    _, cells = imported(folder, write(folder, {"nuc": {}}), "hovernet")
    assert cells.attrs.count.value == 0
    assert cells.outline_start.tolist() == [0]
