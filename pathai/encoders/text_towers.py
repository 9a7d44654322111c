"""Text towers: words as vectors in the space of a tile encoder (``text_towers.yaml``).

Nothing here imports torch. A tower is only of use with features in its own space: its card names
the tile encoder whose vectors were trained together with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field

from pathai.encoders.cards import require_licence
from pathai.encoders.published import Published, adapted, digest_at, place_of, split
from pathai.encoders.setup import Setup
from pathai.errors import PathaiError

VERSION = 1
"""Raise it when the same words give another vector."""


class TextCard(Published):
    """One published text tower.

    Parameters
    ----------
    space : str
        How its publisher's model makes the tile vectors that its words are compared with.
    shared : bool
        Whether words and tiles come from one file of weights; features are then checked to be
        from that very file.
    """

    max_tokens: int = Field(gt=0, description="longest prompt, with its marks")
    space: str = Field(description="how tiles come into its space")
    shared: bool = Field(False, description="words and tiles come from one file")


@dataclass(frozen=True)
class Texts:
    """What an adapter gives.

    Parameters
    ----------
    encode : callable
        Prompts to vectors ``float32[T, D]`` of any length; refuses a prompt that is too long.
    temperature : float, optional
        1 / the scale that the model learned for its cosines.
    tile_digest : str
        Digest of the tile encoder with the same weights; empty where it cannot be known.
    """

    encode: Callable[[Sequence[str]], NDArray[np.float32]]
    temperature: float | None = None
    tile_digest: str = ""


@dataclass(frozen=True)
class TextTower:
    """Words as vectors.

    Parameters
    ----------
    name, tile_encoder : str
        As in the call: the tower's own name, and whose features it is compared with.
    card : TextCard
        What is known of it.
    digest : str
        SHA-256 of what decides the vectors.
    texts : Texts
        From the adapter.
    """

    name: str
    tile_encoder: str
    card: TextCard
    digest: str
    texts: Texts

    @property
    def temperature(self) -> float | None:
        """Of softmax over cosines, as the model was trained; None where it is not known."""
        return self.texts.temperature

    @property
    def tile_digest(self) -> str:
        """Digest that the tile encoder must have; empty where it cannot be known."""
        return self.texts.tile_digest

    def encode(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors ``float32[T, D]`` of T prompts.

        Raises
        ------
        PathaiError
            E190 for a prompt that is too long, E182 for vectors of another length than the
            card's, E180 for one that is not finite or has length 0.
        """
        found = self.texts.encode(prompts)
        if found.shape != (len(prompts), self.card.dim):
            message = f"{self.name} gave {found.shape}, its card says {self.card.dim} numbers"
            raise PathaiError("E182", message, "use the publisher's weights and package")
        if not (np.isfinite(found).all() and np.abs(found).max(axis=1).all()):
            raise PathaiError("E180", f"{self.name}: a prompt's vector is not finite or 0")
        return found


@cache
def text_cards() -> dict[str, TextCard]:
    """Cards by name, sorted."""
    text = files("pathai.encoders").joinpath("text_towers.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return {name: TextCard(name=name, **row) for name, row in sorted(rows.items())}


def _card(name: str) -> TextCard:
    plain, known = split(name).card, text_cards()
    if plain not in known:
        near = get_close_matches(plain, known) or list(known)
        raise PathaiError("E191", f"no text tower named {plain!r}", f"try {', '.join(near)}")
    return known[plain]


def features_for(name: str) -> str:
    """Name of the features that a text tower is compared with.

    Raises
    ------
    PathaiError
        E191 for an unknown name.
    """
    card, parts = _card(name), split(name)
    own = f"{card.tile_encoder}@{parts.place}" if card.shared and parts.place else card.tile_encoder
    return parts.tile_encoder or own


def text_identity(name: str, setup: Setup) -> str:
    """SHA-256 of the file or folder that a text tower is read from.

    Raises
    ------
    PathaiError
        E191 for an unknown name, E185 for a forbidden licence, E183 if nothing is there.
    """
    card = _card(name)
    require_licence(card, setup.licence)
    return digest_at(place_of(card, split(name).place, setup))


def load_text_tower(name: str, setup: Setup | None = None) -> TextTower:
    """Build a text tower.

    Parameters
    ----------
    name : str
        ``<card>[@<place>][:<tile encoder>]``.
    setup : Setup, optional
        Where weights are and what may be used.

    Raises
    ------
    PathaiError
        E191 for an unknown name, E185 for a forbidden licence, E183 if its files are missing,
        E182 if they do not fit, E194 if the publisher's package is not installed.
    """
    setup = setup or Setup()
    card = _card(name)
    require_licence(card, setup.licence)
    path = place_of(card, split(name).place, setup)
    digest = sha256(f"{card.name} {VERSION} {digest_at(path)}".encode()).hexdigest()
    return TextTower(name, features_for(name), card, digest, adapted(card, path))


def too_long(card: TextCard, prompt: str, tokens: int) -> PathaiError:
    """What is said of a prompt that a tower would cut off."""
    message = f"{card.name} reads {card.max_tokens} tokens, this prompt has {tokens}: {prompt!r}"
    return PathaiError("E190", message, "shorten the prompt")
