"""Additive attention: every tile's share of the answer is known, and the shares add up to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.base import Head, attend, require_tiles


class AdditiveMil(Head):
    r"""Gated attention whose classifier looks at each tile by itself.

    With :math:`h_k` and :math:`a_k` as in `pathai.heads.abmil.AbMil`,

    .. math::
        \text{logits} = \sum_k s_k, \qquad s_k = \psi(a_k h_k) + a_k b,

    where :math:`\psi` is a network of two layers without bias, so that a tile without attention
    adds nothing, and the bias :math:`b` is divided among the tiles by their attention.

    References
    ----------
    .. [1] Javed et al., "Additive MIL: intrinsically interpretable multiple instance learning for
       pathology", NeurIPS 2022, arXiv:2206.01794.
    """

    def __init__(self, dim: int, n_classes: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, n_classes, hidden, dropout)
        self.embed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.content = nn.Linear(hidden, hidden)
        self.gate = nn.Linear(hidden, hidden)
        self.weight = nn.Linear(hidden, 1, bias=False)
        half = max(hidden // 2, 1)
        self.classify = nn.Sequential(
            nn.Linear(hidden, half, bias=False), nn.ReLU(), nn.Linear(half, n_classes, bias=False)
        )
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> logits[B, C], attention[B, N]."""
        shares, attention = self.shares(x, mask)
        return shares.sum(dim=1), attention

    def shares(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What each tile adds to the logits float[B, N, C], 0 on padding; attention[B, N]."""
        require_tiles(mask)
        h = self.embed(x)
        score = self.weight(torch.tanh(self.content(h)) * torch.sigmoid(self.gate(h)))
        attention = attend(score[..., 0], mask)
        each = self.classify(attention[..., None] * h) + attention[..., None] * self.bias
        return each.masked_fill(~mask[..., None], 0.0), attention
