"""Max pooling: the most convincing tile of each class decides. The other simple baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.bag import Bag
from pathai.heads.base import Head, require_tiles
from pathai.heads.dropout import Dropout


class MaxPool(Head):
    r"""The largest linear answer of any tile, output by output.

    .. math::
        \text{outputs}_c = \max_k\, (C h_k)_c, \qquad h_k = \mathrm{relu}(E x_k).

    A tile's attention is the share of the outputs that it decides.

    References
    ----------
    .. [1] Ramon and De Raedt, "Multi instance neural networks", ICML workshop 2000.
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
        each = self.classify(self.embed(x)).masked_fill(~mask[..., None], float("-inf"))
        outputs, first = each.max(dim=1)  # [B, C]
        share = x.new_zeros(mask.shape)
        share.scatter_add_(1, first, torch.full_like(outputs, 1 / outputs.shape[1]))
        return outputs, share

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N] of a bag read in chunks."""
        width = self.classify.out_features
        each = bag.each(lambda x: self.classify(self.embed(x)), width)  # [N, C]
        outputs, first = each.max(dim=0)
        share = torch.bincount(first, minlength=bag.n_tiles) / width
        return outputs, share.float()
