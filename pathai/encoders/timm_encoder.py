"""Any timm network as an encoder, with weights from a local safetensors file.

Nothing is downloaded. Tiles go to the device as uint8; scaling and normalization happen there.
"""

import json
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from pathai.encoders.torchvision_shim import import_timm
from pathai.errors import PathaiError

VERSION = 1
"""Raise it when the same weights give other vectors."""


class TimmEncoder:
    """A timm network without its classifier.

    Parameters
    ----------
    model : str
        Name of the architecture in timm.
    weights : Path, optional
        Safetensors file; must fit the network exactly, but for the classifier's own layer.
    seeded : int, optional
        Random weights from this seed instead of a file. For tests: such features mean nothing.
    mpp : float
        µm per px at which the network expects its tiles.
    device : str
        Where it runs; by default CUDA if there is one.

    Raises
    ------
    PathaiError
        E183 if the weights are missing, E182 if they are damaged or do not fit, E191 if timm
        knows no such network.
    """

    names: tuple[str, ...] = ()

    def __init__(
        self,
        model: str,
        weights: Path | None = None,
        *,
        seeded: int | None = None,
        mpp: float = 0.5,
        device: str = "",
    ) -> None:
        if weights is None and seeded is None:
            raise PathaiError(
                "E183", f"timm:{model} has no weights", f"write timm:{model}@weights.safetensors"
            )
        self.network = _build(model, seeded)
        self.mpp = mpp
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        source = f"seeded {seeded}"
        self.name = f"timm:{model}"
        if weights is not None:
            source = _load(self.network, weights, model)
            self.name = f"timm:{model}@{weights}"
        facts = import_timm().data.resolve_model_data_config(self.network)
        self.tile_px = int(facts["input_size"][-1])
        self.dim = int(self.network.num_features)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(facts["mean"], device=self.device).reshape(shape) * 255
        self._scale = 1 / (torch.tensor(facts["std"], device=self.device).reshape(shape) * 255)
        self.network.to(self.device).eval().requires_grad_(False)
        kept = [VERSION, model, source, self.tile_px, mpp, facts["mean"], facts["std"]]
        self.digest = sha256(json.dumps(kept).encode()).hexdigest()

    @classmethod
    def from_name(cls, name: str) -> "TimmEncoder":
        """``timm:<model>@<file>``; without a file E183 is raised."""
        model, _, file = name.removeprefix("timm:").partition("@")
        return cls(model, Path(file) if file else None)

    @torch.inference_mode()
    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors ``float32[B, D]`` of tiles ``uint8[B, H, W, 3]``."""
        if len(tiles) == 0:
            return np.empty((0, self.dim), np.float32)
        pixels = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device)
        pixels = pixels.permute(0, 3, 1, 2)  # a view: the memory stays channels-last
        vectors = self.network((pixels.float() - self._mean) * self._scale)
        out: NDArray[np.float32] = vectors.float().cpu().numpy()
        return out


def _build(model: str, seed: int | None) -> Any:
    """Network without classifier; its random start is drawn from ``seed`` and leaves no trace."""
    timm = import_timm()
    if not timm.is_model(model):
        near = timm.list_models(f"*{model.split('.')[0]}*")[:3]
        raise PathaiError(
            "E191", f"timm has no network named {model!r}", f"try {', '.join(near) or 'resnet18'}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        return timm.create_model(model, pretrained=False, num_classes=0)


def _load(network: Any, weights: Path, model: str) -> str:
    """Load a weights file strictly; return its SHA-256."""
    if not weights.is_file():
        raise PathaiError("E183", f"timm:{model}: weights {weights.name} not found")
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise PathaiError("E182", f"{weights.name} is not a safetensors file: {error}") from None
    heads = network.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    state = {k: v for k, v in state.items() if not k.startswith(tuple(f"{h}." for h in heads))}
    own = network.state_dict()
    for key in sorted(own.keys() | state.keys()):
        if key not in state or key not in own or own[key].shape != state[key].shape:
            why = "lacks" if key not in state else "has unknown or misshaped"
            raise PathaiError(
                "E182", f"{weights.name} {why} {key}", f"give weights made for {model}"
            )
    network.load_state_dict(state, strict=True)
    with weights.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
