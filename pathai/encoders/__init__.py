"""Encoders: from tiles to one vector each.

A name is one of `ENCODERS` (need no weights), of `CARDS` (published networks; ``name@file`` takes
weights of your own), ``timm:<model>@<file>`` or ``path/to/file.py:Class``.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathai.encoders.cards import CARDS
from pathai.encoders.setup import Setup
from pathai.errors import PathaiError
from pathai.registry import Registry

if TYPE_CHECKING:
    from pathai.encoders.base import Encoder

ENCODERS = Registry(
    "encoders",
    {
        "morphology": "pathai.encoders.morphology:Morphology",
        "tissue-small": "pathai.encoders.tissue_small:TissueSmall",
    },
)
"""Encoders of this package and of outside ones; ``docs/adding.md`` says how to add one."""


def names() -> list[str]:
    """Every name that needs no file."""
    return sorted({*ENCODERS.names(), *CARDS})


def weights_file(name: str) -> str:
    """The user's own file that a name points at, or nothing."""
    if ".py:" in name:
        return name.partition(".py:")[0] + ".py"
    return name.partition("@")[2]


def check_name(name: str) -> None:
    """Refuse a name that stands for no encoder.

    Raises
    ------
    PathaiError
        E191; the nearest names are given.
    """
    plain, at, file = name.partition("@")
    if name.startswith("timm:") or ".py:" in name:
        return
    if at and (plain in ENCODERS.names() or not file):
        why = "takes no weights" if file else "names no file"
        raise PathaiError("E191", f"encoder {name!r} {why}", f"write {plain}")
    if plain in CARDS or plain in ENCODERS.names():
        return
    near = get_close_matches(plain, names()) or ENCODERS.names()
    remedy = f"try {', '.join(near)}, or see pathai list encoders"
    raise PathaiError("E191", f"no encoder named {plain!r}", remedy)


def check_ready(name: str) -> None:
    """Refuse before the first slide what would fail at each: a file that cannot be loaded.

    Raises
    ------
    PathaiError
        E191 for a class or network that is none, E183 for a missing file, E182 for a damaged one.
    """
    if ".py:" in name:
        from pathai.encoders.foreign import from_file

        from_file(name)
    elif name.startswith("timm:"):
        from pathai.encoders.timm_encoder import check

        check(name)
    elif weights_file(name).endswith(".safetensors"):
        from pathai.encoders.header import read_header

        read_header(Path(weights_file(name)))


@dataclass(frozen=True)
class Facts:
    """What can be said of an encoder before its weights are read.

    Parameters
    ----------
    name : str
        As in the configuration.
    tile_px, mpp : int, float
        Tiles that it sees.
    dim : int
        Length of a vector.
    """

    name: str
    tile_px: int
    mpp: float
    dim: int


def facts_of(name: str, setup: Setup | None = None) -> Facts:
    """Facts of an encoder; only one without a card is loaded for them.

    Raises
    ------
    PathaiError
        As `load_encoder`.
    """
    check_name(name)
    known = CARDS.get(name.partition("@")[0]) or load_encoder(name, setup)
    return Facts(name, known.tile_px, known.mpp, known.dim)


def load_encoder(name: str, setup: Setup | None = None) -> "Encoder":
    """Build an encoder.

    Parameters
    ----------
    name : str
        See the module.
    setup : Setup, optional
        Where weights are, what may be used, how networks run.

    Raises
    ------
    PathaiError
        E191 if the name is unknown, E185 if the licence is not allowed, E183 if weights are
        missing, E182 if they do not fit.
    """
    setup = setup or Setup()
    check_name(name)
    if ".py:" in name:
        from pathai.encoders.foreign import from_file

        return from_file(name)
    if name.startswith("timm:"):
        from pathai.encoders.timm_encoder import TimmEncoder

        return TimmEncoder.from_name(name, setup)
    plain, _, file = name.partition("@")
    if plain in CARDS:
        from pathai.encoders.load import card_encoder

        return card_encoder(CARDS[plain], setup, name=name, file=Path(file) if file else None)
    kind = ENCODERS.load(plain)
    ours: dict[str, Any] = {"setup": setup} if "setup" in signature(kind).parameters else {}
    made: Encoder = kind(**ours)
    return made
