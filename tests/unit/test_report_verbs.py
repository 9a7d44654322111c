"""The commands of a report's life, on real rules, layouts and documents."""

import json

import pytest
from finding_cases import slide
from life_cases import store
from pypdf import PdfReader
from typer.testing import CliRunner

from pathai.cli import app
from pathai.errors import PathaiError
from pathai.findings import findings_of_case
from pathai.layouts import load_layout

ENTRIES = """
gleason.primary: p3
gleason.secondary: p4
gleason.pattern4_percent: 20
prostate.cores: 12
prostate.cores_positive: 3
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with one prostate case; returns a way to call the command line in it."""
    (tmp_path / "config.yaml").write_text("report: {template: prostate_core}\n")
    sheet = "slide_id\tpath\tcase_id\tpatient_id\tspecimen_id\tstain\nS1\ts.svs\tC1\tP1\tA\tH&E\n"
    (tmp_path / "slides.tsv").write_text(sheet)
    requires = load_layout("prostate_core").requires
    store(tmp_path / "results", findings_of_case("C1", [slide("S1")], requires))
    (tmp_path / "entries.yaml").write_text(ENTRIES)
    monkeypatch.chdir(tmp_path)

    def call(*words, code=0):
        done = CliRunner().invoke(app, [str(w) for w in words])
        if isinstance(done.exception, PathaiError):
            return str(done.exception)
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

    return call


READER = ("--reader", "reader-a")


def open_items(run):
    (row,) = json.loads(run("report", "status", "C1", "--json"))
    return [item["item"] for item in row["open"]]


def test_a_report_from_entry_to_the_patients_words(run, tmp_path):
    assert "E206" in run("report", "patient", "C1")
    given = ("diagnosis.category=invasive", "--file", "entries.yaml")
    assert run("report", "enter", "C1", *READER, *given) == ""
    text = run("report", "render", "C1")
    assert "3 + 4 = 7" in text
    assert "DRAFT" in text
    assert run("report", "verify", "C1") == ""
    assert "not submitted" in run("report", "sign", "C1", *READER, "--role", "pathologist")
    run("report", "submit", "C1", *READER)
    for item in open_items(run):
        assert item.startswith("missing:")
        run("report", "acknowledge", "C1", item, *READER, "--reason", "not asked for")
    run("report", "sign", "C1", *READER, "--role", "pathologist")
    (row,) = json.loads(run("report", "status", "--json"))
    assert (row["state"], row["open"]) == ("signed", [])
    assert run("report", "audit") == ""
    run("report", "render", "C1", "--format", "pdf", "-o", "out.pdf", *READER)
    pages = "".join(page.extract_text() for page in PdfReader(tmp_path / "out.pdf").pages)
    assert "3 + 4 = 7" in pages
    assert "reader-a" in pages
    assert "DRAFT" not in pages
    bundle = json.loads(run("report", "render", "C1", "--format", "fhir"))
    reports = [e["resource"] for e in bundle["entry"]]
    status = [r["status"] for r in reports if r["resourceType"] == "DiagnosticReport"]
    assert status == ["final"]
    assert "grade" in run("report", "patient", "C1").lower()
    figures = json.loads(run("report", "diff", "C1", "--json"))
    assert figures["entered"] >= 6
    assert figures["values"] == 0
    run("report", "amend", "C1", *READER, "--reason", "pattern was read again")
    run("report", "enter", "C1", *READER, "gleason.secondary=p3")
    assert "3 + 3 = 6" in run("report", "render", "C1")
    assert "gleason.secondary" in run("report", "diff", "C1")
    assert run("report", "audit") == ""


def test_a_contradiction_is_said_and_stops_the_signature(run):
    run("report", "enter", "C1", *READER, "prostate.cores=2", "prostate.cores_positive=3")
    run("report", "submit", "C1", *READER)
    assert any(item.startswith("contradiction:") for item in open_items(run))
    assert "E206" in run("report", "sign", "C1", *READER, "--role", "pathologist")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("enter", "C1", *READER), "E193"),
        (("enter", "C1", *READER, "no-equals"), "E193"),
        (("enter", "C1", *READER, "gleason.primary=p9"), "E204"),
        (("enter", "C1", *READER, "no.such_key=1"), "E204"),
        (("enter", "C9", *READER, "gleason.primary=p3"), "E193"),
        (("enter", "C1", "--reader", "a b", "gleason.primary=p3"), "E193"),
        (("edit", "C1", "S1", *READER), "E193"),
        (("edit", "C1", "S999", *READER, "--text", "Words."), "E193"),
        (("acknowledge", "C1", "missing:F999", *READER, "--reason", "x"), "E193"),
        (("amend", "C1", *READER, "--reason", "x"), "E206"),
        (("render", "C1", "--format", "rtf"), "E193"),
        (("render", "C1", "--format", "pdf"), "E193"),
        (("audit", "C9"), "E193"),
        (("diff", "C1"), "E212"),
    ],
)
def test_wrong_calls_are_named(run, words, code):
    assert run("report", *words).startswith(code)


def test_an_altered_file_gives_exit_code_1(run, tmp_path):
    run("report", "submit", "C1", *READER)
    path = tmp_path / "reviews" / "C1" / "report" / "draft-1.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"S1", b"S2", 1))
    assert "draft-1.json was altered" in run("report", "audit", code=1)
    assert "altered" in run("report", "verify", code=1)


def test_a_persons_words_are_flagged_and_said(run):
    drafted = json.loads(run("report", "status", "--json"))[0]
    assert drafted["version"] == 0
    run("report", "edit", "C1", "S1", *READER, "--text", "There is metastasis in 14 nodes.")
    assert "S1: " in run("report", "verify", "C1", code=1)
    run("report", "edit", "C1", "S1", *READER, "--restore")
    assert run("report", "verify", "C1") == ""


def test_keys_that_a_person_enters_are_listed(run):
    keys = json.loads(run("list", "keys", "--json"))
    assert "p3, p4, p5" in keys["gleason.primary"]
    assert "; " in keys["ki67.positive_percent"]
    assert "; " not in keys["tissue.area_mm2"]


def test_questions_are_answered_from_the_latest_revision(run):
    assert run("ask", "how many cases have a Gleason score of 7?") == "0\n"
    run("report", "enter", "C1", *READER, "--file", "entries.yaml")
    assert run("ask", "how many cases have a Gleason score of 7?") == "1\n"
    said = run("ask", "which cases have a grade group of at least 2 and nuclei above 1,000?")
    assert said.startswith("C1 (revision 1)  ")
    assert "gleason.grade_group" in said
    answered = json.loads(run("ask", "Ki-67 above 20 %", "--json"))
    assert [row["case_id"] for row in answered["unknown"]] == ["C1"]
    assert answered["query"] == "list cases where ki67.positive_percent is above 20 %"
    assert run("ask", "who is the patient?").startswith("E213")
    assert run("ask", "Gleason score above 6", "--llm").startswith("E190")
