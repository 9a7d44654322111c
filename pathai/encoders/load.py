"""Encoders from cards and from timm, with the weights of a local file."""

import json
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pathai.encoders.build import forward_of
from pathai.encoders.cards import Card, require_licence
from pathai.encoders.fit import State, loaded
from pathai.encoders.header import read_header
from pathai.encoders.network import NetworkEncoder
from pathai.encoders.setup import Setup
from pathai.encoders.weights import Weights, digest, locate
from pathai.errors import PathaiError

VERSION = 1
"""Raise it when the same weights give other vectors."""
_torch: Any = torch
_UNSAFE = _torch.serialization.pickle.UnpicklingError  # what ``weights_only`` refuses
_BROKEN = (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError,
           ArithmeticError, AssertionError, MemoryError, ImportError)  # fmt: skip
"""What torch raises for bytes that are no checkpoint, found by changing bytes of one."""
_ASK = "ask its publisher for safetensors; such a file can run code"


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
    path, proven = Weights(file, digest(file)) if file else locate(card, setup)
    if card.source == "package":
        from pathai.encoders.adapters import adapted

        network, forward = adapted(card, path)
    else:
        network = loaded(card, read_state(path), path.name)
        forward = forward_of(card, network)
    return NetworkEncoder(
        name or card.name,
        network,
        forward,
        digest_of(card, proven),
        tile_px=card.tile_px,
        mpp=card.mpp,
        input_px=card.input_px,
        fit=card.fit,
        interpolation=card.interpolation,
        mean=card.mean,
        std=card.std,
        dim=card.dim,
        setup=setup,
    )


def digest_of(card: Card, weights: str) -> str:
    """SHA-256 of what decides the vectors: facts of the card, and the weights' own SHA-256."""
    shown = {"architecture", "arguments", "tile_px", "mpp", "input_px", "fit", "interpolation"}
    shown |= {"mean", "std", "rule"}
    facts = [VERSION, weights, card.model_dump(mode="json", include=shown)]
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_state(path: Path, device: str = "cpu") -> State:
    """Tensors of a weights file: safetensors, or a pickle of torch read with ``weights_only``.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or a file that `torch.save` wrote.
    device : str
        Of a pickle's tensors: ``meta`` reads none of their bytes.

    Raises
    ------
    PathaiError
        E183 if the file is not there, E182 if it is damaged or holds more than tensors.
    """
    if not path.is_file():
        raise PathaiError("E183", f"weights {path.name} not found")
    if path.suffix == ".safetensors":
        read_header(path)  # a length beyond all reason is refused before anything is read
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from None
    state = _innermost(unpickled(path, device))
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise PathaiError("E182", f"{path.name} holds no table of tensors")
    return {str(key): tensor for key, tensor in state.items()}


def _innermost(content: Any) -> Any:
    """The table that a program of training put into others; DINO's teacher is what is published."""
    for _ in range(3):  # a table may hold itself
        tables = content if isinstance(content, dict) else {}
        inner = [k for k in ("state_dict", "model", "teacher") if isinstance(tables.get(k), dict)]
        if not inner:
            break
        content = tables[inner[0]]
    return content


def unpickled(path: Path, device: str) -> Any:
    """Content of a pickle, read by torch's own reader: tensors and plain values alone.

    Raises
    ------
    PathaiError
        E182 if it is damaged or holds more.
    """
    try:
        with warnings.catch_warnings():  # of other kinds of files, which are refused anyway
            warnings.simplefilter("ignore")
            return torch.load(path, map_location=device, weights_only=True)
    except _UNSAFE as error:
        if "global" in str(error).lower():  # a name of code, of which only torch's own are taken
            raise PathaiError("E182", f"{path.name} holds more than tensors", _ASK) from None
        # torch's own words advise to read it unsafely
        message = f"{path.name} is damaged or no file of weights"
        raise PathaiError("E182", message, "fetch or copy it again") from None
    except _BROKEN as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> PathaiError:
    line = (str(error).splitlines() or [""])[0] or type(error).__name__
    remedy = "fetch or copy it again"
    return PathaiError("E182", f"{path.name} is no file of weights: {line[:200]}", remedy)
