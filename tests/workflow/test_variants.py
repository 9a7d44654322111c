"""The chain with parts exchanged: a network by timm, a draft phrased over HTTP."""

import json

import numpy as np
import pytest
from llm_cases import phrased, send, server
from workflow.commands import pathai, tree

from pathai.plan import Plan
from pathai.testing.synthetic import Recipe, write_slide

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("demo")]
NETWORK = "resnet10t"


def write_weights(path, seed):
    """Seeded weights of a small network, written here: nothing is downloaded."""
    import torch
    from safetensors.torch import save_file

    from pathai.encoders.torchvision_shim import import_timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = import_timm().create_model(NETWORK, pretrained=False, num_classes=3)
    path.parent.mkdir(exist_ok=True)
    save_file(network.state_dict(), path)


@pytest.mark.slow
def test_a_timm_network_with_local_weights_through_the_chain(tmp_path):
    write_slide(tmp_path / "S1.svs", Recipe(seed=2, width=900, height=900, mpp=0.5))
    write_weights(tmp_path / "weights" / "net.safetensors", seed=1)
    header = "slide_id\tpath\tcase_id\tpatient_id\n"
    (tmp_path / "slides.tsv").write_text(header + "S1\tS1.svs\tC1\tP1\n")
    name = f"timm:{NETWORK}@weights/net.safetensors"
    config = tmp_path / "config.yaml"
    slide = f"slide: {{encoders: ['mean:{name}']}}\n"
    config.write_text(f"features: {{encoders: ['{name}'], min_tissue: 0.1}}\n{slide}")
    done = pathai("run", "--config", config, "--cores", 2)
    assert done.returncode == 0, done.stderr
    folder = Plan(config).results.slide("S1")
    first = folder.read_features(name)
    assert first.x.shape[1] == 512
    assert len(first.x) > 0
    vector = folder.read_slide_vector(f"mean:{name}").vector
    np.testing.assert_allclose(vector, first.x.mean(0, np.float64), rtol=1e-6)
    write_weights(tmp_path / "weights" / "net.safetensors", seed=2)
    done = pathai("run", "--config", config, "--cores", 2)
    assert done.returncode == 0, done.stderr
    second = folder.read_features(name)
    assert second.attrs.encoder_digest != first.attrs.encoder_digest
    assert (second.x != first.x).any()
    assert (folder.read_slide_vector(f"mean:{name}").vector != vector).any()
    config.write_text(config.read_text().replace("weights/", f"{tmp_path}/weights/"))
    refused = pathai("run", "--config", config)
    assert refused.returncode == 2
    assert "E190" in refused.stderr


def drafts(plan):
    found = {}
    for case in plan.sheet.cases():
        found[case] = json.loads(plan.results.case(case).draft("json").read_text())
    return found


def values(plan):
    """Every value that the findings hold, case by case."""
    cases = plan.sheet.cases()
    return {case: json.loads(plan.results.case(case).findings.read_text()) for case in cases}


@pytest.mark.slow
def test_reports_phrased_by_a_server_and_the_same_numbers(demo):
    config = demo / "config.yaml"
    plain = config.read_text()
    plan = Plan(config)
    before, numbers = drafts(plan), values(plan)
    slides = tree(demo / "results" / "slides")
    with server(lambda r, b: send(r, phrased(b))) as (url, seen):
        llm = f"{{base_url: '{url}', model: tiny, seconds: 20}}"
        config.write_text(plain + f"report: {{drafter: openai-compatible, llm: {llm}}}\n")
        done = pathai("run", "--config", config, "--cores", 2)
    assert done.returncode == 0, done.stderr
    assert len(seen) >= len(before)
    asked = b"".join(one.body for one in seen)
    for row in plan.sheet.rows:
        assert row.case_id.encode() not in asked
        assert row.patient_id.encode() not in asked
    after = drafts(Plan(config))
    assert values(plan) == numbers
    assert tree(demo / "results" / "slides") == slides
    sources = {s["source"] for d in after.values() for p in d["sections"] for s in p["statements"]}
    assert "llm" in sources

    config.write_text(config.read_text().replace(url, "http://127.0.0.1:9/v1"))
    done = pathai("run", "--config", config, "--cores", 2)
    assert done.returncode == 0, done.stderr
    for draft in drafts(Plan(config)).values():
        assert all(s["source"] == "template" for p in draft["sections"] for s in p["statements"])
        assert draft["engine_flags"]


def test_a_server_elsewhere_is_refused_and_nothing_is_sent(demo):
    config = demo / "config.yaml"
    llm = "{base_url: 'http://192.0.2.1:80/v1', model: tiny}"
    config.write_text(config.read_text() + f"report: {{drafter: openai-compatible, llm: {llm}}}\n")
    done = pathai("run", "--config", config, "--cores", 2)
    assert done.returncode == 2
    assert "E201" in done.stderr
    assert "E190" not in done.stderr


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("features: {encoders: [morpholog]}", "E191"),
        ("features: {encoders: ['timm:resnet10t@nowhere.safetensors']}", "E183"),
        ("cells: {detector: stardist9}", "E191"),
        ("report: {drafter: openai-compatible}", "E190"),
        ("predict: {models: [nowhere]}", "E183"),
        ("train: {tasks: [nowhere.yaml]}", "E192"),
    ],
)
def test_what_the_configuration_names_is_looked_up_before_any_work(tmp_path, text, code):
    (tmp_path / "slides.tsv").write_text("slide_id\tpath\tcase_id\tpatient_id\nS1\tx.svs\tC\tP\n")
    (tmp_path / "config.yaml").write_text(text + "\n")
    done = pathai("run", "--config", tmp_path / "config.yaml")
    assert done.returncode == 2, done.stderr
    assert code in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_a_model_whose_encoder_is_not_run_is_refused_before_any_work(demo, tmp_path):
    """It used to be tried again a thousand times."""
    (tmp_path / "slides.tsv").write_text("slide_id\tpath\tcase_id\tpatient_id\nS1\tx.svs\tC\tP\n")
    models = f"predict: {{models: ['{demo / 'models' / 'tumor'}']}}\n"
    (tmp_path / "config.yaml").write_text(models + "features: {encoders: []}\n")
    done = pathai("run", "--config", tmp_path / "config.yaml")
    assert done.returncode == 2
    assert "features.encoders" in done.stderr


def test_a_task_whose_column_is_missing_names_it(demo):
    text = (demo / "slides.tsv").read_text().replace("\tsplit\t", "\tpart\t")
    (demo / "slides.tsv").write_text(text)
    done = pathai("run", "--config", demo / "config.yaml")
    assert done.returncode == 2
    assert "'split'" in done.stderr


def test_training_that_cannot_be_done_is_a_failure_of_the_call(demo):
    lines = (demo / "slides.tsv").read_text().splitlines()
    column = lines[0].split("\t").index("tumor")
    one_class = [line.split("\t") for line in lines[1:]]
    for cells in one_class:
        cells[column] = "no"
    (demo / "slides.tsv").write_text("\n".join([lines[0], *map("\t".join, one_class)]) + "\n")
    done = pathai("train", "--config", demo / "config.yaml")
    assert done.returncode == 1
    assert "E184" in done.stderr
