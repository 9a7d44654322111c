"""Versions that are known to be unsafe are named before any work."""

import tomllib
from pathlib import Path

import pytest

from pathai import floors
from pathai.doctor import check
from pathai.errors import PathaiError
from pathai.floors import FLOORS, UNSAFE, check_versions, floor, installed, suffices

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("found", "ok"),
    [("2.10", True), ("2.10.0", True), ("2.10.1+cu130", True), ("3", True), ("2.9.9", False),
     ("2.10.0rc1", True), ("2.10rc1", False), ("2", False), ("", False), ("none", False),
     ("10.0", True), ("2.100", True)],
)  # fmt: skip
def test_versions_are_compared_as_numbers(found, ok):
    assert suffices("torch", found) is ok


def test_what_is_installed_suffices_and_is_what_the_package_asks_for():
    check_versions()
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in FLOORS:
        assert suffices(name, installed(name)), name
        line = next(a for a in asked if a.partition(">")[0] == name)
        assert suffices(name, line.partition(">=")[2]), f"{line} is below the floor {floor(name)}"


def test_an_unsafe_version_is_named_with_its_remedy(monkeypatch):
    old = {"pillow": "11.2.9", "torch": "2.9.1"}
    monkeypatch.setattr(floors, "version", lambda name: old.get(name, "99"))
    with pytest.raises(PathaiError) as caught:
        check_versions()
    assert caught.value.code == "E195"
    assert "pillow 11.2.9" in str(caught.value)
    assert "torch 2.9.1" in str(caught.value)
    assert "pip install" in caught.value.remedy
    assert "'pillow>=11.3'" in caught.value.remedy
    said = {c.name: c for c in check(None)}
    assert not said["pillow"].ok
    assert said["pillow"].needed
    assert "pillow>=11.3" in said["pillow"].remedy


def test_a_run_does_not_begin_with_an_unsafe_library(tmp_path, monkeypatch):
    from pathai.plan import Plan
    from pathai.run import run

    (tmp_path / "config.yaml").write_text("schema_version: 1\n")
    header = "slide_id\tpath\tcase_id\tpatient_id\n"
    (tmp_path / "slides.tsv").write_text(header + "S1\ts1.svs\tC1\tP1\n")
    monkeypatch.setattr(floors, "version", lambda name: "1.0")
    with pytest.raises(PathaiError, match=r"openslide-bin 1\.0"):
        run(Plan(tmp_path / "config.yaml"))
    assert not (tmp_path / "results").exists()
    assert set(UNSAFE) <= set(FLOORS)
