"""The network of `tissue-small`: a small residual network over optical density.

References
----------
He K, Zhang X, Ren S, Sun J. Deep residual learning for image recognition. CVPR 2016:770-778.
"""

import torch
from torch import Tensor, nn

WIDTHS = (48, 96, 160)
"""Channels of the three scales, at 2, 4 and 8 µm per cell."""
DIM = 2 * WIDTHS[-1]
"""Mean and standard deviation of each channel of the last scale."""
DENSITY_MEAN, DENSITY_SD = 0.25, 0.30
"""Optical density to base 10 is shifted and scaled by these; typical of stained tissue."""


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """``float32[B, C, h, w]`` to the same shape."""
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(x + self.second_norm(self.second(inner)))


class TissueNetwork(nn.Module):
    """Pixels to one vector: three scales, then mean and spread over the tile.

    Statistics over all positions make the vector independent of the tile's size, and keep how
    varied a tile is, which a mean alone would lose.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        before = 12
        for width in WIDTHS:
            down = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
            layers += [down, nn.BatchNorm2d(width), nn.ReLU(), Block(width)]
            before = width
        self.trunk = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Red, green, blue in 0..255 ``[B, 3, h, w]``, h and w even, >= 64, to ``float[B, D]``."""
        density = -torch.log10((pixels.float() + 1) / 256)
        cells = self.trunk((density - DENSITY_MEAN) / DENSITY_SD)
        spread = torch.sqrt(cells.var(dim=(2, 3), correction=0) + 1e-5)
        return torch.cat([cells.mean(dim=(2, 3)), spread], dim=1)


def seeded(seed: int) -> TissueNetwork:
    """Untrained network whose weights are drawn from ``seed``; torch's own state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TissueNetwork()
