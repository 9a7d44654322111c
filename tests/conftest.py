"""Fixtures and gates that every test shares."""

import os
import shutil
from pathlib import Path

import pydantic.fields  # noqa: F401 - in full before Qt's import hook, which breaks its lazy imports
import pytest

ROOT = Path(__file__).resolve().parents[1]
IN_CI = os.environ.get("CI") == "true"


def absent(reason: str) -> None:
    """Skip with a reason; in CI the missing thing is a failure."""
    if IN_CI:
        pytest.fail(f"required in CI: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the real slides and labeled sets (PATHAI_TEST_DATA)."""
    folder = Path(os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "slides").is_dir():
        absent(f"real slides are not at {folder}; set PATHAI_TEST_DATA")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser takes its time."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that draw need a display, tests of pages a browser."""
    if item.get_closest_marker("gui") and not os.environ.get("DISPLAY"):
        absent("no display; run under xvfb-run")
    if item.get_closest_marker("browser") and not shutil.which("chromium"):
        absent("chromium is not installed")
