"""Gated attention: the network learns which tiles decide."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.base import Head, attend, require_tiles


class AbMil(Head):
    r"""Attention-based multiple-instance learning with a gate.

    With a tile's embedding :math:`h_k = \mathrm{relu}(E x_k)`,

    .. math::
        a_k = \operatorname{softmax}_k\, w^\top
              \left(\tanh(V h_k) \odot \sigma(U h_k)\right),
        \qquad z = \sum_k a_k h_k, \qquad \text{logits} = C z.

    ``w`` has no bias: the softmax over tiles would cancel it.

    References
    ----------
    .. [1] Ilse, Tomczak and Welling, "Attention-based deep multiple instance learning",
       ICML 2018, arXiv:1802.04712 (equation 9).
    """

    def __init__(self, dim: int, n_classes: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, n_classes, hidden, dropout)
        self.embed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.content = nn.Linear(hidden, hidden)
        self.gate = nn.Linear(hidden, hidden)
        self.weight = nn.Linear(hidden, 1, bias=False)
        self.classify = nn.Linear(hidden, n_classes)

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> logits[B, C], attention[B, N]."""
        return self.answer(self.embed(x), mask)

    def answer(self, h: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and attention of embedded tiles ``float[B, N, H]``."""
        require_tiles(mask)
        score = self.weight(torch.tanh(self.content(h)) * torch.sigmoid(self.gate(h)))
        attention = attend(score[..., 0], mask)  # [B, N]
        pooled = torch.bmm(attention[:, None, :], h)[:, 0]  # [B, H]
        return self.classify(pooled), attention
