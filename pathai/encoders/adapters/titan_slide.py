"""TITAN, by its publisher's own code in a folder that the user has named."""

from pathlib import Path
from typing import Any

import torch

from pathai.encoders.adapters.local_code import from_folder
from pathai.encoders.slide_cards import SlideCard
from pathai.encoders.slide_network import Forward


def titan(card: SlideCard, folder: Path) -> tuple[Any, Forward]:
    """Network and forward; places are given as px of the tiles themselves.

    The publisher's code wants level-0 px and the edge of a tile in them, but uses only their
    quotient: so whole multiples of a whole edge put every tile into its own cell exactly.
    """
    network = from_folder(card, folder)

    def forward(tiles: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        where = (places * card.tile_px)[None]
        found: torch.Tensor = network.encode_slide_from_patch_features(
            tiles[None], where, card.tile_px
        )
        return found

    return network, forward
