"""CONCH and CONCH v1.5 through their publisher's code.

CONCH needs the package ``conch`` (github.com/mahmoodlab/CONCH). CONCH v1.5 comes as code beside its
weights: the whole repository must lie in the folder of weights, where a person has put it.

References
----------
Lu MY et al. A visual-language foundation model for computational pathology. Nat Med 2024.
Ding T et al. A multimodal whole-slide foundation model for pathology. Nat Med 2025.
"""

from pathlib import Path
from typing import Any

import torch

from pathai.encoders.adapters import needed
from pathai.encoders.cards import Card
from pathai.encoders.network import Tokens
from pathai.errors import PathaiError


def conch(card: Card, weights: Path) -> tuple[Any, Tokens]:
    """Image tower of CONCH: vectors before the projection that meets text."""
    made: Any = needed("conch.open_clip_custom", card)
    network = made.create_model_from_pretrained(
        "conch_ViT-B-16", str(weights), return_transform=False
    )

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network.encode_image(pixels, proj_contrast=False, normalize=False)
        return found

    return network, forward


def conch_v1_5(card: Card, weights: Path) -> tuple[Any, Tokens]:
    """Image tower of CONCH v1.5, out of TITAN's repository.

    Raises
    ------
    PathaiError
        E183 where the weights lie in a cache: code is run only from where a person has put it.
    """
    if any(part.startswith("models--") for part in weights.parts):
        remedy = f"put all files of {card.repo} into weights/{card.name}"
        raise PathaiError("E183", f"{card.name} runs its publisher's code", remedy)
    transformers: Any = needed("transformers", card)
    titan = transformers.AutoModel.from_pretrained(
        str(weights.parent), trust_remote_code=True, local_files_only=True
    )
    network, _ = titan.return_conch()
    return network, network
