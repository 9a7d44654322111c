"""Hostile slides for the tests of `pathai deid`: canaries in every place that could hold one."""

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile

from pathai.deid.work import make
from pathai.errors import PathaiError

CANARY = b"CANARY-9f31-Q"
"""What no copy may hold, in this or in UTF-16."""
FORMS = (CANARY, CANARY.decode().encode("utf-16-le"), CANARY.decode().encode("utf-16-be"))


def leaks(path: Path) -> list[bytes]:
    """Canaries that a file, or any file of a folder, holds."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [form for file in files for form in FORMS if form in file.read_bytes()]


@dataclass
class RawTiff:
    """A TIFF taken apart: per directory its tags (raw bytes) and blocks; sub-images below.

    It can be put together in either byte order, as classic TIFF or BigTIFF, with gaps.
    """

    order: str = "<"
    big: bool = False
    images: list["RawImage"] = field(default_factory=list)
    gap: bytes = b""
    tail: bytes = b""

    def write(self, path: Path) -> None:
        out = bytearray()
        mark = b"II" if self.order == "<" else b"MM"
        out += mark + (
            struct.pack(self.order + "HHHQ", 43, 8, 0, 0)
            if self.big
            else struct.pack(self.order + "HI", 42, 0)
        )
        link = len(out) - (8 if self.big else 4)
        for image in self.images:
            offset = self._directory(out, image)
            out[link : link + (8 if self.big else 4)] = self._pointer(offset)
            link = len(out) - (8 if self.big else 4)
            out += self.gap
        path.write_bytes(bytes(out) + self.tail)

    def _directory(self, out: bytearray, image: "RawImage") -> int:
        tags = dict(image.tags)
        if image.children:
            places = [self._directory(out, child) for child in image.children]
            tags[330] = (16 if self.big else 4, places)
        offsets = []
        for block in image.blocks:
            out += self.gap
            offsets.append(len(out))
            out += block
        codes = (324, 325) if image.tiled else (273, 279)
        if image.blocks:
            pointer = 16 if self.big else 4
            tags[codes[0]] = (pointer, image.offsets or offsets)
            tags[codes[1]] = (pointer, image.sizes or [len(block) for block in image.blocks])
        image.placed = offsets
        entries = b""
        inline = 8 if self.big else 4
        for code in sorted(tags):
            kind, content = tags[code]
            data, count = self._coded(kind, content)
            if len(data) > inline:
                place = len(out)
                out += data + bytes(len(data) % 2)
                data = self._pointer(place)
            entries += struct.pack(self.order + "HH", code, kind) + self._pointer(count)
            entries += data.ljust(inline, b"\0")
        start = len(out)
        out += struct.pack(self.order + ("Q" if self.big else "H"), len(tags))
        out += entries + self._pointer(0)
        return start

    def _coded(self, kind: int, content: bytes | list[int]) -> tuple[bytes, int]:
        if isinstance(content, bytes):
            return content, len(content) // {2: 1, 7: 1, 1: 1, 3: 2, 4: 4}.get(kind, 1)
        letter = {1: "B", 3: "H", 4: "I", 5: "I", 16: "Q"}[kind]
        data = struct.pack(f"{self.order}{len(content)}{letter}", *content)
        return data, len(content) // (2 if kind == 5 else 1)

    def _pointer(self, value: int) -> bytes:
        return struct.pack(self.order + ("Q" if self.big else "I"), value)


@dataclass
class RawImage:
    """A directory: tags as code to (type, numbers or bytes), and its blocks."""

    tags: dict[int, tuple[int, bytes | list[int]]]
    tiled: bool
    blocks: list[bytes]
    children: list["RawImage"] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    placed: list[int] = field(default_factory=list)


def take_apart(path: Path) -> RawTiff:
    """Read a little-endian or big-endian TIFF by tifffile into its parts."""

    def image(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> RawImage:
        tags: dict[int, tuple[int, bytes | list[int]]] = {}
        for tag in page.tags:
            if tag.code in (273, 279, 324, 325, 330):
                continue
            tiff.filehandle.seek(tag.valueoffset)
            raw = tiff.filehandle.read(tag.valuebytecount)
            kind = int(tag.dtype)
            if kind in (3, 4, 5, 16):
                letter = {3: "H", 4: "I", 5: "I", 16: "Q"}[kind]
                many = tag.count * (2 if kind == 5 else 1)
                tags[tag.code] = (kind, list(struct.unpack(f"{tiff.byteorder}{many}{letter}", raw)))
            else:
                tags[tag.code] = (kind, raw)
        blocks = []
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            blocks.append(tiff.filehandle.read(size))
        children = [image(tiff, child) for child in page.pages or ()]
        return RawImage(tags, page.is_tiled, blocks, children)

    with tifffile.TiffFile(path) as tiff:
        return RawTiff(images=[image(tiff, page) for page in tiff.pages])


def smooth():
    """Smooth color with a dark disk: compresses well, and every part differs."""
    y, x = np.mgrid[:700, :900]
    base = np.stack([200 + 40 * np.sin(x / 90), 150 + x // 9 % 90, 120 + y // 7], axis=-1)
    base[(x - 400) ** 2 + (y - 300) ** 2 < 9000] //= 3
    return base.clip(0, 255).astype(np.uint8)


def attempt(source, out):
    """Copy in this process; the error if it was refused."""
    try:
        return make(source, out, b"k" * 32)
    except PathaiError as error:
        return error


def refused(source, out, *codes):
    found = attempt(source, out)
    assert isinstance(found, PathaiError), "it was copied"
    assert found.code in (codes or ("E148",)), found
    assert CANARY.decode() not in str(found)
    return found


def tiles(path, index):
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[index]
        found = []
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            found.append(hashlib.sha256(tiff.filehandle.read(size)).hexdigest())
        return found


def with_comment(stream, marker=0xFE):
    body = b"Exif\0\0" + CANARY
    return stream[:2] + bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body + stream[2:]
