"""What the demo promises, checked on a real run of it."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from workflow.commands import contents, pathai, tree

from pathai.plan import Plan
from pathai.run import shipped
from pathai.store.manifest import SUFFIX, read_manifest
from pathai.testing.synthetic import CANARIES

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("demo")]


def rows(demo: Path) -> list[dict[str, str]]:
    with (demo / "slides.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_stage_of_every_slide_is_there(finished_demo):
    plan = Plan(finished_demo / "config.yaml")
    for row in plan.sheet.rows:
        folder = plan.results.slide(row.slide_id)
        found = {read_manifest(p).stage for p in folder.path.rglob(f"*{SUFFIX}")}
        assert found == {"ingest", "tile", "features", "cells", "predict"}
    for case in plan.sheet.cases():
        assert plan.results.case(case).draft("html").exists()
    assert (plan.results.cohort / "index.html").exists()


def test_verify_accepts_it(finished_demo):
    done = pathai("verify", finished_demo / "results")
    assert done.returncode == 0, done.stdout


def test_the_run_left_its_record_and_all_of_it_is_as_written(finished_demo):
    record = json.loads((finished_demo / "ro-crate-metadata.json").read_bytes())
    done = [one for one in record["@graph"] if one["@type"] == "CreateAction"]
    assert len(done) == len(list(finished_demo.rglob(f"*{SUFFIX}")))
    text = json.dumps(record)
    assert not any(canary in text for canary in CANARIES)
    assert str(finished_demo) not in text
    whole = pathai("verify", finished_demo)
    assert whole.returncode == 0, whole.stdout
    assert "not checked" in whole.stderr


def test_a_second_run_does_nothing_and_changes_no_byte(demo):
    before = tree(demo / "results") | tree(demo / "models")
    again = pathai("run", "--config", demo / "config.yaml", "--cores", 2)
    assert again.returncode == 0, again.stderr
    assert "up to date" in again.stderr
    assert tree(demo / "results") | tree(demo / "models") == before
    bare = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", shipped("Snakefile"), "-n", "--cores", "1"],
        cwd=demo,
        capture_output=True,
        text=True,
    )
    assert "Nothing to be done" in bare.stdout + bare.stderr


def test_a_flipped_byte_anywhere_is_found_and_its_file_named(demo):
    draw = random.Random(5)
    files = [p for p in sorted((demo / "results").rglob("*")) if p.is_file() and p.stat().st_size]
    by_kind = {p.name: p for p in draw.sample(files, len(files))}
    for path in [*by_kind.values(), *draw.sample(files, 20)]:
        raw = path.read_bytes()
        at = draw.randrange(len(raw))
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << draw.randrange(8))]) + raw[at + 1 :])
        done = _verify(demo / "results")
        assert path.relative_to(demo / "results").as_posix() in done, path
        path.write_bytes(raw)
    assert _verify(demo / "results") == set()


def _verify(results: Path) -> set[str]:
    from pathai.verify import verify

    return {fault.file for fault in verify(results).faults}


def test_verify_exits_1_on_a_flipped_byte(demo):
    path = demo / "results" / "cohort" / "index.html"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    done = pathai("verify", demo / "results")
    assert done.returncode == 1
    assert "cohort/index.html" in done.stdout


def test_figures_on_the_page_are_those_of_the_results(finished_demo):
    """AUC and count error, computed again from predictions, counts and the sheet."""
    plan = Plan(finished_demo / "config.yaml")
    test = [row for row in rows(finished_demo) if row["split"] == "test"]
    patients: dict[str, list[float]] = {}
    labels, errors = {}, {}
    for row in test:
        folder = plan.results.slide(row["slide_id"])
        answer = folder.read_prediction("tumor").attrs
        if answer.label:
            patients.setdefault(row["patient_id"], []).append(answer.prob[1])
            labels[row["patient_id"]] = row["tumor"] == "yes"
        count = folder.read_cells_attrs("nuclei-small").count.value
        errors[row["slide_id"]] = abs(count / float(row["n_nuclei"]) - 1)
    order = sorted(patients)
    auc = roc_auc_score([labels[p] for p in order], [np.mean(patients[p]) for p in order])
    metrics = json.loads((plan.results.cohort / "metrics.json").read_text())
    tumor = metrics["tasks"]["tumor"]["targets"]["tumor"]
    assert tumor["figures"]["auroc"]["value"] == pytest.approx(auc, abs=1e-5)
    mape = metrics["counts"]["model"]["mape"]["value"]
    assert mape == pytest.approx(np.mean(list(errors.values())), abs=1e-4)
    page = (plan.results.cohort / "index.html").read_text()
    assert f"{auc:.2f}" in page
    assert {"constant", "tissue_area"} <= set(metrics["counts"])
    assert {"constant", "tissue_area"} <= set(tumor["baselines"])


def test_training_never_saw_a_test_patient(finished_demo):
    from pathai.store.bundle import read_bundle

    bundle = read_bundle(finished_demo / "models" / "tumor")
    seen = {row["patient_id"]: bundle.trained_on(row["patient_id"]) for row in rows(finished_demo)}
    expected = {row["patient_id"]: row["split"] == "train" for row in rows(finished_demo)}
    assert seen == expected


def test_a_changed_parameter_redoes_its_stage_and_the_children_only(demo):
    before = tree(demo / "results")
    config = demo / "config.yaml"
    config.write_text(config.read_text() + "findings:\n  top_tiles: 1\n")
    done = pathai("run", "--config", config, "--cores", 2)
    assert done.returncode == 0, done.stderr
    after = tree(demo / "results")
    changed = {name.split("/")[0] for name in after if after[name] != before.get(name)}
    assert changed == {"cases", "cohort"}
    assert pathai("verify", demo / "results").returncode == 0


def test_a_deleted_result_is_made_again_bit_by_bit(demo):
    before = contents(demo / "results")
    plan = Plan(demo / "config.yaml")
    folder = plan.results.slide("S03")
    folder.cells("nuclei-small").joinpath("xy_px0", "zarr.json").unlink()
    done = pathai("run", "--config", plan.config_path, "--cores", 2)
    assert done.returncode == 0, done.stderr
    assert contents(demo / "results") == before


def test_no_text_of_the_scanner_reaches_any_file(finished_demo):
    canaries = [text.encode() for text in CANARIES]
    canaries += [text.decode().encode("utf-16-le") for text in canaries]
    source = (finished_demo / "slides" / "S01.svs").read_bytes()
    assert any(canary in source for canary in canaries)
    outputs = [p for p in finished_demo.rglob("*") if p.is_file() and p.suffix != ".svs"]
    assert len(outputs) > 100
    for path in outputs:
        raw = path.read_bytes()
        assert not [c for c in canaries if c in raw], path


def test_no_result_holds_a_path_or_a_clock(finished_demo):
    """Same input, same bytes: nothing of this machine or hour is in the results."""
    for path in (finished_demo / "results").rglob("*"):
        if path.is_file() and path.name not in ("run.json", "run.html"):
            assert str(finished_demo).encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_tiny_language_model_phrases_a_case_and_changes_no_value(demo):
    done = pathai("demo", "--out", demo, "--cores", 2, "--phrase")
    assert done.returncode == 0, done.stderr
    plan = Plan(demo / "config.yaml")
    own = next(iter(plan.sheet.cases()))
    told = json.loads((demo / "phrased" / own / "draft.json").read_text())
    plain = json.loads(plan.results.case(own).draft("json").read_text())
    assert told["engine"]["name"] == "openai-compatible"
    assert len(told["engine"]["digest"]) >= 64
    assert told["findings_digest"] == plain["findings_digest"]
    said = [s for section in told["sections"] for s in section["statements"]]
    assert any(s["source"] == "llm" for s in said)
    assert {s["finding"] for s in said} == {
        s["finding"] for section in plain["sections"] for s in section["statements"]
    }
    for kind in ("draft.html", "draft.pdf", "draft.docx", "fhir.json"):
        assert (demo / "phrased" / own / kind).stat().st_size > 1000
