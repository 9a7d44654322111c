"""The slide's own compression as codecs of Zarr v3: ``pathai.jpeg`` and ``pathai.jpeg2000``.

zarr finds them by entry point wherever pathai is installed; ``import pathai.store.zarr_codecs``
registers them without one. Both turn ``uint8[y, x, c=3]`` into one whole picture file and back; in
``tiles.zarr`` they stand between ``transpose`` and ``crc32c``.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.registry import register_codec

from pathai.store.chunks import Undecodable, pack_jpeg, unpack


@dataclass(frozen=True)
class _PictureCodec(ArrayBytesCodec):
    is_fixed_size = False
    name: ClassVar[str]
    packing: ClassVar[str]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From the metadata of an array."""
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the metadata of an array."""
        return {"name": self.name, "configuration": {}}

    def _unpacked(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        out = chunk_spec.prototype.nd_buffer.create(shape=chunk_spec.shape, dtype="uint8")
        try:
            unpack(self.packing, chunk_bytes.to_bytes(), out.as_numpy_array())
        except Undecodable:
            raise ValueError(f"a chunk is no picture of shape {chunk_spec.shape}") from None
        return out

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._unpacked, chunk_bytes, chunk_spec)

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        raise NotImplementedError(f"{self.name} only holds what a scanner has compressed")

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known before a chunk is packed."""
        raise NotImplementedError


@dataclass(frozen=True)
class JpegCodec(_PictureCodec):
    """One JPEG file per chunk (ITU T.81), RGB or YCbCr as its own markers say.

    Parameters
    ----------
    quality : int, optional
        At which to write; without it the codec reads only.
    """

    name = "pathai.jpeg"
    packing = "jpeg"
    quality: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the metadata of an array."""
        settings = {} if self.quality is None else {"quality": self.quality}
        return {"name": self.name, "configuration": settings}

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        if self.quality is None:
            return await super()._encode_single(chunk_array, chunk_spec)
        block = np.ascontiguousarray(chunk_array.as_numpy_array())
        data = await asyncio.to_thread(pack_jpeg, block, self.quality)
        return chunk_spec.prototype.buffer.from_bytes(data)


@dataclass(frozen=True)
class Jpeg2000Codec(_PictureCodec):
    """One JPEG 2000 codestream per chunk (ITU T.800), RGB."""

    name = "pathai.jpeg2000"
    packing = "jpeg2000"


register_codec("pathai.jpeg", JpegCodec)
register_codec("pathai.jpeg2000", Jpeg2000Codec)
