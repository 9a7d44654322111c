"""Fitting one model, and cross-validation over patients: pure functions on bags."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathai.calibration import calibrate, fit_temperature
from pathai.config import TrainConfig
from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.base import Ensemble, Head, collate, collate_places
from pathai.likelihood import Truth
from pathai.stats import grouped_folds

MEMBERS = 3
"""Networks of one model, from different seeds; their mean answers. One alone depends too much on
its seed where patients are few."""

MAX_BATCH, STEPS_PER_EPOCH = 4, 16
"""Slides per optimizer step: one in cohorts of up to 16 slides, so that these learn at all."""

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cohort:
    """Bags with their labels, sorted by slide id.

    Parameters
    ----------
    bags : list of float32[N_i, D]
        Features of the tiles of each slide.
    labels : intp[n]
        Class of each slide.
    patients : list of str, length n
        Patient of each slide.
    area_mm2 : float64[n]
        Tissue area of each slide's tiles, for the baseline.
    places : list of int64[N_i, 2]
        Row and column of each tile; empty where they are not known.
    """

    bags: list[Tensor]
    labels: Ints
    patients: list[str]
    area_mm2: Floats
    places: list[Tensor] = field(default_factory=list)

    def take(self, rows: Ints) -> Cohort:
        """Part of the cohort."""
        return Cohort(
            [self.bags[i] for i in rows],
            self.labels[rows],
            [self.patients[i] for i in rows],
            self.area_mm2[rows],
            [self.places[i] for i in rows] if self.places else [],
        )


@dataclass(frozen=True)
class OutOfFold:
    """What models that never saw a slide's patient said about it.

    Parameters
    ----------
    logits : float64[n, C]
        Raw answers.
    offset : float64[n, C]
        Log share of the classes among the patients that the fold's model was trained on.
    prob : float64[n, C]
        Calibrated with the temperature of the *other* folds' answers.
    fold : intp[n]
        Fold in which the slide was tested.
    """

    logits: Floats
    offset: Floats
    prob: Floats
    fold: Ints


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """One thread, deterministic algorithms and a seed, all restored afterwards."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


# --- one model -------------------------------------------------------------------------------


def standardization(bags: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and scale float32[D] of the tiles, every slide weighing the same."""
    mean = torch.stack([b.double().mean(0) for b in bags]).mean(0)
    variance = torch.stack([((b.double() - mean) ** 2).mean(0) for b in bags]).mean(0)
    scale = variance.sqrt()
    still = scale <= 1e-6 * mean.abs().clamp(min=1.0)
    return mean.float(), torch.where(still, torch.ones_like(scale), scale).float()


def patient_weights(cohort: Cohort) -> Floats:
    """Weight float64[n] of each slide, one over the slides of its patient."""
    return np.array([1 / cohort.patients.count(p) for p in cohort.patients])


def slide_weights(cohort: Cohort) -> Tensor:
    """Loss weight float32[n] of each slide, mean 1: patients weigh the same, then classes do."""
    own = patient_weights(cohort)
    total = {c: own[cohort.labels == c].sum() for c in np.unique(cohort.labels)}
    weight = own / np.array([total[c] for c in cohort.labels])
    return torch.tensor(weight / weight.mean(), dtype=torch.float32)


def class_shares(cohort: Cohort, n_classes: int) -> Floats:
    """Log share float64[C] of each class among the patients."""
    own = patient_weights(cohort)
    shares: Floats = np.log([own[cohort.labels == c].sum() / own.sum() for c in range(n_classes)])
    return shares


def batch_size(n: int) -> int:
    """Slides per optimizer step for a cohort of ``n``."""
    return min(max(n // STEPS_PER_EPOCH, 1), MAX_BATCH)


def train_epoch(
    head: Head,
    bags: Sequence[Tensor],
    places: Sequence[Tensor],
    truth: Truth,
    weights: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """Show every standardized bag once, in random order; return the mean weighted loss."""
    head.train()
    total = 0.0
    for rows in torch.split(torch.randperm(len(bags)), batch_size(len(bags))):
        x, mask = collate([bags[i] for i in rows.tolist()])
        place = collate_places([places[i] for i in rows.tolist()] if places else [])
        each = head.loss(x, mask, truth.take(rows), place)
        loss = (each * weights[rows]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        total += float(loss.detach()) * len(rows)
    return total / len(bags)


@torch.inference_mode()
def evaluate(model: Ensemble, cohort: Cohort) -> Floats:
    """Logits float64[n, C] of a cohort's bags, one at a time, without dropout or gradients."""
    model.eval()
    answers = []
    for i, bag in enumerate(cohort.bags):
        logits, _ = model(*collate([bag]), collate_places(cohort.places[i : i + 1]))
        answers.append(logits[0].double().numpy())
    return np.stack(answers)


def fit(
    cohort: Cohort, head: str, n_classes: int, section: TrainConfig, members: int = MEMBERS
) -> Ensemble:
    """One model for a fixed number of epochs; same cohort and settings, same bits."""
    model = Ensemble([], *standardization(cohort.bags))
    bags = [model.standardize(bag) for bag in cohort.bags]
    truth = Truth.of_classes(torch.from_numpy(cohort.labels), n_classes)
    weights = slide_weights(cohort)
    for member in range(members):
        with deterministic(section.seed * 1000 + member):
            network: Head = HEADS.load(head)(
                bags[0].shape[1], n_classes, section.hidden, section.dropout
            )
            network.start(truth)
            fit_head(network, bags, cohort.places, truth, weights, section)
        model.heads.append(network)
    return model.eval()


def fit_head(
    head: Head,
    bags: Sequence[Tensor],
    places: Sequence[Tensor],
    truth: Truth,
    weights: Tensor,
    section: TrainConfig,
) -> None:
    """AdamW with a short warm-up and a cosine decay; the last epoch is the result."""
    optimizer = torch.optim.AdamW(
        head.parameters(), section.learning_rate, weight_decay=section.weight_decay, fused=True
    )
    steps = section.epochs * math.ceil(len(bags) / batch_size(len(bags)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.1 * steps)) * _cosine(step / steps)
    )
    for _ in range(section.epochs):
        train_epoch(head, bags, places, truth, weights, optimizer, schedule)


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


# --- cross-validation ------------------------------------------------------------------------


def cross_validate(
    cohort: Cohort, head: str, n_classes: int, section: TrainConfig, members: int = MEMBERS
) -> OutOfFold:
    """Answers for every slide from models that never saw its patient.

    Standardization, class weights and class shares are computed inside each training part. The
    number of folds is lowered to the number of patients in the smallest class.
    """
    k = min(section.folds, *(len(set(p)) for p in patients_by_class(cohort, n_classes)))
    if k < 2:
        raise PathaiError("E184", "cross-validation needs 2 patients of each class")
    fold = grouped_folds(cohort.patients, cohort.labels, k, section.seed)
    logits = np.empty((len(fold), n_classes))
    offset = np.empty_like(logits)
    for f in range(k):
        train, test = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        part = cohort.take(train)
        if len(np.unique(part.labels)) < n_classes:
            raise PathaiError("E184", "a training part of the cross-validation lacks a class")
        model = fit(part, head, n_classes, section, members)
        logits[test] = evaluate(model, cohort.take(test))
        offset[test] = class_shares(part, n_classes)
    prob = np.empty_like(logits)
    for f in range(k):
        rest, test = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        temperature = fit_temperature(logits[rest], cohort.labels[rest], offset[rest])
        prob[test] = calibrate(logits[test], temperature, offset[test])
    return OutOfFold(logits, offset, prob, fold)


def patients_by_class(cohort: Cohort, n_classes: int) -> list[list[str]]:
    """Patient of each slide of each class."""
    who = np.asarray(cohort.patients, str)
    return [who[cohort.labels == c].tolist() for c in range(n_classes)]


def conformal_scores(prob: Floats, cohort: Cohort) -> tuple[tuple[float, ...], ...]:
    """Sorted nonconformity of each class, one score per patient: that of its oddest slide."""
    who = np.asarray(cohort.patients, str)
    scores = 1 - prob[np.arange(len(prob)), cohort.labels]
    return tuple(
        tuple(
            sorted(
                round(float(scores[(who == p) & (cohort.labels == c)].max()), 6)
                for p in np.unique(who[cohort.labels == c])
            )
        )
        for c in range(prob.shape[1])
    )
