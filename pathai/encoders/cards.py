"""Cards of published encoders: what each is, where it comes from, what it may be used for.

A card is data (``cards.yaml``); nothing here imports torch or opens weights.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field

from pathai.errors import PathaiError

Rule = Literal["class", "class+mean", "mean", "pooled"]
Terms = Literal["open", "commercial", "research", "unknown"]


class Card(BaseModel):
    """One published encoder of tiles.

    Parameters
    ----------
    source : str
        ``timm``, ``transformers`` or ``own`` (a small file here) build the network; ``package``
        adapts the publisher's own and is unverified until somebody has run it with the weights.
    architecture : str
        Name in timm, of a configuration class in transformers, or ``module:attribute`` of a
        network or adapter.
    arguments : dict
        What the architecture is built with.
    rule : str
        How tokens become one vector: ``class`` token, ``class+mean`` of the patches, ``mean`` of
        the patches, or ``pooled`` by the network itself.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    source: Literal["timm", "transformers", "own", "package"]
    repo: str = Field(description="Hugging Face id, or where the publisher's package is")
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="commit of the repo")
    file: str = Field("model.safetensors", description="weights in the repo")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of that file")
    architecture: str
    arguments: dict[str, Any] = {}
    tile_px: int = Field(gt=0, description="edge of a tile that is read, px")
    mpp: float = Field(gt=0, description="µm per px of that tile")
    input_px: int = Field(gt=0, description="edge of what enters the network, px")
    fit: Literal["none", "resize", "crop"] = Field("none", description="from tile_px to input_px")
    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="of resizing")
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rule: Rule
    dim: int = Field(gt=0, description="length of the vector")
    parameters: int = Field(gt=0, description="counted on the built network, or published")
    published: str = Field(description="number of parameters as published, e.g. 303M")
    licence: str = Field(description="SPDX identifier, or the publisher's own name")
    terms: Terms = Field(description="what the licence allows, at most")
    gated: bool = Field(description="access has to be asked for")
    paper: str
    sources: tuple[str, ...] = Field(min_length=1, description="where these facts were read")
    doubts: tuple[str, ...] = Field((), description="what could not be checked here")

    @property
    def buildable(self) -> bool:
        """Whether the network is built from this card alone."""
        return self.source != "package"


class Cards(Mapping[str, Card]):
    """Cards by name, read when they are first asked for."""

    def __init__(self) -> None:
        self._cards: dict[str, Card] | None = None

    def _all(self) -> dict[str, Card]:
        if self._cards is None:
            self._cards = _read()
        return self._cards

    def __getitem__(self, name: str) -> Card:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __len__(self) -> int:
        return len(self._all())


@cache
def _read() -> dict[str, Card]:
    text = files("pathai.encoders").joinpath("cards.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    places = table["sources"]
    cards = {}
    for name, row in table["encoders"].items():
        read = [places.get(place, place) for place in row.pop("sources")]
        cards[name] = Card(name=name, sources=tuple(read), **row)
    return cards


CARDS = Cards()
"""The published encoders."""

ALLOWED: dict[str, tuple[Terms, ...]] = {
    "any": ("open", "commercial", "research", "unknown"),
    "commercial": ("open", "commercial"),
    "open": ("open",),
}
"""Value of ``weights.licence`` to the terms that it lets pass."""


class Licensed(Protocol):
    """What a policy on licences looks at."""

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    @property
    def licence(self) -> str:
        """As its publisher calls it."""
        ...

    @property
    def terms(self) -> Terms:
        """What it allows, at most."""
        ...


def require_licence(card: Licensed, wanted: str) -> None:
    """Refuse an encoder whose licence the lab's policy does not allow.

    Raises
    ------
    PathaiError
        E185: choose another encoder, or change ``weights.licence``.
    """
    if card.terms not in ALLOWED[wanted]:
        message = f"encoder {card.name}: licence {card.licence} ({card.terms}), wanted {wanted}"
        raise PathaiError("E185", message)
