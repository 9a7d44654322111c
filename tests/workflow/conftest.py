"""A run of the demo that the workflow tests share."""

import shutil
from pathlib import Path

import pytest
from workflow.commands import pathai


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory) -> Path:
    """The demo, run once; tests must not change it."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = pathai("demo", "--out", folder, "--cores", 2)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def demo(finished_demo, tmp_path) -> Path:
    """A copy of the finished demo to change at will."""
    return Path(shutil.copytree(finished_demo, tmp_path / "demo", symlinks=True))
