"""Ids that would run a command or leave their folder are refused by every verb, and do neither."""

import unicodedata
from pathlib import Path

import pytest
from typer.testing import CliRunner
from workflow.commands import pathai

from pathai.cli import app
from pathai.errors import PathaiError
from pathai.sheet import check_id, load_sheet

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("hostile-ids")]

HOSTILE = (
    "$(touch PWNED)", "`touch PWNED`", "a;touch PWNED", "a&&touch PWNED", "a|touch PWNED",
    "a>PWNED", "${IFS}touch${IFS}PWNED", "a\ntouch PWNED", "a\rb", "a\0b", "\x1b[2J", "a\x7f",
    "-rf", "--config=x", ".", "..", "../../PWNED", "/PWNED", "a/../../PWNED", "a\\..\\PWNED",
    "~/PWNED", "a..b", "CON", "nul.svs", "{wildcards.batch}", "%s%n", "a'b", 'a"b', "a b",
    "🔬", unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"), "a\u202eb",
    "\uff0e\uff0e", "а", "a" * 65, "<img src=x onerror=alert(1)>", "=cmd()", "",
)  # fmt: skip
COLUMNS = ("slide_id", "case_id", "patient_id", "specimen_id", "block_id")
CODES = ("E150", "E151", "E154")


def outside(folder: Path) -> set[str]:
    """Everything below the folder's parent."""
    return {p.relative_to(folder.parent).as_posix() for p in folder.parent.rglob("*")}


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A run's folder inside of another one, in which nothing may appear."""
    folder = tmp_path / "outer" / "run"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("schema_version: 1\n")
    header = "slide_id\tpath\tcase_id\tpatient_id\n"
    (folder / "slides.tsv").write_text(header + "S1\ts1.svs\tC1\tP1\n")
    monkeypatch.chdir(folder)
    return folder


def refused(folder: Path, *words: str) -> PathaiError:
    """The error of a call that must write nothing."""
    before = outside(folder)
    done = CliRunner().invoke(app, list(words))
    assert outside(folder) == before, words
    assert done.exit_code != 0, words
    return done.exception


def test_there_are_enough():
    assert len(set(HOSTILE)) == len(HOSTILE) >= 30


@pytest.mark.parametrize("bad", HOSTILE, ids=ascii)
def test_an_id_is_refused_with_place_and_remedy(bad):
    with pytest.raises(PathaiError) as caught:
        check_id(bad, "slides.tsv, row 2, column slide_id")
    assert caught.value.code in CODES
    assert caught.value.remedy
    assert "row 2" in str(caught.value)
    assert not any(ord(c) < 32 or ord(c) == 127 for c in str(caught.value)), "it moves no cursor"


@pytest.mark.parametrize("column", COLUMNS)
def test_no_column_of_the_sheet_takes_one(room, column):
    good = dict.fromkeys(COLUMNS, "A1") | {"path": "a.svs"}
    for bad in HOSTILE:
        if not bad and column in ("specimen_id", "block_id"):
            continue  # these may be empty
        row = good | {column: bad}
        text = "\t".join(good) + "\n" + "\t".join(row[name] for name in good) + "\n"
        (room / "slides.tsv").write_text(text, "utf-8", newline="")
        with pytest.raises(PathaiError) as caught:
            load_sheet(room / "slides.tsv")
        assert caught.value.code in CODES, bad
        assert "slides.tsv, row" in str(caught.value)


@pytest.mark.parametrize("bad", [b for b in HOSTILE if "\n" not in b and b], ids=ascii)
def test_a_run_is_refused_before_it_writes(room, bad):
    text = f"slide_id\tpath\tcase_id\tpatient_id\n{bad}\ta.svs\tC1\tP1\n"
    (room / "slides.tsv").write_text(text, "utf-8", newline="")
    error = refused(room, "run", "--config", "config.yaml")
    assert isinstance(error, PathaiError)
    assert error.code in CODES


VERBS = (
    ("report", "draft", "{}"),
    ("report", "status", "{}"),
    ("report", "enter", "{}", "--reader", "dr-a", "diagnosis.category=benign"),
    ("report", "enter", "C1", "--reader", "{}", "diagnosis.category=benign"),
    ("report", "audit", "{}"),
    ("report", "render", "{}"),
    ("share", "{}", "-o", "out.zip"),
    ("readers", ".", "--case", "{}"),
    ("answer", ".", "--case", "{}", "--task", "t", "--reader", "dr-a", "--answer", "yes"),
    ("answer", ".", "--case", "C1", "--task", "t", "--reader", "{}", "--answer", "yes"),
)


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: " ".join(v[:3]))
def test_a_verb_that_takes_an_id_takes_no_other(room, verb):
    reserved = ("CON", "nul.svs") if verb[-3:-1] == ("--reader", "{}") or "{}" in verb[6:] else ()
    for bad in HOSTILE:  # readers are no files of their own name alone: theirs end in .jsonl
        if bad and "\0" not in bad and not bad.startswith("-") and bad not in reserved:
            refused(room, *(bad if word == "{}" else word for word in verb))


@pytest.mark.slow
def test_a_folder_and_a_configuration_of_any_name_reach_no_shell(tmp_path):
    """Rules are given the configuration's name: the one word of a person that they know."""
    folder = tmp_path / "a $(touch PWNED_A) 'b' é"
    folder.mkdir()
    config = folder / 'c;touch PWNED_B `touch PWNED_C` "d".yaml'
    config.write_text("run: {retries: 0}\n")
    header = "slide_id\tpath\tcase_id\tpatient_id\n"
    (folder / "slides.tsv").write_text(f"{header}S1\t$(touch PWNED_D).svs\tC1\tP1\n")
    (folder / "$(touch PWNED_D).svs").write_text("no slide\n" * 99)
    done = pathai("run", "--config", config, "--cores", 1, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "E104" in done.stderr
    assert not list(tmp_path.rglob("*PWNED_[ABC]"))
    assert not list(tmp_path.rglob("PWNED_D"))
    assert (folder / "results" / "cohort" / "index.html").is_file()
