"""The pixel data of a DICOM file passed on, fragment by fragment, without holding it in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pathai.deid.report import unsafe
from pathai.deid.streams import JPEG, JPEG2000, Block, check_stream

PIXELS = b"\xe0\x7f\x10\x00"
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CODECS = {
    **dict.fromkeys(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"), JPEG),
    **dict.fromkeys(("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"), JPEG),
    **dict.fromkeys(("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"), JPEG2000[0]),
}
"""Transfer syntaxes with compressed frames, and TIFF's name of the codec."""
_PIECE = 2**22


@dataclass(frozen=True)
class Frames:
    """What the pixel data must be."""

    syntax: str
    width: int
    height: int
    number: int

    @property
    def block(self) -> Block:
        """What each compressed frame must be."""
        return Block(CODECS[self.syntax], self.width, self.height, 3)


def copy_pixels(file: BinaryIO, out: BinaryIO, frames: Frames, size: int) -> int:
    """Copy the pixel data element that starts here.

    Parameters
    ----------
    file, out : binary file
        The source stands at the element; what is written is the element.
    frames : Frames
    size : int
        Of the source, bytes.

    Returns
    -------
    int
        Bytes of the source after the element; they are not copied.

    Raises
    ------
    PathaiError
        E148 for frames in several fragments, tables of offsets that are none, and streams with
        more than their picture.
    """
    if file.read(4) != PIXELS:
        raise unsafe("the DICOM file has no 8-bit pixel data where it should be")
    explicit = frames.syntax != IMPLICIT
    vr = file.read(4) if explicit else b""
    (length,) = struct.unpack("<I", file.read(4))
    if explicit and vr not in (b"OB\0\0", b"OW\0\0"):
        raise unsafe("the pixel data are not of a type that is known")
    out.write(PIXELS + vr + struct.pack("<I", length))
    if frames.syntax in CODECS:
        if length != _UNDEFINED:
            raise unsafe("compressed pixel data without fragments")
        _encapsulated(file, out, frames)
    else:
        _native(file, out, frames, length)
    return size - file.tell()


def _native(file: BinaryIO, out: BinaryIO, frames: Frames, length: int) -> None:
    wanted = frames.width * frames.height * 3 * frames.number
    if length != wanted + wanted % 2:
        raise unsafe("the pixel data are of another size than the header says")
    left = wanted
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise unsafe("the pixel data are not complete")
        out.write(piece)
        left -= len(piece)
    if wanted % 2:
        if file.read(1) != b"\0":
            raise unsafe("the pixel data end in a byte that belongs to no pixel")
        out.write(b"\0")


def _encapsulated(file: BinaryIO, out: BinaryIO, frames: Frames) -> None:
    table = _item(file)
    if table is None or len(table) not in (0, 4 * frames.number):
        raise unsafe("the table of frame offsets is not well formed")
    out.write(_ITEM + struct.pack("<I", len(table)) + table)
    at = 0
    offsets: list[int] = []
    for fragment in _fragments(file):
        if len(offsets) == frames.number:
            raise unsafe("the file has more fragments than frames")
        check_stream(fragment, frames.block)
        out.write(_ITEM + struct.pack("<I", len(fragment)) + fragment)
        offsets.append(at)
        at += 8 + len(fragment)
    if len(offsets) != frames.number:
        raise unsafe("the file has fewer fragments than frames")
    if table and table != struct.pack(f"<{len(offsets)}I", *(k & _UNDEFINED for k in offsets)):
        raise unsafe("the table of frame offsets does not fit the frames")
    out.write(_END + bytes(4))


def _fragments(file: BinaryIO) -> Iterator[bytes]:
    while (fragment := _item(file)) is not None:
        yield fragment


def _item(file: BinaryIO) -> bytes | None:
    """Content of the next item, None at the end of the sequence."""
    head = file.read(8)
    length = int.from_bytes(head[4:], "little")
    if head == _END + bytes(4):
        return None
    data = file.read(length) if length < 2**30 else b""
    if head[:4] != _ITEM or len(data) != length or length % 2:
        raise unsafe("the fragments of the pixel data are not well formed")
    return data
