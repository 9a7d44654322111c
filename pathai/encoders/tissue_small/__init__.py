"""A small network trained by this project, with its weights in the package.

``benchmarks/train_encoder.py`` made the weights; ``card.json`` says from what, ``log.json`` how the
losses fell. Research use only.
"""

import json
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from pathai.encoders.tissue_small.network import DIM, TissueNetwork
from pathai.errors import PathaiError

VERSION = 1
"""Raise it when the same tile gives another vector."""


def card() -> dict[str, Any]:
    """Model card: data and their licences, training, losses, limits, SHA-256 of the weights."""
    found: dict[str, Any] = json.loads(files(__name__).joinpath("card.json").read_text("utf-8"))
    return found


class TissueSmall:
    """Residual network over optical density, trained on free data only.

    Parameters
    ----------
    network : TissueNetwork, optional
        Another network of the same architecture, for comparisons; by default the trained one.
    device : str
        Where it runs; by default CUDA if there is one.

    Attributes
    ----------
    tile_px, mpp, dim, names, digest
        See `pathai.encoders.base.Encoder`; features have no names. Tiles of other sizes serve
        too, from 64 px, with an even edge.

    Raises
    ------
    PathaiError
        E182 if the weights are not those of the card: install pathai anew.
    """

    name = "tissue-small"
    tile_px = 256
    mpp = 0.5
    dim = DIM
    names: tuple[str, ...] = ()

    def __init__(self, network: TissueNetwork | None = None, device: str = "") -> None:
        source = "given"
        if network is None:
            network, source = _trained()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.digest = sha256(
            json.dumps([VERSION, source, self.tile_px, self.mpp]).encode()
        ).hexdigest()

    @torch.inference_mode()
    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors ``float32[B, 320]`` of tiles ``uint8[B, H, W, 3]``."""
        if len(tiles) == 0:
            return np.empty((0, self.dim), np.float32)
        pixels = torch.from_numpy(np.array(tiles)).to(self.device)
        vectors = self.network(pixels.permute(0, 3, 1, 2))  # a view: memory stays channels-last
        out: NDArray[np.float32] = vectors.float().cpu().numpy()
        return out


def _trained() -> tuple[TissueNetwork, str]:
    """The trained network and the SHA-256 of its weights."""
    raw = files(__name__).joinpath("weights.safetensors").read_bytes()
    found = sha256(raw).hexdigest()
    if found != card()["sha256"]:
        raise PathaiError(
            "E182", "weights of tissue-small are not those of their card", "install pathai anew"
        )
    network = TissueNetwork()
    state = load(raw)
    # a count that only training reads
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = value
    network.load_state_dict(state, strict=True)
    return network, found
