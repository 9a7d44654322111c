"""A walk over the image directories of a TIFF that believes nothing.

Every offset and count is held against the size of the file before a byte is fetched, so a
truncated, looping or bomb-like file is named before a decoder sees it.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS, _STRIP_COUNTS = 273, 277, 278, 279
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS, _SUB_IFDS = 322, 323, 324, 325, 330
_HAMAMATSU, _DESCRIPTION, _EXTRA, _SUBFILE = 65420, 270, 338, 254
MAX_TAGS = 4096

Values = NDArray[np.uint64]


@dataclass(frozen=True)
class Directory:
    """One image of a TIFF, as declared."""

    width: int
    height: int
    bits: tuple[int, ...]
    samples: int
    compression: int
    photometric: int
    tiled: bool
    block_width: int
    block_height: int
    hamamatsu: bool
    ome: bool
    """Whether the description is OME-XML."""
    alpha: bool
    """Whether the last channel is declared as transparency."""
    kind: int
    """NewSubfileType: 0 for a full image, 1 and 9 for a label, a macro or a reduced copy."""
    end: int
    """First byte after the last block that the directory names."""
    largest: int
    """Largest byte count of a block."""

    @property
    def block_bytes(self) -> int:
        """Bytes of one decoded tile or strip."""
        each = max(max(self.bits, default=8), 8) // 8
        return self.block_width * self.block_height * max(self.samples, 1) * each


@dataclass(frozen=True)
class Entry:
    """One tag of a directory, not yet believed.

    Parameters
    ----------
    tag, kind : int
        TIFF tag and data type.
    inline : bytes
        Its value where it fits into the entry, else empty.
    place, length : int
        Where the value lies otherwise, bytes.
    """

    tag: int
    kind: int
    inline: bytes
    place: int
    length: int


def walk(file: BinaryIO, size: int, max_directories: int) -> list[Directory]:
    """Directories of a TIFF or BigTIFF, the sub-directories of OME-TIFF included.

    Parameters
    ----------
    file : binary file
        Positioned anywhere.
    size : int
        Size of the file, bytes.
    max_directories : int
        More are refused.

    Returns
    -------
    list of Directory
        In file order, sub-directories last.

    Raises
    ------
    PathaiError
        E110 where something lies past the end of the file, E114 for a loop, E115 for too many
        directories or tags, E117 for an image of no size.
    """
    reader = TiffReader(file, size)
    found: list[Directory] = []
    seen: set[int] = set()
    below: list[int] = []
    offset, above = reader.first, True
    while offset:
        if offset not in seen:
            if len(seen) >= max_directories:
                raise PathaiError("E115", f"more than {max_directories} image directories")
            seen.add(offset)
            tags, following = reader.tags(offset)
            found.append(_directory(tags, len(found)))
            below += [int(v) for v in tags.get(_SUB_IFDS, ())]
        elif above:
            raise PathaiError("E114", f"image directory at byte {offset} is reached twice")
        else:
            following = 0  # listed by its parent and linked by its neighbor: both are usual
        offset = following
        while offset == 0 and below:
            offset, above = below.pop(0), False
    return found


class TiffReader:
    """Bytes and directories of a TIFF, none fetched beyond the end of the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        head = self.fetch(0, 8)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = struct.unpack(self.order + "H", head[2:4])[0] == 43
        if self.big:
            self.first = struct.unpack(self.order + "Q", self.fetch(8, 8))[0]
        else:
            self.first = struct.unpack(self.order + "I", head[4:8])[0]

    def fetch(self, offset: int, count: int) -> bytes:
        """Bytes at an offset (E110 past the end)."""
        if offset + count > self.size:
            message = f"declared end at byte {offset + count}, the file has {self.size}"
            raise PathaiError("E110", message)
        self.file.seek(offset)
        data = self.file.read(count)
        if len(data) != count:
            raise PathaiError("E110", f"the file ends before byte {offset + count}")
        return data

    def entries(self, offset: int) -> tuple[list[Entry], int]:
        """Tags of a directory, and where the next directory starts."""
        head, size, link = (8, 20, 8) if self.big else (2, 12, 4)
        number = int.from_bytes(self.fetch(offset, head), self._bytes)
        if number > MAX_TAGS:
            raise PathaiError("E115", f"{number} tags in one image directory")
        body = self.fetch(offset + head, number * size)
        found = []
        for i in range(number):
            tag, kind = struct.unpack_from(self.order + "HH", body, i * size)
            field = body[i * size + 4 : (i + 1) * size]
            half = len(field) // 2
            length = int.from_bytes(field[:half], self._bytes) * _SIZES.get(kind, 1)
            inside = length <= half
            place = 0 if inside else int.from_bytes(field[half:], self._bytes)
            found.append(
                Entry(tag, kind, field[half : half + length] if inside else b"", place, length)
            )
        after = offset + head + number * size
        return found, int.from_bytes(self.fetch(after, link), self._bytes)

    def value(self, entry: Entry, most: int = 2**63) -> bytes:
        """Bytes of a tag's value, at most ``most``."""
        if not entry.place:
            return entry.inline[:most]
        return self.fetch(entry.place, min(entry.length, most))

    def integers(self, entry: Entry) -> Values:
        """Values of a tag of whole numbers; none where it is of another type."""
        if entry.kind not in _INTEGERS:
            return np.zeros(0, np.uint64)
        kind = self.order + _INTEGERS[entry.kind]
        return np.frombuffer(self.value(entry), kind).astype(np.uint64)

    def tags(self, offset: int) -> tuple[dict[int, Values], int]:
        """Integer tags of a directory, and where the next directory starts."""
        entries, following = self.entries(offset)
        tags: dict[int, Values] = {}
        for entry in entries:
            if entry.kind in _INTEGERS:
                tags[entry.tag] = self.integers(entry)
                continue
            self._within(entry.place, entry.length if entry.place else 0)
            if entry.tag == _DESCRIPTION and b"<OME" in self.value(entry, 4096):
                tags[_DESCRIPTION] = np.ones(1, np.uint64)
        return tags, following

    @property
    def _bytes(self) -> Literal["little", "big"]:
        return "little" if self.order == "<" else "big"

    def _within(self, offset: int, length: int) -> None:
        if offset + length > self.size:
            message = f"declared end at byte {offset + length}, the file has {self.size}"
            raise PathaiError("E110", message)


def _directory(tags: dict[int, Values], index: int) -> Directory:
    def one(tag: int, default: int) -> int:
        values = tags.get(tag)
        return int(values[0]) if values is not None and len(values) else default

    width, height = one(_WIDTH, 0), one(_LENGTH, 0)
    if width == 0 or height == 0:
        raise PathaiError("E117", f"image {index} is {width} x {height} px")
    tiled = _TILE_OFFSETS in tags or _TILE_WIDTH in tags
    if tiled:
        block = one(_TILE_WIDTH, 0), one(_TILE_LENGTH, 0)
        if 0 in block:
            raise PathaiError("E117", f"tiles of image {index} are {block[0]} x {block[1]} px")
    else:
        block = width, min(one(_ROWS, height), height)
    none = np.zeros(0, np.uint64)
    offsets = tags.get(_TILE_OFFSETS, tags.get(_STRIP_OFFSETS, none))
    counts = tags.get(_TILE_COUNTS, tags.get(_STRIP_COUNTS, none))
    pairs = min(len(offsets), len(counts))
    used = counts[:pairs] > 0
    ends = [int(a) + int(b) for a, b in _extremes(offsets[:pairs][used], counts[:pairs][used])]
    return Directory(
        width=width,
        height=height,
        bits=tuple(int(b) for b in tags.get(_BITS, np.array([1], np.uint64))),
        samples=one(_SAMPLES, 1),
        compression=one(_COMPRESSION, 1),
        photometric=one(_PHOTOMETRIC, 2),
        tiled=tiled,
        block_width=block[0],
        block_height=block[1],
        hamamatsu=_HAMAMATSU in tags,
        ome=_DESCRIPTION in tags,
        alpha=one(_EXTRA, 0) in (1, 2),
        kind=one(_SUBFILE, 0),
        end=max(ends, default=0),
        largest=int(counts.max(initial=0)),
    )


def _extremes(offsets: Values, counts: Values) -> list[tuple[int, int]]:
    """The block that ends last (sums in floats decide, whole numbers are returned)."""
    if not len(offsets):
        return []
    last = int(np.argmax(offsets.astype(np.float64) + counts.astype(np.float64)))
    return [(int(offsets[last]), int(counts[last]))]
