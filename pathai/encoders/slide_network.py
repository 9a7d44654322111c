"""A published slide encoder as a function of a slide's stored features."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pathai.device import device as own_device
from pathai.encoders.slide_cards import SlideCard
from pathai.encoders.slide_encoder import check_grid, check_tiles, places
from pathai.errors import PathaiError
from pathai.store.records import Features

Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Tiles ``float32[N, D]`` and their places ``int64[N, 2]`` (column, row) to a vector."""


class NetworkSlideEncoder:
    """A network in evaluation mode, with the tiles that it was made for.

    Parameters
    ----------
    name : str
        As in the configuration.
    card : SlideCard
        What it needs.
    tile_encoder : str
        Name of the features that it takes.
    network : torch.nn.Module
        Moved to ``device`` and frozen.
    forward : callable
        See `Forward`; uses ``network``.
    digest : str
        SHA-256 of what decides the vector beside the tiles.
    device : str
        By default CUDA if there is one.
    """

    def __init__(
        self,
        name: str,
        card: SlideCard,
        tile_encoder: str,
        network: Any,
        forward: Forward,
        digest: str,
        device: str = "",
    ) -> None:
        self.name, self.card, self.digest = name, card, digest
        self.tile_encoder = tile_encoder
        self.device = torch.device(device or own_device())
        network.to(self.device).eval().requires_grad_(False)
        self._forward = forward

    @torch.inference_mode()
    def encode(self, features: Features) -> NDArray[np.float32]:
        """Vector ``float32[D]`` of at least one tile.

        Raises
        ------
        PathaiError
            E181 for tiles of another encoder, size, µm/px or distance, E180 for features or a
            vector that is not finite, E182 for a vector of another length than the card's.
        """
        check_tiles(self.card, self.name, self.tile_encoder, features)
        if self.card.grid:
            check_grid(self.card, features)
        tiles = torch.from_numpy(features.x.astype(np.float32)).to(self.device)
        where = torch.from_numpy(places(features)).to(self.device)
        half = self.card.half and self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.float16, enabled=half):
            found = self._forward(tiles, where)
        vector: NDArray[np.float32] = found.float().cpu().numpy().reshape(-1)
        if len(vector) != self.card.dim:
            message = f"{self.name} gave {len(vector)} numbers, its card says {self.card.dim}"
            raise PathaiError("E182", message, "use the publisher's weights and package")
        return vector
