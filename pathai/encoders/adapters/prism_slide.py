"""PRISM, by its publisher's own code in a folder that the user has named."""

from pathlib import Path
from typing import Any

import torch

from pathai.encoders.adapters.local_code import from_folder
from pathai.encoders.slide_cards import SlideCard
from pathai.encoders.slide_network import Forward


def prism(card: SlideCard, folder: Path) -> tuple[Any, Forward]:
    """Network and forward; PRISM does not look at where tiles lie."""
    network = from_folder(card, folder)

    def forward(tiles: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network.slide_representations(tiles[None])["image_embedding"]
        return found

    return network, forward
