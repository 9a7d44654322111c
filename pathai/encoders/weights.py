"""Where the weights of a card lie on this machine, and the proof that they are the ones meant.

Three places are looked at: the folder of weights, the cache of the Hugging Face hub and, only where
the configuration allows network, the hub itself. What was found is recorded in
``<weights>/<name>/weights.lock.json``: later the same size and time stand for the same bytes, so
that gigabytes are not read again. There is one lock per encoder, not one for all: jobs that run at
the same time cannot overwrite one another's record, and a folder that is copied to a machine
without network takes its proof along.
"""

import contextlib
import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pathai.encoders.cards import CARDS, Card
from pathai.encoders.header import read_header
from pathai.encoders.setup import Setup
from pathai.errors import PathaiError
from pathai.store.manifest import canonical, hash_file, storage_error

LOCK = "weights.lock.json"
HUB = "https://huggingface.co"
"""Where a person asks for access; ``HF_ENDPOINT`` may name another place to download from."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Record(BaseModel):
    """What a lock says of one file of weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    repo: str
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="None: unknown")
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0, description="bytes")
    mtime_ns: int

    def stands_for(self, stat: os.stat_result) -> bool:
        """Whether a file is unchanged since it was recorded."""
        return (self.size, self.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


class Weights(NamedTuple):
    """A file of weights and its SHA-256."""

    path: Path
    sha256: str


class Found(NamedTuple):
    """A file that should hold weights; nothing was read yet."""

    path: Path
    place: str
    """``folder`` or ``cache``."""
    revision: str | None


def on_hub(card: Card) -> bool:
    """Whether the card's repo is one of the hub; else it says where the publisher's package is."""
    return bool(_HUB_ID.fullmatch(card.repo))


def folder_of(card: Card, weights: Path) -> Path:
    """Folder of a card's file and lock."""
    return weights / card.name


def read_record(card: Card, weights: Path) -> Record | None:
    """The lock of a card, if there is one.

    Raises
    ------
    PathaiError
        E182 if it is damaged: remove it, and the file is hashed and recorded again.
    """
    path = folder_of(card, weights) / LOCK
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        remedy = f"remove it and run pathai weights fetch {card.name}"
        raise PathaiError("E182", f"{card.name}/{LOCK} cannot be read", remedy) from None


def write_record(card: Card, weights: Path, record: Record) -> None:
    """Write a lock under a name of its own and rename it, since other jobs may write it too.

    Raises
    ------
    PathaiError
        E160 or E161 if the folder cannot be written.
    """
    path = folder_of(card, weights) / LOCK
    part = path.with_name(f"{LOCK}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(canonical(record.model_dump(mode="json")))
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise storage_error(error) from None


def find(card: Card, weights: Path) -> Found | None:
    """A card's file in the folder of weights, else in the cache of the hub; nothing is read."""
    record = read_record(card, weights)
    own = folder_of(card, weights) / card.file
    if own.is_file():
        return Found(own, "folder", record.revision if record else None)
    if not on_hub(card):
        return None
    from huggingface_hub import try_to_load_from_cache

    revision = card.revision or (record.revision if record else None)
    cached = try_to_load_from_cache(card.repo, card.file, revision=revision)
    if not isinstance(cached, str):
        return None
    snapshot = re.search(r"/snapshots/([0-9a-f]{40})/", Path(cached).as_posix())
    return Found(Path(cached), "cache", snapshot[1] if snapshot else revision)


def locate(card: Card, setup: Setup) -> Weights:
    """The weights of a card, and their SHA-256.

    Parameters
    ----------
    card : Card
        Its ``file`` is looked for in ``<weights>/<name>/``, then in the cache of the hub; then it
        is fetched, if ``setup.network`` allows it.
    setup : Setup
        With the folder.

    Raises
    ------
    PathaiError
        E183 if they are nowhere (the remedy says how to get them), E182 if they are not those of
        the card or of the lock, E163 if they change while they are read.
    """
    found = find(card, setup.weights)
    if found is not None:
        return prove(card, found, setup.weights)
    if setup.network:
        from pathai.encoders.hub import fetch

        return fetch(card, setup.weights)
    raise missing(card, setup.weights)


def prove(card: Card, found: Found, weights: Path, *, again: bool = False) -> Weights:
    """Hold a file against card and lock; a file that is not recorded is hashed and recorded.

    Parameters
    ----------
    again : bool
        Read every byte, whatever the lock says.

    Raises
    ------
    PathaiError
        E182 naming card, file and both SHA-256; E163 if the file changes while it is read.
    """
    record, stat = read_record(card, weights), _stat(found.path)
    known = record is not None and record.stands_for(stat)
    actual = record.sha256 if record and known and not again else digest(found.path, again=again)
    if card.sha256 and actual != card.sha256:
        remedy = f"copy it again, or run pathai weights fetch {card.name}"
        raise _differs(card, actual, "the card", card.sha256, remedy)
    if record and actual != record.sha256:
        remedy = f"fetch or copy it again; if the new file is meant, remove {card.name}/{LOCK}"
        raise _differs(card, actual, "the lock", record.sha256, remedy)
    if not known:
        if found.path.suffix == ".safetensors":
            read_header(found.path)  # a truncated file must not become the one that is meant
        with contextlib.suppress(PathaiError):  # a folder that may not be written: hashed each time
            write_record(card, weights, record_of(card, found.path, actual, found.revision))
    return Weights(found.path, actual)


def record_of(card: Card, path: Path, sha256: str, revision: str | None) -> Record:
    """What a lock shall say of a file."""
    stat = _stat(path)
    return Record(
        repo=card.repo,
        revision=revision,
        file=card.file,
        sha256=sha256,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
    )


def recorded(card: Card, found: Found, weights: Path) -> str:
    """SHA-256 of a file by its lock, without reading the file; empty if it is not recorded."""
    record = read_record(card, weights)
    return record.sha256 if record and record.stands_for(_stat(found.path)) else ""


def missing(card: Card, weights: Path) -> PathaiError:
    """E183 with the way to get the weights."""
    message = f"encoder {card.name} has no weights here"
    put = f"put {card.file} into {weights.name}/{card.name}"
    if not on_hub(card):
        return PathaiError("E183", message, f"get them from {card.repo} and {put}")
    asked = f"ask for access at {HUB}/{card.repo}, then " if card.gated else ""
    return PathaiError("E183", message, f"{asked}run pathai weights fetch {card.name}, or {put}")


def here(weights: Path) -> list[Card]:
    """Cards with a file here, or with a lock that cannot be read."""
    return [card for card in CARDS.values() if _there(card, weights)]


def _there(card: Card, weights: Path) -> bool:
    try:
        return find(card, weights) is not None
    except PathaiError:
        return True


def digest(path: Path, *, again: bool = False) -> str:
    """SHA-256 of a file, read once per process while its size and time stay.

    Raises
    ------
    PathaiError
        E163 if the file changes while it is read, E162 if it cannot be read, E183 if it is not
        there.
    """
    if again:
        _sha256.cache_clear()
    before = _stat(path)
    try:
        found = _sha256(path, before.st_size, before.st_mtime_ns)
    except OSError as error:
        raise PathaiError("E162", f"weights {path.name}: {error.strerror}") from None
    after = _stat(path)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise PathaiError("E163", f"weights {path.name} changed while they were read")
    return found


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return hash_file(path).sha256


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise PathaiError("E183", f"weights {path.name} not found") from None
    except OSError as error:
        raise PathaiError("E162", f"weights {path.name}: {error.strerror}") from None


def _differs(card: Card, actual: str, whose: str, wanted: str, remedy: str) -> PathaiError:
    message = (
        f"encoder {card.name}: {card.file} has SHA-256 {actual[:12]}, {whose} says {wanted[:12]}"
    )
    return PathaiError("E182", message, remedy)
