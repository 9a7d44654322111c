"""MADELEINE, by its publisher's package."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from pathai.encoders.published import need
from pathai.encoders.slide_cards import SlideCard
from pathai.encoders.slide_network import Forward
from pathai.errors import PathaiError


def madeleine(card: SlideCard, weights: Path) -> tuple[Any, Forward]:
    """Network and forward; ``model_config.json`` must lie beside the weights."""
    package = need("madeleine.models.Model", card)
    settings = weights.with_name("model_config.json")
    if not settings.is_file():
        message = f"{card.name}: {settings.name} does not lie beside {weights.name}"
        raise PathaiError("E183", message, f"copy it from {card.repo}")
    config = Namespace(**json.loads(settings.read_text("utf-8")))
    network = package.create_model(config, device="cpu", checkpoint_path=str(weights))

    def forward(tiles: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network.encode_he(tiles[None], tiles.device)
        return found

    return network, forward
