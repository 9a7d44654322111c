"""Fixtures of the unit tests."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hub_cases import Hub


@pytest.fixture(scope="session")
def tiny_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a small finished run (config.yaml, results/, models/); treat it as read-only."""
    from tiny_run import finish, write_tiny_run

    root = tmp_path_factory.mktemp("tiny")
    finish(write_tiny_run(root))
    return root


@pytest.fixture
def tiny_copy(tiny_results: Path, tmp_path: Path) -> Callable[[], Path]:
    """A fresh copy of the run that a test may damage."""

    def copy() -> Path:
        target = tmp_path / "run"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(tiny_results, target)
        return target

    return copy


@pytest.fixture(scope="session")
def picture():
    """Picture of the slides that are copied without names: uint8[700, 900, 3]."""
    from deid_cases import smooth

    return smooth()


@pytest.fixture(scope="session")
def svs(picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SVS of three levels with label, macro, thumbnail and private text."""
    from pathai.testing.aperio import SCANNERS, write_svs

    path = tmp_path_factory.mktemp("deid") / "a.svs"
    write_svs(path, picture, 0.4992, SCANNERS["B"])
    return path


@pytest.fixture
def raw(svs: Path):
    """A function that takes that SVS apart, anew each time."""
    from deid_cases import take_apart

    return lambda: take_apart(svs)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Hub"]:
    """A hub that has the card's file at two commits; nothing of this machine's own cache."""
    from hub_cases import BODIES, Hub, hub_server, point_at

    with hub_server(Hub(files={"Lab/tiny/tiny.safetensors": BODIES})) as found:
        point_at(monkeypatch, found.url, tmp_path / "home")
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield found


@pytest.fixture
def own(tmp_path: Path, hub: "Hub") -> Path:
    """A folder of weights with a file that was put there by hand."""
    from hub_cases import BODIES, CARD

    folder = tmp_path / "weights"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / CARD.file).write_bytes(BODIES[0])
    return folder
