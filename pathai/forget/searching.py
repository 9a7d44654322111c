"""Which files of a run still hold an id: names, bytes, UTF-16, and what zip files pack."""

import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 22
OVERLAP = 512
"""Bytes that two blocks share, so that no id is cut in two; an id has at most 64 characters."""
LONG = 6
"""In files of numbers an id of fewer characters is found by chance."""
PIXELS = ("tiles.zarr", "tissue.zarr")
"""Stores of which only the metadata are searched: their chunks are pictures without text."""


@dataclass(frozen=True)
class Left:
    """A file that still holds an id; ``where`` is ``name``, ``text`` or the member of a zip."""

    file: str
    where: str


@dataclass(frozen=True)
class Ids:
    """Ids to look for, and longer ids of others that contain one of them."""

    ids: tuple[str, ...]
    others: tuple[str, ...] = ()

    def found_in(self, text: bytes, *, binary: bool = False) -> bool:
        """Whether an id stands in the bytes, alone and not as part of another's id."""
        wanted = [i for i in self.ids if not binary or len(i) >= LONG]
        return any(_pattern(wanted, self.others, wide=w).stands_in(text) for w in (False, True))

    def found_in_name(self, name: str) -> bool:
        """Whether an id stands in the name of a file."""
        return _pattern(list(self.ids), self.others, wide=False).stands_in(os.fsencode(name))


class _Compiled:
    def __init__(self, ids: tuple[str, ...], others: tuple[str, ...], *, wide: bool) -> None:
        encoding = "utf-16-le" if wide else "utf-8"
        known = {i.encode(encoding): True for i in ids}
        known |= {o.encode(encoding): False for o in others}
        words = b"|".join(re.escape(w) for w in sorted(known, key=lambda w: (-len(w), w)))
        after = rb"(?![A-Za-z0-9]\x00)" if wide else rb"(?![A-Za-z0-9])"
        before = rb"(?<![A-Za-z0-9]\x00)" if wide else rb"(?<![A-Za-z0-9])"
        self._known = known
        self._words = re.compile(before + rb"(?:" + words + rb")" + after) if ids else None

    def stands_in(self, text: bytes) -> bool:
        found = self._words.finditer(text) if self._words else iter(())
        return any(self._known[match[0]] for match in found)


_made: dict[tuple[tuple[str, ...], tuple[str, ...], bool], _Compiled] = {}


def _pattern(ids: list[str], others: tuple[str, ...], *, wide: bool) -> _Compiled:
    key = (tuple(ids), others, wide)
    if key not in _made:
        _made[key] = _Compiled(*key[:2], wide=wide)
    return _made[key]


def search(root: Path, ids: Ids, kept: Iterable[Path] = ()) -> tuple[Left, ...]:
    """Files below a folder that hold an id; those in ``kept`` are not looked at.

    Chunks of the stores of pixels are not read: they hold pictures, and take hours.
    """
    known = {path.absolute() for path in kept}
    found = []
    for path in _files(root, known):
        name = path.relative_to(root).as_posix()
        if ids.found_in_name(name):
            found.append(Left(name, "name"))
        elif _chunk_of_pixels(path, root):
            continue
        elif where := inside(path, ids):
            found.append(Left(name, where))
    return tuple(found)


def _files(folder: Path, kept: set[Path]) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.absolute() in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry, kept)
        else:
            yield entry


def _chunk_of_pixels(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return any(store in parts for store in PIXELS) and path.name != "zarr.json"


def inside(path: Path, ids: Ids) -> str:
    """Where in a file an id stands; empty if nowhere."""
    if path.is_symlink():
        return "text" if ids.found_in(os.fsencode(os.readlink(path))) else ""
    if not path.is_file():
        return ""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            for info in packed.infolist():
                text = packed.read(info)
                if ids.found_in_name(info.filename) or ids.found_in(text, binary=_binary(text)):
                    return info.filename
        return ""
    with path.open("rb") as file:
        before = file.read(BLOCK)
        binary = _binary(before)
        if ids.found_in(before, binary=binary):
            return "text"
        while block := file.read(BLOCK):
            if ids.found_in(before[-OVERLAP:] + block, binary=binary):
                return "text"
            before = block
    return ""


def _binary(text: bytes) -> bool:
    return b"\0" in text[:8192]
