"""Mean pooling: every tile counts the same. The baseline that attention has to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.base import Head, require_tiles


class MeanPool(Head):
    r"""A linear answer to the mean tile, :math:`\text{logits} = C\, \frac{1}{N}\sum_k x_k`.

    The attention is :math:`1/N` for each tile. ``hidden`` is not used; dropout acts on the mean.
    """

    def __init__(self, dim: int, n_classes: int, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(dim, n_classes, hidden, dropout)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, n_classes))

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> logits[B, C], attention[B, N]."""
        require_tiles(mask)
        attention = mask.to(x.dtype) / mask.sum(dim=1, keepdim=True)  # [B, N]
        return self.classify(torch.bmm(attention[:, None, :], x)[:, 0]), attention
