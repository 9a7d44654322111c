"""What README and documentation tell a person to type works, in the order of the pages."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import zarr
from docs_pages import PAGES, ROOT, blocks
from hub_cases import hub_of, hub_server
from workflow.commands import PATHAI

from pathai.encoders.cards import CARDS
from pathai.store.folders import SlideFolder
from pathai.testing.synthetic import Recipe, write_slide

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("demo")]

CLASSES_TEST = "run by tests/unit/test_train_classes.py, with a person's work in between"
CORRECTED = "run by tests/workflow/test_corrections_train.py, on what a person corrected"
SLURM = "needs Slurm; run by test_slurm.py"
NOT_RUN = {
    "run --config demo/config.yaml --profile": SLURM,
    "doctor --config demo/config.yaml --profile slurm": SLURM,
    "review": "opens a window and waits for a person",
    "demo --out larger": "draws 60 slides, which takes minutes",
    "zeroshot": "needs weights that cannot be shipped",
    "slide-vector results/slides/S01 --encoder titan": "needs weights that cannot be shipped",
    "weights fetch uni": "needs a person's access to gated weights",
    "cells results/slides/S01 results/slides/S02 --classifier": CLASSES_TEST,
    "export results/slides/S01 --format csv -o checked/": CLASSES_TEST,
    "export results/slides/S02 --format csv -o checked/": CLASSES_TEST,
    "train-detector --classes --corrections checked": CLASSES_TEST,
    "report correct C01 --reader dr-a": CORRECTED,
    "corrections demo -o corrected": CORRECTED,
    "train-detector --corrections corrected": CORRECTED,
    "train-detector --classes --corrections corrected": CORRECTED,
    "train-detector --data": "learns for an hour; test_train_detector.py trains small ones",
    "cells results/slides/S01 --classifier": CLASSES_TEST,
}
"""Beginnings of commands that are only parsed, and why."""
FIRST = ("README.md", "docs/demo.md", "docs/own-slides.md")
ORDER = (*FIRST, *(page for page in PAGES if page not in FIRST))


def commands() -> dict[str, str]:
    """Every different command, without its comment, and the page where it stands first."""
    found: dict[str, str] = {}
    for page in ORDER:
        for block in blocks(page):
            for line in block.text.splitlines() if block.language == "sh" else ():
                words = shlex.split(line, comments=True)
                if words and words[0] in ("pathai", ".venv/bin/pathai"):
                    found.setdefault(shlex.join(words[1:]), page)
    return found


def skipped(command: str) -> bool:
    return any(command.startswith(start) for start in NOT_RUN)


@pytest.fixture(scope="module")
def place(finished_demo, tmp_path_factory):
    """A folder with the demo, a slide of one's own, every file that a page shows; and a hub."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(finished_demo, folder / "demo", symlinks=True)
    (folder / "slides").mkdir()
    write_slide(folder / "slides" / "slide.svs", Recipe(seed=4, width=700, height=640))
    package = folder / "package"
    for block in (b for page in PAGES for b in blocks(page) if b.title):
        inside = block.title == "pyproject.toml" or block.title.startswith("my_pathai/")
        file = (package if inside else folder) / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)
    (package / "my_pathai" / "__init__.py").touch()
    install = "-m pip install --quiet --no-index --no-deps --no-build-isolation --target"
    started = [sys.executable, *install.split(), str(folder / "site"), str(package)]
    done = subprocess.run(started, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    local = hub_of(CARDS["resnet50"])  # the hub that the commands meet is on this machine
    with hub_server(local) as hub, pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_ENDPOINT", hub.url)
        environment.setenv("HF_HOME", str(folder / "home"))
        yield folder


def start(place, *arguments, cwd=None):
    """A program in the folder, with the example package installed and no pytest around it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        [str(a) for a in arguments],
        cwd=cwd or place,
        env={**clean, "PYTHONPATH": str(place / "site")},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_works(place):
    run = [command for command in commands() if not skipped(command)]
    assert len(run) > 20
    for command in run:
        words = [w.replace("/path/to/slides", str(place / "slides")) for w in shlex.split(command)]
        done = start(place, PATHAI, *words)
        assert done.returncode == 0, f"{commands()[command]}: pathai {command}\n{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [c for c in commands() if skipped(c)])
def test_commands_that_are_not_run_exist_with_their_options(command):
    words = shlex.split(command)
    verb = words[:2] if words[0] == "report" else words[:1]
    done = subprocess.run([str(PATHAI), *verb, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert [w for w in words if w.startswith("-") and w not in done.stdout] == []


def test_every_reason_not_to_run_is_needed():
    assert [s for s in NOT_RUN if not any(c.startswith(s) for c in commands())] == []


SHOWN = [b for p in PAGES for b in blocks(p) if b.language == "python" and not b.title]


@pytest.mark.parametrize("block", SHOWN, ids=lambda b: b.page)
def test_python_examples_run(place, block):
    done = start(place, sys.executable, "-W", "error", "-c", block.text)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_the_example_package_keeps_the_contracts(place):
    """Head, detector and drafter of the page on adding, held to what the built-in ones promise."""
    files = ("contract/test_heads.py", "contract/test_detectors.py", "unit/test_drafters.py")
    chosen = ("-k", "plain-attention or blobs or terse", "-p", "no:cacheprovider", "-n", "0")
    paths = [ROOT / "tests" / file for file in files]
    done = start(place, sys.executable, "-m", "pytest", "-q", *chosen, *paths, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    for name in ("plain-attention", "blobs", "terse"):
        assert name in "".join(
            start(place, PATHAI, "list", room).stdout for room in ("heads", "detectors", "drafters")
        )


def test_the_page_on_the_store_lists_what_lies_there(finished_demo):
    text = (ROOT / "docs" / "format.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    folder = SlideFolder(finished_demo / "results" / "slides" / "S01")
    groups = {
        "features/&lt;encoder&gt;.zarr": folder.features("morphology"),
        "cells/&lt;detector&gt;.zarr": folder.cells("nuclei-small"),
        "predictions/&lt;task&gt;.zarr": folder.prediction("tumor"),
    }
    for heading, path in groups.items():
        said = dict(re.findall(r"^\| `([\w/<>]+)` \| `(\w+)\[", sections[heading], re.M))
        group = zarr.open_group(path, mode="r")
        lying = {
            re.sub(r"\d+$", "<level>", name) if "/" in name else name: array.dtype.name
            for name, array in group.members(max_depth=None)
            if hasattr(array, "dtype")
        }
        assert said == lying
    for name, path in {"tiles.zarr": folder.tiles, "tissue.zarr": folder.tissue}.items():
        named = set(re.findall(r"`(\w+)`", sections[name]))
        assert set(zarr.open_group(path, mode="r").attrs["pathai"]) <= named
