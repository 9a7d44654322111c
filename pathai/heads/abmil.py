"""Gated attention: the network learns which tiles decide."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.bag import Bag, SoftmaxMean
from pathai.heads.base import Head, attend, require_tiles
from pathai.heads.dropout import Dropout

CACHED = 1024
"""Tiles trained on together: their intermediate values stay in the processor's cache."""


class AbMil(Head):
    r"""Attention-based multiple-instance learning with a gate.

    With a tile's embedding :math:`h_k = \mathrm{relu}(E x_k)`,

    .. math::
        a_k = \operatorname{softmax}_k\, w^\top
              \left(\tanh(V h_k) \odot \sigma(U h_k)\right),
        \qquad z = \sum_k a_k h_k, \qquad \text{outputs} = C z.

    ``w`` has no bias: the softmax over tiles would cancel it. ``V`` and ``U`` lie in one matrix,
    so that each tile is multiplied once.

    References
    ----------
    .. [1] Ilse, Tomczak and Welling, "Attention-based deep multiple instance learning",
       ICML 2018, arXiv:1802.04712 (equation 9).
    """

    def __init__(self, dim: int, width: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, width, hidden, dropout)
        self.embed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(inplace=True), Dropout(dropout))
        self.gated = nn.Linear(hidden, 2 * hidden)
        self.weight = nn.Linear(hidden, 1, bias=False)
        self.classify: nn.Module = nn.Linear(hidden, width)

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> outputs[B, C], attention[B, N]."""
        return self.pool(self.embedded(x), mask)

    def embedded(self, x: Tensor) -> list[Tensor]:
        """Embedded tiles float[B, n, H] ``CACHED`` at a time."""
        return [self.embed(part) for part in torch.split(x, CACHED, dim=1)]

    def pool(self, h: list[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and attention of embedded tiles."""
        require_tiles(mask)
        score = torch.cat([self.score(part)[..., 0] for part in h], dim=1)
        attention = attend(score, mask)  # [B, N]
        weights = torch.split(attention, CACHED, dim=1)
        parts = [torch.bmm(a[:, None], part) for a, part in zip(weights, h, strict=True)]
        return self.classify(torch.cat(parts, dim=1).sum(dim=1)), attention

    def score(self, h: Tensor) -> Tensor:
        """Attention float[..., 1] of embedded tiles float[..., H] before the softmax."""
        content, gate = self.gated(h).chunk(2, dim=-1)
        found: Tensor = self.weight(torch.tanh(content) * torch.sigmoid(gate))
        return found

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N] of a bag read in chunks."""
        pooled = SoftmaxMean(bag, 1, self.weight.in_features)
        for x in bag:
            h = self.embed(x)
            pooled.add(self.score(h), h)
        return self.classify(pooled.mean[0]), pooled.attention[:, 0]
