"""Additive attention: every tile's share of the answer is known, and the shares add up to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.abmil import AbMil
from pathai.heads.bag import Bag, SoftmaxMean
from pathai.heads.base import attend, require_tiles


class AdditiveMil(AbMil):
    r"""Gated attention whose classifier looks at each tile by itself.

    With :math:`h_k` and :math:`a_k` as in `pathai.heads.abmil.AbMil`,

    .. math::
        \text{outputs} = \sum_k s_k, \qquad s_k = \psi(a_k h_k) + a_k b
                                                = a_k \left(\psi(h_k) + b\right),

    where :math:`\psi` is a network of two layers without bias. Its ReLU lets the positive factor
    :math:`a_k` through, hence the second form, which is computed; the bias :math:`b` is divided
    among the tiles by their attention.

    References
    ----------
    .. [1] Javed et al., "Additive MIL: intrinsically interpretable multiple instance learning for
       pathology", NeurIPS 2022, arXiv:2206.01794.
    """

    def __init__(self, dim: int, width: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, width, hidden, dropout)
        half = max(hidden // 2, 1)
        self.classify = nn.Sequential(
            nn.Linear(hidden, half, bias=False), nn.ReLU(), nn.Linear(half, width, bias=False)
        )
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> outputs[B, C], attention[B, N]."""
        shares, attention = self._shares(x, mask)
        return shares.sum(dim=1), attention

    def shares(self, x: Tensor, mask: Tensor) -> Tensor:
        """What each tile adds to the outputs, float[B, N, C]; 0 on padding."""
        return self._shares(x, mask)[0]

    def _shares(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        require_tiles(mask)
        h = self.embed(x)
        attention = attend(self.score(h)[..., 0], mask)
        return attention[..., None] * (self.classify(h) + self.bias), attention

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N] of a bag read in chunks."""
        pooled = SoftmaxMean(bag, 1, len(self.bias))
        for x in bag:
            h = self.embed(x)
            pooled.add(self.score(h), self.classify(h) + self.bias)
        return pooled.mean[0], pooled.attention[:, 0]
