"""The slide encoder of Prov-GigaPath, by its publisher's package."""

from pathlib import Path
from typing import Any

import torch

from pathai.encoders.published import need
from pathai.encoders.slide_cards import SlideCard
from pathai.encoders.slide_network import Forward

ARCHITECTURE = "gigapath_slide_enc12l768d"


def gigapath_slide(card: SlideCard, weights: Path) -> tuple[Any, Forward]:
    """Network and forward; places are given as px at 0.5 µm/px, a tile being 256 of them."""
    package = need("gigapath.slide_encoder", card)
    network = package.create_model(str(weights), ARCHITECTURE, card.tile_dim, global_pool=True)

    def forward(tiles: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        where = (places * card.tile_px).float()[None]
        found: torch.Tensor = network(tiles[None], where, all_layer_embed=True)[-1]
        return found

    return network, forward
