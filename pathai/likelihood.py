"""How well outputs of a head fit the truth: the negative log-likelihood of each kind of target.

Truth is ``float64[B, 2]`` for every kind; NaN in its first column says that the target is not known
for the slide, whose loss is then 0, and so is its gradient. What outputs mean, and how they become
answers, stands in ``pathai.outputs``. Everything is computed in float64: bags are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pathai.errors import PathaiError
from pathai.outputs import LOG_DISPERSION, TargetSpec, columns

HUBER = 1.345
"""Standard deviations up to which a regression error is squared (95 % efficient [Huber 1964])."""
UNKNOWN = -1
"""Stands for a class that is not known, whose loss and gradient are 0."""
ALIKE = 0.1
"""Correlation assumed between cells of one slide: ten cells know half of what 10,000 know."""


def class_loss(outputs: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy float64[B] of logits[B, C] and truth (class, 0)."""
    label = torch.nan_to_num(truth[:, 0], nan=UNKNOWN).long()
    return functional.cross_entropy(outputs.double(), label, reduction="none", ignore_index=UNKNOWN)


def ordinal_loss(outputs: Tensor, truth: Tensor) -> Tensor:
    """Continuation-ratio loss float64[B] of logits[B, C - 1] and truth (class, 0).

    A slide of class y answers yes to "more than k?" for k < y, no for k = y, and is not asked
    beyond.

    References
    ----------
    .. [1] Shi, Cao and Raschka, "Deep neural networks for rank-consistent ordinal regression
       based on conditional probabilities", arXiv:2111.08851.
    """
    known, label = _known(truth)
    z, k = outputs.double(), torch.arange(outputs.shape[1], device=outputs.device)
    passed, stopped = k < label[:, None], k == label[:, None]
    each = functional.softplus(-z) * passed + functional.softplus(z) * stopped
    return torch.where(known, each.sum(dim=1), 0.0)


def regression_loss(outputs: Tensor, truth: Tensor, location: float, scale: float) -> Tensor:
    """Huber's loss float64[B] of outputs[B, 1] in standard deviations, truth (value, 0).

    Huber's and not the square: among some tens of slides, one value with a misplaced decimal
    point would else outweigh all others.

    References
    ----------
    .. [1] Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics
       35:73-101, 1964.
    """
    known, value = _known(truth)
    wanted = (value - location) / scale
    each = functional.huber_loss(outputs[:, 0].double(), wanted, reduction="none", delta=HUBER)
    return torch.where(known, each, 0.0)


def count_loss(outputs: Tensor, truth: Tensor, tiles: Tensor) -> Tensor:
    r"""Negative-binomial loss float64[B] of a count.

    With mean :math:`\mu`, dispersion :math:`\alpha` and :math:`r = 1/\alpha`, the variance is
    :math:`\mu + \alpha \mu^2`, Poisson's for :math:`\alpha \to 0`, and

    .. math::
        -\log P(y) = -\log\frac{\Gamma(y + r)}{\Gamma(r)\,y!}
                     - y \log\frac{\mu}{r + \mu} + r \log\left(1 + \frac{\mu}{r}\right).

    Parameters
    ----------
    outputs : float[B, 2]
        Log of the mean count per tile; log dispersion, held within ``LOG_DISPERSION`` of 0.
    truth : float64[B, 2]
        (count, 0).
    tiles : int[B]
        Tiles of the slide: the exposure.

    References
    ----------
    .. [1] Hilbe, "Negative binomial regression", Cambridge University Press 2011 (NB2).
    """
    known, count = _known(truth)
    log_mean = outputs[:, 0].double() + tiles.double().log()
    log_dispersion = outputs[:, 1].double().clamp(-LOG_DISPERSION, LOG_DISPERSION)
    r = torch.exp(-log_dispersion)
    share = log_mean - torch.logaddexp(log_mean, -log_dispersion)  # log(mean / (r + mean))
    zero = r * functional.softplus(log_mean + log_dispersion)  # r log(1 + mean / r)
    ways = _log_gamma_ratio(count, r) - torch.lgamma(count + 1)
    return torch.where(known, zero - count * share - ways, 0.0)


def _log_gamma_ratio(y: Tensor, r: Tensor) -> Tensor:
    """``log(Gamma(y + r) / Gamma(r))``; by Stirling's series where the difference would cancel."""
    small, large = r.clamp(max=32.0), r.clamp(min=32.0)
    plain = torch.lgamma(y + small) - torch.lgamma(small)
    series = (large - 0.5) * torch.log1p(y / large) + y * torch.log(y + large) - y
    series = series + _stirling(y + large) - _stirling(large)
    return torch.where(r < 32.0, plain, series)


def _stirling(z: Tensor) -> Tensor:
    return 1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5)


def ratio_loss(outputs: Tensor, truth: Tensor) -> Tensor:
    r"""Binomial loss float64[B] of outputs[B, 1] (a logit) and truth (successes k, trials n).

    The loss of one trial is weighed by :math:`n\rho / (1 + (n - 1)\rho)`: cells of a slide are
    alike, with correlation :math:`\rho` (``ALIKE``), so that a slide with 10,000 cells knows more
    than one with ten, but not a thousand times as much. Without trials the loss is 0.

    References
    ----------
    .. [1] Kish, "Survey sampling", Wiley 1965 (design effect of a cluster).
    """
    known, successes = _known(truth)
    trials = torch.where(known, truth[:, 1].double(), 0.0)
    share = successes / trials.clamp(min=1.0)
    weight = trials * ALIKE / (1 + (trials - 1) * ALIKE)
    z = outputs[:, 0].double()
    each = functional.binary_cross_entropy_with_logits(z, share, reduction="none")
    return torch.where(known, weight * each, 0.0)


def survival_loss(outputs: Tensor, truth: Tensor, edges: Sequence[float]) -> Tensor:
    """Loss float64[B] of discrete hazards under right censoring.

    A patient who dies in bin b survived the bins before and not this one. A censored patient
    survived each bin of which at least half was seen. A death after the last edge counts as
    surviving every bin.

    Parameters
    ----------
    outputs : float[B, bins]
        Logits of the hazards.
    truth : float64[B, 2]
        (time, 1 for a death and 0 for censoring).
    edges : sequence of float, length bins + 1
        0 and the ends of the bins, in the unit of time; a bin contains its end.

    References
    ----------
    .. [1] Gensheimer and Narasimhan, "A scalable discrete-time survival model for neural
       networks", PeerJ 7:e6257, 2019 (equations 1 to 3).
    """
    known, time = _known(truth)
    z = outputs.double()
    limit = torch.tensor(edges, dtype=torch.float64, device=z.device)
    start, end, time = limit[:-1], limit[1:], time[:, None]
    died = (known & (truth[:, 1] > 0))[:, None]
    here = died & ((time > start) | (start == 0)) & (time <= end)
    survived = torch.where(died, time > end, time >= (start + end) / 2)
    each = functional.softplus(z) * survived + functional.softplus(-z) * here
    return torch.where(known, each.sum(dim=1), 0.0)


def _known(truth: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows are known, bool[B], and the first column with 0 in place of NaN."""
    known = ~torch.isnan(truth[:, 0])
    return known, torch.where(known, truth[:, 0].double(), 0.0)


def target_loss(target: TargetSpec, outputs: Tensor, truth: Tensor, tiles: Tensor) -> Tensor:
    """Loss float64[B] of one target: outputs[B, its width], truth float64[B, 2], tiles int[B]."""
    match target.kind:
        case "binary" | "multiclass":
            return class_loss(outputs, truth)
        case "ordinal":
            return ordinal_loss(outputs, truth)
        case "regression":
            return regression_loss(outputs, truth, target.location, target.scale)
        case "count":
            return count_loss(outputs + outputs.new_tensor(target.shift), truth, tiles)
        case "ratio":
            return ratio_loss(outputs + outputs.new_tensor(target.shift), truth)
        case _:
            return survival_loss(outputs, truth, target.edges)


@dataclass(frozen=True)
class Truth:
    """What is known of some slides, and how outputs are held against it.

    Parameters
    ----------
    targets : tuple of TargetSpec
        The main target first.
    values : float64[B, T, 2]
        Truth of each target; NaN in the first of the two: not known for this slide.
    tiles : int[B]
        Tiles of each whole slide, also where a bag holds only some of them.
    weights : float64[B, T], optional
        Of each slide's loss per target, so that patients and classes have the same say.

    Raises
    ------
    PathaiError
        E184 when the arrays do not fit together.
    """

    targets: tuple[TargetSpec, ...]
    values: Tensor
    tiles: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        wanted = (len(self.tiles), len(self.targets), 2)
        if tuple(self.values.shape) != wanted:
            message = f"truth of shape {tuple(self.values.shape)}, but {wanted} is needed"
            raise PathaiError("E184", message)

    @classmethod
    def of_classes(cls, labels: Tensor, n_classes: int) -> Truth:
        """Truth of one multiclass target from its classes int[B]."""
        values = torch.stack([labels.double(), torch.zeros(len(labels)).to(labels.device)], dim=1)
        target = TargetSpec("multiclass", n_classes)
        return cls((target,), values[:, None], torch.ones_like(labels))

    @property
    def width(self) -> int:
        """Outputs of a head for all targets."""
        return sum(target.width for target in self.targets)

    def take(self, rows: Tensor) -> Truth:
        """Truth of some of the slides, by index int[n]."""
        weights = None if self.weights is None else self.weights[rows]
        return Truth(self.targets, self.values[rows], self.tiles[rows], weights)

    def to(self, device: torch.device | str) -> Truth:
        """The same on a device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Truth(self.targets, self.values.to(device), self.tiles.to(device), weights)

    @property
    def classes(self) -> Tensor | None:
        """Class int64[B] in the main target, -1 where unknown; None for kinds without classes.

        None also for ordinal targets, whose outputs are no scores of classes.
        """
        if self.targets[0].kind not in ("binary", "multiclass"):
            return None
        return torch.nan_to_num(self.values[:, 0, 0], nan=-1.0).long()

    def loss(self, outputs: Tensor) -> Tensor:
        """Loss float32[B] of outputs[B, width]: weighted mean over the targets that are known.

        0 for a slide of which no target is known.
        """
        if len(self.targets) == 1:  # the mean over one target, with as few steps as it takes
            only = target_loss(self.targets[0], outputs, self.values[:, 0], self.tiles)
            return (only if self.weights is None else only * self.weights[:, 0]).float()
        parts = zip(self.targets, columns(self.targets), self.values.unbind(dim=1), strict=True)
        losses = [target_loss(t, outputs[:, own], truth, self.tiles) for t, own, truth in parts]
        each = torch.stack(losses, dim=1)  # [B, T]
        weight = each.new_tensor([target.weight for target in self.targets])
        weight = weight * ~torch.isnan(self.values[:, :, 0])
        total = weight.sum(dim=1).clamp(min=1e-12)
        if self.weights is not None:
            each = each * self.weights
        return ((weight * each).sum(dim=1) / total).float()
