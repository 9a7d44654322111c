"""A torch network as an encoder: scaling, normalization and pooling happen on its device."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pathai.device import device as own_device
from pathai.device import threads
from pathai.encoders.memory import Halving
from pathai.encoders.setup import Setup

Tokens = Callable[[torch.Tensor], torch.Tensor]
"""Normalized pixels ``float[B, 3, H, W]`` to vectors ``float[B, D]``."""
Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NetworkEncoder:
    """A network in evaluation mode, with the pixels it expects.

    Parameters
    ----------
    name : str
        As in the configuration.
    network : torch.nn.Module
        Moved to the device and frozen.
    forward : callable
        Normalized pixels to vectors; uses ``network``.
    digest : str
        SHA-256 of what decides the vectors in float32; any other precision is added to it.
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
    setup : Setup
        Device, precision and whether to compile.

    Attributes
    ----------
    precision : str
        ``fp32``, ``bf16`` or ``fp16``.
    runs_on : str
        ``cpu`` or ``cuda``.
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
        setup: Setup,
    ) -> None:
        self.name = name
        self.tile_px, self.mpp, self.dim = tile_px, mpp, dim
        self.device = torch.device(own_device() if setup.device in ("", "cuda") else setup.device)
        self.runs_on = self.device.type
        self.precision = precision_on(setup.precision, self.runs_on)
        self.digest = digest if self.precision == "fp32" else _with(digest, self.precision)
        self._settle()
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.network.eval().requires_grad_(False)
        self._forward: Tokens = torch.compile(forward) if setup.compile else forward
        self._input_px = input_px
        self._fit, self._interpolation = fit, interpolation
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(mean, device=self.device).reshape(shape) * 255
        self._scale = 1 / (torch.tensor(std, device=self.device).reshape(shape) * 255)
        self._run: Halving[torch.Tensor] = Halving(self._vectors, self._recover)

    def encode(self, tiles: Pixels) -> Vectors:
        """Vectors ``float32[B, D]`` of tiles ``uint8[B, H, W, 3]``."""
        return self.start(tiles)()

    def start(self, tiles: Pixels) -> Callable[[], Vectors]:
        """Begin to encode tiles; a device goes on with it while the caller does something else.

        Parameters
        ----------
        tiles : uint8[B, H, W, 3]
            Must not change before the result is fetched. From `room`, they are copied to the
            device without waiting.

        Returns
        -------
        callable
            Waits and gives the vectors, ``float32[B, D]``.

        Raises
        ------
        TileError
            E170 if a device has too little memory for one tile; more of them are halved.
        """
        parts = self._run(tiles)
        if not parts:
            return lambda: np.empty((0, self.dim), np.float32)
        vectors = torch.cat(parts) if len(parts) > 1 else parts[0]
        if self.runs_on != "cuda":
            return vectors.numpy
        host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
        host.copy_(vectors, non_blocking=True)
        event: Any = torch.cuda.Event
        done = event()
        done.record()

        def fetch() -> Vectors:
            done.synchronize()
            return host.numpy()

        return fetch

    def room(self, count: int) -> Pixels:
        """Memory for tiles, ``uint8[count, H, W, 3]``, from which a GPU copies by itself."""
        shape = (count, self.tile_px, self.tile_px, 3)
        made: Pixels = torch.empty(
            shape, dtype=torch.uint8, pin_memory=self.runs_on == "cuda"
        ).numpy()
        return made

    @torch.inference_mode()
    def _vectors(self, tiles: Pixels) -> torch.Tensor:
        """Vectors of tiles, ``float32[B, D]``, on the device."""
        pixels = torch.from_numpy(np.require(tiles, requirements=["C", "W"]))
        pixels = pixels.to(self.device, non_blocking=True)
        pixels = pixels.permute(0, 3, 1, 2)  # a view: the memory stays channels-last
        with self._casting():
            return self._forward(self.prepare(pixels)).float()

    def _settle(self) -> None:
        """Settings that torch keeps for the whole process."""
        if self.runs_on == "cpu":
            torch.set_num_threads(min(threads(), torch.get_num_threads()))
        elif self.runs_on == "cuda":
            torch.cuda.set_device(self.device)  # streams, events and pinned memory follow it
            if self.precision == "fp32":  # by default, cuDNN rounds convolutions to 10 bits
                torch.backends.cudnn.allow_tf32 = False

    def _casting(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.runs_on, TYPES[self.precision])

    def _recover(self) -> None:
        if self.runs_on == "cuda":
            torch.cuda.empty_cache()

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


def precision_on(wanted: str, kind: str) -> str:
    """The precision that ``auto`` stands for on a kind of device; any other is taken as it is."""
    if wanted != "auto":
        return wanted
    fast = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"


def _with(digest: str, precision: str) -> str:
    """Vectors of another precision are other vectors."""
    return sha256(f"{digest} {precision}".encode()).hexdigest()
