"""MUSK through its publisher's package ``musk`` (github.com/lilab-stanford/MUSK).

References
----------
Xiang J et al. A vision-language foundation model for precision oncology. Nature 2025.
"""

from pathlib import Path
from typing import Any

import torch

from pathai.encoders.adapters import needed
from pathai.encoders.cards import Card
from pathai.encoders.network import Tokens
from pathai.encoders.torchvision_shim import import_timm


def musk(card: Card, weights: Path) -> tuple[Any, Tokens]:
    """Image tower of MUSK at one scale, without its head."""
    loading: Any = needed("musk.utils", card)
    needed("musk.modeling", card)  # tells timm of the network
    network = import_timm().create_model("musk_large_patch16_384")
    loading.load_model_and_may_interpolate(str(weights), network, "model|module", "")

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(
            image=pixels, with_head=False, out_norm=False, ms_aug=False, return_global=True
        )[0]
        return found

    return network, forward
