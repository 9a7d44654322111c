"""Train a task's model: nested cross-validation by patient for the numbers, one model for use.

Nothing is chosen on a test fold: epochs and settings are chosen on inner folds of the training
patients, so each outer fold's patients are seen once, by a model that never met them. The model
that ships is refitted on all training patients with what *their* inner folds chose. A refit
rather than the mean of the fold models: it sees every patient where patients are few, and its
scores have the scale that calibration was fitted on (the mean of fold models is flatter than
each); ``train.ensemble: folds`` ships that mean instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pathai.config import TrainConfig
from pathai.metrics_page import metrics_page
from pathai.modelcard import model_card
from pathai.sheet import SheetRow
from pathai.store.bundle import write_bundle
from pathai.task import Task
from pathai.train.cohort import About, Known, ReadFeatures, gather
from pathai.train.few import few_shot
from pathai.train.heldout import check_calibration, held_out
from pathai.train.measure import measure
from pathai.train.nested import cross_validate, outer_folds
from pathai.train.shipped import bundle_of, from_nested

__all__ = ["Known", "train"]


def train(
    task: Task,
    rows: Sequence[SheetRow],
    read_features: ReadFeatures,
    about: About,
    section: TrainConfig,
    out: Path,
    scratch: Path | None = None,
) -> dict[str, Any]:
    """Train, measure and write the bundle of one task.

    Parameters
    ----------
    task : Task
        What is asked, of which slides, with which encoder and head.
    rows : sequence of SheetRow
        The sheet; ``task.train_on`` selects, every other slide is never read.
    read_features : callable
        Slide id to ``Features``; None for a slide that failed or has no tissue.
    about : callable
        Slide id to the SHA-256 of its file; the bundle keeps a salted hash of it.
    section : TrainConfig
        Folds, epochs, learning rate, sizes, seed.
    out : Path
        Folder to fill: ``model.safetensors  model.json  metrics.json  README.md
        evaluation.html  SHA256SUMS``.
    scratch : Path, optional
        Folder for the tiles and for finished fits; training that was interrupted goes on from
        it. Default: a temporary one.

    Returns
    -------
    dict
        The contents of ``metrics.json``.

    Raises
    ------
    PathaiError
        E180, E181 or E184 when the data do not allow the task; the message names row or slide.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = scratch or Path(temporary)
        gathered = gather(task, rows, read_features, about, section.seed, folder)
        if section.few_shot:
            metrics, shipped = few_shot(task, gathered, section)
        else:
            fold = outer_folds(gathered.cohort, section)
            check_calibration(gathered.cohort, fold, task.calibration)
            found = cross_validate(gathered.cohort, task.head, section, folder)
            held = held_out(gathered.cohort, found, task.calibration)
            metrics = measure(task, gathered, found, held, section)
            shipped = from_nested(task, gathered.cohort, found, held, section)
        spec, arrays = bundle_of(task, gathered, shipped, section)
    card = model_card(spec.model_dump(mode="json"), metrics)
    page = metrics_page(metrics, title=task.name, about=task.limits)
    write_bundle(out, spec, arrays, metrics, card, page)
    return metrics
