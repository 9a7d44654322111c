"""Mean of embedded tiles: every tile counts the same. The baseline that attention has to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.bag import Bag
from pathai.heads.base import Head, require_tiles
from pathai.heads.dropout import Dropout


class MeanPool(Head):
    r"""A linear answer to the mean embedding.

    .. math::
        \text{outputs} = C\, \frac{1}{N} \sum_k h_k, \qquad h_k = \mathrm{relu}(E x_k).

    It is `pathai.heads.abmil.AbMil` with equal attention, :math:`1/N` for each tile. The embedding
    lets it see how many tiles are of a kind, which the mean tile of `pathai.heads.linear` hides.

    References
    ----------
    .. [1] Wang et al., "Revisiting multiple instance neural networks", Pattern Recognition 2018,
       74:15-24, arXiv:1610.02501 (MI-Net with mean pooling).
    """

    def __init__(self, dim: int, width: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, width, hidden, dropout)
        self.embed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(inplace=True), Dropout(dropout))
        self.classify = nn.Linear(hidden, width)

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> outputs[B, C], attention[B, N]."""
        require_tiles(mask)
        attention = mask.to(x.dtype) / mask.sum(dim=1, keepdim=True)  # [B, N]
        pooled = torch.bmm(attention[:, None, :], self.embed(x))[:, 0]
        return self.classify(pooled), attention

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N] of a bag read in chunks."""
        pooled = bag.mean(self.embed)
        return self.classify(pooled), pooled.new_full((bag.n_tiles,), 1 / bag.n_tiles)
