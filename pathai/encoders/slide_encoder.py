"""Encoders of slides: from the tiles of a slide to one vector. No torch here."""

from difflib import get_close_matches
from hashlib import sha256
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pathai.encoders.cards import require_licence
from pathai.encoders.published import Published, adapted, digest_at, place_of, split
from pathai.encoders.setup import Setup
from pathai.encoders.slide_cards import SlideCard, slide_cards
from pathai.errors import PathaiError
from pathai.store.records import Features

MEAN = "mean"
VERSION = 1
"""Raise it when the same tiles give another vector."""


class SlideEncoder(Protocol):
    """A function of a slide's tiles.

    Attributes
    ----------
    name : str
        As in the configuration.
    tile_encoder : str
        Whose features it takes, as in the configuration.
    digest : str
        SHA-256 of what decides the vector beside the tiles.
    """

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    @property
    def tile_encoder(self) -> str:
        """Encoder of the tiles."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the vector."""
        ...

    def encode(self, features: Features) -> NDArray[np.float32]:
        """Vector ``float32[D]`` of at least one tile; E181 if the tiles do not fit."""
        ...


class MeanTile:
    """The mean of the tiles' vectors, summed in float64; every tile counts the same.

    It is what published slide encoders are compared with, and needs no weights. Any tile encoder
    goes: ``mean:<tile encoder>``.
    """

    digest = sha256(f"mean {VERSION}".encode()).hexdigest()

    def __init__(self, tile_encoder: str) -> None:
        self.name, self.tile_encoder = f"{MEAN}:{tile_encoder}", tile_encoder

    def encode(self, features: Features) -> NDArray[np.float32]:
        """Vector ``float32[D]``."""
        check_tile_encoder(self.name, self.tile_encoder, features)
        vector: NDArray[np.float32] = features.x.mean(axis=0, dtype=np.float64).astype(np.float32)
        return vector


def slide_encoder_names() -> list[str]:
    """Names of the cards; ``mean:`` goes with every tile encoder."""
    return list(slide_cards())


def tile_encoder_of(name: str) -> str:
    """Whose features a slide encoder takes.

    Raises
    ------
    PathaiError
        E191 for an unknown name.
    """
    parts = split(name)
    if parts.card == MEAN and parts.tile_encoder and not parts.place:
        return parts.tile_encoder
    if parts.card == MEAN:
        raise PathaiError("E191", f"no slide encoder named {name!r}", "write mean:<tile encoder>")
    return parts.tile_encoder or _card(parts.card).tile_encoder


def _card(plain: str) -> SlideCard:
    known = slide_cards()
    if plain not in known:
        near = get_close_matches(plain, [MEAN, *known]) or [f"{MEAN}:<tile encoder>", *known]
        raise PathaiError("E191", f"no slide encoder named {plain!r}", f"try {', '.join(near)}")
    return known[plain]


def identity(name: str, setup: Setup) -> str:
    """SHA-256 of the file or folder that a slide encoder is read from; empty for the mean.

    Raises
    ------
    PathaiError
        E191 for an unknown name, E185 for a forbidden licence, E183 if nothing is there.
    """
    parts = split(name)
    tile_encoder_of(name)
    if parts.card == MEAN:
        return ""
    card = _card(parts.card)
    require_licence(card, setup.licence)
    return digest_at(place_of(card, parts.place, setup))


def load_slide_encoder(name: str, setup: Setup | None = None) -> SlideEncoder:
    """Build a slide encoder.

    Parameters
    ----------
    name : str
        ``mean:<tile encoder>``, or ``<card>[@<place>][:<tile encoder>]``.
    setup : Setup, optional
        Where weights are and what may be used.

    Raises
    ------
    PathaiError
        E191 for an unknown name, E185 for a forbidden licence, E183 if its files are missing,
        E182 if they do not fit, E194 if the publisher's package is not installed.
    """
    setup = setup or Setup()
    tiles, parts = tile_encoder_of(name), split(name)
    if parts.card == MEAN:
        return MeanTile(tiles)
    card = _card(parts.card)
    require_licence(card, setup.licence)
    path = place_of(card, parts.place, setup)
    from pathai.encoders.slide_network import NetworkSlideEncoder

    network, forward = adapted(card, path)
    digest = sha256(f"{card.name} {VERSION} {digest_at(path)}".encode()).hexdigest()
    return NetworkSlideEncoder(name, card, tiles, network, forward, digest, setup.device)


def check_tile_encoder(name: str, wanted: str, features: Features) -> None:
    """Refuse the features of another encoder than the name says (E181), or broken ones (E180)."""
    if features.attrs.encoder != wanted:
        message = f"features of {features.attrs.encoder}, but {name} needs those of {wanted}"
        raise PathaiError("E181", message, _again(wanted))
    if not np.isfinite(features.x).all():
        raise PathaiError("E180", f"features of {wanted} are not finite")


def check_tiles(card: Published, name: str, wanted: str, features: Features) -> None:
    """Refuse tiles that a published network was not made for.

    Parameters
    ----------
    card : Published
        With the tile encoder, tile size, µm/px and length of a tile's vector that it needs.
    name : str
        Of the slide encoder or text tower, as in the configuration.
    wanted : str
        Name of the features that it takes.
    features : Features
        As stored.

    Raises
    ------
    PathaiError
        E181 saying what was found and what is needed, E180 for features that are not finite.
    """
    made, plain = features.attrs, features.attrs.encoder.partition("@")[0]
    found = (plain, made.tile_px, made.mpp, features.x.shape[1])
    needed = (card.tile_encoder, card.tile_px, card.mpp, card.tile_dim)
    if found != needed:
        message = f"features are of {_said(*found)}, but {card.name} needs {_said(*needed)}"
        raise PathaiError("E181", message, _again(card.tile_encoder))
    check_tile_encoder(name, wanted, features)


def check_grid(card: SlideCard, features: Features) -> None:
    """Refuse tiles that overlap or leave gaps, where a network looks at their places (E181)."""
    made = features.attrs
    if made.stride_px != made.tile_px:
        message = f"tiles lie {made.stride_px} px apart, but {card.name} needs {made.tile_px}"
        raise PathaiError("E181", message, "set features.stride: 1 and run pathai features again")


def _said(encoder: str, tile_px: int, mpp: float, dim: int) -> str:
    return f"{encoder} ({tile_px} px, {mpp:g} µm/px, {dim} numbers)"


def _again(encoder: str) -> str:
    return f"run pathai features --encoder {encoder}"


def places(features: Features) -> NDArray[np.int64]:
    """Column and row of each tile in its grid, int64[N, 2].

    Corners are whole level-0 pixels, rounded from multiples of a step that need not be whole.
    Dividing them and rounding down, as published code does, puts tiles one cell too low
    wherever the corner was rounded down; rounding to the nearest multiple never does.
    """
    step = features.size_px0.astype(np.float64) * features.attrs.stride_px / features.attrs.tile_px
    found: NDArray[np.int64] = np.rint(features.xy_px0 / step).astype(np.int64)
    return found
