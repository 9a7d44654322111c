"""Max pooling: the most convincing tile of each class decides. The other simple baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.base import Head, require_tiles


class MaxPool(Head):
    r"""The largest linear answer of any tile, class by class.

    .. math::
        \text{logits}_c = \max_k\, (C h_k)_c, \qquad h_k = \mathrm{relu}(E x_k).

    A tile's attention is the share of the classes that it decides.

    References
    ----------
    .. [1] Ramon and De Raedt, "Multi instance neural networks", ICML workshop 2000.
    """

    def __init__(self, dim: int, n_classes: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, n_classes, hidden, dropout)
        self.embed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.classify = nn.Linear(hidden, n_classes)

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> logits[B, C], attention[B, N]."""
        require_tiles(mask)
        each = self.classify(self.embed(x)).masked_fill(~mask[..., None], float("-inf"))
        logits, first = each.max(dim=1)  # [B, C]
        share = x.new_zeros(mask.shape)
        share.scatter_add_(1, first, torch.full_like(logits, 1 / logits.shape[1]))
        return logits, share
