"""KEEP: a vision transformer with a small head into the space that it shares with text.

References
----------
Zhou X et al. A knowledge-enhanced pathology vision-language foundation model for cancer diagnosis.
arXiv:2412.13126.
"""

from typing import Any

import torch
from torch import nn

from pathai.encoders.torchvision_shim import import_timm


class Keep(nn.Module):
    """Image tower of KEEP: vectors of length 1, comparable with those of its text tower.

    Parameters
    ----------
    dim : int
        Length of a vector.
    trunk : dict
        Arguments of timm's ``vit_large_patch16_224``.
    """

    def __init__(self, dim: int = 768, **trunk: Any) -> None:
        super().__init__()
        make = import_timm().create_model
        self.visual = make("vit_large_patch16_224", pretrained=False, num_classes=0, **trunk)
        width = self.visual.num_features
        self.visual_head = nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalized pixels ``float[B, 3, H, W]`` to vectors ``float[B, dim]``."""
        vectors = self.visual_head(self.visual(pixels))
        return torch.nn.functional.normalize(vectors, dim=-1)

    @staticmethod
    def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The publisher's tensors by the names here; those of the text tower are left out."""
        kept = {k: v for k, v in state.items() if k.startswith("visual")}
        for k in (1, 2):
            kept = {n.replace(f"ls{k}.weight", f"ls{k}.gamma"): v for n, v in kept.items()}
        return kept
