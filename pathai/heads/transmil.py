"""TransMIL: tiles look at each other and at their neighbors on the slide before they answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.bag import Bag
from pathai.heads.base import Head, require_tiles
from pathai.heads.dropout import Dropout

HEADS = 4
KERNELS = (7, 5, 3)


class TransMil(Head):
    r"""Two layers of self-attention with a class token, and between them convolutions over places.

    With :math:`H^0 = [t; \mathrm{relu}(E X)]` and layer norm :math:`N`,

    .. math::
        H^1 = H^0 + \mathrm{MSA}(N H^0), \quad
        H^2 = \mathrm{PPEG}(H^1), \quad
        H^3 = H^2 + \mathrm{MSA}(N H^2), \quad \text{outputs} = C\, N H^3_t,

    where PPEG adds three depthwise convolutions of the tiles. Two things differ from the paper, so
    that the order of tiles changes nothing: attention is exact (the paper's Nyström approximation
    takes means over tiles that follow each other), and the convolutions run over the tiles' true
    places on the slide (the paper arranges tiles in a square by their number). Without places
    the convolutions are left out. A tile's attention is that of the class token in the last layer.

    References
    ----------
    .. [1] Shao et al., "TransMIL: transformer based correlated multiple instance learning for
       whole slide image classification", NeurIPS 2021, arXiv:2106.00908.
    """

    def __init__(self, dim: int, outputs: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, outputs, hidden, dropout)
        width = -(-hidden // HEADS) * HEADS
        self.embed = nn.Sequential(nn.Linear(dim, width), nn.ReLU(inplace=True), Dropout(dropout))
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.first, self.second = (nn.LayerNorm(width) for _ in range(2))
        self.mix, self.remix = (_Attention(width) for _ in range(2))
        self.around = nn.ModuleList(
            nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in KERNELS
        )
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, outputs)

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X float[B, N, D], mask bool[B, N], place int[B, N, 2] -> outputs[B, C], attention."""
        require_tiles(mask)
        return self._mix(self.embed(x), mask, place)

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N]; all embeddings are held, the features are not.

        Every tile looks at every other: time grows with the square of their number, and memory
        with it: about 40 bytes per tile and hidden unit, 65 where places are known.
        """
        h = bag.each(self.embed, self.classify.in_features)[None]
        place = None if bag.place is None else bag.place[None].to(h.device)
        mask = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
        outputs, attention = self._mix(h, mask, place)
        return outputs[0], attention[0]

    def _mix(self, h: Tensor, mask: Tensor, place: Tensor | None) -> tuple[Tensor, Tensor]:
        h = torch.cat([self.token.expand(len(h), -1, -1), h], dim=1)
        seen = nn.functional.pad(mask, (1, 0), value=True)
        h = h + self.mix(self.first(h), seen)
        if place is not None:
            h = torch.cat([h[:, :1], self._neighbors(h[:, 1:], mask, place)], dim=1)
        normed = self.second(h)
        token = h[:, :1] + self.remix(normed, seen, only_token=True)
        attention = self.remix.of_token(normed, seen)
        return self.classify(self.norm(token[:, 0])), attention

    def _neighbors(self, h: Tensor, mask: Tensor, place: Tensor) -> Tensor:
        """Tiles with what surrounds them on the slide; empty places are 0."""
        out = []
        for tiles, real, at in zip(h, mask, place, strict=True):
            rows, columns = (at[real] - at[real].amin(dim=0)).unbind(dim=1)
            board = tiles.new_zeros(int(rows.max()) + 1, int(columns.max()) + 1, tiles.shape[1])
            board[rows, columns] = tiles[real]
            image = board.permute(2, 0, 1)[None]
            mixed = image + torch.stack([conv(image) for conv in self.around]).sum(dim=0)
            moved = tiles.clone()
            moved[real] = mixed[0].permute(1, 2, 0)[rows, columns]
            out.append(moved)
        return torch.stack(out)


class _Attention(nn.Module):
    """Exact self-attention in memory that grows with the number of tiles, not with its square."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.all = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def _split(self, h: Tensor) -> tuple[Tensor, ...]:
        batch, count, width = h.shape
        parts = self.all(h).reshape(batch, count, 3, HEADS, width // HEADS)
        return tuple(parts.permute(2, 0, 3, 1, 4).unbind(0))

    def forward(self, h: Tensor, seen: Tensor, *, only_token: bool = False) -> Tensor:
        q, k, v = self._split(h)
        q = q[:, :, :1] if only_token else q
        mixed = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen[:, None, None, :]
        )
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found

    def of_token(self, h: Tensor, seen: Tensor) -> Tensor:
        """Attention float[B, N] of the class token to the tiles, mean over heads."""
        q, k, _ = self._split(h)
        score = (q[:, :, :1] * k).sum(dim=-1)[:, :, 1:] / q.shape[-1] ** 0.5  # [B, heads, N]
        score = score.masked_fill(~seen[:, None, 1:], float("-inf"))
        return torch.softmax(score, dim=-1).mean(dim=1)
