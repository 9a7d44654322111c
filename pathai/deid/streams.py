"""Compressed tiles: each must be its codec's stream, whole, of the tile's size, and nothing more.

What the coded picture itself shows or hides is not examined: tiles are passed on byte for byte.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.deid.jpeg import SLACK, check_jpeg
from pathai.deid.jpeg2000 import check_jpeg2000
from pathai.deid.report import unsafe

NONE, LZW, JPEG, DEFLATE, ZSTD, WEBP = 1, 5, 7, (8, 32946), 50000, 50001
JPEG2000 = (33003, 33005, 34712)
KNOWN = {NONE, LZW, JPEG, *DEFLATE, *JPEG2000, ZSTD, WEBP}
_CLEAR, _END = 256, 257
# Width in bits of the code at each place after a Clear code (TIFF 6.0, section 13: the width
# grows one code early), and where it starts.
_WIDTHS = np.repeat([9, 10, 11, 12], [254, 512, 1024, 2400])
_STARTS = np.concatenate([[0], np.cumsum(_WIDTHS)])


@dataclass(frozen=True)
class Block:
    """What a tile must be: compression of TIFF, sides in px, channels of 8 bits."""

    compression: int
    width: int
    height: int
    samples: int

    @property
    def bytes(self) -> int:
        """Of the decoded tile."""
        return self.width * self.height * self.samples


def check_stream(data: bytes, block: Block) -> None:
    """Refuse a tile that holds anything beside its picture.

    Parameters
    ----------
    data : bytes
        As stored.
    block : Block

    Raises
    ------
    PathaiError
        E148; the slide is to be left out, because tiles are never changed.
    """
    kind = block.compression
    if kind == JPEG:
        check_jpeg(data, block.width, block.height, block.samples)
    elif kind in JPEG2000:
        check_jpeg2000(data, block.width, block.height, block.samples)
    elif kind == NONE:
        _size(len(data), block)
    elif kind in DEFLATE:
        _deflate(data, block)
    elif kind == LZW:
        _lzw(data, block)
    elif kind == ZSTD:
        _zstd(data, block)
    elif kind == WEBP:
        _webp(data, block)
    else:
        raise unsafe(f"compression {kind} is not known")


def _size(found: int, block: Block) -> None:
    if found != block.bytes:
        raise unsafe("a tile holds more or fewer bytes than its picture needs")


def _padding(rest: bytes) -> None:
    if len(rest) > SLACK or any(rest):
        raise unsafe("bytes follow after the end of a compressed tile")


def _deflate(data: bytes, block: Block) -> None:
    decoder = zlib.decompressobj()
    try:
        decoded = decoder.decompress(data, block.bytes + 1)
    except zlib.error:
        raise unsafe("a tile is not the deflate stream that its tag says") from None
    _size(len(decoded), block)
    # The checksum may not have been looked at yet when the wanted number of bytes is out.
    if not decoder.eof and (decoder.decompress(decoder.unconsumed_tail, 1) or not decoder.eof):
        raise unsafe("a compressed tile does not end where it should")
    _padding(decoder.unused_data)


def _lzw(data: bytes, block: Block) -> None:
    import imagecodecs

    # Some encoders write the End code one bit wider than others: a byte more may belong to it.
    _padding(data[lzw_end(data) + 1 :])
    try:
        _size(len(imagecodecs.lzw_decode(data, out=block.bytes + 1)), block)
    except imagecodecs.LzwError:
        raise unsafe("a tile is not the LZW stream that its tag says") from None


def lzw_end(data: bytes) -> int:
    """First byte after the End code of an LZW stream.

    Parameters
    ----------
    data : bytes
        TIFF LZW, most significant bit first.

    Returns
    -------
    int
        The length of ``data`` when there is none, as some writers do: then every byte is code.

    Raises
    ------
    PathaiError
        E148 when the stream does not start with Clear.
    """
    bits = np.frombuffer(data + b"\0\0\0", np.uint8).astype(np.uint32)
    at, total = 0, len(data) * 8
    first = True
    while at + 9 <= total:
        codes = _codes(bits, at, total)
        if first and (not len(codes) or codes[0] != _CLEAR):
            raise unsafe("a tile is not the LZW stream that its tag says")
        if first:  # the Clear at the start is itself 9 bits wide
            at, first = at + 9, False
            continue
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        if not len(stops):
            break
        stop = int(stops[0])
        at += int(_STARTS[stop + 1])
        if codes[stop] == _END:
            return -(-at // 8)
    return len(data)


def _codes(bits: NDArray[np.uint32], at: int, total: int) -> NDArray[np.uint32]:
    """Codes from a bit on, as they are if no Clear is among them."""
    number = int(np.searchsorted(_STARTS, total - at, "right")) - 1
    places = at + _STARTS[:number]
    byte = places >> 3
    word = (bits[byte] << 16) | (bits[byte + 1] << 8) | bits[byte + 2]
    width = _WIDTHS[:number]
    shift = (24 - (places & 7) - width).astype(np.uint32)
    mask = ((1 << width) - 1).astype(np.uint32)
    found: NDArray[np.uint32] = (word >> shift) & mask
    return found


def _zstd(data: bytes, block: Block) -> None:
    """One frame (RFC 8878, section 3.1.1) and no skippable ones."""
    import imagecodecs

    if data[:4] != b"\x28\xb5\x2f\xfd" or len(data) < 6:
        raise unsafe("a tile is not the zstd frame that its tag says")
    head = data[4]
    single = bool(head & 0x20)
    at = 5 + (not single) + (0, 1, 2, 4)[head & 3] + ((1 if single else 0), 2, 4, 8)[head >> 6]
    while True:
        word = int.from_bytes(data[at : at + 3], "little")
        kind, size = word >> 1 & 3, word >> 3
        at += 3 + (1 if kind == 1 else size)
        if kind == 3 or at > len(data):
            raise unsafe("a zstd tile is not well formed")
        if word & 1:
            break
    at += 4 if head & 4 else 0
    _padding(data[at:])
    try:
        _size(len(imagecodecs.zstd_decode(data[:at], out=block.bytes + 1)), block)
    except imagecodecs.ZstdError:
        raise unsafe("a tile is not the zstd frame that its tag says") from None


def _webp(data: bytes, block: Block) -> None:
    """Chunks of picture data alone: no EXIF, XMP or ICCP."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or end > len(data):
        raise unsafe("a tile is not the WebP that its tag says")
    at = 12
    while at < end:
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name not in (b"VP8 ", b"VP8L", b"ALPH") and not (name == b"VP8X" and length == 10):
            raise unsafe("a WebP tile carries more than its picture")
        at += 8 + length
        if length & 1 and data[at : at + 1] != b"\0":
            raise unsafe("a WebP tile is not well formed")
        at += length & 1
    if at != end:
        raise unsafe("a WebP tile is not well formed")
    _padding(data[end:])
