"""The record of a run: every reference resolves, every result is told, nothing else leaks."""

import json
from hashlib import sha256

import pytest

from pathai.plan import Plan
from pathai.provenance import CRATE, crate, write_crate
from pathai.store.manifest import SUFFIX, read_manifest


@pytest.fixture(scope="module")
def made(tiny_results):
    return crate(Plan(tiny_results / "config.yaml"))


def by_id(made):
    entities = {one["@id"]: one for one in made["@graph"]}
    assert len(entities) == len(made["@graph"])
    return entities


def references(value):
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            yield value["@id"]
        else:
            yield from (r for v in value.values() for r in references(v))
    elif isinstance(value, list):
        yield from (r for v in value for r in references(v))


def test_it_is_a_process_run_crate(made):
    """What RO-Crate 1.1 and the profile require of every crate."""
    assert made["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    entities = by_id(made)
    head, root = entities[CRATE], entities["./"]
    assert (head["@type"], head["about"]) == ("CreativeWork", {"@id": "./"})
    assert head["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert all(root[name] for name in ("name", "description", "datePublished", "license"))
    outside = ("https://w3id.org/ro/crate/1.1",)
    assert {r for one in made["@graph"] for r in references(one)} - set(outside) <= set(entities)
    for one in made["@graph"]:
        assert one["@type"]
        assert all(value not in (None, "", []) for key, value in one.items() if key != "object")
        if one["@type"] == "CreateAction":
            assert entities[one["instrument"]["@id"]]["@type"] == "SoftwareApplication"
            assert one["actionStatus"].startswith("http://schema.org/")
            assert one["endTime"]
            assert one["result"]


def test_every_manifest_is_an_action_with_its_inputs(made, tiny_results):
    entities = by_id(made)
    actions = [one for one in made["@graph"] if one["@type"] == "CreateAction"]
    files = sorted(
        p for top in ("results", "models") for p in (tiny_results / top).rglob(f"*{SUFFIX}")
    )
    assert len(files) == len(actions) > 50
    for path in files:
        name = path.relative_to(tiny_results).as_posix()
        manifest = read_manifest(path)
        assert entities[name]["sha256"] == sha256(path.read_bytes()).hexdigest()
        (action,) = [one for one in actions if {"@id": name} in one["result"]]
        inputs = [entities[one["@id"]] for one in action["object"]]
        told = {one.get("identifier", "").removeprefix("sha256:") for one in inputs}
        assert set(manifest.parents.values()) <= told | {one.get("value") for one in inputs}
        failed = action["actionStatus"].endswith("FailedActionStatus")
        assert failed == (manifest.status == "failed")
        if failed:
            assert action["error"].startswith(manifest.problems[0].code)


def test_parts_lie_where_it_says(made, tiny_results):
    entities = by_id(made)
    for one in entities["./"]["hasPart"]:
        path = tiny_results / one["@id"]
        assert path.is_dir() if one["@id"].endswith("/") else path.is_file()
        if "sha256" in entities[one["@id"]]:
            assert entities[one["@id"]]["sha256"] == sha256(path.read_bytes()).hexdigest()
            assert entities[one["@id"]]["contentSize"] == str(path.stat().st_size)


def test_slides_are_told_by_digest_alone_and_weights_too(made, tiny_results):
    text = json.dumps(made)
    assert ".svs" not in text
    assert str(tiny_results) not in text
    entities = by_id(made)
    assert entities["#slide-E1"]["value"] == sha256(b"E1").hexdigest()
    models = [e for e in entities.values() if e.get("name") == "model tumor"]
    assert {e["@type"] for e in models} == {"Dataset", "PropertyValue"}


def test_a_sheet_of_elsewhere_is_told_by_digest_alone(tiny_copy):
    root = tiny_copy()
    sheet = root.parent / "secret-folder.tsv"
    (root / "slides.tsv").rename(sheet)
    text = (root / "config.yaml").read_text()
    (root / "config.yaml").write_text(f"sheet: {sheet}\n{text}")
    made = crate(Plan(root / "config.yaml"))
    assert "secret-folder" not in json.dumps(made)
    assert by_id(made)["#sheet"]["value"] == sha256(sheet.read_bytes()).hexdigest()


def test_it_is_written_beside_the_results_and_the_same_again(tiny_copy):
    plan = Plan(tiny_copy() / "config.yaml")
    path = write_crate(plan)
    assert path == plan.root / CRATE
    first = path.read_bytes()
    assert write_crate(plan).read_bytes() == first
    assert not (plan.results.path / CRATE).exists()
