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

import torch
from numpy.typing import NDArray

from pathai.config import TrainConfig
from pathai.errors import PathaiError
from pathai.heads.base import Ensemble
from pathai.metrics_page import metrics_page
from pathai.modelcard import model_card
from pathai.reference import Reference, fit_reference
from pathai.sheet import SheetRow
from pathai.store.bundle import (
    ModelSpec,
    NetworkSpec,
    ReferenceSpec,
    TargetState,
    write_bundle,
)
from pathai.task import Task
from pathai.train.cohort import About, Cohort, Gathered, Known, ReadFeatures, gather
from pathai.train.fitting import class_shares, deterministic, standardization, target_specs
from pathai.train.heldout import held_out, states
from pathai.train.measure import measure
from pathai.train.nested import Nested, cross_validate

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
        cohort = gathered.cohort
        found = cross_validate(cohort, task.head, section, folder)
        held = held_out(cohort, found, task.calibration)
        metrics = measure(task, gathered, found, held, section)
        fitted = states(held, found, class_shares(cohort), task.calibration)
        spec, arrays = _shipped(task, gathered, found, fitted, section)
    card = model_card(spec.model_dump(mode="json"), metrics)
    page = metrics_page(metrics, title=task.name, about=task.limits)
    write_bundle(out, spec, arrays, metrics, card, page)
    return metrics


def _shipped(
    task: Task,
    gathered: Gathered,
    found: Nested,
    fitted: tuple[TargetState, ...],
    section: TrainConfig,
) -> tuple[ModelSpec, dict[str, NDArray[Any]]]:
    """``model.json`` and the arrays of the weights file."""
    cohort, attrs = gathered.cohort, gathered.attrs
    arrays = {f"model.{i}.{n}": a for i, m in enumerate(found.models) for n, a in m.items()}
    scales = Ensemble([], *standardization(cohort))
    arrays["reference.location"], arrays["reference.scale"] = (
        scales.mean.numpy(), scales.scale.numpy()
    )  # fmt: skip
    reference = _reference(cohort, scales)
    for name in ("mean", "axes", "variances"):
        arrays[f"reference.{name}"] = getattr(reference, name)
    spec = ModelSpec(
        task=task,
        dim=cohort.bags.dim,
        networks=_networks(cohort, found, section),
        encoder=attrs.encoder,
        encoder_digest=attrs.encoder_digest,
        tile_px=attrs.tile_px,
        mpp=attrs.mpp,
        feature_names=attrs.names,
        settings=section.model_dump(mode="json", exclude={"tasks"}),
        targets=_in_common_scale(cohort, fitted),
        reference=ReferenceSpec(
            floor=reference.floor,
            root_mean=reference.root_mean,
            root_sd=reference.root_sd,
            n=reference.n,
        ),
        data=gathered.data,
    )
    return spec, arrays


def _in_common_scale(cohort: Cohort, fitted: tuple[TargetState, ...]) -> tuple[TargetState, ...]:
    """States with the scales and time bins of the whole cohort."""
    scales = [
        {"location": spec.location, "scale": spec.scale, "edges": spec.edges}
        for spec in target_specs(cohort)
    ]
    return tuple(s.model_copy(update=scale) for s, scale in zip(fitted, scales, strict=True))


def _networks(cohort: Cohort, found: Nested, section: TrainConfig) -> tuple[NetworkSpec, ...]:
    """Networks that are shipped: one fit on everybody, or the fits of the folds."""
    if section.ensemble == "seeds":
        return (_network(found.last.settings, section),)
    common = target_specs(cohort)
    if any(spec.kind == "survival" for spec in common):
        message = "the folds of a survival task have their own time bins and cannot be averaged"
        raise PathaiError("E184", message, "set train.ensemble: seeds")
    networks = []
    for choice, answered in zip(found.choices, found.folds, strict=True):
        shift, stretch = [], []
        for own, shared in zip(answered.specs, common, strict=True):
            shift += [(own.location - shared.location) / shared.scale] * own.width
            stretch += [own.scale / shared.scale] * own.width
        network = _network(choice.settings, section)
        scales = {"shift": tuple(shift), "stretch": tuple(stretch)}
        networks.append(network.model_copy(update=scales))
    return tuple(networks)


def _network(settings: Any, section: TrainConfig) -> NetworkSpec:
    return NetworkSpec(
        head=settings.head,
        hidden=settings.hidden,
        dropout=settings.dropout,
        members=section.members,
    )


def _reference(cohort: Cohort, scales: Ensemble) -> Reference:
    """Where the training slides lie, one mean standardized tile per slide."""
    with deterministic(0), torch.inference_mode():
        bags = (cohort.bags[i] for i in range(len(cohort)))
        centers = torch.stack([scales.summary(bag) for bag in bags]).double().numpy()
    return fit_reference(centers, list(cohort.patients))
