"""Any timm network as an encoder, with weights from a local file."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from pathai.encoders.fit import take
from pathai.encoders.header import read_header
from pathai.encoders.load import VERSION, read_state
from pathai.encoders.network import NetworkEncoder
from pathai.encoders.setup import Setup
from pathai.encoders.torchvision_shim import import_timm
from pathai.encoders.weights import digest as digest_of
from pathai.errors import PathaiError


class TimmEncoder(NetworkEncoder):
    """A timm network without its classifier.

    Parameters
    ----------
    model : str
        Name of the architecture in timm.
    weights : Path, optional
        Must fit the network exactly, but for the classifier's own layer.
    seeded : int, optional
        Random weights from this seed instead of a file. For tests: such features mean nothing.
    mpp : float
        µm per px at which the network expects its tiles.
    setup : Setup, optional
        Device, precision and whether to compile.

    Raises
    ------
    PathaiError
        E183 if the weights are missing, E182 if they are damaged or do not fit, E191 if timm
        knows no such network.
    """

    def __init__(
        self,
        model: str,
        weights: Path | None = None,
        *,
        seeded: int | None = None,
        mpp: float = 0.5,
        setup: Setup | None = None,
    ) -> None:
        if weights is None and seeded is None:
            raise PathaiError(
                "E183", f"timm:{model} has no weights", f"write timm:{model}@weights.safetensors"
            )
        network = _build(model, seeded)
        source, name = f"seeded {seeded}", f"timm:{model}"
        if weights is not None:
            take(network, read_state(weights), weights.name, model)
            name = f"{name}@{weights}"
            source = digest_of(weights)
        facts = import_timm().data.resolve_model_data_config(network)
        edge = int(facts["input_size"][-1])
        kept = [VERSION, model, source, edge, mpp, facts["mean"], facts["std"]]
        digest = sha256(json.dumps(kept).encode()).hexdigest()
        super().__init__(
            name, network, network, digest, tile_px=edge, mpp=mpp, input_px=edge, fit="none",
            mean=facts["mean"], std=facts["std"], dim=int(network.num_features),
            setup=setup or Setup(),
        )  # fmt: skip

    @classmethod
    def from_name(cls, name: str, setup: Setup) -> "TimmEncoder":
        """``timm:<model>@<file>``; without a file E183 is raised."""
        model, _, file = name.removeprefix("timm:").partition("@")
        return cls(model, Path(file) if file else None, setup=setup)


def check(name: str) -> None:
    """Refuse ``timm:<model>@<file>`` if there is no such network or no such file of weights.

    Raises
    ------
    PathaiError
        E191 for the network, E183 for a missing file, E182 for a damaged one.
    """
    model, _, file = name.removeprefix("timm:").partition("@")
    _known(model)
    path = Path(file)
    if not file or not path.is_file():
        message = f"{name} has no weights" if not file else f"{name}: {path.name} not found"
        raise PathaiError("E183", message, f"write timm:{model}@weights.safetensors")
    if path.suffix == ".safetensors":
        read_header(path)


def _known(model: str) -> None:
    timm = import_timm()
    if not timm.is_model(model):
        near = timm.list_models(f"*{model.split('.')[0]}*")[:3]
        remedy = f"try {', '.join(near) or 'resnet18'}"
        raise PathaiError("E191", f"timm has no network named {model!r}", remedy)


def _build(model: str, seed: int | None) -> Any:
    """Network without classifier; its random start is drawn from ``seed`` and leaves no trace."""
    _known(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        return import_timm().create_model(model, pretrained=False, num_classes=0)
