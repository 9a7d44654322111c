"""A torch network as an encoder: scaling, normalization and pooling happen on its device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Tokens = Callable[[torch.Tensor], torch.Tensor]
"""Normalized pixels ``float[B, 3, H, W]`` to vectors ``float[B, D]``."""


class NetworkEncoder:
    """A network in evaluation mode, with the pixels it expects.

    Parameters
    ----------
    name : str
        As in the configuration.
    network : torch.nn.Module
        Moved to ``device`` and frozen.
    forward : callable
        Normalized pixels to vectors; uses ``network``.
    digest : str
        SHA-256 of what decides the vectors.
    tile_px, mpp : int, float
        Tiles that are read.
    input_px : int
        Edge that enters the network.
    fit : str
        ``none``, ``resize`` or ``crop``: how a tile becomes that large.
    interpolation : str
        ``bilinear`` or ``bicubic``, both with antialiasing.
    mean, std : tuple of float
        Per channel, of pixels in 0..1.
    dim : int
        Length of a vector.
    device : str
        By default CUDA if there is one.
    """

    names: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        network: Any,
        forward: Tokens,
        digest: str,
        *,
        tile_px: int,
        mpp: float,
        input_px: int,
        fit: str,
        interpolation: str = "bilinear",
        mean: tuple[float, ...],
        std: tuple[float, ...],
        dim: int,
        device: str = "",
    ) -> None:
        self.name, self.digest = name, digest
        self.tile_px, self.mpp, self.dim = tile_px, mpp, dim
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network.to(self.device).eval().requires_grad_(False)
        self._forward, self._input_px = forward, input_px
        self._fit, self._interpolation = fit, interpolation
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(mean, device=self.device).reshape(shape) * 255
        self._scale = 1 / (torch.tensor(std, device=self.device).reshape(shape) * 255)

    @torch.inference_mode()
    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors ``float32[B, D]`` of tiles ``uint8[B, H, W, 3]``."""
        if len(tiles) == 0:
            return np.empty((0, self.dim), np.float32)
        pixels = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device)
        pixels = pixels.permute(0, 3, 1, 2)  # a view: the memory stays channels-last
        vectors = self._forward(self.prepare(pixels))
        out: NDArray[np.float32] = vectors.float().cpu().numpy()
        return out

    def prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels ``uint8[B, 3, H, W]`` as the network expects them, ``float32[B, 3, h, w]``."""
        scaled = (pixels.float() - self._mean) * self._scale
        edge = self._input_px
        if self._fit == "crop":
            start = (scaled.shape[-1] - edge) // 2
            return scaled[..., start : start + edge, start : start + edge]
        if self._fit == "resize":
            resize: Any = torch.nn.functional.interpolate
            how = self._interpolation
            resized: torch.Tensor = resize(scaled, (edge, edge), mode=how, antialias=True)
            return resized
        return scaled
