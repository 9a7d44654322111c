"""Encoders whose network comes from their publisher's own package, one small file each.

An adapter is a function of the weights' path; it gives the network and what turns normalized
pixels into vectors. None of them can be run here without the publisher's package: they are
unverified until somebody has run them, and ``pathai list encoders`` says so.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pathai.encoders.cards import Card
from pathai.encoders.network import Tokens
from pathai.encoders.torchvision_shim import import_torchvision
from pathai.errors import PathaiError


def adapted(card: Card, weights: Path) -> tuple[Any, Tokens]:
    """Network and forward of a card of source ``package``.

    Raises
    ------
    PathaiError
        E194 if the publisher's package is not installed: the message says where it is.
    """
    module, _, attribute = card.architecture.partition(":")
    found: tuple[Any, Tokens] = getattr(import_module(module), attribute)(card, weights)
    return found


def needed(module: str, card: Card) -> ModuleType:
    """A publisher's package.

    Raises
    ------
    PathaiError
        E194 if it is not installed.
    """
    import_torchvision()
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        remedy = f"install it as {card.repo} says; it is not on this machine"
        message = f"encoder {card.name} needs the package {error.name}"
        raise PathaiError("E194", message, remedy) from None
