"""Weights of published encoders, as a person meets them on the command line."""

import json

import pytest
from hub_cases import hub_of, hub_server
from workflow.commands import pathai

from pathai.encoders.cards import CARDS
from pathai.testing.synthetic import Recipe, write_slide

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("weights")]
PAGE = "https://huggingface.co/MahmoodLab/UNI"
CARD = CARDS["resnet50"]


@pytest.fixture(scope="module")
def hub():
    """A hub with weights of the open card; the gated one it has not."""
    with hub_server(hub_of(CARD)) as found:
        yield found


@pytest.fixture
def call(hub, tmp_path):
    """The command line in an empty folder, with this hub alone."""

    def start(*arguments, **environment):
        local = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ""}
        return pathai(*arguments, cwd=tmp_path, **{**local, **environment})

    return start


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A run's folder with one slide, whose facts are known."""
    folder = tmp_path_factory.mktemp("run")
    write_slide(folder / "s.svs", Recipe(seed=6, width=600, height=500, mpp=0.5))
    head = ("slide_id", "path", "case_id", "patient_id")
    rows = ("\t".join(head), "\t".join(("S1", "s.svs", "C1", "P1")))
    (folder / "slides.tsv").write_text("\n".join(rows) + "\n")
    out = folder / "results" / "slides" / "S1"
    done = pathai("ingest", folder / "s.svs", "-o", out)
    assert done.returncode == 0, done.stderr
    return out


def config(folder, text):
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


def test_fetch_check_and_doctor(call, hub, tmp_path):
    done = call("weights", "fetch", "resnet50")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"revision {CARD.revision[:12]}; licence {CARD.licence}" in done.stderr
    file = tmp_path / "weights" / "resnet50" / "model.safetensors"
    assert file.is_file()

    done = call("weights", "check", "--json")
    assert done.returncode == 0
    (row,) = json.loads(done.stdout)
    assert (row["name"], row["state"], row["revision"]) == ("resnet50", "present", CARD.revision)

    run = config(tmp_path, "features: {encoders: [resnet50, uni]}\n")
    (tmp_path / "slides.tsv").write_text("slide_id\tpath\tcase_id\tpatient_id\na\tb\tc\td\n")
    done = call("doctor", "--config", run)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if " encoder " in line]
    assert "ok" in lines[0]
    assert row["sha256"][:12] in lines[0]
    assert "licence BSD-3-Clause (open)" in lines[0]
    assert "MISSING" in lines[1]
    assert f"ask for access at {PAGE}, then run pathai weights fetch uni" in lines[1]
    said = call("doctor").stderr
    assert "of 1 of" in said
    assert "gated: conch" in said
    assert "weights check NAME says where to ask" in said

    with file.open("r+b") as opened:
        opened.seek(-5, 2)
        opened.write(b"!")
    done = call("weights", "check", "resnet50", "uni")
    assert done.returncode == 1
    assert "damaged  resnet50" in done.stderr
    assert "missing  uni" in done.stderr
    assert "Traceback" not in done.stderr


def test_gated_weights_say_where_to_ask(call, hub, tmp_path):
    hub.gated = True
    try:
        done = call("weights", "fetch", "uni", HF_TOKEN="hf_very_secret")  # noqa: S106
        assert done.returncode == 1
        assert f"ask for access at {PAGE}, then hf auth login" in done.stderr
        assert "secret" not in done.stderr + done.stdout
        assert len(done.stderr.splitlines()) == 1
        done = call("weights", "fetch", "uni", HF_HUB_OFFLINE="1")
        assert "HF_HUB_OFFLINE" in done.stderr
    finally:
        hub.gated = False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "unii"), "E191: no weights named 'unii'; try uni"),
        (("fetch",), "E193"),
        (("fetch", "uni", "resnet50", "--revision", "main"), "--revision is of one"),
    ],
)
def test_a_wrong_call(call, arguments, said):
    done = call("weights", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("section", "said"),
    [("", "E183: encoder uni has no weights here"), ("weights: {licence: open}\n", "E185")],
)
def test_a_run_says_so_before_the_first_slide(call, slide, section, said):
    folder = slide.parents[2]
    before = sorted(folder.rglob("*"))
    run = config(folder, "features: {encoders: [uni]}\n" + section)
    try:
        for arguments in (
            ("run", "--config", run),
            ("features", slide, "--encoder", "uni"),
        ):
            done = call(*arguments)
            assert done.returncode == 2
            assert said in done.stderr
            assert "Traceback" not in done.stderr
            assert ("ask for access at " + PAGE in done.stderr) == (not section)
    finally:
        run.unlink()
    made = [p for p in sorted(folder.rglob("*")) if p not in before]
    assert [p for p in made if ".pathai" not in p.parts] == []


def test_the_folder_of_weights_lies_beside_the_configuration(call, slide):
    """Wherever the command is started: another file there is seen, and refused by its lock."""
    folder = slide.parents[2]
    run = config(folder, "features: {encoders: [resnet50]}\nweights: {folder: here}\n")
    try:
        done = call("weights", "fetch", "--config", run)
        assert done.returncode == 0, done.stderr
        file = folder / "here" / "resnet50" / "model.safetensors"
        file.write_bytes(b"other")
        done = call("features", slide, "--encoder", "resnet50")
        assert "E182: encoder resnet50: model.safetensors has SHA-256" in done.stderr
        assert done.returncode == 1
    finally:
        run.unlink()
