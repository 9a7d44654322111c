"""The header of a DICOM file, read without believing its lengths and without a decoder.

Only what tells the instances of one slide apart and what says whether they are complete.

References
----------
DICOM PS3.5, section 7 (data elements) and PS3.3, section A.32.8 (VL Whole Slide Microscopy).
"""

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pathai.errors import PathaiError

MAGIC = b"DICM"
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_TEXT = {b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN", b"SH", b"ST", b"TM",
         b"UC", b"UI", b"UR", b"UT"}  # fmt: skip
_OPEN = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = 0x7FE00010
MAX_ELEMENTS = 1_000_000
"""Elements of one file, those of sequences included; a slide of 100,000 frames has some 500,000."""
_DEPTH = 16
_LINE = 64 * 1024

_SYNTAX, _IMPLICIT, _BIG_ENDIAN, _DEFLATED = (
    0x00020010,
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)


@dataclass(frozen=True)
class Element:
    """One data element: its tag, type, place and length in the file; ``level`` 0 is outermost."""

    tag: int
    kind: bytes
    place: int
    length: int
    level: int


class DicomReader:
    """Elements of a DICOM file, every length held against the size of the file.

    Raises
    ------
    PathaiError
        E104 if it is none, E110 where something ends past the file, E115 for too many elements,
        E119 for a transfer syntax that is not used for slides.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.implicit = False
        self._count = 0
        if self.fetch(0, 132)[128:] != MAGIC:
            raise PathaiError("E104", "not a DICOM file")

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

    def text(self, element: Element) -> str:
        """Value of a text element."""
        data = self.fetch(element.place, min(element.length, _LINE))
        return data.decode("latin-1").strip(" \0")

    def elements(self) -> Iterator[Element]:
        """Every element in file order, those of sequences included, up to the pixels."""
        at = 132
        while at < self.size:
            element, at = self._element(at, 0)
            if element.tag == _SYNTAX:
                self._set_syntax(self.text(element))
            yield element
            if element.tag == PIXELS:
                self._check_pixels(element)
                return
            if element.kind == b"SQ":
                at = yield from self._sequence(element, 1)

    def _set_syntax(self, syntax: str) -> None:
        if syntax in (_BIG_ENDIAN, _DEFLATED):
            raise PathaiError("E119", "a DICOM transfer syntax that is not read (big-endian, zip)")
        self.implicit = syntax == _IMPLICIT

    def _element(self, at: int, level: int) -> tuple[Element, int]:
        """An element and where the next one starts, for a sequence where its first item does."""
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise PathaiError("E115", f"more than {MAX_ELEMENTS} elements in a DICOM file")
        head = self.fetch(at, 8)
        group, number = struct.unpack_from("<HH", head)
        tag, kind = group << 16 | number, head[4:6]
        if group == 0xFFFE or (self.implicit and group != 2):
            kind, length, place = b"UN", int.from_bytes(head[4:], "little"), at + 8
        elif kind in _LONG:
            length, place = int.from_bytes(self.fetch(at + 8, 4), "little"), at + 12
        else:
            length, place = int.from_bytes(head[6:], "little"), at + 8
        if length == _OPEN and tag != PIXELS:
            kind = b"SQ"  # only a sequence may leave its length open
        if length != _OPEN and place + length > self.size:
            message = f"declared end at byte {place + length}, the file has {self.size}"
            raise PathaiError("E110", message)
        element = Element(tag, kind, place, length, level)
        return element, place if kind == b"SQ" or length == _OPEN else place + length

    def _sequence(self, outer: Element, level: int) -> Generator[Element, None, int]:
        """Elements of a sequence's items; the value returned is where it ends."""
        if level > _DEPTH:
            raise PathaiError("E115", f"DICOM sequences within sequences, {_DEPTH} deep")
        at = outer.place
        end = self.size if outer.length == _OPEN else outer.place + outer.length
        while at < end:
            item, _ = self._element(at, level)
            at = item.place
            if item.tag == _SEQUENCE_END:
                break
            last = end if item.length == _OPEN else at + item.length
            while at < last:
                element, following = self._element(at, level)
                at = following
                if element.tag == _ITEM_END:
                    break
                yield element
                if element.kind == b"SQ":
                    at = yield from self._sequence(element, level + 1)
        return at

    def _check_pixels(self, pixels: Element) -> None:
        """Encapsulated frames up to the closing delimiter; a cut file lacks it."""
        at = pixels.place
        while pixels.length == _OPEN:
            head = self.fetch(at, 8)
            group, number, length = struct.unpack("<HHI", head)
            if group << 16 | number == _SEQUENCE_END:
                return
            self._count += 1
            if group << 16 | number != _ITEM or self._count > MAX_ELEMENTS:
                raise PathaiError("E110", f"frames of the DICOM file are broken at byte {at}")
            at += 8 + length


def is_text(element: Element) -> bool:
    """Whether an element holds text."""
    return element.kind in _TEXT
