"""What differs between two runs, and why: each cause is made, and must be the one that is told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_run

from pathai.plan import Plan
from pathai.provenance.diff import diff
from pathai.provenance_verbs import compare, lines
from pathai.store.commit import Commit, Key, manifest_path, run_stage
from pathai.store.folders import write_slide_info
from pathai.store.groups import read_features, write_features
from pathai.store.manifest import SUFFIX, read_manifest, write_manifest


@pytest.fixture
def runs(tiny_results, tmp_path):
    """Two copies of one run."""
    for name in ("a", "b"):
        shutil.copytree(tiny_results, tmp_path / name)
    return Plan(tmp_path / "a" / "config.yaml"), Plan(tmp_path / "b" / "config.yaml")


def remake(base: Path, subject: str, stage: str, outputs, parents, work, *, setting: str = "c"):
    manifest_path(base).unlink()
    return run_stage(base, subject, Key(stage, 1, setting, outputs), parents, work)


def of(found, place):
    (one,) = [d for d in found.differences if d.place == place]
    return one


def other_features(plan, slide_id, add, setting="c"):
    """Write the features of a slide anew, with values that are off by ``add``."""
    folder = plan.results.slide(slide_id)
    old = read_features(folder.features("morphology"))
    x = old.x.copy()
    x[0, 0] += np.float16(add)
    new = type(old)(x, old.xy_px0, old.size_px0, old.valid, old.tissue, old.attrs)

    def work(out: Commit) -> None:
        write_features(out.part("morphology.zarr"), new)

    base, above = folder.base("features", "morphology"), {"tile": folder.base("tile")}
    return remake(base, slide_id, "features", ("morphology.zarr",), above, work, setting=setting)


def test_a_copy_is_the_same_whatever_the_clock_and_the_version_say(runs):
    a, b = runs
    path = b.results.slide("E1").path / f"tile{SUFFIX}"
    write_manifest(path, read_manifest(path).model_copy(update={"pathai_version": "9.9.9"}))
    (b.results.cohort / "run.json").write_text("{}")
    found = diff(a, b)
    assert found.equal
    assert found.same > 50
    assert next(str(k) for k in found.versions).endswith("9.9.9")
    assert compare(a.root, b.root, as_json=False) == 0


def test_same_inputs_and_other_outputs_are_called_so(runs):
    a, b = runs
    other_features(b, "E1", 0.5)
    found = diff(a, b)
    one = of(found, "slides/E1/features/morphology")
    assert one.own == ("same inputs, settings and version, other outputs: not reproducible",)
    assert one.follows == ()
    measured = {m.what: m.a for m in one.measures}
    assert float(measured["largest difference"]) == pytest.approx(0.5, abs=0.01)
    assert measured["rows that differ"].startswith("1 of ")
    assert compare(a.root, b.root, as_json=False) == 1


def test_a_child_follows_and_is_not_blamed(runs):
    a, b = runs
    other_features(b, "E1", 0.5)
    folder = b.results.slide("E1")
    base = folder.base("predictions", "tumor")
    store = folder.prediction("tumor")
    kept = b.root / "kept.zarr"
    shutil.copytree(store, kept)
    remake(
        base, "E1", "predict", ("tumor.zarr",), {"features": folder.base("features", "morphology")},
        lambda out: shutil.copytree(kept, out.part("tumor.zarr")) and None,
    )  # fmt: skip
    found = diff(a, b)
    assert {d.place for d in found.differences} == {
        "slides/E1/features/morphology", "slides/E1/predictions/tumor",
    }  # fmt: skip
    one = of(found, "slides/E1/predictions/tumor")
    assert one.own == ()
    assert one.follows == ("features",)
    assert one.measures == ()


def test_the_key_of_the_configuration_is_named_with_both_values(runs):
    a, b = runs
    text = (b.root / "config.yaml").read_text()
    (b.root / "config.yaml").write_text(text + "features: {batch: 7}\n")
    other_features(b, "E1", 0.0, setting="another")
    found = diff(a, Plan(b.config_path))
    (key,) = found.config
    assert (key.key, key.b) == ("features.batch", "7")
    assert of(found, "slides/E1/features/morphology").own == (str(key),)
    assert of(found, "slides/E1/features/morphology").measures == ()


def test_another_slide_file_is_named_by_its_digest(runs):
    a, b = runs
    folder = b.results.slide("E1")
    info = folder.read_slide().model_copy(update={"sha256": "f" * 64})
    remake(
        folder.base("ingest"), "E1", "ingest", ("slide.json",), {},
        lambda out: write_slide_info(out.part("slide.json"), info),
    )  # fmt: skip
    (reason,) = of(diff(a, b), "slides/E1/ingest").own
    assert "another slide file" in reason
    assert "f" * 12 in reason


def test_weights_versions_and_status_are_named(runs):
    a, b = runs
    attrs = b.results.slide("E1").features("morphology") / "zarr.json"
    body = json.loads(attrs.read_bytes())
    body["attributes"]["encoder_digest"] = "0123456789abcdef"
    attrs.write_text(json.dumps(body))
    for slide, stage, change in (
        ("E1", "features/morphology", {"config_digest": "x"}),
        ("E2", "tile", {"stage_version": 7}),
        ("E3", "tile", {"status": "skipped"}),
    ):
        path = b.results.slide(slide).path / f"{stage}{SUFFIX}"
        write_manifest(path, read_manifest(path).model_copy(update=change))
    found = diff(a, b)
    assert of(found, "slides/E1/features/morphology").own == (
        "weights of morphology: e -> 0123456789ab",
    )
    assert of(found, "slides/E2/tile").own == ("version of stage tile: 1 -> 7",)
    assert of(found, "slides/E3/tile").own[0].startswith("status: ok -> skipped")


def test_a_cell_of_the_sheet_is_named_and_never_a_path(runs):
    a, b = runs
    sheet = b.root / "slides.tsv"
    text = sheet.read_text().replace("in/E1.svs", "elsewhere/E1.svs")
    sheet.write_text(text.replace("C-PE\tPE\tH&E\tcolon", "C-PE\tPE\tH&E\trectum"))
    path = b.results.case("C-PE").path / f"findings{SUFFIX}"
    write_manifest(path, read_manifest(path).model_copy(update={"config_digest": "x"}))
    found = diff(a, Plan(b.config_path))
    assert [str(k) for k in found.sheet] == ["E1.site: colon -> rectum"]
    assert of(found, "cases/C-PE/findings").own == ("sheet, E1.site: colon -> rectum",)
    assert "elsewhere" not in json.dumps(found.as_json())


def test_what_only_one_run_has_changes_sides_with_the_runs(runs):
    a, b = runs
    shutil.rmtree(b.results.slide("E1").path)
    there, back = diff(a, b), diff(b, a)
    assert there.only_a == back.only_b
    assert there.only_b == back.only_a == ()
    assert {p.split("/")[1] for p in there.only_a} == {"E1"}
    assert any("only in the first" in line for line in lines(there))


def test_counts_of_nuclei_are_told(runs):
    a, b = runs
    folder = b.results.slide("E1")
    cells = tiny_run._cells(np.random.default_rng(9), 100, 1.0)
    remake(
        folder.base("cells", "classical"), "E1", "cells", ("classical.zarr",),
        {"tile": folder.base("tile")},
        lambda out: tiny_run.write_cells(out.part("classical.zarr"), cells),
    )  # fmt: skip
    measured = {m.what: (m.a, m.b) for m in of(diff(a, b), "slides/E1/cells/classical").measures}
    assert measured["nuclei"] == ("46", "110")
    text = "\n".join(lines(diff(a, b)))
    assert "E1  nuclei: 46 -> 110" in text
    assert "because same inputs" in text
