"""What an encoder promises. No torch here."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """An encoder is a function of a tile: neighbors and order do not matter.

    One that runs on a device of its own may also have what `pathai.encoders.network` has:
    ``start`` and ``room``, so that reading, copying and computing overlap, and ``precision`` and
    ``runs_on``, which are recorded.

    Attributes
    ----------
    name : str
        As in the configuration: the store finds features by it.
    tile_px : int
        Edge of a tile in px.
    mpp : float
        µm per px of a tile.
    dim : int
        Length of a vector.
    names : tuple of str
        Name of each feature, or empty.
    digest : str
        SHA-256 over everything that decides the vectors: version, weights, preprocessing.
    """

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    @property
    def tile_px(self) -> int:
        """Edge of a tile, px."""
        ...

    @property
    def mpp(self) -> float:
        """µm per px of a tile."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names, or empty."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the vectors."""
        ...

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors ``float32[B, D]`` of tiles ``uint8[B, H, W, 3]``; B may be 0."""
        ...
