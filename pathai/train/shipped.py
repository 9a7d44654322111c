"""What a training leaves for use: networks, calibration, and where the training slides lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from pathai.config import TrainConfig
from pathai.heads.base import Ensemble
from pathai.reference import fit_reference
from pathai.store.bundle import ModelSpec, NetworkSpec, ReferenceSpec, TargetState
from pathai.task import Task
from pathai.train.cohort import Cohort, Gathered
from pathai.train.fitting import (
    Settings,
    class_shares,
    deterministic,
    standardization,
    target_specs,
)
from pathai.train.heldout import HeldOut, states
from pathai.train.nested import Nested

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Shipped:
    """Networks with their arrays ``model.*``, and what is known of each question."""

    networks: tuple[NetworkSpec, ...]
    states: tuple[TargetState, ...]
    arrays: Arrays


def from_nested(
    task: Task, cohort: Cohort, found: Nested, held: tuple[HeldOut, ...], section: TrainConfig
) -> Shipped:
    """The refitted model, or the models of the folds, calibrated by the held-out answers."""
    fitted = states(held, class_shares(cohort), task.calibration)
    scales = [
        {"location": spec.location, "scale": spec.scale, "edges": spec.edges}
        for spec in target_specs(cohort)
    ]
    known = tuple(s.model_copy(update=scale) for s, scale in zip(fitted, scales, strict=True))
    arrays = {f"model.{i}.{n}": a for i, m in enumerate(found.models) for n, a in m.items()}
    return Shipped(_networks(cohort, found, section), known, arrays)


def bundle_of(
    task: Task, gathered: Gathered, shipped: Shipped, section: TrainConfig
) -> tuple[ModelSpec, Arrays]:
    """``model.json``, and all arrays of the weights file."""
    reference, arrays = _reference(gathered.cohort)
    spec = ModelSpec(
        task=task,
        dim=gathered.cohort.bags.dim,
        networks=shipped.networks,
        encoder=gathered.attrs.encoder,
        encoder_digest=gathered.attrs.encoder_digest,
        tile_px=gathered.attrs.tile_px,
        mpp=gathered.attrs.mpp,
        feature_names=gathered.attrs.names,
        settings=section.model_dump(mode="json", exclude={"tasks"}),
        targets=shipped.states,
        reference=reference,
        data=gathered.data,
    )
    return spec, {**shipped.arrays, **arrays}


def _networks(cohort: Cohort, found: Nested, section: TrainConfig) -> tuple[NetworkSpec, ...]:
    """Networks that are shipped: one fit on everybody, or the fits of the folds."""
    if section.ensemble == "seeds":
        return (_network(found.last.settings, section),)
    common = target_specs(cohort)
    networks = []
    for choice, answered in zip(found.choices, found.folds, strict=True):
        shift: list[float] = []
        stretch: list[float] = []
        for own, shared in zip(answered.specs, common, strict=True):
            moved = (own.location - shared.location) / shared.scale
            shift += [moved, *[0.0] * (own.width - 1)]  # of a count, only the mean has a place
            stretch += [own.scale / shared.scale] * own.width
        network = _network(choice.settings, section)
        scales = {"shift": tuple(shift), "stretch": tuple(stretch)}
        networks.append(network.model_copy(update=scales))
    return tuple(networks)


def _network(settings: Settings, section: TrainConfig) -> NetworkSpec:
    return NetworkSpec(
        head=settings.head,
        hidden=settings.hidden,
        dropout=settings.dropout,
        members=section.members,
    )


def _reference(cohort: Cohort) -> tuple[ReferenceSpec, Arrays]:
    """Where the training slides lie, one mean standardized tile per slide."""
    scales = Ensemble([], *standardization(cohort))
    with deterministic(0), torch.inference_mode():
        bags = (cohort.bags[i] for i in range(len(cohort)))
        centers = torch.stack([scales.summary(bag) for bag in bags]).double().numpy()
    found = fit_reference(centers, list(cohort.patients))
    arrays = {f"reference.{name}": getattr(found, name) for name in ("mean", "axes", "variances")}
    arrays["reference.location"] = scales.mean.numpy()
    arrays["reference.scale"] = scales.scale.numpy()
    spec = ReferenceSpec(
        floor=found.floor, root_mean=found.root_mean, root_sd=found.root_sd, n=found.n
    )
    return spec, arrays
