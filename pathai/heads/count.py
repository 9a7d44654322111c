"""Additive count: every tile has a number of its own, and the slide's count is their sum."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pathai.errors import PathaiError
from pathai.heads.bag import Bag
from pathai.heads.base import Head, require_tiles
from pathai.heads.dropout import Dropout

PACE = 10.0
"""How much faster than weights scale and dispersion are learned. The optimizer's steps are equal
for all parameters, but a weight goes some hundredths and these single numbers some units."""

LEAST = 1e-12
"""Added to every rate, so that a bag without cells has shares and a logarithm too."""


class CountMil(Head):
    r"""Rates of tiles that add up, learned from the counts of slides alone.

    With a network :math:`f` of one tile, of two layers, and a learned scale :math:`\gamma`,

    .. math::
        r_k = e^{\gamma}\, \operatorname{softplus}(f(x_k)) > 0, \qquad
        \text{outputs} = \left(\log \frac{1}{N} \sum_k r_k,\; \log\alpha\right), \qquad
        \text{count} = \sum_k r_k,

    side by side for several counts. The dispersion :math:`\alpha` of
    `pathai.likelihood.count_loss` is one learned number. The softplus is linear for many cells, as
    features mostly are. Rates are in units of the training part's mean count per tile
    (``TargetSpec.location``), so that cells per tile may be 0.01 or 1,000. The attention is
    :math:`r_k / \sum_j r_j`, its mean over several counts. Sums of rates under a count likelihood
    are from [1]_, there Poisson's with Gaussian processes; contributions that add up explain the
    answer as those of `pathai.heads.additive` do.

    References
    ----------
    .. [1] Law et al., "Variational learning on aggregate outputs with Gaussian processes",
       NeurIPS 2018, arXiv:1805.08463.
    """

    kinds: ClassVar[tuple[str, ...]] = ("count",)

    def __init__(self, dim: int, width: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, width, hidden, dropout)
        if width < 2 or width % 2:
            message = f"head count gives 2 outputs per count, not {width} in all"
            raise PathaiError("E192", message, "choose another head for targets other than counts")
        self.rate = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.ReLU(inplace=True),
            Dropout(dropout),
            nn.Linear(hidden, width // 2),
        )
        self.scale = nn.Parameter(torch.zeros(width // 2))
        self.log_dispersion = nn.Parameter(torch.zeros(width // 2))

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> outputs[B, 2 T], attention[B, N]."""
        rate = self.shares(x, mask)
        total = rate.sum(dim=1)  # [B, T]
        outputs = self._outputs(total / mask.sum(dim=1, keepdim=True))
        return outputs, (rate / total[:, None]).mean(dim=2)

    def shares(self, x: Tensor, mask: Tensor) -> Tensor:
        """Count of each tile, float[B, N, T] for T targets; 0 on padding."""
        require_tiles(mask)
        return self._rates(x).masked_fill(~mask[..., None], 0.0)

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[2 T] and attention float[N] of a bag read in chunks."""
        rate = bag.each(self._rates, len(self.scale))  # [N, T]
        total = rate.double().sum(dim=0)
        outputs = self._outputs((total / bag.n_tiles).float()[None])[0]
        return outputs, (rate / total.float()).mean(dim=1)

    def _rates(self, x: Tensor) -> Tensor:
        return torch.exp(PACE * self.scale) * (softplus(self.rate(x)) + LEAST)

    def _outputs(self, mean: Tensor) -> Tensor:
        """Mean rates float[B, T] and the dispersions, target by target: float[B, 2 T]."""
        dispersion = (PACE * self.log_dispersion).expand_as(mean)
        return torch.stack([mean.log(), dispersion], dim=2).flatten(1)
