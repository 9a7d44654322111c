"""Encoders whose network comes from their publisher's own package, one small file each.

An adapter is a function of the weights' path; it gives the network and what turns normalized
pixels into vectors. None of them can be run here without the publisher's package: they are
unverified until somebody has run them, and ``pathai list encoders`` says so.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from pathai.encoders.cards import Card
from pathai.encoders.network import Tokens


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
