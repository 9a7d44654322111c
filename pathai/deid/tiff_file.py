"""Every tag of every directory of a TIFF as it stands in the file, believing nothing.

Unlike `pathai.readers.tiff_walk`, which asks whether a slide can be read, this keeps the raw
bytes: what is not understood must be seen to be left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pathai.deid.report import unsafe
from pathai.errors import PathaiError

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
         16: 8, 17: 8, 18: 8}  # fmt: skip
INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
MAX_IMAGES, MAX_TAGS = 512, 512
SUB_IFDS, TILE_OFFSETS, TILE_COUNTS, STRIP_OFFSETS, STRIP_COUNTS = 330, 324, 325, 273, 279


@dataclass(frozen=True)
class Tag:
    """One entry of a directory: its type, number of values, and their bytes."""

    code: int
    kind: int
    count: int
    data: bytes
    order: Literal["<", ">"]

    @property
    def text(self) -> str:
        """The bytes up to the first NUL as text (each byte one character)."""
        return self.data.split(b"\0", 1)[0].decode("latin-1")

    def integers(self) -> NDArray[np.uint64]:
        """Values of an unsigned integer tag.

        Raises
        ------
        PathaiError
            E148 when it has another type: the file is not what it should be.
        """
        if self.kind not in INTEGERS:
            raise unsafe(f"tag {self.code} is not of an integer type")
        return np.frombuffer(self.data, self.order + INTEGERS[self.kind]).astype(np.uint64)

    def rationals(self) -> list[tuple[int, int]]:
        """Values of a rational tag as (numerator, denominator)."""
        if self.kind != 5:
            raise unsafe(f"tag {self.code} is not of type rational")
        flat = np.frombuffer(self.data, self.order + "u4").tolist()
        return list(zip(flat[::2], flat[1::2], strict=True))


@dataclass
class Image:
    """One directory and the sub-directories that it names."""

    index: int
    tags: dict[int, Tag]
    children: list[Image] = field(default_factory=list)

    def one(self, code: int, default: int | None = None) -> int:
        """The single value of an integer tag."""
        tag = self.tags.get(code)
        if tag is None:
            if default is None:
                raise unsafe(f"image {self.index} lacks tag {code}")
            return default
        values = tag.integers()
        if len(values) != 1:
            raise unsafe(f"tag {code} of image {self.index} has {len(values)} values")
        return int(values[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.one(256), self.one(257)

    @property
    def tiled(self) -> bool:
        """Whether the pixels stand in tiles rather than strips."""
        return TILE_OFFSETS in self.tags

    @property
    def description(self) -> str:
        """ImageDescription, up to the first NUL."""
        tag = self.tags.get(270)
        return tag.text if tag is not None else ""

    def blocks(self) -> NDArray[np.uint64]:
        """Offset and byte count of every tile or strip: uint64[n, 2]."""
        codes = (TILE_OFFSETS, TILE_COUNTS) if self.tiled else (STRIP_OFFSETS, STRIP_COUNTS)
        if not all(code in self.tags for code in codes):
            return np.zeros((0, 2), np.uint64)
        offsets, counts = (self.tags[code].integers() for code in codes)
        if len(offsets) != len(counts):
            raise unsafe(f"image {self.index} has more tile offsets than sizes, or fewer")
        return np.stack([offsets, counts], axis=1)


@dataclass
class Tiff:
    """A parsed TIFF."""

    order: Literal["<", ">"]
    big: bool
    images: list[Image]
    spans: list[tuple[int, int]]
    """Offset and size of every directory and every value beside it."""

    def everything(self) -> Iterator[Image]:
        """Images of the main chain and their sub-images."""
        for image in self.images:
            yield image
            yield from image.children


def read_tiff(file: BinaryIO, size: int) -> Tiff:
    """Read the directories of a TIFF or BigTIFF.

    Parameters
    ----------
    file : binary file
    size : int
        Of the file, bytes.

    Returns
    -------
    Tiff

    Raises
    ------
    PathaiError
        E110 past the end, E114 for a loop, E115 for too much, E148 for what no slide has:
        copy the slide again, or leave it out.
    """
    reader = _Reader(file, size)
    images: list[Image] = []
    following = reader.first
    while following:
        image, following = reader.directory(following, len(images))
        images.append(image)
        places = image.tags.get(SUB_IFDS)
        for place in places.integers().tolist() if places is not None else ():
            child, after = reader.directory(place, image.index)
            if after or SUB_IFDS in child.tags:
                raise unsafe("sub-images are chained or nested")
            image.children.append(child)
    if not images:
        raise PathaiError("E104", "a TIFF without any image")
    return Tiff(reader.order, reader.big, images, reader.spans)


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.seen = file, size, set[int]()
        self.spans: list[tuple[int, int]] = [(0, 8)]
        head = self.fetch(0, 8)
        self.order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
        self.end: Literal["little", "big"] = "little" if self.order == "<" else "big"
        version = struct.unpack(self.order + "H", head[2:4])[0]
        self.big = version == 43
        if head[:2] not in (b"II", b"MM") or version not in (42, 43):
            raise PathaiError("E104", "not a TIFF")
        if self.big and head[4:] != struct.pack(self.order + "HH", 8, 0):
            raise unsafe("the BigTIFF header is not well formed")
        self.first = self._int(self.fetch(8, 8) if self.big else head[4:8])

    def fetch(self, offset: int, count: int) -> bytes:
        if offset + count > self.size:
            message = f"declared end at byte {offset + count}, the file has {self.size}"
            raise PathaiError("E110", message)
        self.file.seek(offset)
        data = self.file.read(count)
        if len(data) != count:
            raise PathaiError("E110", f"the file ends before byte {offset + count}")
        return data

    def directory(self, offset: int, index: int) -> tuple[Image, int]:
        if offset in self.seen:
            raise PathaiError("E114", f"image directory at byte {offset} is reached twice")
        if len(self.seen) >= MAX_IMAGES:
            raise PathaiError("E115", f"more than {MAX_IMAGES} image directories")
        self.seen.add(offset)
        head, entry, link = (8, 20, 8) if self.big else (2, 12, 4)
        number = self._int(self.fetch(offset, head))
        if number > MAX_TAGS:
            raise PathaiError("E115", f"{number} tags in one image directory")
        body = self.fetch(offset + head, number * entry + link)
        self.spans.append((offset, head + len(body)))
        tags: dict[int, Tag] = {}
        for k in range(number):
            tag = self._tag(body[k * entry : (k + 1) * entry])
            if tag.code in tags:
                raise unsafe(f"tag {tag.code} stands twice in image {index}")
            tags[tag.code] = tag
        return Image(index, tags), self._int(body[number * entry :])

    def _tag(self, entry: bytes) -> Tag:
        code, kind = struct.unpack_from(self.order + "HH", entry)
        if kind not in SIZES:
            raise unsafe(f"tag {code} has the unknown type {kind}")
        half = (len(entry) - 4) // 2
        count = self._int(entry[4 : 4 + half])
        length = count * SIZES[kind]
        data = entry[4 + half :]
        if length > half:
            place = self._int(data)
            self.spans.append((place, length))
            data = self.fetch(place, length)
        return Tag(code, kind, count, data[:length], self.order)

    def _int(self, data: bytes) -> int:
        return int.from_bytes(data, self.end)
