"""A cohort that is small and takes the whole way, the bytes that a run must come to, and starts."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psutil

from pathai.store.manifest import SUFFIX, hash_file, read_manifest
from pathai.testing.synthetic import Recipe, write_slide
from pathai.verify import verify

PATHAI = str(Path(sys.executable).with_name("pathai"))
MADE = ("results", "models")
STAGES = ("ingest", "tile", "features", "cells", "train", "predict", "report", "cohort")
PLACES = {
    "ingest": "results/slides/*/ingest",
    "tile": "results/slides/*/tile",
    "features": "results/slides/*/features/*",
    "cells": "results/slides/*/cells/*",
    "train": "models/*",
    "predict": "results/slides/*/predictions/*",
    "report": "results/cases/*/*",
    "cohort": "results/cohort/*",
}
"""Where the manifests of each stage lie, in the order of the data."""
TASK = """\
name: tumor
question: Is there tumor on the slide?
kind: binary
label: tumor
classes: ["no", "yes"]
encoder: tiny.py:Tiny
head: mean
train_on: {split: train}
limits: [Synthetic slides only.]
"""
ENCODER = '''\
"""Mean color of the quarters of a tile: the smallest encoder that tells tiles apart."""
import numpy as np


class Tiny:
    tile_px, mpp, dim, names, digest = 64, 1.0, 12, (), "7" * 64

    def encode(self, tiles):
        parts = tiles.reshape(len(tiles), 2, 32, 2, 32, 3).astype(np.float32)
        return parts.mean(axis=(2, 4)).reshape(len(tiles), 12) / 255
'''
CONFIG = """\
run: {slides_per_job: %d}
tile: {min_tissue_mm2: 0.005}
features: {encoders: [tiny.py:Tiny]}
cells: {detector: classical}
train: {tasks: [tumor.yaml], folds: 2, inner_folds: 0, epochs: 4, members: 1, hidden: 8}
"""


@dataclass(frozen=True)
class Cohort:
    """Slides on a disk, and the run that was left alone.

    Parameters
    ----------
    slides : Path
        Folder of the slide files, the same for every run.
    golden : Path
        Folder of the finished run.
    expected : dict
        Its contents; see `contents`.
    seconds : float
        Wall clock that it took.
    """

    slides: Path
    golden: Path
    expected: dict[str, str]
    seconds: float


def draw_slides(folder: Path, count: int) -> None:
    """Write small slides with different bytes, half of them with tumor."""
    folder.mkdir(parents=True)
    for i in range(count):
        recipe = Recipe(seed=3 + i, width=560, height=480, mpp=0.5)
        write_slide(folder / f"S{i}.svs", recipe)


def new_run(folder: Path, slides: Path, per_job: int = 4, *, backward: bool = False) -> Path:
    """Write configuration, task, encoder and sheet of a run over the slides."""
    folder.mkdir(parents=True)
    files = sorted(slides.glob("*.svs"), reverse=backward)
    lines = ["slide_id\tpath\tcase_id\tpatient_id\tstain\ttumor\tsplit"]
    for file in files:
        i = file.stem[1:]
        label = "yes" if int(i) % 2 else "no"
        lines.append(f"{file.stem}\t{file}\tC{i}\tP{i}\tH&E\t{label}\ttrain")
    (folder / "slides.tsv").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text(CONFIG % per_job)
    (folder / "tumor.yaml").write_text(TASK)
    (folder / "tiny.py").write_text(ENCODER)
    return folder


def command(folder: Path, cores: int = 2) -> list[str]:
    """The one command that runs and resumes."""
    return [PATHAI, "run", "--config", str(folder / "config.yaml"), "--cores", str(cores)]


def run(folder: Path, cores: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run or resume, and wait."""
    return subprocess.run(
        command(folder, cores),
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def make_cohort(folder: Path, slides: int = 4) -> Cohort:
    """Draw the slides and run over them once, undisturbed, unless that is done."""
    golden = folder / "golden"
    if not (folder / "slides").exists():
        draw_slides(folder / "slides", slides)
        new_run(golden, folder / "slides")
    clock = folder / "seconds"
    if not clock.exists():
        begun = time.monotonic()
        done = run(golden)
        if done.returncode:
            raise RuntimeError(f"the undisturbed run failed: {done.stderr}")
        clock.write_text(f"{time.monotonic() - begun:.1f}\n")
    return Cohort(folder / "slides", golden, contents(golden), float(clock.read_text()))


def manifests(folder: Path) -> Iterator[Path]:
    """Every manifest of results and models."""
    for part in MADE:
        yield from sorted((folder / part).rglob(f"*{SUFFIX}"))


def contents(folder: Path) -> dict[str, str]:
    """Digest of every manifest, and of every file that one lists as a result.

    Times and machine figures are records beside the results: `verify` checks them, and they
    differ from run to run.
    """
    found = {}
    for path in manifests(folder):
        manifest = read_manifest(path)
        found[path.relative_to(folder).as_posix()] = manifest.digest
        for name in manifest.files:
            file = path.parent / name
            found[file.relative_to(folder).as_posix()] = hash_file(file).sha256
    return found


def digest(found: dict[str, str]) -> str:
    """One SHA-256 over the contents."""
    return sha256("".join(f"{n} {d}\n" for n, d in sorted(found.items())).encode()).hexdigest()


def differences(expected: dict[str, str], folder: Path) -> list[str]:
    """Files that are not what they are in the undisturbed run, and faults that verify finds."""
    found = contents(folder)
    wrong = sorted(n for n in expected.keys() | found if expected.get(n) != found.get(n))
    for part in MADE:
        wrong += [f"{part}: {fault}" for fault in verify(folder / part).faults]
    return wrong


def leftovers(folder: Path) -> list[str]:
    """Half-written files, locks, marks of running jobs, and processes that still work there."""
    state = folder / ".pathai"
    left = [str(p.relative_to(folder)) for p in folder.rglob("*.part")]
    left += [str(p.relative_to(folder)) for p in (folder / ".snakemake" / "locks").rglob("*")]
    left += [".pathai/lock"] if (state / "lock").exists() else []
    marks = [p for name in ("workers", "running") for p in (state / name).rglob("*")]
    left += [str(p.relative_to(folder)) for p in marks if p.is_file()]
    return left + [f"process {p.pid}" for p in workers(folder)]


def workers(folder: Path) -> list[psutil.Process]:
    """Processes that work in a run's folder; their command line does not name it."""
    return [p for p in psutil.process_iter() if _works_in(p, folder)]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.cwd() == str(folder)
    except psutil.Error:
        return False


def warm(cohort: Cohort, folder: Path, stage: str, per_job: int = 4) -> Path:
    """A run that is finished up to just before a stage: what it still has to do is little."""
    for name in MADE:
        (folder / name).mkdir(parents=True, exist_ok=True)
    new_run(folder / "new", cohort.slides, per_job)
    for path in (folder / "new").iterdir():
        path.rename(folder / path.name)
    (folder / "new").rmdir()
    for done in STAGES[: STAGES.index(stage)]:
        for path in sorted(cohort.golden.glob(PLACES[done] + SUFFIX)):
            manifest = read_manifest(path)
            for file in (path.name, *manifest.files, *manifest.records):
                target = folder / path.parent.relative_to(cohort.golden) / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path.parent / file, target)
    return folder
