"""``pathai weights``: fetch the weights of published encoders, and check those that are there.

Fetching is an act of a person, on a machine with network: the verb itself is the permission. A
run fetches only where its configuration says ``weights.network: true``.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pathai.batch import print_json, say
from pathai.encoders.cards import CARDS, Card, require_licence
from pathai.encoders.setup import Setup
from pathai.encoders.weights import Weights, find, here, missing, prove, read_record
from pathai.errors import PathaiError


class Row(BaseModel):
    """One encoder's weights, as they are here."""

    model_config = ConfigDict(frozen=True)
    name: str
    state: Literal["present", "missing", "damaged"]
    place: str = ""
    file: str
    sha256: str = ""
    bytes: int = 0
    revision: str = ""
    licence: str
    gated: bool
    problem: str = ""
    remedy: str = ""


def cards_of(names: Iterable[str]) -> list[Card]:
    """Cards by name, each once.

    Raises
    ------
    PathaiError
        E191 if there is no such card; the nearest names are given.
    """
    from difflib import get_close_matches

    found = []
    for name in dict.fromkeys(names):
        if name not in CARDS:
            near = get_close_matches(name, CARDS) or [*CARDS][:3]
            raise PathaiError("E191", f"no weights named {name!r}", f"try {', '.join(near)}")
        found.append(CARDS[name])
    return found


def configured(encoders: Iterable[str]) -> list[str]:
    """Encoders of a configuration whose weights are published; ``name@file`` brings its own."""
    return [name for name in encoders if name in CARDS]


def fetch(names: Iterable[str], setup: Setup, revision: str = "") -> dict[str, PathaiError]:
    """Download weights; one that fails does not stop the others.

    Parameters
    ----------
    names : iterable of str
        Names of cards.
    setup : Setup
        With the folder and the licences that the lab allows.
    revision : str
        Commit, tag or branch; see `pathai.encoders.hub.fetch`.

    Returns
    -------
    dict
        What went wrong, by name.

    Raises
    ------
    PathaiError
        E191 for an unknown name, before anything is downloaded.
    """
    from pathai.encoders.hub import fetch as download

    failed = {}
    for card in cards_of(names):
        try:
            require_licence(card, setup.licence)
            made = download(card, setup.weights, revision)
        except PathaiError as error:
            failed[card.name] = error
            say(str(error))
        else:
            say(_fetched(card, made, setup))
    return failed


def _fetched(card: Card, made: Weights, setup: Setup) -> str:
    record = read_record(card, setup.weights)
    commit = (record.revision if record else None) or "unknown"
    pinned = "" if card.revision else " (now pinned in the lock)"
    size = made.path.stat().st_size / 2**20
    return (
        f"{card.name}: {made.path}, {size:.0f} MiB, SHA-256 {made.sha256[:12]}, "
        f"revision {commit[:12]}{pinned}; licence {card.licence}"
    )


def check(names: Iterable[str], setup: Setup) -> list[Row]:
    """Read every byte of the weights, and compare names and shapes with the network.

    Parameters
    ----------
    names : iterable of str
        Names of cards; if there are none, every card that has weights here.
    setup : Setup
        With the folder.

    Raises
    ------
    PathaiError
        E191 for an unknown name.
    """
    asked = cards_of(names)
    return [_row(card, setup) for card in asked or here(setup.weights)]


def _row(card: Card, setup: Setup) -> Row:
    facts = {"name": card.name, "file": card.file, "licence": card.licence, "gated": card.gated}
    place = ""
    try:
        found = find(card, setup.weights)
        if found is None:
            lacking = missing(card, setup.weights)
            text = f"{lacking.code}: {lacking.message}"
            return Row(**facts, state="missing", problem=text, remedy=lacking.remedy)
        place = found.place
        proven = prove(card, found, setup.weights, again=True)
        fits(card, proven.path)
    except PathaiError as error:
        text = f"{error.code}: {error.message}"
        return Row(**facts, state="damaged", place=place, problem=text, remedy=error.remedy)
    return Row(
        **facts,
        state="present",
        place=place,
        sha256=proven.sha256,
        bytes=proven.path.stat().st_size,
        revision=found.revision or "",
    )


def fits(card: Card, path: Path) -> None:
    """Whether a file's names and shapes are those of the card's network; no tensor is read.

    Raises
    ------
    PathaiError
        E182 naming the first tensor that is missing, unknown or of another shape.
    """
    from pathai.encoders import fit
    from pathai.encoders.header import read_header
    from pathai.encoders.load import read_state, unpickled

    safe = path.suffix == ".safetensors"
    header = read_header(path) if safe else {}
    if not card.buildable:
        if not safe:
            unpickled(path, "meta")
        return
    state = {k: fit.blank(*row) for k, row in header.items()} if safe else read_state(path, "meta")
    fit.check(card, state, path.name)


def show(rows: list[Row], folder: Path, *, as_json: bool) -> int:
    """Print the rows; 1 if weights are missing or damaged."""
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    elif not rows:
        say(f"nothing to check: no weights of published encoders in {folder.name}/ or the cache")
    for row in [] if as_json else rows:
        told = f"{row.problem}; {row.remedy}"
        if row.state == "present":
            commit = f", revision {row.revision[:12]}" if row.revision else ""
            told = f"{row.file} ({row.place}), SHA-256 {row.sha256[:12]}{commit}"
        say(f"{row.state:<8} {row.name:<17} {told}")
    return int(any(row.state != "present" for row in rows))
