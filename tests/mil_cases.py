"""Small cohorts with a planted truth, for the tests of training and prediction."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pathai.sheet import SheetRow
from pathai.store.records import Features, FeaturesAttrs
from pathai.task import Target, Task
from pathai.train import Known
from pathai.train.bags import Bags
from pathai.train.cohort import Cohort

DIM = 12
ATTRS = FeaturesAttrs(
    encoder="morphology",
    encoder_digest="e" * 64,
    grid_digest="grid",
    tile_px=256,
    stride_px=256,
    mpp=0.5,
)
TUMOR = Task(
    name="tumor",
    question="Is there tumor?",
    label="tumor",
    classes=("no", "yes"),
    train_on={"split": "train"},
    limits=("synthetic slides",),
)


def features(
    rng: np.random.Generator, marked: int, tiles: int = 40, shift: float = 0.0
) -> Features:
    """A slide whose first ``marked`` tiles are shifted in three features."""
    x = rng.normal(size=(tiles, DIM)) * np.arange(1, DIM + 1) + 5 + shift
    x[:marked, :3] += 4 * np.arange(1, 4)
    return Features(
        x.astype(np.float16),
        np.stack([np.arange(tiles) * 256, np.zeros(tiles)], 1).astype(np.int32),
        np.array([256, 256], np.float32),
        np.ones(tiles, np.float16),
        np.ones(tiles, np.float16),
        ATTRS,
    )


def row(number: int, slide_id: str, patient: str, site: str = "", **labels: str) -> SheetRow:
    """One row of a sheet."""
    return SheetRow(
        row=number + 2,
        slide_id=slide_id,
        path="x.svs",
        case_id=f"c-{patient}",
        patient_id=patient,
        site=site,
        labels=labels,
    )


def sheet(patients: int, per_patient: int = 1) -> tuple[list[SheetRow], dict[str, Features]]:
    """Every other patient has tumor: five marked tiles on each slide."""
    rng, rows, store = np.random.default_rng(11), [], {}
    for p in range(patients):
        for s in range(per_patient):
            name = f"s{p:02d}-{s}"
            label = TUMOR.classes[p % 2]
            rows.append(row(len(rows), name, f"patient-{p:02d}", split="train", tumor=label))
            store[name] = features(rng, 5 * (p % 2), int(rng.integers(20, 50)))
    return rows, store


def about(slide_id: str) -> Known:
    """Stands for the SHA-256 of a slide's file."""
    return Known(f"file of {slide_id}")


def cohort_of(
    bags: Sequence[torch.Tensor],
    truth: Sequence[float] | Sequence[tuple[float, float]],
    patients: Sequence[str] = (),
    target: Target = TUMOR,
    sites: Sequence[str] = (),
) -> Cohort:
    """Bags in memory with the truth of one question."""
    pairs = np.array(truth, float)
    if pairs.ndim == 1:
        pairs = np.stack([pairs, np.zeros(len(pairs))], axis=1)
    return Cohort(
        Bags.of(list(bags)),
        (target,),
        pairs[None],
        tuple(patients or (f"p{i:03d}" for i in range(len(bags)))),
        np.array([len(b) for b in bags], float),
        {"site": tuple(sites)} if sites else {},
    )


def musk(data: Path, which: int = 1) -> Cohort:
    """Musk1 or Musk2: molecules as bags of their shapes."""
    with gzip.open(data / "mil" / f"musk{which}.csv.gz", "rt") as file:
        table = np.array(list(csv.reader(file))[1:], float)
    ids = np.unique(table[:, 0])
    of = [table[table[:, 0] == i] for i in ids]
    bags = [torch.tensor(t[:, 2:], dtype=torch.float32) for t in of]
    return cohort_of(bags, [float(t[0, 1]) for t in of], [str(int(i)) for i in ids])
