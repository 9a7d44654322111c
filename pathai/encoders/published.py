"""What slide encoders and text towers have in common: who published them, and where they lie.

A name is ``<card>[@<file or folder>][:<tile encoder>]``; the last part names whose features are
taken, for those who keep their tile encoder's weights in a file of their own.
"""

import re
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from pathai.encoders.cards import Terms
from pathai.encoders.setup import Setup
from pathai.errors import PathaiError
from pathai.store.manifest import canonical, hash_file


class Published(BaseModel):
    """Facts of something that a publisher offers, with where they were read.

    ``file`` is empty where the network is built by code that its publisher keeps beside the
    weights: such code runs only from a folder that the user has filled and names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    repo: str = Field(description="Hugging Face id, or where the publisher's files are")
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="commit of the repo")
    file: str = Field("", description="weights in the repo; empty: a folder with code")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of the weights")
    package: str = Field("", description="what has to be installed, and from where")
    adapter: str = Field(pattern=r"^[\w.]+:\w+$", description="module:attribute")
    tile_encoder: str = Field(description="card whose features it takes")
    tile_px: int = Field(gt=0, description="edge of a tile, px")
    mpp: float = Field(gt=0, description="µm per px of a tile")
    tile_dim: int = Field(gt=0, description="length of a tile's vector")
    dim: int = Field(gt=0, description="length of its own vector")
    published: str = Field(description="number of parameters as published")
    licence: str = Field(description="SPDX identifier, or the publisher's own name")
    terms: Terms = Field(description="what the licence allows, at most")
    gated: bool = Field(description="access has to be asked for")
    paper: str
    verified: bool = Field(False, description="run by somebody with the published weights")
    sources: tuple[str, ...] = Field(min_length=1, description="where these facts were read")
    doubts: tuple[str, ...] = Field((), description="what could not be checked here")


class Name(NamedTuple):
    """A name in its parts; the last two may be empty."""

    card: str
    place: str
    tile_encoder: str


def split(name: str) -> Name:
    """Take ``<card>[@<place>][:<tile encoder>]`` apart."""
    head, _, tiles = name.partition(":")
    plain, _, place = head.partition("@")
    return Name(plain, place, tiles)


def place_of(card: Published, place: str, setup: Setup) -> Path:
    """File or folder that a card's network is read from.

    Parameters
    ----------
    card : Published
        With its ``file``, or none.
    place : str
        What the user has named; may be empty for a card with a file.
    setup : Setup
        With the folder of weights.

    Raises
    ------
    PathaiError
        E183 if it is not there; the remedy says what to put where. E182 if it passes for the
        published file and is another; a place that the user names is the user's own.
    """
    if not place and not card.file:
        version = f" at revision {card.revision}" if card.revision else ""
        remedy = (
            f"put {card.repo}{version} into a folder, read its code, name it: {card.name}@FOLDER"
        )
        message = f"{card.name} runs code of its publisher, which is never fetched unasked"
        raise PathaiError("E183", message, remedy)
    if not place:
        return _proven(card, _located(card, setup))
    path = Path(place)
    if not (path.is_file() if card.file else path.is_dir()):
        kind = "file" if card.file else "folder"
        raise PathaiError("E183", f"{card.name}: there is no {kind} {path}", f"give a {kind}")
    return path


def _located(card: Published, setup: Setup) -> Path:
    """Weights in the folder of weights, else in the hub's cache on this machine."""
    own = setup.weights / card.name / card.file
    if own.is_file():
        return own
    if re.fullmatch(r"[\w.-]+/[\w.-]+", card.repo):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(card.repo, card.file, revision=card.revision)
        if isinstance(cached, str):
            return Path(cached)
    version = f" at revision {card.revision}" if card.revision else ""
    gate = " (access has to be asked for)" if card.gated else ""
    remedy = f"put {card.file} of {card.repo}{version}{gate} into {own.parent}, or name a file"
    raise PathaiError("E183", f"{card.name} has no weights here", remedy)


def _proven(card: Published, path: Path) -> Path:
    """The file, if it is the published one."""
    if card.sha256 and digest_at(path) != card.sha256:
        message = f"{card.name}: {path.name} is not the published file {card.sha256[:12]}"
        remedy = f"copy it again, or name your own: {card.name}@FILE"
        raise PathaiError("E182", message, remedy)
    return path


def digest_at(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder; once per process.

    What is hidden, and what Python writes on import, does not count.
    """
    return _digest_at(path.absolute())  # a relative path means another file elsewhere


@cache
def _digest_at(path: Path) -> str:
    if path.is_file():
        return hash_file(path).sha256
    files = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if p.is_file()}
    kept = {
        name: hash_file(file).sha256
        for name, file in files.items()
        if not any(part.startswith(".") or part == "__pycache__" for part in name.split("/"))
    }
    return sha256(canonical(kept)).hexdigest()


def need(module: str, card: Published) -> ModuleType:
    """A module of the publisher's package.

    Raises
    ------
    PathaiError
        E194 naming the package and where to get it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        remedy = f"install {card.package}"
        raise PathaiError("E194", f"{card.name} needs {module} ({error})", remedy) from None


def adapted(card: Published, path: Path) -> Any:
    """What a card's adapter makes of its weights."""
    module, _, attribute = card.adapter.partition(":")
    return getattr(import_module(module), attribute)(card, path)
