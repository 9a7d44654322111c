"""What is exported is what is stored: every format is read back by another program's means."""

import csv
import gzip
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import zarr

from pathai import geojson
from pathai.errors import PathaiError
from pathai.export import FORMATS, export, nuclei
from pathai.export.results import detector_of
from pathai.store.cell_store import CellsFile
from pathai.store.folders import SlideFolder
from pathai.store.groups import write_cells
from pathai.store.manifest import SUFFIX


@pytest.fixture
def slide(tiny_results):
    return SlideFolder(tiny_results / "results" / "slides" / "E2")


@pytest.fixture
def cells(slide):
    return slide.read_cells("classical")


def outlines(cells):
    pairs = zip(cells.outline_start[:-1], cells.outline_start[1:], strict=True)
    return [shapely.Polygon(cells.outline_px0[a:b]) for a, b in pairs]


# --- GeoJSON ---------------------------------------------------------------------------------


def test_geojson_is_what_qupath_reads(slide, cells, tmp_path):
    out = export(slide, "geojson", tmp_path / "x.geojson")
    found = json.loads(out.read_text())
    assert found["type"] == "FeatureCollection"
    kinds = {}
    for feature in found["features"]:
        assert feature["type"] == "Feature"
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", feature["id"])
        kinds.setdefault(feature["properties"]["objectType"], []).append(feature)
    assert set(kinds) == {"annotation", "tile", "detection"}
    assert len({f["id"] for f in found["features"]}) == len(found["features"])
    truth = outlines(cells)
    assert len(kinds["detection"]) == len(truth)
    for i, feature in enumerate(kinds["detection"]):
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert shape.exterior.is_closed
        assert shape.hausdorff_distance(truth[i]) < 0.1
        name = cells.attrs.classes[cells.class_[i]]
        kind = feature["properties"]["classification"]
        assert kind == {"name": name, "color": list(geojson.color_of(name))}
        measured = feature["properties"]["measurements"]
        assert measured["Nucleus: DAB OD mean"] == pytest.approx(float(cells.dab_od[i]), abs=1e-5)
        assert measured["Probability"] == 0.75
        area = truth[i].area * 0.25
        assert measured["Nucleus: Area µm^2"] == pytest.approx(area, rel=1e-4)


def test_geojson_regions_cover_the_tissue_map_exactly(slide, tmp_path):
    features = json.loads(export(slide, "geojson", tmp_path / "x.geojson").read_text())["features"]
    tissue = slide.read_tissue()
    d = tissue.downsample
    for value, name in ((1, "tissue"), (2, "pen")):
        parts = [f for f in features if f["properties"].get("name") == name]
        assert all(f["properties"]["isLocked"] for f in parts)
        shape = shapely.union_all([shapely.from_geojson(json.dumps(f["geometry"])) for f in parts])
        h, w = tissue.classes.shape
        y, x = np.mgrid[:h, :w]
        inside = shapely.contains_xy(shape, (x + 0.5) * d, (y + 0.5) * d)
        assert np.array_equal(inside, tissue.classes == value)
        assert shape.area == pytest.approx((tissue.classes == value).sum() * d * d)


def test_geojson_tiles_carry_the_attention(slide, tmp_path):
    features = json.loads(export(slide, "geojson", tmp_path / "x.geojson").read_text())["features"]
    tiles = [f for f in features if f["properties"]["objectType"] == "tile"]
    attention = slide.read_prediction("tumor").attention
    grid = slide.read_features("morphology")
    assert [f["properties"]["measurements"]["Attention: tumor"] for f in tiles] == pytest.approx(
        attention.tolist()
    )
    for feature, (x, y) in zip(tiles, grid.xy_px0.tolist(), strict=True):
        box = shapely.from_geojson(json.dumps(feature["geometry"])).bounds
        assert box == (x, y, x + grid.size_px0[0], y + grid.size_px0[1])


def test_gzip_holds_the_same_and_is_the_same_each_time(slide, tmp_path):
    plain = export(slide, "geojson", tmp_path / "x.geojson").read_bytes()
    first = export(slide, "geojson", tmp_path / "a.geojson.gz").read_bytes()
    second = export(slide, "geojson", tmp_path / "b.geojson.gz").read_bytes()
    assert gzip.decompress(first) == plain
    assert first == second
    assert len(first) < len(plain) / 2


def test_odd_outlines():
    points = np.array([(0, 0), (4, 0), (4, 4), (9, 9), (5, 5), (7, 7)], np.float32)
    start = np.array([0, 3, 4, 4, 6], np.int64)
    triangle, point, nothing, mean = geojson.polygons(points, start)
    assert triangle.area == 8
    assert (point.x, point.y) == (9, 9)
    assert nothing is None
    assert (mean.x, mean.y) == (6, 6)
    later = geojson.polygons(points, start[1:])
    assert [g is None for g in later] == [False, True, False]
    texts = list(geojson.detections(["i"] * 4, geojson.polygons(points, start), ["a"] * 4, {}))
    assert len(texts) == 3
    assert all(json.loads(text) for text in texts)


def test_wkb_and_areas_are_those_of_polygons():
    rng = np.random.default_rng(2)
    for lengths in ([5] * 9, [3] * 4, [0, 1, 2, 3, 7], [2, 2], []):
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        points = rng.random((int(start[-1]) + 3, 2), np.float32) * 1000
        shapes = geojson.polygons(points[3:], start)
        found = nuclei._wkb(pa, points, start + 3)
        assert found.to_pylist() == list(shapely.to_wkb(shapes))
        middle = rng.random((len(lengths), 2), np.float32)
        some = SimpleNamespace(xy_px0=middle, outline_px0=points[3:], outline_start=start)
        wanted = [0 if s is None else s.area / 4 for s in shapes]
        assert nuclei.areas_um2(some, 0.25) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_region_with_a_hole_and_an_island():
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[3:6, 3:6] = False
    mask[4, 4] = True
    shapes = geojson.regions(mask, 10.0)
    assert sorted(shapely.area(shapes).tolist()) == [100, 4000]
    assert len(shapes[0].interiors) == 1
    assert len(geojson.regions(np.zeros((3, 3), bool), 1.0)) == 0


# --- tables ----------------------------------------------------------------------------------


def test_csv_is_the_store(slide, cells, tmp_path):
    out = export(slide, "csv", tmp_path / "x.csv")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "cell_id", "x_px0", "y_px0", "x_um", "y_um", "class", "probability", "area_um2",
        "dab_od", "score",
    ]  # fmt: skip
    assert [int(r["cell_id"]) for r in rows] == list(range(len(cells.xy_px0)))
    xy = np.array([(float(r["x_px0"]), float(r["y_px0"])) for r in rows])
    assert np.abs(xy - cells.xy_px0).max() < 0.006
    um = np.array([(float(r["x_um"]), float(r["y_um"])) for r in rows])
    assert np.abs(um - cells.xy_px0 * 0.5).max() < 0.006
    assert [r["class"] for r in rows] == [cells.attrs.classes[c] for c in cells.class_]
    areas = [shape.area * 0.25 for shape in outlines(cells)]
    assert [float(r["area_um2"]) for r in rows] == pytest.approx(areas, abs=1e-3)


def test_geoparquet_is_the_store(slide, cells, tmp_path):
    table = pq.read_table(export(slide, "geoparquet", tmp_path / "x.parquet"))
    geo = json.loads(table.schema.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"], column["crs"]) == (
        "WKB",
        ["Polygon"],
        None,
    )
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    truth = outlines(cells)
    assert shapely.equals_exact(shapes, truth).all()
    assert column["bbox"] == pytest.approx(shapely.total_bounds(shapes).tolist())
    assert table["class"].to_pylist() == [cells.attrs.classes[c] for c in cells.class_]
    assert table["area_um2"].to_pylist() == pytest.approx([s.area * 0.25 for s in truth], rel=1e-5)
    about = json.loads(table.schema.metadata[b"pathai"])
    assert (about["slide_id"], about["mpp_x"]) == ("E2", 0.5)


def test_measures_are_columns_everywhere(tiny_copy, tmp_path):
    """One of them has the name of another column, and one value is no number."""
    anndata = pytest.importorskip("anndata")
    slide = SlideFolder(tiny_copy() / "results" / "slides" / "E2")
    plain = slide.read_cells("classical")
    names = ("Nucleus: Circularity", "score", "50 % of it, or less")
    values = np.random.default_rng(0).random((len(plain.class_), 3), np.float32)
    values[3, 2] = np.nan
    attrs = plain.attrs.model_copy(update={"measures": names})
    write_cells(slide.cells("classical"), replace(plain, measures=values, attrs=attrs))
    shown = ["Nucleus: Circularity", "measured score", "50 % of it, or less"]
    with export(slide, "csv", tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[10:] == shown
    for i, row in enumerate(rows):
        found = [float(row[name] or "nan") for name in shown]
        assert found == pytest.approx(values[i].tolist(), rel=1e-5, nan_ok=True)
        assert float(row["score"]) == pytest.approx(float(plain.score[i]), abs=1e-4)
    table = pq.read_table(export(slide, "geoparquet", tmp_path / "x.parquet"))
    for name, column in zip(shown, values.T, strict=True):
        assert np.array_equal(table[name].to_numpy(), column, equal_nan=True)
    text = export(slide, "geojson", tmp_path / "x.geojson").read_text()
    kinds = [f["properties"] for f in json.loads(text)["features"]]
    measured = [p["measurements"] for p in kinds if p["objectType"] == "detection"]
    assert measured[3]["50 % of it, or less"] is None
    got = [[m[name] for name in shown] for i, m in enumerate(measured) if i != 3]
    assert np.allclose(np.array(got), np.delete(values, 3, axis=0), rtol=1e-5)
    read = anndata.read_h5ad(export(slide, "anndata", tmp_path / "x.h5ad"))
    assert np.array_equal(read.X, values, equal_nan=True)
    assert read.var_names.tolist() == list(names)
    assert np.allclose(read.obsm["spatial"], plain.xy_px0 * 0.5)
    assert read.obs["class"].tolist() == [plain.attrs.classes[c] for c in plain.class_]
    assert np.allclose(read.obs["score"], plain.score)
    assert read.obs_names.tolist() == [str(i) for i in range(len(plain.class_))]
    assert read.uns["slide_id"] == "E2"


def test_slices_change_nothing(slide, tmp_path, monkeypatch):
    whole = {name: export(slide, name, tmp_path / f"w.{name}") for name in ("csv", "geojson")}
    table = pq.read_table(export(slide, "geoparquet", tmp_path / "w.parquet"))
    monkeypatch.setattr("pathai.export.nuclei.BLOCK", 7)
    monkeypatch.setattr("pathai.export.nuclei.POINTS", 50)
    monkeypatch.setattr(CellsFile, "parts", lambda self: plain_parts(self, 17))
    for name, file in whole.items():
        assert export(slide, name, tmp_path / f"s.{name}").read_bytes() == file.read_bytes()
    assert pq.read_table(export(slide, "geoparquet", tmp_path / "s.parquet")).equals(table)


plain_parts = CellsFile.parts


# --- pixels ----------------------------------------------------------------------------------


def test_ome_zarr_is_the_same_picture_in_plain_codecs(slide, tmp_path):
    from ome_zarr_models.v05.image import Image

    out = export(slide, "ome-zarr", tmp_path / "x.ome.zarr")
    group = zarr.open_group(out, mode="r")
    Image.from_zarr(group)  # valid metadata, by another package's reading of the format
    tiles = slide.open_tiles()
    for level, source in enumerate(tiles.arrays):
        copy = group[str(level)]
        assert np.array_equal(copy[...], source[...])
        codecs = json.loads((out / str(level) / "zarr.json").read_text())["codecs"]
        assert [c["name"] for c in codecs] == ["bytes", "zstd"]
    scale = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert scale["scale"] == [1.0, 0.5, 0.5]
    assert "pathai" not in group.attrs


# --- manners ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_nothing_is_overwritten_unless_told(slide, tmp_path, format):
    out = tmp_path / "x"
    out.write_text("precious")
    with pytest.raises(PathaiError, match="E193"):
        export(slide, format, out)
    assert out.read_text() == "precious"
    export(slide, format, out, overwrite=True)
    assert out.is_dir() or out.read_bytes() != b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_failed_export_leaves_what_was_there(slide, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(geojson, "tiles", full)
    out = tmp_path / "x.geojson"
    out.write_text("precious")
    with pytest.raises(PathaiError, match="E161"):
        export(slide, "geojson", out, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x.geojson"]
    assert out.read_text() == "precious"


@pytest.mark.parametrize(("name", "code"), [("F1", "E110"), ("N1", "E145")])
def test_what_failed_is_not_exported_as_nothing(tiny_results, tmp_path, name, code):
    slide = SlideFolder(tiny_results / "results" / "slides" / name)
    for format in FORMATS:
        with pytest.raises(PathaiError, match=code):
            export(slide, format, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_wrong_calls(slide, tmp_path):
    with pytest.raises(PathaiError, match="E191"):
        export(slide, "shapefile", tmp_path / "x")
    with pytest.raises(PathaiError, match=r"E191.*classical"):
        export(slide, "csv", tmp_path / "x", detector="other")
    with pytest.raises(PathaiError, match="E193"):
        export(slide, "csv", slide.path / "cells.csv")


def test_several_detectors_must_be_named(tiny_copy):
    slide = SlideFolder(tiny_copy() / "results" / "slides" / "E1")
    assert detector_of(slide) == "classical"
    manifest = (slide.base("cells") / f"classical{SUFFIX}").read_bytes()
    (slide.base("cells") / f"other{SUFFIX}").write_bytes(manifest)
    with pytest.raises(PathaiError, match=r"E191.*classical, other"):
        detector_of(slide)
    assert detector_of(slide, "other") == "other"


ROWS = ("xy_px0", "score", "class_", "prob", "dab_od", "measures")


def test_a_slide_without_nuclei(tiny_copy, tmp_path):
    slide = SlideFolder(tiny_copy() / "results" / "slides" / "E1")
    cells = slide.read_cells("classical")
    none = cells.__class__(
        **{name: getattr(cells, name)[:0] for name in ROWS},
        outline_px0=cells.outline_px0[:0],
        outline_start=cells.outline_start[:1],
        raster=cells.raster,
        attrs=cells.attrs,
    )
    write_cells(slide.cells("classical"), none)
    assert len(export(slide, "csv", tmp_path / "x.csv").read_text().splitlines()) == 1
    table = pq.read_table(export(slide, "geoparquet", tmp_path / "x.parquet"))
    assert table.num_rows == 0
    assert json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]["geometry_types"] == []
    features = json.loads(export(slide, "geojson", tmp_path / "x.geojson").read_text())["features"]
    assert {f["properties"]["objectType"] for f in features} == {"annotation", "tile"}
