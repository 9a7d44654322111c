"""Where a model looked, as other programs read it: the same figures at the same places."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
import zarr
from typer.testing import CliRunner

from pathai.cli import app
from pathai.errors import PathaiError
from pathai.export import ATTENTION_FORMATS, attention, export_attention
from pathai.export.results import model_of
from pathai.store.commit import manifest_path
from pathai.store.folders import SlideFolder
from pathai.store.groups import write_prediction
from pathai.store.manifest import SUFFIX, list_files, read_manifest, write_manifest


@pytest.fixture
def slide(tiny_results):
    return SlideFolder(tiny_results / "results" / "slides" / "E2")


def read(path):
    return json.loads(path.read_text())


# --- GeoJSON ---------------------------------------------------------------------------------


def test_tiles_carry_attention_rank_and_the_answer(slide, tmp_path):
    found = read(export_attention(slide, "geojson", tmp_path / "x.geojson"))
    prediction, features = slide.read_prediction("tumor"), slide.read_features("morphology")
    note, *tiles = found["features"]
    assert note["properties"]["objectType"] == "annotation"
    assert {t["properties"]["objectType"] for t in tiles} == {"tile"}
    assert len({f["id"] for f in found["features"]}) == len(tiles) + 1
    weight = prediction.attention.astype(float)
    for i, tile in enumerate(tiles):
        x, y = features.xy_px0[i].tolist()
        width, height = features.size_px0.tolist()
        box = shapely.from_geojson(json.dumps(tile["geometry"])).bounds
        assert box == (x, y, x + width, y + height)
        measured = tile["properties"]["measurements"]
        assert measured["Attention"] == pytest.approx(weight[i])
        assert measured["Attention: relative to uniform"] == pytest.approx(weight[i] * len(tiles))
        below = 100 * (weight <= weight[i]).sum() / len(tiles)
        assert measured["Attention: percentile"] == pytest.approx(below)
        assert tile["properties"]["classification"]["name"] == "yes"
    around = shapely.from_geojson(json.dumps(note["geometry"]))
    assert all(around.covers(shapely.from_geojson(json.dumps(tile["geometry"]))) for tile in tiles)


def test_the_answer_and_its_set_stand_in_the_file_and_in_the_first_feature(slide, tmp_path):
    found = read(export_attention(slide, "geojson", tmp_path / "x.geojson", model="tumor"))
    answer = slide.read_prediction("tumor").attrs.model_dump(mode="json")
    assert found["pathai"] == {"slide_id": "E2", "model": "tumor", "answer": answer}
    said = found["features"][0]["properties"]
    assert said["name"] == "tumor: yes"
    assert said["metadata"]["label"] == "yes"
    assert json.loads(said["metadata"]["set"]) == ["yes"]
    assert all(isinstance(v, str) for v in said["metadata"].values())  # all that QuPath keeps


def test_a_withheld_answer_gives_no_class(tiny_results, tmp_path):
    slide = SlideFolder(tiny_results / "results" / "slides" / "E5")
    features = read(export_attention(slide, "geojson", tmp_path / "x.geojson"))["features"]
    assert features[0]["properties"]["name"] == "tumor: no answer"
    assert features[0]["properties"]["metadata"]["reason"]
    assert all("classification" not in f["properties"] for f in features)


def test_blocks_change_nothing_and_gzip_holds_the_same(slide, tmp_path, monkeypatch):
    plain = export_attention(slide, "geojson", tmp_path / "x.geojson").read_bytes()
    monkeypatch.setattr(attention, "BLOCK", 4)
    assert export_attention(slide, "geojson", tmp_path / "y.geojson").read_bytes() == plain
    packed = export_attention(slide, "geojson", tmp_path / "x.geojson.gz").read_bytes()
    assert gzip.decompress(packed) == plain


def test_equal_attention_is_equal_rank():
    assert attention.percentiles(np.full(4, 0.25)).tolist() == [62.5] * 4
    assert attention.percentiles(np.array([0.1, 0.7, 0.2])).tolist() == pytest.approx(
        [100 / 3, 100, 200 / 3]
    )
    assert len(attention.percentiles(np.zeros(0))) == 0


# --- heat map --------------------------------------------------------------------------------


def test_the_heat_map_is_a_valid_image_that_lies_on_the_slide(slide, tmp_path):
    from ome_zarr_models.v05.image import Image

    out = export_attention(slide, "ome-zarr", tmp_path / "x.ome.zarr")
    group = zarr.open_group(out, mode="r")
    Image.from_zarr(group)  # valid metadata, by another package's reading of the format
    assert group.attrs["pathai"]["answer"]["label"] == "yes"
    array = group["0"]
    assert (array.dtype, array.metadata.dimension_names) == (np.float32, ("y", "x"))
    scale, shift = (
        np.array(step[step["type"]])
        for step in group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    )
    info, features = slide.read_slide(), slide.read_features("morphology")
    weight = slide.read_prediction("tumor").attention
    picture = array[...]
    # Centers of the tiles in µm, level-0 pixel (0, 0) having its center at 0: find their pixels.
    centers = (features.xy_px0 + features.size_px0 / 2 - 0.5) * [info.mpp_x, info.mpp_y]
    places = (centers[:, ::-1] - shift) / scale
    assert np.abs(places - np.rint(places)).max() < 1e-6
    y, x = np.rint(places).astype(int).T
    assert picture[y, x] == pytest.approx(weight * len(weight), rel=1e-6)
    picture[y, x] = np.nan
    assert np.isnan(picture).all()  # nothing where the model did not look
    assert (
        np.array(picture.shape) * scale >= [info.height * info.mpp_y, info.width * info.mpp_x]
    ).all()


def made(slide, places, values, *, tile_px=128, stride_px=64, size=(512, 384)):
    """Attention on tiles at (row, column) of a grid that starts at 0."""
    seen = attention.read_attention(slide)
    attrs = seen.features.attrs.model_copy(update={"tile_px": tile_px, "stride_px": stride_px})
    features = replace(
        seen.features,
        x=np.zeros((len(places), 1), np.float16),
        xy_px0=np.array(places, np.int32)[:, ::-1] * stride_px,
        size_px0=np.array([tile_px, tile_px], np.float32),
        attrs=attrs,
    )
    weight = np.array(values, np.float32)
    info = seen.slide.model_copy(update={"width": size[0], "height": size[1]})
    answer = replace(seen.prediction, attention=weight / weight.sum())
    return replace(seen, slide=info, features=features, prediction=answer)


def test_where_tiles_overlap_the_heat_map_is_their_mean(slide):
    one = made(slide, [(0, 0), (0, 1), (3, 5)], [1, 2, 3])
    picture = attention.heatmap(one)
    first, second, third = 0.5, 1.0, 1.5  # relative to uniform
    wanted = np.full((6, 8), np.nan, np.float32)
    wanted[0:2, 0] = first
    wanted[0:2, 1] = (first + second) / 2
    wanted[0:2, 2] = second
    wanted[3:5, 5:7] = third
    assert np.allclose(picture, wanted, equal_nan=True)


def test_a_pixel_that_a_tile_covers_in_part_counts_it_by_its_share(slide):
    # Tiles of 96 px every 64 px: the first covers half of column 1, the second all of it.
    picture = attention.heatmap(made(slide, [(0, 0), (0, 1)], [1, 3], tile_px=96))
    assert picture[0, 0] == pytest.approx(0.5)
    assert picture[0, 1] == pytest.approx((0.5 * 0.5 + 1.5) / 1.5)
    assert picture[0, 2] == pytest.approx(1.5)
    assert picture[1, 0] == pytest.approx(0.5)


def test_uniform_attention_is_one_however_the_tiles_overlap(slide):
    places = [(r, c) for r in range(6) for c in range(8)]
    for tile_px in (64, 100, 128, 224):
        picture = attention.heatmap(made(slide, places, np.ones(48), tile_px=tile_px))
        assert picture == pytest.approx(np.ones((6, 8)))
    apart = attention.heatmap(made(slide, [(0, 0), (2, 3)], [1, 1], tile_px=32))
    assert np.isnan(apart).sum() == 46


def test_a_slide_without_a_tile_is_all_unseen(slide):
    none = made(slide, np.zeros((0, 2), np.int32), [1])
    none = replace(none, prediction=replace(none.prediction, attention=np.zeros(0, np.float32)))
    assert np.isnan(attention.heatmap(none)).all()


# --- manners ---------------------------------------------------------------------------------


def two_models(folder):
    first = manifest_path(folder.base("predictions", "tumor"))
    first.with_name(f"grade{SUFFIX}").write_bytes(first.read_bytes())
    write_prediction(folder.prediction("grade"), folder.read_prediction("tumor"))


def test_several_models_must_be_named(tiny_copy, tmp_path):
    slide = SlideFolder(tiny_copy() / "results" / "slides" / "E1")
    assert model_of(slide) == "tumor"
    two_models(slide)
    for format in ATTENTION_FORMATS:
        with pytest.raises(
            PathaiError, match=r"E191: E1: several models; name one of grade, tumor"
        ):
            export_attention(slide, format, tmp_path / "x")
    with pytest.raises(PathaiError, match=r"E191: E1: no answer of 'msi'.*grade, tumor"):
        export_attention(slide, "geojson", tmp_path / "x", model="msi")
    ids = [
        {
            f["id"]
            for f in read(export_attention(slide, "geojson", tmp_path / m, model=m))["features"]
        }
        for m in ("grade", "tumor")
    ]
    assert ids[0].isdisjoint(ids[1])  # both can be opened in one project


@pytest.mark.parametrize("format", sorted(ATTENTION_FORMATS))
def test_nothing_is_overwritten_unless_told(slide, tmp_path, format):
    out = tmp_path / "x"
    out.write_text("precious")
    with pytest.raises(PathaiError, match="E193"):
        export_attention(slide, format, out)
    assert out.read_text() == "precious"
    export_attention(slide, format, out, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(("name", "code"), [("F1", "E110"), ("N1", "E145")])
def test_what_failed_is_not_exported_as_nothing(tiny_results, tmp_path, name, code):
    slide = SlideFolder(tiny_results / "results" / "slides" / name)
    for format in ATTENTION_FORMATS:
        with pytest.raises(PathaiError, match=code):
            export_attention(slide, format, tmp_path / "x")


def test_wrong_calls(slide, tiny_copy, tmp_path):
    with pytest.raises(PathaiError, match=r"E191.*geojson, ome-zarr"):
        export_attention(slide, "csv", tmp_path / "x")
    folder = SlideFolder(tiny_copy() / "results" / "slides" / "E1")
    old = folder.read_prediction("tumor")
    moved = old.attrs.model_copy(update={"grid_digest": "other"})
    write_prediction(folder.prediction("tumor"), replace(old, attrs=moved))
    sealed = manifest_path(folder.base("predictions", "tumor"))
    files = list_files(sealed.parent, [folder.prediction("tumor")])
    write_manifest(sealed, read_manifest(sealed).model_copy(update={"files": files}))
    with pytest.raises(PathaiError, match=r"E166: E1: prediction tumor is of other tiles"):
        export_attention(folder, "ome-zarr", tmp_path / "x")


def test_the_verb_chooses_attention_by_flag_or_name(slide, tmp_path):
    run = CliRunner()
    call = ["export", str(slide.path), "--format", "geojson", "-o"]
    assert run.invoke(app, [*call, str(tmp_path / "a"), "--attention"]).exit_code == 0
    assert run.invoke(app, [*call, str(tmp_path / "b"), "--model", "tumor"]).exit_code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    refused = run.invoke(app, [*call, str(tmp_path / "c"), "--model", "tumor", "--detector", "x"])
    assert "E193" in str(refused.exception)
