"""The first layers of CTransPath: small convolutions where a Swin transformer cuts patches.

References
----------
Wang X et al. Transformer-based unsupervised contrastive learning for histopathological image
classification. Med Image Anal 2022;81:102559.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class ConvStem(nn.Module):
    """Two convolutions of stride 2, then one of 1 x 1; for ``embed_layer`` of timm's Swin.

    Parameters
    ----------
    img_size, patch_size, in_chans, embed_dim, norm_layer
        As timm hands them over; ``patch_size`` must be 4.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        norm_layer: Callable[[int], nn.Module] | None = None,
        **_: Any,
    ) -> None:
        super().__init__()
        if patch_size != 4:
            raise ValueError(f"a stem of two strides cuts patches of 4 px, not {patch_size}")
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid_size = (height // patch_size, width // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        layers: list[nn.Module] = []
        channels, wider = in_chans, embed_dim // 8
        for _step in range(2):
            layers += [
                nn.Conv2d(channels, wider, kernel_size=3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(inplace=True),
            ]
            channels, wider = wider, 2 * wider
        self.proj = nn.Sequential(*layers, nn.Conv2d(channels, embed_dim, kernel_size=1))
        self.norm = norm_layer(embed_dim) if norm_layer else nn.Identity()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """``float[B, 3, H, W]`` to ``float[B, H / 4, W / 4, D]``."""
        found: torch.Tensor = self.norm(self.proj(pixels).permute(0, 2, 3, 1))
        return found
