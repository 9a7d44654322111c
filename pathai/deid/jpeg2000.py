"""A JPEG 2000 stream, marker by marker, bare or in JP2 boxes.

References
----------
ITU-T T.800, annexes A and I.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pathai.deid.jpeg import REMEDY, SLACK
from pathai.deid.report import unsafe

_SIZ, _COM, _SOT, _SOD, _EOC = 0xFF51, 0xFF64, 0xFF90, 0xFF93, 0xFFD9
_HEADER = {0xFF50, 0xFF52, 0xFF53, 0xFF55, 0xFF57, 0xFF58, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F,
           0xFF60, 0xFF61, 0xFF63}  # fmt: skip
_WRITERS = re.compile(
    rb"Kakadu-v?\d{1,2}(\.\d{1,2}){0,3}"
    rb"|Created by OpenJPEG version \d{1,2}(\.\d{1,2}){1,2}"
    rb"|Creator: JasPer Version \d(\.\d{1,4}){1,2}"
    rb"|Kdu-Layer-Info: log_2\{Delta-D\((MSE|squared-error)\)/\[?(2\^16\*)?Delta-L\(bytes\)\]?\}, "
    rb"L\(bytes\)\n([ ]*-?\d{1,4}\.\d, +\d\.\de[+]\d{1,3}\n)+"
)
"""Comments of encoders that name only themselves."""
_BOXES = (b"jP  ", b"ftyp", b"jp2h", b"jp2c")
_INNER = (b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef")


def check_jpeg2000(data: bytes, width: int, height: int, samples: int) -> None:
    """Hold a JPEG 2000 tile to what decoding needs.

    Parameters
    ----------
    data : bytes
        Code stream, or a JP2 file with one.
    width, height, samples : int
        What the stream must say.

    Raises
    ------
    PathaiError
        E148 for comments that are not an encoder's own, boxes such as XML, and loose bytes.
    """
    if data[:4] == b"\0\0\0\x0c":
        data = _unboxed(data)
    if data[:4] != b"\xff\x4f\xff\x51":
        raise unsafe("a tile is not the JPEG 2000 that its tag says")
    at = 2
    while True:
        marker, at = _marker(data, at)
        if marker == _EOC:
            break
        if marker == _SOT:
            at = _tile_part(data, at)
            continue
        body, at = _body(data, at)
        if marker == _SIZ:
            x1, y1, x0, y0 = (int.from_bytes(body[k : k + 4], "big") for k in (2, 6, 10, 14))
            found = (x1 - x0, y1 - y0, int.from_bytes(body[34:36], "big"))
            if found != (width, height, samples):
                raise unsafe("a JPEG 2000 tile is of another size or depth than its tag says")
        else:
            _plain(marker, body)
    if len(data) - at > SLACK or any(data[at:]):
        raise unsafe("bytes follow after the end of a compressed tile")


def _tile_part(data: bytes, at: int) -> int:
    """Check the header of a tile part; return where the next one starts."""
    start = at - 2
    body, at = _body(data, at)
    length = int.from_bytes(body[2:6], "big")
    if len(body) != 8:
        raise unsafe("a JPEG 2000 tile part is not well formed")
    if length == 0:  # up to the end of the stream
        trimmed = data.rstrip(b"\0")
        length = len(trimmed) - 2 - start
    while True:
        marker, at = _marker(data, at)
        if marker == _SOD:
            break
        body, at = _body(data, at)
        _plain(marker, body)
    if start + length < at or start + length > len(data):
        raise unsafe("a JPEG 2000 tile part is not complete")
    return start + length


def _plain(marker: int, body: bytes) -> None:
    if marker == _COM:
        text = body[2:].rstrip(b"\0")
        if body[:2] != b"\0\x01" or (text and not _WRITERS.fullmatch(text)):
            raise unsafe("a JPEG 2000 tile carries a comment", REMEDY)
    elif marker not in _HEADER:
        raise unsafe(f"a JPEG 2000 tile holds the segment {marker:04X}, which is not known")


def _marker(data: bytes, at: int) -> tuple[int, int]:
    if at + 2 > len(data) or data[at] != 0xFF:
        raise unsafe("a JPEG 2000 stream is not well formed")
    return int.from_bytes(data[at : at + 2], "big"), at + 2


def _body(data: bytes, at: int) -> tuple[bytes, int]:
    length = int.from_bytes(data[at : at + 2], "big")
    if length < 2 or at + length > len(data):
        raise unsafe("a JPEG 2000 segment is not complete")
    return data[at + 2 : at + length], at + length


def _unboxed(data: bytes) -> bytes:
    """The code stream of a JP2 file whose boxes hold nothing else."""
    stream = b""
    for name, body in _boxes(data, last=b"jp2c"):
        if name not in _BOXES or stream:
            raise unsafe("a JPEG 2000 tile carries a box that is not known, such as XML", REMEDY)
        if name == b"jP  " and body != b"\r\n\x87\n":
            raise unsafe("a JPEG 2000 tile is not well formed")
        if name == b"ftyp" and not re.fullmatch(rb"jp[2x] \0{4}(jp2 |jpx |jpxb)+", body):
            raise unsafe("a JPEG 2000 tile is of a kind that is not known")
        if name == b"jp2h":
            for inner, content in _boxes(body):
                if inner not in _INNER or (inner == b"colr" and content[:1] != b"\x01"):
                    raise unsafe("a JPEG 2000 tile carries a color profile or an unknown box")
        if name == b"jp2c":
            stream = body
    return stream


def _boxes(data: bytes, last: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == last and length == 0:
            length = len(data) - at
        if length < 8 or at + length > len(data):
            if not any(data[at:]) and len(data) - at <= SLACK:
                return
            raise unsafe("a JPEG 2000 box is not well formed")
        yield name, data[at + 8 : at + length]
        at += length
