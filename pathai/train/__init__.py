"""Train a task's model: patient-grouped cross-validation for the numbers, one refit for use.

Nothing is chosen on a test fold: the number of epochs and every other setting is fixed in the
configuration, so each fold's patients are seen only once, by a model that never met them. The
model that ships is refitted on all training patients with the same settings. A refit rather
than the mean of the fold models: it sees every patient where patients are few, and its scores
have the scale that calibration was fitted on (the mean of fold models is flatter than each).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pathai.calibration import brier, fit_temperature
from pathai.config import TrainConfig
from pathai.heads.base import Ensemble
from pathai.modelcard import model_card
from pathai.reference import Reference, fit_reference
from pathai.sheet import SheetRow
from pathai.stats import auroc, binary_metrics
from pathai.store.bundle import ModelSpec, ReferenceSpec, write_bundle
from pathai.task import Task
from pathai.train.cohort import Content, Gathered, ReadFeatures, gather
from pathai.train.fitting import (
    MEMBERS,
    Cohort,
    Floats,
    OutOfFold,
    class_shares,
    conformal_scores,
    cross_validate,
    deterministic,
    fit,
)


def train(
    task: Task,
    rows: Sequence[SheetRow],
    read_features: ReadFeatures,
    content: Content,
    section: TrainConfig,
    out: Path,
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
    content : callable
        Slide id to the SHA-256 of its file; the bundle keeps a salted hash of it.
    section : TrainConfig
        Folds, epochs, learning rate, sizes, seed: all fixed beforehand.
    out : Path
        Folder to fill: ``model.safetensors  model.json  metrics.json  README.md  SHA256SUMS``.

    Returns
    -------
    dict
        The contents of ``metrics.json``.

    Raises
    ------
    PathaiError
        E180, E181 or E184 when the data do not allow the task; the message names row or slide.
    """
    gathered = gather(task, rows, read_features, content, section.seed)
    cohort, n_classes = gathered.cohort, len(task.classes)
    held_out = cross_validate(cohort, task.head, n_classes, section)
    metrics = measure(task, gathered, held_out, section.seed)
    model = fit(cohort, task.head, n_classes, section)
    reference = _reference(model, cohort)
    spec = _spec(task, gathered, held_out, reference, section)
    arrays = {f"model.{name}": t.numpy() for name, t in model.state_dict().items()}
    for name in ("mean", "axes", "variances"):
        arrays[f"reference.{name}"] = getattr(reference, name)
    card = model_card(spec.model_dump(mode="json"), metrics)
    write_bundle(out, spec, arrays, metrics, card)
    return metrics


def _reference(model: Ensemble, cohort: Cohort) -> Reference:
    """Where the training slides lie, one mean standardized tile per slide."""
    with deterministic(0), torch.inference_mode():
        centers = torch.stack([model.summary(bag) for bag in cohort.bags]).double().numpy()
    return fit_reference(centers, cohort.patients)


def _spec(
    task: Task, gathered: Gathered, held_out: OutOfFold, reference: Reference, section: TrainConfig
) -> ModelSpec:
    cohort, attrs = gathered.cohort, gathered.attrs
    return ModelSpec(
        task=task,
        head=task.head,
        dim=cohort.bags[0].shape[1],
        members=MEMBERS,
        hidden=section.hidden,
        dropout=section.dropout,
        encoder=attrs.encoder,
        encoder_digest=attrs.encoder_digest,
        tile_px=attrs.tile_px,
        mpp=attrs.mpp,
        feature_names=attrs.names,
        settings=section.model_dump(mode="json", exclude={"tasks"}),
        temperature=fit_temperature(held_out.logits, cohort.labels, held_out.offset),
        log_prior=tuple(class_shares(cohort, len(task.classes)).tolist()),
        conformal=conformal_scores(held_out.prob, cohort),
        reference=ReferenceSpec(
            floor=reference.floor,
            root_mean=reference.root_mean,
            root_sd=reference.root_sd,
            n=reference.n,
        ),
        data=gathered.data,
    )


# --- numbers ---------------------------------------------------------------------------------


def measure(task: Task, gathered: Gathered, held_out: OutOfFold, seed: int) -> dict[str, Any]:
    """Out-of-fold numbers of a binary task, per unit, beside a constant and the tissue area."""
    cohort = gathered.cohort
    area = _area_scores(cohort, held_out)
    columns = np.column_stack([cohort.labels, held_out.prob[:, 1], area, held_out.fold])
    who = np.asarray(cohort.patients, str)
    if task.unit == "patient":
        names = np.unique(who)
        columns = np.stack([columns[who == p].mean(axis=0) for p in names])
        who = names
    labels, prob, area, fold = columns.T
    share = np.full(len(labels), labels.mean())
    area_metrics = binary_metrics(labels, area, who.tolist(), seed)
    return {
        "unit": task.unit,
        "classes": list(task.classes),
        "n_slides": len(cohort.bags),
        "n_patients": len(set(cohort.patients)),
        "left_out": gathered.left_out,
        "out_of_fold": binary_metrics(labels, prob, who.tolist(), seed),
        "folds": [_fold_numbers(labels, prob, fold == k) for k in np.unique(fold)],
        "baselines": {
            "constant": {"auroc": auroc(labels, share), "brier": round(brier(labels, share), 6)},
            "tissue_area": {"auroc": area_metrics["auroc"]},
        },
    }


def _fold_numbers(labels: Floats, prob: Floats, test: Any) -> dict[str, Any]:
    auc = auroc(labels[test], prob[test])
    return {
        "n": int(test.sum()),
        "n_positive": int(labels[test].sum()),
        "auroc": None if np.isnan(auc) else round(auc, 6),
        "brier": round(brier(labels[test], prob[test]), 6),
    }


def _area_scores(cohort: Cohort, held_out: OutOfFold) -> Floats:
    """Tissue area as a score, its direction learned in each training part."""
    score = np.empty(len(cohort.labels))
    for k in np.unique(held_out.fold):
        train, test = held_out.fold != k, held_out.fold == k
        area, positive = cohort.area_mm2[train], cohort.labels[train] == 1
        gap = area[positive].mean() - area[~positive].mean()
        spread = max(float(area.std()), 1e-12)
        z = np.sign(gap) * (cohort.area_mm2[test] - area.mean()) / spread
        score[test] = 1 / (1 + np.exp(-z))
    return score
