"""A run folder to review, and the window on it."""

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("NAPARI_CONFIG", "")  # napari's settings stay in memory


@pytest.fixture(scope="session")
def written_run(tmp_path_factory) -> Path:
    """Made once; nobody may write to it."""
    from run_folder import make_run

    return make_run(tmp_path_factory.mktemp("run") / "demo")


@pytest.fixture
def run_folder(written_run, tmp_path) -> Path:
    """A copy of one's own."""
    return Path(shutil.copytree(written_run, tmp_path / "demo"))


@pytest.fixture(autouse=True)
def seen_at_once(request):
    """Most tests are about AI results; those marked ``blind`` begin as a reader does."""
    if "blind" in request.keywords or "gui" not in request.keywords:
        yield
        return
    from napari.settings import get_plugin_settings

    reading = get_plugin_settings("pathai").reading
    reading.blind_first = False
    yield
    reading.blind_first = True
