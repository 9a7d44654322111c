"""From sheet rows and features to bags with labels, refusing what must not be trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.labels import (
    is_blank,
    needed,
    one_label_per_patient,
    read_covariates,
    read_truth,
    strata,
)
from pathai.sheet import SheetRow
from pathai.store.bundle import TrainingData, hash_id
from pathai.store.records import Features, FeaturesAttrs
from pathai.task import Target, Task
from pathai.train.bags import Bags, open_tiles, write_tiles

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

MIN_PATIENTS = 2
"""Of each class; with fewer, nothing can be held out."""


@dataclass(frozen=True)
class Known:
    """What is known of a slide's file: the SHA-256 of its content, and who made it."""

    sha256: str
    scanner: str = ""


ReadFeatures = Callable[[str], Features | None]
"""Slide id to its features; None for a slide that failed or has no tissue."""

About = Callable[[str], Known]
"""Slide id to what is known of its file; asked only of slides with features."""


@dataclass(frozen=True)
class Cohort:
    """Bags with their truth, sorted by slide id.

    Parameters
    ----------
    bags : Bags
        Tiles of each slide.
    targets : tuple of Target
        What is asked, the main question first.
    truth : float64[T, n, 2]
        See `pathai.labels.read_truth`; NaN where a further target is not known.
    patients : tuple of str, length n
        Patient of each slide.
    area_mm2 : float64[n]
        Tissue area of each slide's tiles, for the baseline.
    groups : dict
        Column to the value of each slide, for subgroups; ``site`` keeps sites together.
    moments : pair of float64[n, D]
        Mean and mean square of each slide's tiles.
    """

    bags: Bags
    targets: tuple[Target, ...]
    truth: Floats
    patients: tuple[str, ...]
    area_mm2: Floats
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    moments: tuple[Floats, Floats] = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Look at every tile once, so that no fold has to."""
        if self.moments is None:
            object.__setattr__(self, "moments", self.bags.moments())

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def strata(self) -> Ints:
        """Part intp[n] of each slide by the main question."""
        return strata(self.targets[0], self.truth[0])

    def take(self, rows: Ints) -> Cohort:
        """Part of the cohort; no tile is read."""
        return replace(
            self,
            bags=self.bags.take(rows),
            truth=self.truth[:, rows],
            patients=tuple(self.patients[i] for i in rows),
            area_mm2=self.area_mm2[rows],
            groups={name: tuple(v[i] for i in rows) for name, v in self.groups.items()},
            moments=(self.moments[0][rows], self.moments[1][rows]),
        )


@dataclass(frozen=True)
class Gathered:
    """The training cohort, what it was made with, and what was left out (reason to count)."""

    cohort: Cohort
    attrs: FeaturesAttrs
    data: TrainingData
    left_out: dict[str, int]


@dataclass(frozen=True)
class _Found:
    """One slide to train on, without its tiles."""

    row: SheetRow
    truth: tuple[tuple[float, float], ...]
    covariates: tuple[float, ...]
    attrs: FeaturesAttrs
    places: NDArray[np.int64]
    area_mm2: float
    values: str
    known: Known


def gather(
    task: Task,
    rows: Sequence[SheetRow],
    read: ReadFeatures,
    about: About,
    seed: int,
    folder: Path,
) -> Gathered:
    """Collect the slides that a task trains on, sorted by slide id.

    Parameters
    ----------
    task : Task
        Its ``train_on``, ``stains``, ``sites``, targets, covariates and ``encoder`` decide.
    rows : sequence of SheetRow
        The sheet.
    read : callable
        Slide id to features, or None where there are none.
    about : callable
        Slide id to the SHA-256 of its file, so that the bundle knows the slide by any name.
    seed : int
        Enters the salt of the hashed ids.
    folder : Path
        Where the tiles are laid; memory holds one slide at a time.

    Raises
    ------
    PathaiError
        E184 for a missing or foreign label, a patient with two labels, too few patients, or no
        slide at all; E181 for features of different encoders or resolutions; E180 for features
        that are not finite.
    """
    left_out = {"other stain": 0, "other site": 0, "no tissue or failed": 0}
    chosen = list(_chosen(task, rows, left_out))
    found: list[_Found] = []
    start = write_tiles(folder, _bags(task, chosen, read, about, found, left_out))
    if not found:
        message = f"task {task.name}: no slide with features to train on"
        raise PathaiError("E184", message, "check stains, sites and train_on of the task")
    if task.unit == "patient":
        _one_label_per_patient(task, found)
    bags = Bags(
        open_tiles(folder),
        np.concatenate([f.places for f in found]),
        start,
        np.array([f.covariates for f in found], np.float32).reshape(len(found), -1),
        np.arange(len(found)),
    )
    cohort = Cohort(
        bags,
        task.asked,
        np.array([f.truth for f in found]).transpose(1, 0, 2),
        tuple(f.row.patient_id for f in found),
        np.array([f.area_mm2 for f in found]),
        {
            "site": tuple(f.row.site for f in found),
            "scanner": tuple(f.known.scanner for f in found),
        },
    )
    _enough_patients(task, cohort)
    return Gathered(cohort, found[0].attrs, _fingerprint(task, found, seed), left_out)


def area_mm2(features: Features) -> float:
    """Tissue area in mm² of the tiles of a slide."""
    side_mm = features.attrs.tile_px * features.attrs.mpp / 1000
    return float(features.tissue.astype(float).sum()) * side_mm**2


# --- slides ----------------------------------------------------------------------------------


def _chosen(
    task: Task, rows: Sequence[SheetRow], left_out: dict[str, int]
) -> Iterator[tuple[SheetRow, tuple[tuple[float, float], ...], tuple[float, ...]]]:
    """Rows to train on with truth and covariates, before a single feature is read."""
    for row in sorted(rows, key=lambda r: r.slide_id):
        if not _selected(task, row):
            continue
        if row.stain not in task.stains:
            left_out["other stain"] += 1
        elif task.sites and row.site not in task.sites:
            left_out["other site"] += 1
        else:
            try:
                truth = tuple(_truth(task, target, row) for target in task.asked)
                yield row, truth, read_covariates(task, row.labels)
            except ValueError as error:
                message = f"row {row.row}, slide {row.slide_id}, {error}"
                remedy = "correct the sheet, or leave the slide out with train_on"
                raise PathaiError("E184", message, remedy) from None


def _truth(task: Task, target: Target, row: SheetRow) -> tuple[float, float]:
    """Truth of one question; a further question may have none."""
    if target is not task and is_blank(target, row.labels):
        return float("nan"), float("nan")
    return read_truth(target, row.labels)


def _bags(
    task: Task,
    chosen: Iterable[tuple[SheetRow, tuple[tuple[float, float], ...], tuple[float, ...]]],
    read: ReadFeatures,
    about: About,
    found: list[_Found],
    left_out: dict[str, int],
) -> Iterator[NDArray[Any]]:
    """Tiles of each slide, checked; what else is known of it goes into ``found``."""
    for row, truth, covariates in chosen:
        features = read(row.slide_id)
        if features is None or len(features.x) == 0:
            left_out["no tissue or failed"] += 1
            continue
        if not np.isfinite(features.x).all():
            raise PathaiError("E180", f"slide {row.slide_id}: features are not finite")
        first = found[0] if found else None
        _same_encoder(task, row, features, first)
        values = sha256(np.ascontiguousarray(features.x).tobytes()).hexdigest()
        places, area = features.places, area_mm2(features)
        known = about(row.slide_id)
        found.append(_Found(row, truth, covariates, features.attrs, places, area, values, known))
        yield features.x


def _selected(task: Task, row: SheetRow) -> bool:
    for column, value in sorted(task.train_on.items()):
        if column not in row.labels:
            message = f"task {task.name}: the sheet has no column {column!r} (key train_on)"
            raise PathaiError("E184", message)
        if row.labels[column] != value:
            return False
    return True


def _same_encoder(task: Task, row: SheetRow, features: Features, first: _Found | None) -> None:
    a = features.attrs
    if a.encoder != task.encoder:
        message = f"slide {row.slide_id}: features of {a.encoder}, the task asks for {task.encoder}"
        raise PathaiError("E181", message, "run pathai features with the task's encoder")
    if first is None:
        return
    b = first.attrs
    if (a.encoder_digest, a.tile_px, a.mpp) != (b.encoder_digest, b.tile_px, b.mpp):
        message = f"slides {first.row.slide_id} and {row.slide_id} have different encoders"
        raise PathaiError("E181", message, "run pathai features again for all slides")


def _one_label_per_patient(task: Task, found: list[_Found]) -> None:
    rows, truth = [one.row for one in found], np.array([one.truth for one in found])
    for t, target in enumerate(task.asked):
        one_label_per_patient(target, truth[:, t], rows, "set unit: slide in the task")


def _enough_patients(task: Task, cohort: Cohort) -> None:
    who = np.asarray(cohort.patients, str)
    for target, truth in zip(cohort.targets, cohort.truth, strict=True):
        part, wanted = needed(target, truth)
        for index, name in wanted.items():
            n = len(np.unique(who[part == index]))
            if n < MIN_PATIENTS:
                message = (
                    f"task {task.name}: {n} patient(s) with {target.label} = {name}, "
                    f"needs {MIN_PATIENTS}"
                )
                raise PathaiError("E184", message, "add labeled patients of this kind")


def _fingerprint(task: Task, found: list[_Found], seed: int) -> TrainingData:
    total = sha256(f"{task.name}:{seed}".encode())
    for one in found:
        facts = (one.row.slide_id, one.row.patient_id, one.truth, one.covariates, one.values)
        total.update(("\n" + "\t".join(map(str, facts))).encode())
    digest = total.hexdigest()

    def hashed(subjects: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted({hash_id(digest[:16], subject) for subject in subjects}))

    return TrainingData(
        digest=digest,
        salt=digest[:16],
        slides=hashed(one.row.slide_id for one in found),
        patients=hashed(one.row.patient_id for one in found),
        contents=hashed(one.known.sha256 for one in found),
    )
