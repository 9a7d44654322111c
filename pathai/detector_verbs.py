"""What the verb ``train-detector`` does, beside parsing."""

from dataclasses import dataclass
from pathlib import Path

from pathai import verbs
from pathai.batch import print_json, say
from pathai.config import CellsConfig
from pathai.sheet import load_sheet


def train(
    data: tuple[Path, ...],
    out: Path,
    by_size: tuple[str, ...],
    slides: Path | None,
    barren: Path | None,
    *,
    fields: int,
    steps: int,
    judging: float,
    seed: int,
) -> None:
    """Train a detector and say how good it was on sets that it never saw."""
    from pathai.train_detector import Wanted, train_detector

    if not data:
        raise verbs.wrong("train-detector needs --data FOLDER, --corrections FOLDER, or --classes")
    wanted = Wanted(
        data, out, by_size, slides, barren, fields=fields, steps=steps, judging=judging, seed=seed
    )
    card = train_detector(wanted, say)
    for name, found in card["judged"].items():
        low, high = found["f1_95"]
        say(
            f"{name}, never seen: F1 {found['f1']:.3f} ({low:.3f} to {high:.3f}), "
            f"{found['found_per_true']:.2f} found for each true nucleus"
        )
    say(f"use it as cells.detector: nuclei-small@{out.name}")


@dataclass(frozen=True)
class Cells:
    """What a model of cell classes is trained on: see `pathai.train_classes.Wanted`."""

    corrections: Path | None
    results: Path | None
    out: Path
    base: str
    detector: str
    sheet: Path | None


def train_classes(cells: Cells, *, as_json: bool) -> None:
    """Train a model of cell classes on cells that a person classified."""
    from pathai.train_classes import Wanted, train_classes

    if cells.corrections is None or cells.results is None:
        raise verbs.wrong("train-detector --classes needs --corrections FOLDER --results DIR")
    patients = None
    if cells.sheet is not None:
        patients = {row.slide_id: row.patient_id for row in load_sheet(cells.sheet).rows}
    detector = cells.detector or CellsConfig().detector
    exported = cells.corrections / "cells"  # as pathai corrections writes it
    folder = exported if exported.is_dir() else cells.corrections
    wanted = Wanted(folder, cells.results.absolute(), cells.out, cells.base, detector, patients)
    report = train_classes(wanted, say)
    for line in report.lines():
        say(line)
    say(f"wrote {cells.out}")
    if as_json:
        print_json(report.as_json())
