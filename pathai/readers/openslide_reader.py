"""Slides that OpenSlide opens: Aperio, Hamamatsu, MIRAX, Leica, Ventana, Philips, DICOM ..."""

import math
from typing import Any

import numpy as np
import openslide

from pathai.errors import PathaiError
from pathai.readers.base import BaseSlide, Facts, Mask, Pixels, kinds_of, number, text_kinds
from pathai.readers.tiff_walk import walk
from pathai.units import Box, Mpp, Size

MIN_VERSION = (4, 0, 1)
"""Older libraries write past their memory on crafted files (CVE-2026-48977, CVE-2026-54604)."""

# Formats in which regions between scanned fields are missing by design, not by damage.
SPARSE = ("mirax", "ventana", "leica")


class OpenSlideReader(BaseSlide):
    """Reads through openslide-python."""

    name = "openslide"

    def _open(self) -> Any:
        version = tuple(int(part) for part in openslide.__library_version__.split(".")[:3])
        if version < MIN_VERSION:
            message = f"OpenSlide {openslide.__library_version__} is older than 4.0.1"
            raise PathaiError("E194", message, "install openslide-bin >= 4.0.1.1")
        return openslide.OpenSlide(str(self.path))

    def _collect(self, handle: Any) -> Facts:
        text = dict(handle.properties)
        dimensions = tuple(Size(*size) for size in handle.level_dimensions)
        x, y = (number(text.get(f"openslide.mpp-{axis}")) for axis in "xy")
        written = str(text.get("aperio.MPP", ""))
        mpp = Mpp(x, y) if x is not None and y is not None else None
        if mpp is None and written:
            mpp = Mpp(float("nan"), float("nan"))
        objective = number(text.get("openslide.objective-power"))
        vendor = str(text.get("openslide.vendor", ""))
        return Facts(
            size=dimensions[0],
            level_dimensions=dimensions,
            level_downsamples=tuple(float(d) for d in handle.level_downsamples),
            mpp=mpp,
            mpp_note="mpp is written with a decimal comma" if "," in written else "",
            objective=objective if objective and objective > 0 else None,
            vendor=vendor,
            associated=kinds_of(list(handle.associated_images)),
            text_tags=text_kinds(
                [key for key, value in text.items() if _is_scanner_text(key, value)]
            ),
            icc=_profile(handle),
            bounds=_bounds(text),
            sparse=vendor in SPARSE or (vendor == "generic-tiff" and self._transparent()),
        )

    def _transparent(self) -> bool:
        """Whether a generic TIFF declares a channel of transparency."""
        with self.path.open("rb") as file:
            return walk(file, file.seek(0, 2), 10_000)[0].alpha

    def _region(self, handle: Any, level: int, x: int, y: int, size: Size) -> tuple[Pixels, Mask]:
        # Location is in whole level-0 px, which OpenSlide divides by one factor for both axes.
        # Where that is not whole, it interpolates the rest of a pixel; level 0 is exact.
        factor = handle.level_downsamples[level]
        place = math.ceil(x * factor - 1e-6), math.ceil(y * factor - 1e-6)
        image = np.asarray(handle.read_region(place, level, (size.width, size.height)))
        alpha = image[..., 3:].astype(np.uint16)
        valid = alpha[..., 0] >= 128
        if alpha.min(initial=255) == 255:
            return image[..., :3], valid
        blend = (image[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha) + 127) // 255
        return blend.astype(np.uint8), valid


def _profile(handle: Any) -> bytes:
    profile = handle.color_profile
    return bytes(profile.tobytes()) if profile is not None else b""


def _is_scanner_text(key: str, value: str) -> bool:
    ours = key.startswith("openslide.") and key != "openslide.comment"
    return not ours and any(character.isalpha() or character in "-/:" for character in value)


def _bounds(text: dict[str, str]) -> Box | None:
    values = [number(text.get(f"openslide.bounds-{k}")) for k in ("x", "y", "width", "height")]
    x, y, width, height = values
    if x is None or y is None or width is None or height is None:
        return None
    return Box(x, y, width, height)
