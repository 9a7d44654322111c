"""Gated attention: the network learns which tiles decide."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.bag import Bag, SoftmaxMean
from pathai.heads.base import Head, attend, require_tiles
from pathai.heads.dropout import Dropout


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
        return self.pool(self.embed(x), mask)

    def pool(self, h: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and attention of embedded tiles ``float[B, N, H]``."""
        require_tiles(mask)
        attention = attend(self.score(h)[..., 0], mask)  # [B, N]
        pooled = torch.bmm(attention[:, None, :], h)[:, 0]  # [B, H]
        return self.classify(pooled), attention

    def score(self, h: Tensor) -> Tensor:
        """Attention float[..., 1] of embedded tiles float[..., H] before the softmax."""
        content, gate = self.gated(h).chunk(2, dim=-1)
        found: Tensor = self.weight(torch.tanh(content) * torch.sigmoid(gate))
        return found

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N] of a bag read in chunks."""
        pooled = SoftmaxMean()
        for x in bag:
            h = self.embed(x)
            pooled.add(self.score(h), h)
        return self.classify(pooled.mean[0]), pooled.attention[:, 0]
