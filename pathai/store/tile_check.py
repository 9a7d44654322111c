"""Whether a compressed tile looks whole, without decoding it.

A scanner's tile is copied as it is, so damage in it must be found by its structure: markers that
cannot stand there, zeros where a lost block was, a wrong size. What may be right is decoded to be
sure. Text that somebody hid in a tile must not enter the store.

References
----------
ITU T.81 (JPEG) annex B, ITU T.800 (JPEG 2000) annex A.
"""

import re
from collections.abc import Callable

import numpy as np

from pathai.store.chunks import Undecodable, unpack
from pathai.units import Size

ZEROS = bytes(256)
"""A run that only a lost block or a tile of one color holds."""
_ODD = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)
_SOF, _SOS, _EOI = (0xC0, 0xC1, 0xC2), 0xDA, b"\xff\xd9"
_PICTURE_MARKERS = {0xE0, 0xEE, 0xDB, 0xC4, 0xDD, *_SOF}
"""Segments without text: JFIF, Adobe, tables, restart interval, frame."""
_CODERS = (b"Kakadu-", b"Kdu-", b"Created by OpenJPEG", b"LEAD Technologies")
"""Comments of JPEG 2000 encoders about themselves."""


class CannotCopy(Exception):
    """The slide's tiles have to be decoded; the text says why."""


class TileCheck:
    """Looks at the tiles of one level.

    Parameters
    ----------
    codec : str
        ``jpeg`` or ``jpeg2000``.
    tile : Size
        What every tile must decode to, px.
    complete : callable
        A tile as stored in the slide to a whole picture file.
    """

    def __init__(self, codec: str, tile: Size, complete: Callable[[bytes], bytes]) -> None:
        self.codec, self.tile, self.complete = codec, tile, complete
        self._head = b""

    def sound(self, data: bytes) -> bool:
        """Whether a tile can be copied; False: its pixels count as unreadable.

        Raises
        ------
        CannotCopy
            If it holds text or bytes that are no picture.
        """
        if self.codec == "jpeg2000":
            return self._codestream(data)
        if not (self._head and data.startswith(self._head)):
            end = jpeg_header(data, self.tile)
            if end == 0:
                return False
            self._head = data[:end]
        stop = len(data) - 2
        if data[stop:] != _EOI:
            stop = len(data.rstrip(b"\0")) - 2  # padded
            if data[stop : stop + 2] != _EOI:
                return self._decodes(data)
        odd = _ODD.search(data, len(self._head), stop)
        if odd is not None and odd[0] == _EOI:
            raise CannotCopy("bytes after the end of a tile's picture")
        if odd is not None and not self._progressive:
            return False  # decoders go on in silence, with pixels that nobody scanned
        if odd is None and data.find(ZEROS, len(self._head), stop) < 0:
            return True
        return self._decodes(data)

    @property
    def _progressive(self) -> bool:
        """Whether tables may stand between scans."""
        return b"\xff\xc2" in self._head

    def _codestream(self, data: bytes) -> bool:
        """JPEG 2000: main header and end; comments of the encoder alone."""
        if data[4:8] == b"jP  ":
            raise CannotCopy("its tiles are JP2 files, which may hold text")
        if not data.startswith(b"\xff\x4f\xff\x51") or data.rstrip(b"\0")[-2:] != _EOI:
            return False
        place = 2
        while data[place : place + 1] == b"\xff" and data[place + 1] != 0x90:  # first tile-part
            length = int.from_bytes(data[place + 2 : place + 4], "big")
            segment = data[place + 4 : place + 2 + length]
            if data[place + 1] == 0x64 and not segment[2:].startswith(_CODERS):
                raise CannotCopy("a comment in a tile")
            if data[place + 1] == 0x51:
                size = (int.from_bytes(segment[i : i + 4], "big") for i in (2, 6, 10, 14))
                width, height, left, top = size
                if (width - left, height - top) != (self.tile.width, self.tile.height):
                    return False
            place += 2 + max(length, 2)
        return ZEROS not in data or self._decodes(data)

    def _decodes(self, data: bytes) -> bool:
        """Whether an odd tile is a picture after all; zeros are one only where it is one color."""
        pixels = np.empty((self.tile.height, self.tile.width, 3), np.uint8)
        try:
            unpack(self.codec, self.complete(data), pixels)
        except Undecodable:
            return False
        if ZEROS not in data:
            return True
        flat = pixels.reshape(-1, 3)
        return bool((flat == np.median(flat, axis=0)).all(axis=1).mean() > 0.5)


def jpeg_header(data: bytes, tile: Size | None = None) -> int:
    """Where the entropy-coded part of a JPEG tile starts; 0 if its header is damaged.

    With ``tile`` the frame must be of that size, 8 bits and 3 components; without, ``data`` are
    shared tables, which have no frame.

    Raises
    ------
    CannotCopy
        If a segment may hold text.
    """
    if data[:2] != b"\xff\xd8":
        return 0
    place, framed = 2, tile is None
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xFF:  # fill
            place += 1
            continue
        if marker == _SOS:
            return place + 2 + length if framed and tile is not None else 0
        if marker == 0xFE or (0xE0 <= marker <= 0xEF and marker not in _PICTURE_MARKERS):
            raise CannotCopy("a segment of text in a tile")
        if marker not in _PICTURE_MARKERS or length < 2:
            return 0
        if marker in _SOF and tile is not None:
            bits, height, width, parts = data[place + 4], *_shape(data, place + 5)
            if (bits, width, height, parts) != (8, tile.width, tile.height, 3):
                return 0
            framed = True
        place += 2 + length
    return place if tile is None and data[place:] == _EOI else 0


def _shape(data: bytes, place: int) -> tuple[int, int, int]:
    part = data[place : place + 5].ljust(5, b"\0")
    return int.from_bytes(part[:2], "big"), int.from_bytes(part[2:4], "big"), part[4]
