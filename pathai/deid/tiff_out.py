"""Writing a TIFF from nothing: tiles that are passed on, and directories of few, checked tags."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 2, 3, 4, 5, 7, 16
_FORMATS = {SHORT: "H", LONG: "I", LONG8: "Q"}
CLASSIC_LIMIT = 2**32 - 2**20
"""Bytes beyond which only BigTIFF can address everything."""

Value = tuple[int, Sequence[int] | bytes]
"""Type, and the numbers (a rational is two) or the bytes."""


@dataclass
class NewImage:
    """A directory to be written.

    Attributes
    ----------
    tags : dict of int to Value
        Without offsets and sizes of blocks, which the writer knows.
    blocks : list of tuple of int
        Offset and size in the new file, in order.
    tiled : bool
    children : list of NewImage
        Sub-images.
    """

    tags: dict[int, Value]
    tiled: bool = True
    blocks: list[tuple[int, int]] = field(default_factory=list)
    children: list[NewImage] = field(default_factory=list)


class TiffOut:
    """A TIFF being written front to back; no byte in it comes from anywhere else.

    Parameters
    ----------
    file : binary file
        Empty.
    order : {"<", ">"}
    big : bool
        BigTIFF.
    """

    def __init__(self, file: BinaryIO, order: Literal["<", ">"], big: bool) -> None:
        self.file, self.order, self.big = file, order, big
        self.at = 0
        mark = b"II" if order == "<" else b"MM"
        if big:
            self._put(mark + struct.pack(order + "HHHQ", 43, 8, 0, 0))
        else:
            self._put(mark + struct.pack(order + "HI", 42, 0))
        self._link = self.at - (8 if big else 4)

    def block(self, data: bytes) -> tuple[int, int]:
        """Append a tile or strip; return its offset and size."""
        place = self.at
        self._put(data)
        return place, len(data)

    def image(self, image: NewImage) -> None:
        """Append a directory, its sub-images first, and link it to the chain."""
        offset = self._directory(image)
        self.file.seek(self._link)
        self.file.write(self._pointer(offset))
        self.file.seek(self.at)
        self._link = self.at - (8 if self.big else 4)

    def _directory(self, image: NewImage) -> int:
        pointer = LONG8 if self.big else LONG
        tags = dict(image.tags)
        if image.children:
            tags[330] = (pointer, [self._directory(child) for child in image.children])
        offsets, sizes = (324, 325) if image.tiled else (273, 279)
        tags[offsets] = (pointer, [offset for offset, _ in image.blocks])
        tags[sizes] = (pointer, [size for _, size in image.blocks])
        inline = 8 if self.big else 4
        entries = b""
        for code in sorted(tags):
            kind, count, data = self._coded(tags[code])
            if len(data) > inline:
                self._align()
                data = self._pointer(self.block(data)[0])
            entries += struct.pack(self.order + "HH", code, kind) + self._pointer(count)
            entries += data.ljust(inline, b"\0")
        self._align()
        start = self.at
        number = struct.pack(self.order + ("Q" if self.big else "H"), len(tags))
        self._put(number + entries + self._pointer(0))
        return start

    def _coded(self, value: Value) -> tuple[int, int, bytes]:
        kind, content = value
        if isinstance(content, bytes):
            return kind, len(content), content
        if kind == RATIONAL:
            data = struct.pack(f"{self.order}{len(content)}I", *content)
            return kind, len(content) // 2, data
        return (
            kind,
            len(content),
            struct.pack(f"{self.order}{len(content)}{_FORMATS[kind]}", *content),
        )

    def _pointer(self, value: int) -> bytes:
        return struct.pack(self.order + ("Q" if self.big else "I"), value)

    def _align(self) -> None:
        self._put(bytes(-self.at % 8))

    def _put(self, data: bytes) -> None:
        self.file.write(data)
        self.at += len(data)
