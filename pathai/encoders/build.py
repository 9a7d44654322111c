"""Networks from cards: the module, and how its tokens become one vector."""

from contextlib import nullcontext
from importlib import import_module
from typing import Any

import torch

from pathai.encoders.cards import Card
from pathai.encoders.conv_stem import ConvStem
from pathai.encoders.network import Tokens
from pathai.encoders.torchvision_shim import import_timm
from pathai.errors import PathaiError


def build(card: Card, *, meta: bool = False) -> Any:
    """The network of a card, without weights.

    Parameters
    ----------
    card : Card
        Of any source but ``package``.
    meta : bool
        Shapes only: no memory, no values. What the proof of a card needs.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    PathaiError
        E191 if the libraries know no such architecture.
    """
    timm = import_timm()
    with torch.device("meta") if meta else nullcontext():
        if card.source == "timm":
            if not timm.is_model(card.architecture):
                raise PathaiError("E191", f"timm has no network named {card.architecture!r}")
            return timm.create_model(card.architecture, pretrained=False, **_timm_arguments(card))
        if card.source == "own":
            module, _, attribute = card.architecture.partition(":")
            return getattr(import_module(module), attribute)(**card.arguments)
        return _transformers(card)


def _timm_arguments(card: Card) -> dict[str, Any]:
    """Arguments of a card; layers are named by words there."""
    layers = import_timm().layers
    named = {"SwiGLUPacked": layers.SwiGLUPacked, "SiLU": torch.nn.SiLU, "ConvStem": ConvStem}
    found = {k: named.get(v, v) if isinstance(v, str) else v for k, v in card.arguments.items()}
    return {"num_classes": 0, **found}


def _transformers(card: Card) -> Any:
    model, settings, extra = transformers_model(card)
    return model(settings, **extra)


def transformers_model(card: Card) -> tuple[Any, Any, dict[str, Any]]:
    """Class, configuration and further arguments of a network of transformers."""
    import_timm()  # transformers must be imported after the door to torchvision
    import transformers

    settings = getattr(transformers, card.architecture, None)
    model = getattr(transformers, card.architecture.removesuffix("Config") + "Model", None)
    if settings is None or model is None:
        raise PathaiError("E191", f"transformers has no {card.architecture}")
    extra = {"add_pooling_layer": False} if card.architecture == "ViTConfig" else {}
    return model, settings(**card.arguments), extra


def forward_of(card: Card, network: Any) -> Tokens:
    """What turns normalized pixels into vectors by the card's rule.

    Parameters
    ----------
    card : Card
        With its rule.
    network : torch.nn.Module
        From `build`.
    """
    if card.rule == "pooled":
        return _pooled(card, network)

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        return pool(_tokens(card, network, pixels), prefix_tokens(card, network), card.rule)

    return forward


def _pooled(card: Card, network: Any) -> Tokens:
    if card.source != "transformers":
        return network  # type: ignore[no-any-return]

    if hasattr(network, "get_image_features"):  # a CLIP: vectors in the space of its words
        return lambda pixels: projected(network.get_image_features(pixel_values=pixels))

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(pixel_values=pixels).pooler_output
        return found

    return forward


def projected(found: Any) -> torch.Tensor:
    """Vectors of a CLIP's tower; transformers 5 gives them as one of several outputs."""
    vectors: torch.Tensor = getattr(found, "pooler_output", found)
    return vectors


def _tokens(card: Card, network: Any, pixels: torch.Tensor) -> torch.Tensor:
    if card.source == "timm":
        tokens: torch.Tensor = network.forward_features(pixels)
    else:
        tokens = network(pixel_values=pixels).last_hidden_state
    return tokens


def prefix_tokens(card: Card, network: Any) -> int:
    """Class and register tokens before those of the patches."""
    if card.source == "timm":
        return int(network.num_prefix_tokens)
    return 1 + int(getattr(network.config, "num_register_tokens", 0))


def pool(tokens: torch.Tensor, prefix: int, rule: str) -> torch.Tensor:
    """One vector per tile.

    Parameters
    ----------
    tokens : float[B, T, D]
        Class token first, then registers, then patches.
    prefix : int
        Tokens before the patches.
    rule : str
        ``class``, ``class+mean`` or ``mean``.

    Returns
    -------
    float[B, D] or float[B, 2 * D]
        The latter for ``class+mean``: class token first.
    """
    first = tokens[:, 0]
    if rule == "class":
        return first
    mean = tokens[:, prefix:].mean(dim=1)
    return mean if rule == "mean" else torch.cat([first, mean], dim=-1)
