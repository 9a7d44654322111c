"""Encoders from cards and from timm, with the weights of a local file."""

import json
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pathai.encoders.build import build, forward_of
from pathai.encoders.cards import Card, require_licence
from pathai.encoders.network import NetworkEncoder
from pathai.encoders.setup import Setup
from pathai.encoders.weights import locate
from pathai.errors import PathaiError

VERSION = 1
"""Raise it when the same weights give other vectors."""
State = dict[str, torch.Tensor]
_torch: Any = torch
_UNSAFE = _torch.serialization.pickle.UnpicklingError  # what ``weights_only`` refuses


def card_encoder(
    card: Card, setup: Setup, *, name: str = "", file: Path | None = None
) -> NetworkEncoder:
    """The encoder of a card.

    Parameters
    ----------
    card : Card
        What to build.
    setup : Setup
        Where the weights are and what may be used.
    name : str
        As in the configuration, if it is not the card's own.
    file : Path, optional
        Weights of the user instead of the published ones.

    Raises
    ------
    PathaiError
        E185 if the licence is not allowed, E183 if weights are missing, E182 if they are damaged
        or do not fit, E194 if the publisher's package is not installed.
    """
    require_licence(card, setup.licence)
    path = file or locate(card, setup)
    if card.source == "package":
        from pathai.encoders.adapters import adapted

        network, forward = adapted(card, path)
    else:
        network = build(card)
        take(network, read_state(path), path.name, card.name)
        forward = forward_of(card, network)
    with path.open("rb") as opened:
        weights = file_digest(opened, "sha256").hexdigest()
    return NetworkEncoder(
        name or card.name,
        network,
        forward,
        digest_of(card, weights),
        tile_px=card.tile_px,
        mpp=card.mpp,
        input_px=card.input_px,
        fit=card.fit,
        mean=card.mean,
        std=card.std,
        dim=card.dim,
        setup=setup,
    )


def digest_of(card: Card, weights: str) -> str:
    """SHA-256 of what decides the vectors: facts of the card, and the weights' own SHA-256."""
    shown = {
        "architecture",
        "arguments",
        "tile_px",
        "mpp",
        "input_px",
        "fit",
        "mean",
        "std",
        "rule",
    }
    facts = [VERSION, weights, card.model_dump(mode="json", include=shown)]
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_state(path: Path) -> State:
    """Tensors of a weights file: safetensors, or a pickle of torch read with ``weights_only``.

    Raises
    ------
    PathaiError
        E183 if the file is not there, E182 if it is damaged or holds more than tensors.
    """
    if not path.is_file():
        raise PathaiError("E183", f"weights {path.name} not found")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except _UNSAFE:
        remedy = "ask its publisher for safetensors; such a file can run code"
        raise PathaiError("E182", f"{path.name} holds more than tensors", remedy) from None
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise PathaiError("E182", f"{path.name} is no file of weights: {_line(error)}") from None
    for key in ("state_dict", "model", "teacher"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise PathaiError("E182", f"{path.name} holds no table of tensors")
    return state


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def take(network: Any, state: State, file: str, model: str) -> None:
    """Give a network its weights, all of them and no others.

    Raises
    ------
    PathaiError
        E182 naming the first tensor that is missing, unknown or of another shape.
    """
    own = network.state_dict()
    state = _without_heads(network, _renamed(state, own))
    for key in sorted(own.keys() | state.keys()):
        if key not in state or key not in own or own[key].shape != state[key].shape:
            why = "lacks" if key not in state else "has unknown or misshaped"
            raise PathaiError("E182", f"{file} {why} {key}", f"give weights made for {model}")
    network.load_state_dict(state, strict=True)


def _renamed(state: State, own: State) -> State:
    """Without a prefix that all of a publisher's names share (``module.``, ``backbone.`` ...)."""
    if own.keys() & state.keys():
        return state
    for prefix in sorted({key.split(".")[0] + "." for key in state}):
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if own.keys() <= inner.keys():
            return inner
    return state


def _without_heads(network: Any, state: State) -> State:
    """Without the classifier or pooler that the publisher trained on top."""
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    drop = (*(f"{head}." for head in (*heads, "pooler")), "embeddings.mask_token")
    own = network.state_dict()
    return {k: v for k, v in state.items() if k in own or not k.startswith(drop)}
