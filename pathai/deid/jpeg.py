"""A JPEG stream, segment by segment: nothing but tables, frame and coded data may be in it.

References
----------
ITU-T T.81, annex B; JFIF 1.02; Adobe technical note 5116 (APP14).
"""

from __future__ import annotations

import re

from pathai.deid.report import unsafe

_FRAMES = range(0xC0, 0xC4)  # baseline, extended, progressive, lossless; Huffman coded
_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xE0, 0xEE
_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)
_JFIF = re.compile(rb"JFIF\0\x01[\0-\x02][\0-\x02].{4}\0\0", re.DOTALL)
_ADOBE = re.compile(rb"Adobe\0[\x64\x65][\0\x40\x80\xc0]\0[\0\x40\x80\xc0]\0[\0-\x02]", re.DOTALL)
SLACK = 16
"""Zero bytes after the end of a stream that writers leave as padding."""


def check_tables(data: bytes) -> None:
    """Hold a JPEGTables tag to quantization and Huffman tables alone.

    Raises
    ------
    PathaiError
        E148 when anything else is in it, such as a comment.
    """
    at = 2
    if data[:2] != b"\xff\xd8":
        raise unsafe("the JPEG tables are not well formed")
    while True:
        marker, body, at = _segment(data, at)
        if marker == _EOI:
            break
        _plain(marker, body)
    _only_padding(data[at:])


def check_jpeg(data: bytes, width: int, height: int, samples: int) -> None:
    """Hold a JPEG tile to what decoding needs.

    Parameters
    ----------
    data : bytes
        The stream, with or without its tables.
    width, height, samples : int
        What the frame must say.

    Raises
    ------
    PathaiError
        E148 for comments, application data, other sizes and anything after the end.
    """
    if data[:2] != b"\xff\xd8":
        raise unsafe("a tile is not the JPEG that its tag says")
    at, framed, scans = 2, False, 0
    while True:
        marker, body, at = _segment(data, at)
        if marker == _EOI:
            break
        if marker in _FRAMES:
            wanted = bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big")
            if framed or body[:5] != wanted or body[5] != samples:
                raise unsafe("a JPEG tile is of another size or depth than its tag says")
            if len(body) != 6 + 3 * samples:
                raise unsafe("a JPEG frame header is not well formed")
            framed = True
        elif marker == _SOS:
            found = _IN_SCAN.search(data, at)
            if not framed or found is None or len(body) != 4 + 2 * body[0]:
                raise unsafe("a JPEG tile is not complete")
            at, scans = found.start(), scans + 1
        else:
            _plain(marker, body)
    if not scans:
        raise unsafe("a JPEG tile without picture")
    _only_padding(data[at:])


def _segment(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Marker, content, and where the next one starts."""
    while data[at : at + 2] == b"\xff\xff":
        at += 1
    if len(data) < at + 2 or data[at] != 0xFF:
        raise unsafe("a JPEG stream is not well formed")
    marker = data[at + 1]
    if marker == _EOI:
        return marker, b"", at + 2
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    if length < 2 or at + 2 + length > len(data):
        raise unsafe("a JPEG segment is not complete")
    body = data[at + 4 : at + 2 + length]
    if marker == _SOS and not body:
        raise unsafe("a JPEG scan header is empty")
    if marker in _FRAMES and len(body) < 6:
        raise unsafe("a JPEG frame header is not well formed")
    return marker, body, at + 2 + length


def _plain(marker: int, body: bytes) -> None:
    """Refuse a segment that can carry text."""
    if marker == _DQT and _quantization(body):
        return
    if marker == _DHT and _huffman(body):
        return
    if marker == _DRI and len(body) == 2:
        return
    if marker == _APP0 and _JFIF.fullmatch(body):
        return
    if marker == _APP14 and _ADOBE.fullmatch(body):
        return
    if marker == 0xFE:
        raise unsafe("a JPEG tile or table carries a comment", REMEDY)
    if 0xE0 <= marker <= 0xEF:
        raise unsafe(f"a JPEG tile or table carries application data (APP{marker - 0xE0})", REMEDY)
    raise unsafe(f"a JPEG tile or table holds the segment {marker:02X}, which is not known")


REMEDY = "text inside of image data cannot be taken out without touching it; leave the slide out"


def _quantization(body: bytes) -> bool:
    at = 0
    while at < len(body):
        precision, table = body[at] >> 4, body[at] & 15
        at += 1 + 64 * (precision + 1)
        if precision > 1 or table > 3:
            return False
    return at == len(body) > 0


def _huffman(body: bytes) -> bool:
    at = 0
    while at + 17 <= len(body):
        if body[at] >> 4 > 1 or body[at] & 15 > 3:
            return False
        at += 17 + sum(body[at + 1 : at + 17])
    return at == len(body) > 0


def _only_padding(rest: bytes) -> None:
    if len(rest) > SLACK or any(rest):
        raise unsafe("bytes follow after the end of a compressed tile")
