"""What every slide reader offers, and the one place where a library's errors become ours."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.resample import SLACK, resample
from pathai.source import Place, Remote
from pathai.units import Box, Mpp, Size

T = TypeVar("T")
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Facts:
    """What a file says of itself; nothing here can carry a patient's or a file's name.

    Parameters
    ----------
    size : Size
        Level 0, px.
    level_dimensions : tuple of Size
        Every level, px.
    level_downsamples : tuple of float
        Level-0 px per level px, never rounded.
    mpp : Mpp or None
        µm per px as recorded, plausible or not; NaN where the text is no number.
    mpp_note : str
        What is odd about how ``mpp`` is written.
    objective : float or None
        Magnification as recorded.
    vendor : str
        Format family, e.g. ``"aperio"``.
    associated : tuple of str
        Kinds of associated images (label, macro, thumbnail, other).
    text_tags : tuple of str
        Kinds of text in the file that may identify someone, never the text.
    icc : bytes
        The color profile that is attached, empty where there is none.
    bounds : Box or None
        Scanned part, level-0 px, where the format tells.
    sparse : bool
        Whether places without pixels are meant, not damage: regions that were not scanned, or
        declared transparency.
    """

    size: Size
    level_dimensions: tuple[Size, ...]
    level_downsamples: tuple[float, ...]
    mpp: Mpp | None = None
    mpp_note: str = ""
    objective: float | None = None
    vendor: str = ""
    associated: tuple[str, ...] = ()
    text_tags: tuple[str, ...] = ()
    icc: bytes = field(default=b"", repr=False)
    bounds: Box | None = None
    sparse: bool = False


@runtime_checkable
class Slide(Protocol):
    """A slide that can be read, whatever library reads it."""

    name: str
    reason: str

    @property
    def facts(self) -> Facts:
        """Geometry and resolution."""

    def read(self, box: Box, mpp: float) -> tuple[Pixels, Mask]:
        """Pixels uint8[h, w, 3] of a level-0 box at ``mpp``, and which of them are real."""

    def read_level(self, box: Box, level: int = 0) -> tuple[Pixels, Mask]:
        """Pixels uint8[h, w, 3] of a level-0 box as a level stores them, and which are real."""

    def close(self) -> None:
        """Give the file back."""


class BaseSlide(ABC):
    """Reading through a library: handles per process, white outside, errors converted.

    A subclass says how to open a handle, what the facts are, and how to read a region that lies
    fully inside a level.

    Parameters
    ----------
    path : Path or Remote
        The slide file.
    reason : str
        Why this reader was chosen.
    mpp : Mpp, optional
        µm per level-0 px to believe instead of the file's own.
    """

    name = ""

    def __init__(self, path: Place, reason: str = "", mpp: Mpp | None = None) -> None:
        self.path = path
        self.reason = reason
        self._mpp = mpp
        self._handle: Any = None
        self._pid = 0
        self._facts: Facts | None = None

    @abstractmethod
    def _open(self) -> Any:
        """Open a library handle."""

    @abstractmethod
    def _collect(self, handle: Any) -> Facts:
        """Read the facts from a handle."""

    @abstractmethod
    def _region(self, handle: Any, level: int, x: int, y: int, size: Size) -> tuple[Pixels, Mask]:
        """Pixels of a region inside a level (x, y in px of that level) and their validity."""

    @property
    def facts(self) -> Facts:
        """Geometry and resolution, read once."""
        if self._facts is None:
            self._facts = self.convert("E120", "opening", lambda: self._collect(self._here()))
        return self._facts

    @property
    def mpp(self) -> Mpp:
        """µm per level-0 px: what the caller gave, else what the file records.

        Raises
        ------
        PathaiError
            E130 or E131 where there is no plausible one: give it in the sheet.
        """
        mpp = self._mpp or self.facts.mpp
        if mpp is None:
            raise PathaiError("E130", "the file does not record µm per pixel")
        if not mpp.plausible:
            raise PathaiError("E131", f"the file says {mpp.x:.4g} µm/px")
        return mpp

    def read(self, box: Box, mpp: float) -> tuple[Pixels, Mask]:
        """Pixels of a box at a wanted resolution, from the coarsest level that is fine enough.

        Parameters
        ----------
        box : Box
            Level-0 px; may lie between pixels and reach outside of the slide.
        mpp : float
            µm per px of the result, the same along x and y.

        Returns
        -------
        pixels : uint8[h, w, 3]
            ``h = round(box.height * mpp_y / mpp)``, likewise ``w``; the field of view is just
            the box. White outside of the slide and where the file holds no pixels.
        valid : bool[h, w]
            Whether at least half of what a pixel covers is real.

        Raises
        ------
        PathaiError
            E130 or E131 without a plausible µm/px, E162 if the region could not be decoded.
        """
        native, facts = self.mpp, self.facts
        width, height = box.width * native.x / mpp, box.height * native.y / mpp
        out = Size(max(round(width), 1), max(round(height), 1))
        wanted = min(box.width / out.width, box.height / out.height) * SLACK
        fits = [k for k, d in enumerate(facts.level_downsamples) if d <= wanted]
        level = max(fits, key=lambda k: facts.level_downsamples[k], default=0)
        limit = facts.level_dimensions[level]
        rx, ry = facts.size.width / limit.width, facts.size.height / limit.height
        place = Box(box.x / rx, box.y / ry, box.width / rx, box.height / ry)
        known: list[Mask] = []

        def fetch(x: int, y: int, w: int, h: int) -> Pixels:
            part, mask = self._read_px(level, x, y, w, h)
            known.append(mask)
            return part

        pixels = resample(fetch, place, out)
        mask = known[0]
        if mask.all():
            return pixels, np.ones((out.height, out.width), bool)
        share = resample(lambda *_: mask.view(np.uint8) * np.uint8(255), place, out)
        return pixels, share >= 128

    def read_level(self, box: Box, level: int = 0) -> tuple[Pixels, Mask]:
        """Pixels of a box as a level stores them.

        Parameters
        ----------
        box : Box
            Level-0 px, rounded to whole pixels of ``level``; may reach outside of the slide.
        level : int
            Level to read.

        Returns
        -------
        pixels : uint8[h, w, 3]
            White outside of the slide and where the file holds no pixels.
        valid : bool[h, w]
            False outside of the slide and where the file holds no pixels.

        Raises
        ------
        PathaiError
            E162 if the library could not decode the region; the slide can be read on.
        """
        facts = self.facts
        limit = facts.level_dimensions[level]
        ratio_x, ratio_y = facts.size.width / limit.width, facts.size.height / limit.height
        x, y = round(box.x / ratio_x), round(box.y / ratio_y)
        width, height = round(box.width / ratio_x), round(box.height / ratio_y)
        return self._read_px(level, x, y, width, height)

    def _read_px(self, level: int, x: int, y: int, width: int, height: int) -> tuple[Pixels, Mask]:
        """The same, in whole px of the level."""
        limit = self.facts.level_dimensions[level]
        pixels = np.full((height, width, 3), 255, np.uint8)
        valid = np.zeros((height, width), bool)
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, limit.width), min(y + height, limit.height)
        if left >= right or top >= bottom:
            return pixels, valid
        size = Size(right - left, bottom - top)
        place = f"reading level {level}, x {left} y {top}, {size.width} x {size.height} px"
        part, known = self.convert(
            "E162", place, lambda: self._region(self._here(), level, left, top, size)
        )
        pixels[top - y : bottom - y, left - x : right - x] = part
        valid[top - y : bottom - y, left - x : right - x] = known
        return pixels, valid

    def close(self) -> None:
        """Give the file back; a later read opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None and self._pid == os.getpid():
            handle.close()

    def _here(self) -> Any:
        # A handle that crosses a fork shares its file offset: one per process, never inherited.
        if self._handle is None or self._pid != os.getpid():
            self._handle, self._pid = self._open(), os.getpid()
        return self._handle

    def convert(self, code: str, doing: str, action: Callable[[], T]) -> T:
        """Run a library call; whatever it raises becomes a PathaiError and the handle is dropped.

        Raises
        ------
        PathaiError
            ``code`` (or a more telling one) naming reader, place and cause.
        """
        try:
            return action()
        except PathaiError:
            self._drop()
            raise
        except MemoryError:
            self._drop()
            raise PathaiError("E170", f"{self.name}: out of memory while {doing}") from None
        except Exception as error:  # noqa: BLE001 - the reader boundary: libraries raise 16 kinds
            # An openslide handle stays poisoned after an error, so the next call opens afresh.
            self._drop()
            raise PathaiError(*self._explain(code, doing, error)) from None

    def _drop(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None and self._pid == os.getpid():
            with suppress(Exception):  # the same boundary: this handle is broken anyway
                handle.close()

    def _explain(self, code: str, doing: str, error: Exception) -> tuple[str, str]:
        # a network library's text may hold a secret
        text = "" if isinstance(self.path, Remote) else safe_text(str(error), self.path)
        lower = text.lower()
        if "compression" in lower:
            code = "E119"
        elif "dissimilar main images" in lower:
            code = "E134"
        elif code == "E120" and ("couldn't open" in lower or "no such file" in lower):
            code = "E135"
        kind = type(error).__name__
        return code, f"{self.name} failed while {doing} ({kind}{': ' if text else ''}{text})"


def safe_text(text: str, path: Path) -> str:
    """A library's message without paths, file names and anything but plain characters."""
    for part in (str(path), str(path.absolute()), path.name, path.stem):
        text = text.replace(part, "the slide")
    text = re.sub(r"\S*[/\\]\S*", "", text)
    text = re.sub(r"b'[^']*'", "", text)  # bytes of the file
    text = re.sub(r"[^ -~]+", " ", text)
    return " ".join(text.split())[:120]


def number(text: object) -> float | None:
    """A recorded number: None if there is none, NaN if it is not plain ASCII digits."""
    if text is None or str(text).strip() == "":
        return None
    plain = str(text).strip()
    if not re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?", plain, re.ASCII):
        return float("nan")
    return float(plain)


_LENGTHS = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


def ome_mpp(description: str) -> Mpp | None:
    """µm per pixel of OME-XML; None where it does not say."""
    x, y = (_ome_length(description, axis) for axis in "XY")
    return Mpp(x, y) if x is not None and y is not None else None


def _ome_length(description: str, axis: str) -> float | None:
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]{0,4000}>", description[:200_000])
    if pixels is None:
        return None
    value = re.search(rf'PhysicalSize{axis}="([^"]{{1,40}})"', pixels[0])
    unit = re.search(rf'PhysicalSize{axis}Unit="([^"]{{1,10}})"', pixels[0])
    scale = _LENGTHS.get(unit[1].replace("μ", "µ") if unit else "µm")
    length = number(value[1]) if value else None
    return length * scale if length is not None and scale is not None else None


def kinds_of(names: list[str]) -> tuple[str, ...]:
    """Names of associated images as kinds; what is not known is ``other``, unnamed."""
    found = set()
    for name in names:
        lower = str(name).lower()
        known = [k for k in ("label", "macro", "thumbnail", "overview", "map") if k in lower]
        found.add(known[0] if known else "other")
    return tuple(sorted(found))


_TEXT_KINDS = {
    "barcode": ("barcode", "slide_id", "slideid", "slide_name", "containeridentifier"),
    "date": ("date", "time", "datetime"),
    "operator": ("user", "operator", "creator", "artist", "technician"),
    "device": ("scanscope", "serial", "hostcomputer", "model", "make", "device", "unitnumber"),
    "file name": ("filename", "file_name", "title", "originalfile", "filepath"),
    "patient": ("patient", "accession", "birth", "referring", "study"),
    "description": ("imagedescription", "comment", "description", "notes", "label", "xmp"),
    "software": ("software",),
}


def text_kinds(keys: list[str]) -> tuple[str, ...]:
    """Kinds of text that keys of the file stand for; unknown keys are ``other``.

    Only kinds leave this function: a key of the file may itself be a name.
    """
    found = set()
    for key in keys:
        lower = key.lower().replace(" ", "")
        for kind, marks in _TEXT_KINDS.items():
            if any(mark in lower for mark in marks):
                found.add(kind)
    return tuple(sorted(found))
