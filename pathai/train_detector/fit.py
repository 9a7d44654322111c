"""Training of `NucleusNet`: mixed sources, a teacher that labels slides half-way, averaged weights.

References
----------
Law H, Deng J. CornerNet: detecting objects as paired keypoints. ECCV 2018, arXiv:1808.01244
(the loss of the heat).
Tarvainen A, Valpola H. Mean teachers are better role models. NeurIPS 2017, arXiv:1703.01780.
Loshchilov I, Hutter F. Decoupled weight decay regularization. ICLR 2019, arXiv:1711.05101.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from pathai.detectors.nuclei_small.net import MEAN, RAYS, SPREAD, NucleusNet
from pathai.train_detector import augment
from pathai.train_detector.fields import Field
from pathai.train_detector.targets import targets

SHARES = {"tissue": 0.26, "crowds": 0.06, "slides": 0.24}
"""Shares of a batch by source; labeled sets divide the rest by the root of their nuclei."""
WORKING_MPP = 0.5


@dataclass(frozen=True)
class Settings:
    """How long and how fast to learn.

    Attributes
    ----------
    steps, batch, edge_px : int
        Steps of `batch` crops of `edge_px` px.
    rate, decay : float
        Largest learning rate (a cosine to zero follows a short warm-up) and weight decay.
    average : float
        Of the averaged weights, per step.
    seed : int
    """

    steps: int = 6000
    batch: int = 16
    edge_px: int = 128
    rate: float = 3e-3
    decay: float = 1e-2
    average: float = 0.998
    seed: int = 1


@dataclass(frozen=True)
class Learned:
    """Trained network, its averaged weights, and the course of the losses."""

    network: NucleusNet
    curve: list[dict[str, float]] = field(default_factory=list)


class Crops(IterableDataset[tuple[Tensor, ...]]):
    """Batches by number: batch n is the same whoever draws it."""

    def __init__(
        self, pool: Sequence[Field], grounds: Sequence[Tensor], settings: Settings, steps: range
    ) -> None:
        self.settings, self.steps, self.grounds = settings, steps, grounds
        self.by_group: dict[str, list[Field]] = {}
        for one in pool:
            self.by_group.setdefault(one.group, []).append(one)

    def _shares(self) -> tuple[list[str], np.ndarray]:
        groups = sorted(self.by_group)
        fixed = {g: SHARES[g] for g in groups if g in SHARES}
        size = {g: math.sqrt(sum(len(f.xy) for f in self.by_group[g])) for g in groups}
        whole = sum(size[g] for g in groups if g not in fixed)
        rest = max(1 - sum(fixed.values()), 0.0)
        share = np.array([fixed[g] if g in fixed else rest * size[g] / whole for g in groups])
        return groups, share / share.sum()

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        torch.set_num_threads(1)
        for step in self.steps:
            yield self.batch(step)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Pixels and targets of one step."""
        rng = np.random.default_rng([self.settings.seed, step])
        groups, share = self._shares()
        count, edge = self.settings.batch, self.settings.edge_px
        chosen = []
        for name in rng.choice(groups, count, p=share):
            fields = self.by_group[str(name)]
            chosen.append(fields[int(rng.integers(len(fields)))])
        scale = [
            WORKING_MPP / f.mpp * float(np.exp(rng.uniform(np.log(0.68), np.log(1.5))))
            for f in chosen
        ]
        pixels, labels = augment.affine(
            [f.rgb for f in chosen], [f.labels for f in chosen], scale, edge, rng
        )
        od = augment.nuclei_changed(augment.density(pixels), labels, rng)
        for b, one in enumerate(chosen):
            drawn = one.group in ("tissue", "crowds")
            if drawn and self.grounds and rng.uniform() < 0.5:
                ground = self.grounds[int(rng.integers(len(self.grounds)))]
                od[b] = augment.other_ground(od[b], labels[b], _cut(ground, edge, rng), rng)
            if one.group not in ("crowds",) and rng.uniform() < 0.15:
                od[b] = augment.as_ihc(od[b], labels[b], rng)
        od = augment.hazed(augment.stained_anew(od, rng), rng)
        od = augment.debris(od, labels, rng)
        pixels = augment.scanned(augment.light(od.clamp(0, 5)), rng)
        return (pixels, *_stacked([targets(m.numpy(), RAYS) for m in labels]))


def _cut(ground: Tensor, edge: int, rng: np.random.Generator) -> Tensor:
    y, x = (int(rng.integers(0, n - edge + 1)) for n in ground.shape[1:])
    cut = ground[:, y : y + edge, x : x + edge]
    return torch.rot90(cut, int(rng.integers(4)), (1, 2)).contiguous()


def _stacked(found: list[Any]) -> tuple[Tensor, ...]:
    at = [np.concatenate([np.full((len(t.at), 1), b), t.at], axis=1) for b, t in enumerate(found)]
    return (
        torch.from_numpy(np.stack([t.heat for t in found])),
        torch.from_numpy(np.stack([t.known for t in found])),
        torch.from_numpy(np.stack([t.inside for t in found])),
        torch.from_numpy(np.concatenate(at)),
        torch.from_numpy(np.concatenate([t.rays for t in found])),
    )


def losses(answer: tuple[Tensor, Tensor, Tensor], truth: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Losses of a batch: heat (focal, by nucleus), inside (cross-entropy), rays (px)."""
    heat, inside, rays = (a.float() for a in answer)
    wanted, known, within, at, far = truth
    chance = torch.sigmoid(heat)
    top = wanted > 0.97
    log_yes, log_no = functional.logsigmoid(heat), functional.logsigmoid(-heat)
    hit = -((1 - chance) ** 2) * log_yes
    miss = -((1 - wanted) ** 4) * chance**2 * log_no
    count = (top & known).sum().clamp(min=1)
    focal = torch.where(top, hit, miss)
    sure = known.reshape(len(known), known.shape[1] // 2, 2, -1, 2).all(dim=4).all(dim=2)
    place = functional.binary_cross_entropy_with_logits(inside, within, reduction="none")
    seen = functional.softplus(rays[at[:, 0], :, at[:, 1], at[:, 2]])
    off = functional.smooth_l1_loss(seen, far, beta=1.0) if len(at) else seen.sum() * 0
    return {
        "heat": torch.where(known, focal, 0.0).sum() / count,
        "inside": (place * sure).sum() / sure.sum().clamp(min=1),
        "rays": off,
    }


WEIGHT = {"heat": 1.0, "inside": 1.0, "rays": 0.2}


def fit(
    pool: Sequence[Field],
    grounds: Sequence[Tensor],
    settings: Settings,
    relabel: Callable[[NucleusNet], Sequence[Field]] | None = None,
    told: Callable[[int, dict[str, float]], None] | None = None,
) -> Learned:
    """Train a network.

    Parameters
    ----------
    pool : list of Field
        What is labeled.
    grounds : list of float32[3, h, w]
        Optical density of tissue without nuclei.
    settings : Settings
    relabel : callable, optional
        Labels slides by the averaged network half-way; what it gives joins the pool.
    told : callable, optional
        Told the mean losses every 100 steps.
    """
    torch.manual_seed(settings.seed)
    network = NucleusNet()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=settings.decay)
    half = settings.steps // 2 if relabel else settings.steps
    learned, sums = Learned(mean), dict.fromkeys(WEIGHT, 0.0)
    for span in (range(half), range(half, settings.steps)):
        if span and span.start and relabel:
            pool = [*pool, *relabel(mean)]
        crops = Crops(pool, grounds, settings, span)
        loader = DataLoader(crops, batch_size=None, num_workers=1, prefetch_factor=4)
        for step, batch in zip(span, loader, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, settings)
            found = _step(network, optimizer, batch)
            _average(mean, network, min(settings.average, (1 + step) / (10 + step)))
            sums = {k: sums[k] + v / 100 for k, v in found.items()}
            if step % 100 == 99:
                learned.curve.append(
                    {"step": step + 1, **{k: round(v, 4) for k, v in sums.items()}}
                )
                if told:
                    told(step + 1, sums)
                sums = dict.fromkeys(WEIGHT, 0.0)
    return learned


def _rate(step: int, settings: Settings) -> float:
    warm = min((step + 1) / 100, 1.0)
    return settings.rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))


def _step(network: NucleusNet, optimizer: Any, batch: tuple[Tensor, ...]) -> dict[str, float]:
    network.train()
    pixels = ((batch[0] - MEAN) / SPREAD).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = network(pixels)
    found = losses(answer, batch[1:])
    optimizer.zero_grad()
    torch.stack([WEIGHT[k] * v for k, v in found.items()]).sum().backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return {k: v.item() for k, v in found.items()}


@torch.no_grad()
def _average(mean: NucleusNet, network: NucleusNet, keep: float) -> None:
    for old, new in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
        if old.dtype.is_floating_point:
            old.lerp_(new, 1 - keep)
        else:
            old.copy_(new)
