"""Linear probe: logistic regression on the mean tile. What the features know without a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.bag import Bag
from pathai.heads.base import Head, require_tiles


class LinearProbe(Head):
    r"""A linear answer to the mean tile, :math:`\text{outputs} = C\, \frac{1}{N}\sum_k x_k`.

    It has no hidden layer and no dropout, ``hidden`` and ``dropout`` are not used: weight decay is
    its only prior. The attention is :math:`1/N` for each tile.

    References
    ----------
    .. [1] Alain and Bengio, "Understanding intermediate layers using linear classifier probes",
       ICLR workshop 2017, arXiv:1610.01644.
    """

    def __init__(self, dim: int, width: int, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(dim, width, hidden, dropout)
        self.classify = nn.Linear(dim, width)

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> outputs[B, C], attention[B, N]."""
        require_tiles(mask)
        attention = mask.to(x.dtype) / mask.sum(dim=1, keepdim=True)  # [B, N]
        return self.classify(torch.bmm(attention[:, None, :], x)[:, 0]), attention

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N] of a bag read in chunks."""
        pooled = bag.mean()
        return self.classify(pooled), pooled.new_full((bag.n_tiles,), 1 / bag.n_tiles)
