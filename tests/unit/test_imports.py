"""Imports are free and point downward; the layers themselves are held by import-linter."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pathai

PACKAGE = Path(pathai.__file__).parent
ROOMS = ("readers", "encoders", "heads", "detectors", "drafters")
LIGHT = [
    *("cli", "batch", "run", "plan", "verify", "ingest", "tiling", "cells", "findings", "cohort"),
    *("export", "deid.work", "report.draft", "review", "case", "feed", "tissue", "nuclei"),
    *("store.folders", "store.groups", "store.pyramid", "detectors.classical"),
]


@pytest.mark.parametrize("room", ROOMS)
def test_no_plug_in_imports_its_own_room(room):
    """A file that imports its parent package makes a cycle that sorting imports breaks."""
    for file in (PACKAGE / room).glob("*.py"):
        if file.name == "__init__.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module != f"pathai.{room}", file
                assert not (node.level and not node.module), file


def test_no_torch_where_a_workstation_has_none():
    code = (
        f"import importlib, sys\nfor name in {LIGHT!r}:\n"
        "    importlib.import_module('pathai.' + name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_pickle_and_no_shell_anywhere():
    banned = {"pickle", "joblib", "cloudpickle"}
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        assert "shell=True" not in text, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert banned.isdisjoint(alias.name for alias in node.names), file
            if isinstance(node, ast.ImportFrom):
                assert node.module not in banned, file
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                safe = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("weights_only")
                assert safe == "True", file
                assert file.name == "load.py", file


def test_broad_excepts_stand_at_the_boundaries_only():
    foreign = {f"detectors/{name}.py" for name in ("onnx", "torchscript", "cellpose", "foreign")}
    allowed = {"cli.py", "readers/base.py", "encoders/foreign.py", *foreign}
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = (
                    {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                    if node.type
                    else {"bare"}
                )
                if names & {"Exception", "BaseException", "bare"}:
                    found.add(file.relative_to(PACKAGE).as_posix())
    assert found <= allowed, found - allowed
