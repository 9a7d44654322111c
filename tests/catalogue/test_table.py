"""The table of the fault catalogue is whole: every row has tests, and every test is collected."""

import ast
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from pathai.errors import CODES

ROOT = Path(__file__).resolve().parents[2]
ROWS = yaml.safe_load(Path(__file__).with_name("rows.yaml").read_text("utf-8"))
TESTS = sorted({test for row in ROWS for test in row["tests"]})
FILES = sorted({test.partition("::")[0] for test in TESTS})


def test_all_84_rows_say_how_they_end_and_name_a_test():
    assert [row["row"] for row in ROWS] == list(range(1, 85))
    for row in ROWS:
        assert set(row) <= {"row", "fault", "ends", "decided", "tests"}
        assert row["fault"], row
        assert row["ends"], row
        assert row["tests"], row
        codes = [word.strip(",.;:") for word in row["ends"].split() if word[:2] in ("E1", "E2")]
        assert set(codes) <= set(CODES), row


@pytest.mark.parametrize("file", FILES)
def test_named_tests_stand_in_their_files(file):
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = {test.partition("::")[2].partition("[")[0] for test in TESTS if test.startswith(file)}
    for name in named:
        assert any(fnmatchcase(one, name) for one in defined), name


@pytest.mark.slow
def test_named_tests_are_collected_with_their_parameters():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *FILES],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    collected = [line for line in done.stdout.splitlines() if "::" in line]
    missing = [test for test in TESTS if not any(_is(test, one) for one in collected)]
    assert missing == []


def _is(pattern: str, test: str) -> bool:
    """Whether a pattern with * names a test; one without brackets names all its parameters."""
    plain = pattern.replace("[", "[[]")
    return fnmatchcase(test, plain) or fnmatchcase(test, f"{plain}[[]*")
