"""From sheet rows and features to bags with labels, refusing what must not be trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch

from pathai.errors import PathaiError
from pathai.sheet import SheetRow
from pathai.store.bundle import TrainingData, hash_id
from pathai.store.records import Features, FeaturesAttrs
from pathai.task import Task
from pathai.train.fitting import Cohort

ReadFeatures = Callable[[str], Features | None]
"""Slide id to its features; None for a slide that failed or has no tissue."""

Content = Callable[[str], str]
"""Slide id to the SHA-256 of its file; asked only of slides with features."""


@dataclass(frozen=True)
class Gathered:
    """The training cohort, what it was made with, and what was left out (reason to count)."""

    cohort: Cohort
    attrs: FeaturesAttrs
    data: TrainingData
    left_out: dict[str, int]


def gather(
    task: Task, rows: Sequence[SheetRow], read: ReadFeatures, content: Content, seed: int
) -> Gathered:
    """Collect the slides that a task trains on, sorted by slide id.

    Parameters
    ----------
    task : Task
        Its ``train_on``, ``stains``, ``label`` and ``encoder`` decide.
    rows : sequence of SheetRow
        The sheet.
    read : callable
        Slide id to features, or None where there are none.
    content : callable
        Slide id to the SHA-256 of its file, so that the bundle knows the slide by any name.
    seed : int
        Enters the salt of the hashed ids.

    Raises
    ------
    PathaiError
        E184 for a missing or foreign label, a patient with two labels, too few patients, or no
        slide at all; E181 for features of different encoders or resolutions; E180 for features
        that are not finite.
    """
    found: list[tuple[SheetRow, int, Features]] = []
    left_out = {"other stain": 0, "no tissue or failed": 0}
    for row in sorted(rows, key=lambda r: r.slide_id):
        if not _selected(task, row):
            continue
        if row.stain not in task.stains:
            left_out["other stain"] += 1
            continue
        label = _label(task, row)
        features = read(row.slide_id)
        if features is None or len(features.x) == 0:
            left_out["no tissue or failed"] += 1
            continue
        found.append((row, label, features))
    attrs = _same_encoder(task, found)
    if task.unit == "patient":
        _one_label_per_patient(task, found)
    _enough_patients(task, found)
    cohort = Cohort(
        [torch.from_numpy(f.x.astype(np.float32)) for _, _, f in found],
        np.array([label for _, label, _ in found], np.intp),
        [row.patient_id for row, _, _ in found],
        np.array([area_mm2(f) for _, _, f in found]),
        [torch.from_numpy(f.places) for _, _, f in found],
    )
    return Gathered(cohort, attrs, _fingerprint(task, found, content, seed), left_out)


def area_mm2(features: Features) -> float:
    """Tissue area in mm² of the tiles of a slide."""
    side_mm = features.attrs.tile_px * features.attrs.mpp / 1000
    return float(features.tissue.astype(float).sum()) * side_mm**2


def _selected(task: Task, row: SheetRow) -> bool:
    for column, value in sorted(task.train_on.items()):
        if column not in row.labels:
            message = f"task {task.name}: the sheet has no column {column!r} (key train_on)"
            raise PathaiError("E184", message)
        if row.labels[column] != value:
            return False
    return True


def _label(task: Task, row: SheetRow) -> int:
    value = row.labels.get(task.label, "")
    if value not in task.classes:
        message = (
            f"row {row.row}, slide {row.slide_id}, column {task.label}: {value!r} is none of "
            f"{', '.join(task.classes)}"
        )
        remedy = "correct the label, or leave the slide out with train_on"
        raise PathaiError("E184", message, remedy)
    return task.classes.index(value)


def _same_encoder(task: Task, found: list[tuple[SheetRow, int, Features]]) -> FeaturesAttrs:
    if not found:
        message = f"task {task.name}: no slide with features to train on"
        raise PathaiError("E184", message, "check stains and train_on of the task")
    first_row, _, first_features = found[0]
    first = first_features.attrs
    if first.encoder != task.encoder:
        message = f"features of {first.encoder}, the task asks for {task.encoder}"
        raise PathaiError("E181", message, "run pathai features with the task's encoder")
    for row, _, features in found:
        a = features.attrs
        if not np.isfinite(features.x).all():
            raise PathaiError("E180", f"slide {row.slide_id}: features are not finite")
        if (a.encoder_digest, a.tile_px, a.mpp) != (first.encoder_digest, first.tile_px, first.mpp):
            message = f"slides {first_row.slide_id} and {row.slide_id} have different encoders"
            raise PathaiError("E181", message, "run pathai features again for all slides")
    return first


def _one_label_per_patient(task: Task, found: list[tuple[SheetRow, int, Features]]) -> None:
    first: dict[str, tuple[SheetRow, int]] = {}
    for row, label, _ in found:
        earlier, known = first.setdefault(row.patient_id, (row, label))
        if known != label:
            message = (
                f"rows {earlier.row} and {row.row}, column {task.label}: patient "
                f"{row.patient_id} has two labels"
            )
            raise PathaiError("E184", message, "correct the sheet, or set unit: slide in the task")


def _enough_patients(task: Task, found: list[tuple[SheetRow, int, Features]]) -> None:
    for index, name in enumerate(task.classes):
        n = len({row.patient_id for row, label, _ in found if label == index})
        if n < 2:
            message = f"task {task.name}: {n} patient(s) with {task.label} = {name}, needs 2"
            raise PathaiError("E184", message, "add labeled patients of this class")


def _fingerprint(
    task: Task, found: list[tuple[SheetRow, int, Features]], content: Content, seed: int
) -> TrainingData:
    total = sha256(f"{task.name}:{seed}".encode())
    for row, label, features in found:
        values = sha256(np.ascontiguousarray(features.x).tobytes()).hexdigest()
        total.update(f"\n{row.slide_id}\t{row.patient_id}\t{label}\t{values}".encode())
    digest = total.hexdigest()

    def hashed(subjects: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted({hash_id(digest[:16], subject) for subject in subjects}))

    return TrainingData(
        digest=digest,
        salt=digest[:16],
        slides=hashed(row.slide_id for row, _, _ in found),
        patients=hashed(row.patient_id for row, _, _ in found),
        contents=hashed(content(row.slide_id) for row, _, _ in found),
    )
