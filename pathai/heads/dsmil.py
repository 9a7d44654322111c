"""DSMIL: the most convincing tile of a class is found first, then who resembles it counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pathai.heads.bag import Bag, SoftmaxMean
from pathai.heads.base import Head, attend, require_tiles
from pathai.heads.dropout import Dropout


class DsMil(Head):
    r"""Dual-stream multiple-instance learning.

    With :math:`h_k = \mathrm{relu}(E x_k)`, tile scores :math:`s_k = W h_k`, the critical tile
    :math:`m_c = \arg\max_k s_{k,c}`, queries :math:`q_k = Q h_k` and values :math:`v_k = V h_k`,

    .. math::
        a_{k,c} = \operatorname{softmax}_k \frac{q_k^\top q_{m_c}}{\sqrt{H}}, \qquad
        \text{outputs}_c = \frac{1}{2}\left(s_{m_c,c} + u_c^\top \sum_k a_{k,c} v_k\right).

    The attention is the mean of :math:`a_{k,c}` over the outputs.

    References
    ----------
    .. [1] Li, Li and Eliceiri, "Dual-stream multiple instance learning network for whole slide
       image classification with self-supervised contrastive learning", CVPR 2021,
       arXiv:2011.08939.
    """

    def __init__(self, dim: int, width: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, width, hidden, dropout)
        self.embed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(inplace=True), Dropout(dropout))
        self.score = nn.Linear(hidden, width)
        self.query = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.value = nn.Sequential(Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU())
        self.classify = nn.Parameter(torch.randn(width, hidden) / math.sqrt(hidden))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N] -> outputs[B, C], attention[B, N]."""
        require_tiles(mask)
        h = self.embed(x)  # [B, N, H]
        score = self.score(h).masked_fill(~mask[..., None], float("-inf"))
        most, critical = score.max(dim=1)  # [B, C]
        q = self.query(h)
        chosen = torch.gather(q, 1, critical[..., None].expand(-1, -1, q.shape[2]))  # [B, C, H]
        alike = torch.bmm(chosen, q.transpose(1, 2)) / math.sqrt(q.shape[2])  # [B, C, N]
        weight = attend(alike.flatten(0, 1), mask.repeat_interleave(alike.shape[1], 0))
        weight = weight.reshape(alike.shape)
        pooled = torch.bmm(weight, self.value(h))  # [B, C, H]
        bag = (pooled * self.classify).sum(dim=2) + self.bias
        return (most + bag) / 2, weight.mean(dim=1)

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N] of a bag read twice, in chunks."""
        most, critical = self._critical(bag)
        chosen = self.query(critical) / math.sqrt(critical.shape[1])  # [C, H]
        pooled = SoftmaxMean(bag, *self.classify.shape)
        for x in bag:
            h = self.embed(x)
            pooled.add(self.query(h) @ chosen.T, self.value(h))
        own = (pooled.mean * self.classify).sum(dim=1) + self.bias
        return (most + own) / 2, pooled.attention.mean(dim=1)

    def _critical(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Largest score float[C] of each output, and the embedding float[C, H] of its tile."""
        best = self.bias.new_full(self.bias.shape, float("-inf"))
        tile: Tensor = self.classify  # of the right shape, and replaced by the first chunk
        for x in bag:
            h = self.embed(x)
            most, at = self.score(h).max(dim=0)
            tile = torch.where((most > best)[:, None], h[at], tile)  # the first of equals
            best = torch.maximum(best, most)
        return best, tile
