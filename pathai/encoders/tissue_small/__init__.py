"""A small network trained by this project, with its weights in the package.

``benchmarks/train_encoder.py`` made the weights; ``card.json`` says from what, ``log.json`` how the
losses fell. Research use only.
"""

import json
from hashlib import sha256
from importlib.resources import files
from typing import Any

from safetensors.torch import load

from pathai.encoders.network import NetworkEncoder
from pathai.encoders.setup import Setup
from pathai.encoders.tissue_small.network import DIM, TissueNetwork
from pathai.errors import PathaiError

VERSION = 1
"""Raise it when the same tile gives another vector."""


def card() -> dict[str, Any]:
    """Model card: data and their licences, training, losses, limits, SHA-256 of the weights."""
    found: dict[str, Any] = json.loads(files(__name__).joinpath("card.json").read_text("utf-8"))
    return found


class TissueSmall(NetworkEncoder):
    """Residual network over optical density, trained on free data only.

    Parameters
    ----------
    network : TissueNetwork, optional
        Another network of the same architecture, for comparisons; by default the trained one.
    setup : Setup, optional
        Device and precision.

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

    def __init__(self, network: TissueNetwork | None = None, setup: Setup | None = None) -> None:
        source = "given"
        if network is None:
            network, source = _trained()
        kept = json.dumps([VERSION, source, self.tile_px, self.mpp])
        digest = sha256(kept.encode()).hexdigest()
        plain: Any = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
        super().__init__(
            self.name, network, network, digest, tile_px=self.tile_px, mpp=self.mpp,
            input_px=self.tile_px, fit="none", dim=self.dim, setup=setup or Setup(), **plain,
        )  # fmt: skip


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
