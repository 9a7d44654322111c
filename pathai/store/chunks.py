"""How one chunk of ``tiles.zarr`` is packed: its codec by name, always followed by a CRC-32C.

``zstd`` is lossless; ``jpeg`` and ``jpeg2000`` are a slide's own tiles, copied as they are. All
give the same thing: ``uint8[h, w, c=3]``. `pathai.store.zarr_codecs` gives the last two to zarr.
"""

from collections.abc import Callable

import google_crc32c
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError

Pixels = NDArray[np.uint8]
ZSTD_LEVEL = 1
CRC_BYTES = 4


class Undecodable(ValueError):
    """A chunk is as it was written, but its picture cannot be decoded: the slide was damaged."""


def checksum(data: bytes) -> bytes:
    """CRC-32C, little-endian, as the codec of Zarr v3 stores it."""
    return int(google_crc32c.value(data)).to_bytes(CRC_BYTES, "little")


def sealed(data: bytes) -> bytes:
    """A packed chunk with its checksum."""
    return data + checksum(data)


def unsealed(data: bytes, place: str) -> bytes:
    """A packed chunk without its checksum, which must be right.

    Raises
    ------
    PathaiError
        E164 if it is not: run ``pathai verify``.
    """
    body = data[:-CRC_BYTES]
    if not body or checksum(body) != data[-CRC_BYTES:]:
        raise PathaiError("E164", f"tiles, {place}: checksum differs")
    return body


def pack_zstd(block: Pixels) -> bytes:
    """Pack ``uint8[h, w, 3]`` without loss."""
    return bytes(imagecodecs.zstd_encode(block.tobytes(), level=ZSTD_LEVEL))


def pack_jpeg(block: Pixels, quality: int) -> bytes:
    """Pack ``uint8[h, w, 3]`` as JPEG without chroma subsampling, with loss."""
    return bytes(imagecodecs.jpeg8_encode(block, level=quality, subsampling="444"))


def _zstd(body: bytes, out: Pixels) -> None:
    flat = np.frombuffer(imagecodecs.zstd_decode(body), np.uint8)
    out[...] = flat.reshape(out.shape)


def _jpeg(body: bytes, out: Pixels) -> None:
    imagecodecs.jpeg8_decode(body, out=out)


def _jpeg2000(body: bytes, out: Pixels) -> None:
    imagecodecs.jpeg2k_decode(body, out=out)


UNPACK: dict[str, Callable[[bytes, Pixels], None]] = {
    "zstd": _zstd,
    "jpeg": _jpeg,
    "jpeg2000": _jpeg2000,
}
"""Codec name to what decodes into ``uint8[h, w, 3]``."""


def unpack(codec: str, body: bytes, out: Pixels) -> None:
    """Decode one chunk into ``out``, ``uint8[h, w, 3]``, C-contiguous.

    Raises
    ------
    Undecodable
        If the bytes are no picture of this size.
    """
    try:
        UNPACK[codec](body, out)
    except (RuntimeError, ValueError, TypeError) as error:  # imagecodecs' errors are RuntimeErrors
        raise Undecodable(codec) from error
