"""The mean of a slide's tiles is stored once, checked, and renewed when its tiles change."""

import json
import shutil

import numpy as np
import pytest
from slide_level_cases import make_features, put_features

from pathai import chain, slide_verbs
from pathai.config import Config
from pathai.encoders.setup import Setup
from pathai.encoders.slide_encoder import (
    MeanTile,
    load_slide_encoder,
    places,
    slide_cards,
    tile_encoder_of,
)
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.run import check_everything
from pathai.slide_level import slide_step
from pathai.store.folders import SlideFolder
from pathai.verify import verify

RNG = np.random.default_rng(0)


@pytest.fixture
def slide(tmp_path):
    x = RNG.normal(size=(50, 16))
    folder = SlideFolder(tmp_path / "results" / "slides" / "S1")
    return put_features(folder, make_features(x, "morphology", names=tuple(map(str, range(16)))))


def step(folder, name="mean:morphology"):
    return slide_step(folder, name, Setup())


def test_the_mean_is_the_mean_summed_in_double_precision(slide):
    assert step(slide).run().status == "ok"
    found, x = slide.read_slide_vector("mean:morphology"), slide.read_features("morphology").x
    assert found.vector.dtype == np.float32
    np.testing.assert_array_equal(found.vector, x.astype(np.float64).mean(0).astype(np.float32))
    attrs = found.attrs
    assert (attrs.encoder, attrs.tile_encoder, attrs.tiles) == (
        "mean:morphology",
        "morphology",
        50,
    )
    assert (attrs.grid_digest, attrs.tile_encoder_digest) == ("g" * 64, "e" * 64)
    assert len(attrs.names) == 16


def test_many_tiles_lose_nothing_to_rounding():
    """In half precision the sum of 40,000 tiles would stop growing, or overflow."""
    x = np.full((40_000, 2), [1000.0, 0.001])
    vector = MeanTile("virchow").encode(make_features(x))
    np.testing.assert_allclose(vector, x.astype(np.float16)[0].astype(np.float32), rtol=1e-6)


def test_tiles_without_a_readable_pixel_do_not_count(tmp_path):
    x, valid = RNG.normal(size=(6, 4)), np.array([1, 0, 1, 0.5, 0, 1], np.float16)
    folder = put_features(SlideFolder(tmp_path / "S1"), make_features(x, valid=valid))
    step(folder, "mean:virchow").run()
    found = folder.read_slide_vector("mean:virchow")
    np.testing.assert_allclose(found.vector, x.astype(np.float16)[valid > 0].mean(0), atol=1e-3)
    assert found.attrs.tiles == 4


@pytest.mark.parametrize("valid", [np.zeros(3, np.float16), np.zeros(0, np.float16)])
def test_without_a_tile_the_slide_is_skipped_not_failed(tmp_path, valid):
    features = make_features(RNG.normal(size=(len(valid), 4)), valid=valid)
    folder = put_features(SlideFolder(tmp_path / "S1"), features)
    made = step(folder, "mean:virchow").run()
    assert made.status == "skipped"
    assert made.problems[0].code == "E145"


def test_damaged_features_are_refused_by_name(tmp_path):
    x = RNG.normal(size=(5, 4))
    x[3, 2] = np.nan
    folder = put_features(SlideFolder(tmp_path / "S1"), make_features(x))
    made = step(folder, "mean:virchow").run()
    assert (made.status, made.problems[0].code) == ("failed", "E180")
    assert made.problems[0].message.startswith("S1: ")


def test_features_that_lie_where_others_should_are_refused(tmp_path):
    folder = put_features(SlideFolder(tmp_path / "S1"), make_features(RNG.normal(size=(5, 4))))
    (folder.path / "features" / "uni.zarr").symlink_to(folder.features("virchow"))
    base = folder.path / "features"
    (base / "uni.manifest.json").write_bytes((base / "virchow.manifest.json").read_bytes())
    made = step(folder, "mean:uni").run()
    assert made.problems[0].code == "E181"
    assert "virchow" in made.problems[0].message
    assert "--encoder uni" in made.problems[0].remedy


def test_a_vector_is_made_once_and_again_when_its_tiles_change(slide):
    step(slide).run()
    path = slide.slide_vector("mean:morphology") / "zarr.json"
    before = path.stat().st_mtime_ns
    assert step(slide).run().status == "ok"
    assert path.stat().st_mtime_ns == before
    base = slide.base("features", "morphology")
    base.with_name(base.name + ".manifest.json").unlink()
    put_features(slide, make_features(RNG.normal(size=(50, 16)), "morphology"))
    assert step(slide).manifest() is None
    step(slide).run()
    x = slide.read_features("morphology").x
    np.testing.assert_allclose(
        slide.read_slide_vector("mean:morphology").vector, x.mean(0), atol=1e-3
    )


def test_without_features_it_says_what_to_run_first(tmp_path):
    folder = put_features(SlideFolder(tmp_path / "S1"), make_features(RNG.normal(size=(5, 4))))
    with pytest.raises(PathaiError, match="E164: S1: no result of features"):
        step(folder, "mean:morphology").run()


def test_verify_knows_the_files_and_finds_a_changed_byte(slide):
    step(slide).run()
    results = slide.path.parents[1]
    faults = [f for f in verify(results).faults if "/slide/" in f.file]
    assert faults == []
    chunk = next((slide.slide_vector("mean:morphology") / "vector").rglob("c/0"))
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    (fault,) = [f for f in verify(results).faults if "/slide/" in f.file]
    assert fault.file.endswith("vector/c/0")


@pytest.mark.parametrize(
    ("name", "tiles"),
    [
        ("mean:uni", "uni"),
        ("mean:timm:resnet18@w.safetensors", "timm:resnet18@w.safetensors"),
        ("mean:own/file.py:Class", "own/file.py:Class"),
        ("titan@models/TITAN", "conch-v1-5"),
        ("prism@models/prism:virchow@w.safetensors", "virchow@w.safetensors"),
        ("chief", "ctranspath"),
    ],
)
def test_a_name_says_whose_tiles_are_taken(name, tiles):
    assert tile_encoder_of(name) == tiles


@pytest.mark.parametrize("name", ["mean", "mean@x:uni", "titn", ""])
def test_unknown_names_are_refused_with_the_nearest(name):
    with pytest.raises(PathaiError, match="E191") as error:
        tile_encoder_of(name)
    assert "mean:<tile encoder>" in error.value.remedy or "titan" in error.value.remedy


def test_a_run_makes_vectors_only_where_asked(tiny_copy, monkeypatch):
    root = tiny_copy()
    monkeypatch.chdir(root)
    plan = Plan(root / "config.yaml")
    assert plan.receipts()["slide"] == ()
    assert all(stage != "slide" for stage, _ in plan.needs("cohort", "cohort"))
    text = (root / "config.yaml").read_text()
    (root / "config.yaml").write_text(text + "slide: {encoders: [mean:morphology]}\n")
    plan = Plan(root / "config.yaml")
    check_everything(plan)
    batches = plan.receipts()["slide"]
    assert batches == plan.receipts()["features"]
    assert {("slide", batch) for batch in batches} <= set(plan.needs("cohort", "cohort"))
    assert plan.needs("slide", batches[0]) == [("features", batches[0])]
    made = {
        s.subject: s.run().status for b in batches for s in chain.steps_of_receipt(plan, "slide", b)
    }
    assert made["T1"] == "ok"
    assert (made["E4"], made["F1"], made["N1"]) == ("degraded", "failed", "skipped")


def test_a_run_is_told_before_it_starts_what_a_slide_encoder_lacks(tiny_copy, monkeypatch):
    root = tiny_copy()
    monkeypatch.chdir(root)
    text = (root / "config.yaml").read_text()
    for name, code in {
        "mean:uni": "E190", "titan": "E183", "titan@no-such": "E183", "meen:uni": "E191",
        "titan@/somewhere": "E190",
    }.items():  # fmt: skip
        (root / "config.yaml").write_text(f"{text}slide: {{encoders: ['{name}']}}\n")
        with pytest.raises(PathaiError, match=code):
            check_everything(Plan(root / "config.yaml"))


def test_a_policy_on_licences_holds_for_slide_encoders(tmp_path):
    for name, card in slide_cards().items():
        if card.terms not in ("open", "commercial"):
            with pytest.raises(PathaiError, match="E185"):
                load_slide_encoder(f"{name}@{tmp_path}", Setup(licence="commercial"))


def test_similar_slides_of_a_run(tiny_copy, monkeypatch, capsys):
    root = tiny_copy()
    monkeypatch.chdir(root)
    slides = {name: SlideFolder(root / "results" / "slides" / name) for name in ("E3", "E4", "T1")}
    for folder in slides.values():
        step(folder).run()
    slide_verbs.similar(slides["E3"].path, None, "", 10, as_json=True)
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert [n["slide_id"] for n in found["neighbors"]] == ["T1"]  # E4 is of the same patient
    assert "F1" in found["without_vector"]
    assert "T1" in told.err
    with pytest.raises(PathaiError, match="E193: T2"):
        slide_verbs.similar(slides["E3"].path.with_name("T2"), None, "", 10, as_json=False)


def test_the_slides_of_another_run_can_be_searched(tiny_copy, tmp_path, monkeypatch, capsys):
    root = tiny_copy()
    monkeypatch.chdir(root)
    other = root.parent / "other" / "results"
    for name in ("T1", "T2", "T3", "E3"):
        step(SlideFolder(root / "results" / "slides" / name)).run()
    for name in ("slides.tsv", "config.yaml", "tumor.yaml"):
        other.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, other.parent / name)
    for name in ("T1", "T2", "T3"):
        shutil.copytree(root / "results" / "slides" / name, other / "slides" / name)
    query = root / "results" / "slides" / "E3"
    slide_verbs.similar(query, other, "mean:morphology", 10, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert sorted(n["slide_id"] for n in found["neighbors"]) == ["T1", "T2", "T3"]
    assert found["slides"] == 4
    with pytest.raises(PathaiError, match="E193: T1: another slide has this id"):
        slide_verbs.similar(query.with_name("T1"), other, "", 10, as_json=False)


def test_similar_needs_to_know_the_patients(slide):
    step(slide).run()
    with pytest.raises(PathaiError, match="E154"):
        slide_verbs.similar(slide.path, None, "", 10, as_json=False)


@pytest.mark.parametrize("step_px0", [511.6, 512.4, 224.0, 97.03])
def test_places_are_exact_where_dividing_and_rounding_down_is_not(step_px0):
    rng = np.random.default_rng(5)
    true = np.unique(rng.integers(0, 180, (400, 2)), axis=0)
    features = make_features(np.zeros((len(true), 2)), step_px0=step_px0, places=true)
    np.testing.assert_array_equal(places(features), true)
    down = np.floor(features.xy_px0 / step_px0)
    assert (step_px0 == 224.0) == (down == true).all()


def test_the_configuration_refuses_what_it_does_not_know():
    assert Config().slide.encoders == ()
