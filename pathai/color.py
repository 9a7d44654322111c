"""Colors of tiles on their way to an encoder: the scanner's ICC profile, then the stain.

Both are off unless the configuration asks for them, and both are recorded in the features'
attributes. Stored pixels stay as the scanner wrote them. What is kept of a profile is its
colorimetry alone: numbers, written anew tag by tag, so that neither the scanner's text nor a
crafted file reaches the store or the color engine.

References
----------
ICC.1:2022, Image technology color management (profile format 4.4).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.config import ColorConfig
from pathai.errors import PathaiError
from pathai.normalize import FITS, Normalizer
from pathai.store.records import ColorAttrs

U8 = NDArray[np.uint8]

MAX_PROFILE = 16 * 2**20
"""Larger profiles are refused, bytes; the usual ones have 3 kB to 200 kB."""
_D50 = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
_CURVES = (b"rTRC", b"gTRC", b"bTRC")
_PRIMARIES = (b"rXYZ", b"gXYZ", b"bXYZ")
_PARAMETERS = (1, 3, 4, 5, 7)
"""Numbers of a parametric curve, by its type."""


def minimal_profile(data: bytes) -> bytes:
    """Write an RGB profile anew with nothing in it but the way from RGB to the connection space.

    Kept are the three curves and primaries, or the colorimetric (else perceptual) lookup table.
    Dates, makers, names, descriptions and private tags are not.

    Parameters
    ----------
    data : bytes
        An ICC profile as the slide carries it.

    Returns
    -------
    bytes
        A profile; the same bytes for the same colorimetry. A second pass changes nothing.

    Raises
    ------
    PathaiError
        E147 for a profile that is damaged, not RGB, or of a kind that is not carried over: leave
        features.color.icc off or convert the slide to sRGB.
    """
    try:
        return _rebuilt(data)
    except (struct.error, ValueError, IndexError):
        raise PathaiError("E147", "the color profile is damaged") from None


def _rebuilt(data: bytes) -> bytes:
    if len(data) > MAX_PROFILE or data[36:40] != b"acsp":
        raise PathaiError("E147", "the color profile is damaged")
    if data[16:20] != b"RGB ":
        raise PathaiError("E147", "the color profile is not for RGB")
    space = data[20:24]
    if space not in (b"XYZ ", b"Lab ") or data[12:16] not in (b"scnr", b"mntr", b"spac"):
        raise PathaiError("E147", "the color profile is no scanner or display profile")
    found = _tags(data)
    table = found.get(b"A2B1", found.get(b"A2B0"))
    if table is not None:
        kept = {b"A2B0": _table(table)}
    elif space == b"XYZ " and all(tag in found for tag in (*_PRIMARIES, *_CURVES)):
        kept = {tag: _xyz(found[tag]) for tag in _PRIMARIES}
        kept |= {tag: _curve(found[tag]) for tag in _CURVES}
    else:
        raise PathaiError("E147", "the color profile has neither primaries nor a lookup table")
    return _written(kept, 4 if data[8] >= 4 else 2, space)


def _tags(data: bytes) -> dict[bytes, bytes]:
    """Contents of the tags, the first of each name."""
    (count,) = struct.unpack_from(">I", data, 128)
    if count > 200:
        raise PathaiError("E147", f"the color profile has {count} tags")
    found: dict[bytes, bytes] = {}
    for i in range(count):
        name, offset, length = struct.unpack_from(">4sII", data, 132 + 12 * i)
        found.setdefault(name, data[offset : offset + length])
    return found


def _xyz(tag: bytes) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *struct.unpack_from(">3i", tag, 8))


def _curve(tag: bytes) -> bytes:
    """A sampled or parametric curve and nothing after it."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        return b"curv\0\0\0\0" + struct.pack(">I", count) + _exactly(tag, 12, 2 * count)
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        numbers = _exactly(tag, 12, 4 * _PARAMETERS[kind])
        return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + numbers
    raise PathaiError("E147", "a curve of the color profile is of an unknown kind")


def _table(tag: bytes) -> bytes:
    """A lookup table of 8 or 16 bits from three channels to three, and nothing after it."""
    if tag[:4] not in (b"mft1", b"mft2"):
        raise PathaiError("E147", "the lookup table of the color profile is not 8 or 16 bits")
    inputs, outputs, grid = tag[8:11]
    if (inputs, outputs) != (3, 3):
        raise PathaiError("E147", f"the color profile has {inputs} channels")
    if tag[:4] == b"mft1":
        start, body = 48, 3 * 256 + grid**3 * 3 + 3 * 256
    else:
        before, after = struct.unpack_from(">HH", tag, 48)
        start, body = 52, 2 * (3 * before + grid**3 * 3 + 3 * after)
    return tag[:4] + bytes(4) + tag[8:11] + b"\0" + _exactly(tag, 12, start - 12 + body)


def _exactly(data: bytes, start: int, length: int) -> bytes:
    part = data[start : start + length]
    if len(part) != length:
        raise PathaiError("E147", "the color profile is cut off")
    return part


def _written(tags: dict[bytes, bytes], version: int, space: bytes) -> bytes:
    places: dict[bytes, int] = {}
    entries, body = b"", b""
    first = 132 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        if padded not in places:  # equal curves are stored once
            places[padded] = first + len(body)
            body += padded
        entries += struct.pack(">4sII", name, places[padded], len(content))
    head = struct.pack(">I4sI4s4s4s", first + len(body), bytes(4), version << 24, b"scnr",
                       b"RGB ", space)  # fmt: skip
    head += bytes(12) + b"acsp" + bytes(28) + _D50 + bytes(48)
    return head + struct.pack(">I", len(tags)) + entries + body


def carried(data: bytes) -> bytes:
    """`minimal_profile`, or nothing where the profile cannot be carried over."""
    try:
        return minimal_profile(data)
    except PathaiError:
        return b""


@dataclass(frozen=True)
class Icc:
    """From a scanner's colors to sRGB.

    The intent is relative colorimetric without black point compensation: colors as they were
    measured, relative to the profile's white, and nothing fitted to taste. Matrix profiles know no
    other; of lookup tables the colorimetric one is taken where there is one.

    Parameters
    ----------
    profile : bytes
        From `minimal_profile`.
    """

    profile: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the profile."""
        return sha256(self.profile).hexdigest()

    def apply(self, rgb: U8) -> U8:
        """Colors in sRGB.

        Parameters
        ----------
        rgb : uint8[..., 3]
            Pixels, at least one axis before the channels.

        Returns
        -------
        uint8[..., 3]
            A new array, what LittleCMS makes of each pixel.

        Raises
        ------
        PathaiError
            E147 if the profile cannot be used.
        """
        from PIL import Image, ImageCms

        if not rgb.size:
            return rgb.copy()
        shape = rgb.shape
        image = Image.fromarray(np.ascontiguousarray(rgb).reshape(-1, shape[-2], 3))
        ImageCms.applyTransform(image, _transform(self.profile), inPlace=True)
        return np.asarray(image).reshape(shape).copy()


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> Any:
    from PIL import ImageCms

    try:
        source = ImageCms.getOpenProfile(BytesIO(minimal_profile(profile)))
        target = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return ImageCms.buildTransform(source, target, "RGB", "RGB", intent, ImageCms.Flags.NONE)
    except (ImageCms.PyCMSError, OSError):
        raise PathaiError("E147", "the color profile cannot be used") from None


@dataclass(frozen=True)
class FeedColor:
    """What happens to the colors of one slide's tiles before an encoder sees them.

    Parameters
    ----------
    icc : Icc or None
        First.
    normalizer : Normalizer or None
        Second.
    """

    icc: Icc | None = None
    normalizer: Normalizer | None = None

    def apply(self, batch: U8) -> U8:
        """Change a batch ``uint8[B, H, W, 3]``; the same for a tile alone and in any batch."""
        if self.icc is not None:
            batch = self.icc.apply(batch)
        if self.normalizer is not None:
            batch = self.normalizer.apply(batch)
        return batch

    @property
    def attrs(self) -> ColorAttrs:
        """What was done, for the features' attributes."""
        if self.normalizer is None:
            return ColorAttrs(icc=self.icc.digest if self.icc else "")
        return ColorAttrs(
            icc=self.icc.digest if self.icc else "",
            normalize=self.normalizer.name,
            digest=self.normalizer.digest,
            parameters=self.normalizer.parameters,
        )


def seen_by(encoder_digest: str, section: ColorConfig) -> str:
    """Digest of an encoder together with how its tiles are colored.

    A model that was trained on one coloring refuses features of another (E181), as it refuses
    another encoder's. Without a change of colors it is the encoder's own.
    """
    if section == ColorConfig():
        return encoder_digest
    return sha256(f"{encoder_digest} {section.digest()}".encode()).hexdigest()


def feed_color(
    section: ColorConfig, *, has_icc: bool, profile: bytes, stain: str, sample: Callable[[], U8]
) -> FeedColor:
    """Decide once per slide what is done to the colors of its tiles.

    Parameters
    ----------
    section : ColorConfig
        What is asked for.
    has_icc : bool
        Whether the slide file carries a profile; one without is taken to be sRGB already.
    profile : bytes
        What was kept of it; empty if nothing.
    stain : str
        Column ``stain`` of the sheet. Only H&E is normalized: with DAB the strength of the stain
        is the finding.
    sample : callable
        Gives tissue pixels from all over the slide, ``uint8[h, w, 3]``; called only if needed.

    Returns
    -------
    FeedColor

    Raises
    ------
    PathaiError
        E147 if a profile is asked for and the slide's could not be carried over.
    """
    icc = None
    if section.icc and has_icc:
        if not profile:
            raise PathaiError("E147", "the slide's color profile could not be carried over")
        icc = Icc(minimal_profile(profile))
    if section.normalize == "none" or stain != "H&E":
        return FeedColor(icc)
    pixels = sample()
    return FeedColor(icc, FITS[section.normalize](icc.apply(pixels) if icc else pixels))
