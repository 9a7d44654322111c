"""Fitting one model to a cohort: the same cohort and settings give the same bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathai.config import Candidate, TrainConfig
from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.base import Ensemble, Head
from pathai.labels import point, strata
from pathai.likelihood import Truth
from pathai.outputs import CLASSES, TargetSpec, columns
from pathai.task import Target
from pathai.train.cohort import Cohort
from pathai.train.shown import shown, together

MAX_BATCH, STEPS_PER_EPOCH = 4, 16
"""Slides per optimizer step: one in cohorts of up to 16 slides, so that these learn at all."""

TEMPERATURES = tuple(2.0 ** (k / 2) for k in range(-6, 9))
"""Among which the best is taken before a loss is compared."""

TINY = 1e-12

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Settings:
    """What may be chosen on inner folds."""

    head: str
    hidden: int
    dropout: float
    learning_rate: float
    weight_decay: float

    @classmethod
    def of(cls, head: str, section: TrainConfig, candidate: Candidate | None = None) -> Settings:
        """Settings of the configuration, changed as a candidate says."""
        base = cls(
            head, section.hidden, section.dropout, section.learning_rate, section.weight_decay
        )
        given = candidate.model_dump() if candidate else {}
        return replace(base, **{name: v for name, v in given.items() if v not in (None, "")})


@dataclass(frozen=True)
class Fitted:
    """A model, and what it needs to be understood.

    Parameters
    ----------
    model : Ensemble
        In ``eval`` mode, on the processor.
    specs : tuple of TargetSpec
        Meaning of its outputs.
    offsets : tuple of float64[C]
        Log share of the classes among the patients, per target; empty for numbers.
    losses : float64[epochs, n]
        Loss of each watched slide after each epoch; empty where none were watched.
    """

    model: Ensemble
    specs: tuple[TargetSpec, ...]
    offsets: tuple[Floats, ...]
    losses: Floats


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """One thread, deterministic algorithms and a seed, all restored afterwards."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


# --- what the training part says about scales, weights and shares ------------------------------


def standardization(cohort: Cohort) -> tuple[Tensor, Tensor]:
    """Mean and scale float32[D] of the tiles, every slide weighing the same.

    Raises
    ------
    PathaiError
        E184 when no slide has a value of a covariate.
    """
    first, second = cohort.moments
    if np.isnan(first).all(axis=0).any():
        raise PathaiError("E184", "a covariate has no value in a part of the slides")
    mean = np.nanmean(first, axis=0)
    scale = np.sqrt(np.maximum(np.nanmean(second, axis=0) - mean**2, 0))
    still = scale <= 1e-6 * np.maximum(np.abs(mean), 1)
    return torch.from_numpy(mean).float(), torch.from_numpy(np.where(still, 1, scale)).float()


def patient_weights(patients: Sequence[str], known: NDArray[np.bool_]) -> Floats:
    """Weight float64[n] of each known slide, one over the known slides of its patient."""
    _, place = np.unique(np.asarray(patients, str), return_inverse=True)
    count = np.bincount(place, weights=known)
    weight: Floats = np.where(known, 1 / np.maximum(count[place], 1), 0.0)
    return weight


def slide_weights(cohort: Cohort) -> Floats:
    """Loss weight float64[n, T] of each slide and target, mean 1 over the known slides.

    Patients weigh the same; where the answer is a class, classes then do, too.
    """
    columns = []
    for target, truth in zip(cohort.targets, cohort.truth, strict=True):
        known = ~np.isnan(truth[:, 0])
        weight = patient_weights(cohort.patients, known)
        if target.has_classes:
            part = strata(target, truth)
            for c in np.unique(part[known]):
                weight[part == c] /= weight[part == c].sum()
        columns.append(weight / max(weight.sum(), 1e-12) * known.sum())
    return np.stack(columns, axis=1)


def class_shares(cohort: Cohort) -> tuple[Floats, ...]:
    """Log share float64[C] of each class among the patients, per target; empty for numbers."""
    found: list[Floats] = []
    for target, truth in zip(cohort.targets, cohort.truth, strict=True):
        part = strata(target, truth)
        own = patient_weights(cohort.patients, part >= 0)
        share = np.array([own[part == c].sum() for c in range(len(target.classes))])
        total = max(float(share.sum()), TINY)  # inner folds may lack what is rare
        found.append(np.log(np.maximum(share / total, TINY)))
    return tuple(found)


def target_specs(cohort: Cohort) -> tuple[TargetSpec, ...]:
    """Meaning of the outputs for each target; scales and time bins are those of the cohort."""
    sizes = cohort.bags.sizes
    pairs = zip(cohort.targets, cohort.truth, strict=True)
    return tuple(_spec(target, truth, sizes) for target, truth in pairs)


def _spec(target: Target, truth: Floats, tiles: Ints) -> TargetSpec:
    known = truth[~np.isnan(truth[:, 0])]
    if not len(known) and target.kind != "survival":
        return TargetSpec(target.kind, len(target.classes))
    if target.kind == "regression":
        value = point(target, known)
        sd = max(float(value.std()), TINY)
        return TargetSpec(target.kind, location=float(value.mean()), scale=sd)
    if target.kind == "survival":
        times = known[known[:, 1] == 1, 0]
        ends = np.arange(1, target.bins) / target.bins
        cuts = np.quantile(times, ends) if len(times) else ()
        edges = np.unique([0, *cuts, known[:, 0].max(initial=target.horizon)])
        return TargetSpec(target.kind, edges=tuple(edges.tolist()))
    if target.kind == "ratio":
        share = np.clip(point(target, known).mean(), 0.01, 0.99)
        return TargetSpec(target.kind, location=float(np.log(share / (1 - share))))
    if target.kind == "count":
        per_tile = known[:, 0].sum() / tiles[~np.isnan(truth[:, 0])].sum()
        return TargetSpec(target.kind, location=float(np.log(max(per_tile, 1e-6))))
    return TargetSpec(target.kind, len(target.classes))


# --- one model -------------------------------------------------------------------------------


def fit(
    cohort: Cohort,
    settings: Settings,
    section: TrainConfig,
    *,
    members: int | None = None,
    epochs: int | None = None,
    watched: Cohort | None = None,
) -> Fitted:
    """One model.

    Parameters
    ----------
    cohort : Cohort
        Slides to train on; scales, class weights and shares are theirs.
    settings : Settings
        Head, sizes, rates.
    section : TrainConfig
        Everything else; the learning rate follows ``section.epochs`` also when fewer are run.
    members : int, optional
        Networks to average, from different seeds; default ``section.members``.
    epochs : int, optional
        Stop after so many.
    watched : Cohort, optional
        Slides whose loss is taken after each epoch; training ends when it has not fallen for
        ``section.patience`` epochs.

    Raises
    ------
    PathaiError
        E184 when the head cannot answer such a question or the loss is no longer finite.
    """
    specs = target_specs(cohort)
    build = HEADS.load(settings.head)
    check_head(settings.head, build, cohort.targets)
    model = Ensemble([], *standardization(cohort))
    width, losses = sum(spec.width for spec in specs), np.zeros((0, 0))
    device = place(section)
    own = Slides(cohort, model.to(device), specs)
    seen = None if watched is None else Slides(watched, model, specs)
    for member in range(members or section.members):
        with deterministic(section.seed * 1000 + member):
            network: Head = build(cohort.bags.dim, width, settings.hidden, settings.dropout)
            trainer = Trainer(network.to(device), own, settings, section)
            losses = trainer.run(epochs or section.epochs, seen)
        model.heads.append(network)
    return Fitted(model.to("cpu").eval(), specs, class_shares(cohort), losses)


def check_head(name: str, head: type[Head], targets: Sequence[Target]) -> None:
    """Refuse a head that cannot answer what is asked (E184)."""
    wrong = next((t for t in targets if t.kind not in head.kinds), None)
    if wrong is not None:
        kinds = ", ".join(head.kinds)
        message = f"head {name} answers {kinds}; {wrong.name} is {wrong.kind}"
        raise PathaiError("E184", message, "choose another head in the task")


def place(section: TrainConfig) -> str:
    """Where to train: as the configuration says, or on a free GPU where there is one."""
    if section.device != "auto":
        return section.device
    from pathai.device import device

    return device()


def batch_size(n: int) -> int:
    """Slides per optimizer step for a cohort of ``n``."""
    return min(max(n // STEPS_PER_EPOCH, 1), MAX_BATCH)


class Slides:
    """Slides on the device as a trainer needs them: standardized tiles, truth and weights."""

    def __init__(self, cohort: Cohort, scales: Ensemble, specs: tuple[TargetSpec, ...]) -> None:
        self.tiles, self.sizes = shown(cohort.bags, scales), cohort.bags.sizes
        self.truth = Truth(
            specs,
            torch.from_numpy(cohort.truth.transpose(1, 0, 2).copy()),
            torch.from_numpy(self.sizes),
            torch.from_numpy(slide_weights(cohort)),
        ).to(scales.mean.device)

    def __len__(self) -> int:
        return len(self.sizes)

    def together(self, rows: Tensor, max_tiles: int = 0) -> list[Tensor]:
        """Slides int64[n] in groups that a head sees at once."""
        sizes = self.sizes[rows.numpy()]
        sizes = np.minimum(sizes, max_tiles) if max_tiles else sizes
        return [rows[group] for group in together(sizes.tolist())]


class Trainer:
    """AdamW with a short warm-up and a cosine decay, one batch of slides after another."""

    def __init__(
        self,
        head: Head,
        own: Slides,
        settings: Settings,
        section: TrainConfig,
    ) -> None:
        self.head, self.own, self.section = head, own, section
        self.rate = settings.learning_rate
        self.optimizer = torch.optim.AdamW(
            head.parameters(), self.rate, weight_decay=settings.weight_decay, fused=True
        )
        self.batch, self.step = batch_size(len(own)), 0
        self.steps = section.epochs * math.ceil(len(own) / self.batch)

    def run(self, epochs: int, watched: Slides | None) -> Floats:
        """Losses float64[epochs run, n] of the watched slides; empty where none are watched."""
        losses: list[Floats] = []
        curve: list[float] = []
        for _ in range(epochs):
            self.epoch()
            if watched is not None:
                losses.append(self.losses_of(watched))
                curve.append(float(losses[-1].mean()))
                if int(np.argmin(curve)) + self.section.patience < len(curve):
                    break
        return np.stack(losses) if losses else np.zeros((0, 0))

    def epoch(self) -> None:
        """Show every bag once, in random order."""
        self.head.train()
        for rows in torch.split(torch.randperm(len(self.own)), self.batch):
            self.optimizer.zero_grad()
            for part in self.own.together(rows, self.section.max_tiles):
                x, mask, place = self.own.tiles.batch(part, self.section.max_tiles)
                with self.lighter():
                    each = self.head.loss(x, mask, self.own.truth.take(part), place)
                loss = each.sum() / len(rows)
                if not torch.isfinite(loss):
                    raise PathaiError("E184", "the loss is not finite", "lower train.learning_rate")
                loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.param_groups[0]["lr"] = self.rate * pace(self.step, self.steps)
            self.optimizer.step()
            self.step += 1

    @torch.inference_mode()
    def losses_of(self, watched: Slides) -> Floats:
        """Weighted losses float64[n], without dropout, at the temperature of the least mean.

        How sure a model is of itself is put right later by calibration, so it must not decide: a
        network that ranks better and better is also ever too sure, and would be stopped at once.
        """
        self.head.eval()
        found, order = [], []
        for part in watched.together(torch.arange(len(watched))):
            x, mask, place = watched.tiles.batch(part)
            with self.lighter():
                found.append(self.head(x, mask, place)[0].float())
            order.append(part)
        outputs, truth = torch.cat(found), watched.truth.take(torch.cat(order))
        parts = zip(truth.targets, columns(truth.targets), strict=True)
        scaled = torch.zeros(truth.width, dtype=torch.bool, device=outputs.device)
        for target, own in parts:
            scaled[own] = target.kind in CLASSES
        temperatures = TEMPERATURES if bool(scaled.any()) else (1.0,)
        losses = [truth.loss(torch.where(scaled, outputs / t, outputs)) for t in temperatures]
        best = min(losses, key=lambda one: float(one.mean()))
        out = np.empty(len(watched))
        out[torch.cat(order).numpy()] = best.cpu().double().numpy()
        return out

    def lighter(self) -> AbstractContextManager[object]:
        """Half precision of the matrix products, where asked for or on a GPU."""
        wanted, device = self.section.precision, self.own.truth.values.device.type
        half = wanted == "bf16" or (wanted == "auto" and device == "cuda")
        return torch.autocast(device, torch.bfloat16) if half else nullcontext()


def pace(step: int, steps: int) -> float:
    """Share of the learning rate at a step: a tenth of warm-up, then a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
    return min(1, (step + 1) / (0.1 * steps)) * cosine


@torch.inference_mode()
def outputs_of(model: Ensemble, cohort: Cohort) -> Floats:
    """Raw outputs float64[n, W] of a cohort's bags, one at a time, in chunks of tiles."""
    model.eval()
    with deterministic(0):
        answers = [
            model.answer(cohort.bags[i], cohort.bags.place(i))[0] for i in range(len(cohort))
        ]
    return torch.stack(answers).double().numpy()
