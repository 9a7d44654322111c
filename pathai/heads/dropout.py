"""Dropout that costs a third of torch's on a processor: one random byte decides a unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Drops units in training, and scales those that stay so that the mean is kept.

    On a processor torch draws a number of its own for every unit, which takes longer than the
    matrix product before it. Here eight units share a draw of 64 bits, and the share that is
    dropped is rounded to 1/256.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
       JMLR 15:1929-1958, 2014.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Float[...] -> float[...]."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return super().forward(x)
        dropped = min(round(self.p * 256), 255)
        drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = drawn.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * kept.to(x.dtype).mul_(256 / (256 - dropped))
