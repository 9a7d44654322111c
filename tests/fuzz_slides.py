"""Damage done to a slide byte by byte, with seeds, and what the chain makes of it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import tifffile
import zarr

from pathai import chain
from pathai.config import Config
from pathai.store.commit import remove
from pathai.store.folders import SlideFolder

SEED = 20_261_121
LIMIT_S = 20.0
"""Wall clock that a decoder gets; a case may take a little longer, never hang."""
BOUNDARY = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFF0000, 0xFFFFFFFF)

Change = Callable[["Slide", random.Random], bytes]


class Slide:
    """A good TIFF slide: its bytes, and where its tiles and its tables lie."""

    def __init__(self, path: Path) -> None:
        self.raw = path.read_bytes()
        self.sha256 = sha256(self.raw).hexdigest()
        with tifffile.TiffFile(path) as tiff:
            first = tiff.pages[0]
            self.tiles = list(zip(first.dataoffsets, first.databytecounts, strict=True))
            self.tables: list[int] = []
            for page in tiff.pages:
                head = range(page.offset, page.offset + 2 + 12 * len(page.tags) + 4)
                self.tables += head
                for tag in page.tags:
                    if tag.valueoffset not in head and tag.valuebytecount < 65_536:
                        self.tables += range(tag.valueoffset, tag.valueoffset + tag.valuebytecount)


def _put(raw: bytes, at: int, data: bytes) -> bytes:
    return raw[:at] + data + raw[at + len(data) :]


def _bit(slide: Slide, draw: random.Random) -> bytes:
    offset, count = draw.choice(slide.tiles)
    at = offset + draw.randrange(count)
    return _put(slide.raw, at, bytes([slide.raw[at] ^ (1 << draw.randrange(8))]))


def _noise(slide: Slide, draw: random.Random) -> bytes:
    offset, count = draw.choice(slide.tiles)
    size = min(512, count)
    return _put(slide.raw, offset + draw.randrange(count - size + 1), draw.randbytes(size))


def _lost(slide: Slide, draw: random.Random) -> bytes:
    at = draw.randrange(len(slide.raw))
    size = min(draw.choice([512, 4096, 16_384, 65_536]), len(slide.raw) - at)
    return _put(slide.raw, at, bytes(size))


def _anywhere(slide: Slide, draw: random.Random) -> bytes:
    size = draw.choice([1, 4, 16])
    return _put(slide.raw, draw.randrange(len(slide.raw) - size), draw.randbytes(size))


def _table_bits(slide: Slide, draw: random.Random) -> bytes:
    raw = bytearray(slide.raw)
    for _ in range(draw.randint(1, 4)):
        raw[draw.choice(slide.tables)] ^= 1 << draw.randrange(8)
    return bytes(raw)


def _table_values(slide: Slide, draw: random.Random) -> bytes:
    at = min(draw.choice(slide.tables), len(slide.raw) - 4)
    return _put(slide.raw, at, draw.choice(BOUNDARY).to_bytes(4, "little"))


def _cut(slide: Slide, draw: random.Random) -> bytes:
    return slide.raw[: draw.randrange(len(slide.raw))]


def _shifted(slide: Slide, draw: random.Random) -> bytes:
    at, size = draw.randrange(len(slide.raw)), draw.randint(1, 16)
    if draw.random() < 0.5:
        return slide.raw[:at] + draw.randbytes(size) + slide.raw[at:]
    return slide.raw[:at] + slide.raw[at + size :]


CHANGES: dict[str, tuple[int, Change]] = {
    "1 bit of a tile": (16, _bit),
    "512 bytes of a tile": (8, _noise),
    "a lost block": (11, _lost),
    "1 to 16 bytes anywhere": (20, _anywhere),
    "1 to 4 bits of the tables": (17, _table_bits),
    "a boundary value in the tables": (10, _table_values),
    "cut off": (9, _cut),
    "bytes put in or taken out": (9, _shifted),
}
"""Kinds of damage and how often each is drawn, in percent."""


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged slide."""

    case: int
    kind: str
    result: str
    """``ok``, or the code of the first problem."""
    status: str
    known: str
    """The same with the slide's SHA-256 in the sheet."""
    changed: bool
    """Whether the bytes differ from the good slide's at all."""
    pixels: str
    """``same``, ``wrong`` (stored as if nothing were amiss), ``marked`` (degraded), ``refused`` (by
    who reads the store: a stored tile is no picture), or empty."""
    seconds: float


def damage(slide: Slide, case: int, seed: int = SEED) -> tuple[str, bytes]:
    """Kind and bytes of one damaged slide; the same case is always the same."""
    draw = random.Random(f"{seed}-{case}")
    (kind,) = draw.choices(list(CHANGES), [weight for weight, _ in CHANGES.values()])
    return kind, CHANGES[kind][1](slide, draw)


class Fuzz:
    """A slide to damage, a folder to work in, and how the good one looks."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.slide, self.folder = Slide(source), folder
        limits = {"seconds": LIMIT_S}
        self.config = Config.model_validate({"ingest": limits, "tile": limits})
        self.good = self._pixels(self._through("good", self.slide.raw)[0])
        remove(folder / "slides")

    def run(self, case: int, seed: int = SEED) -> Outcome:
        """Damage the slide, send it through ingest and tile with and without a known checksum."""
        kind, raw = damage(self.slide, case, seed)
        start = time.monotonic()
        folder, status, result = self._through(f"M{case}", raw)
        _, _, known = self._through(f"K{case}", raw, sha256=self.slide.sha256)
        seconds = time.monotonic() - start
        pixels = ""
        if status in ("ok", "degraded"):
            found = self._pixels(folder)
            same = found is not None and np.array_equal(found, self.good)
            pixels = "same" if same else "wrong" if status == "ok" else "marked"
            pixels = "refused" if found is None else pixels
        assert folder.tiles.exists() == (status in ("ok", "degraded"))
        remove(self.folder / "slides")
        changed = raw != self.slide.raw
        return Outcome(case, kind, result, status, known, changed, pixels, seconds)

    def _through(self, name: str, raw: bytes, sha256: str = "") -> tuple[SlideFolder, str, str]:
        path = self.folder / f"{name}.svs"
        path.write_bytes(raw)
        folder = SlideFolder(self.folder / "slides" / name)
        made = chain.ingest_step(self.config, folder, path, None, "H&E", sha256).run()
        if made.status == "ok" and not sha256:
            made = chain.tile_step(self.config, folder, path).run()
        path.unlink()
        return folder, made.status, made.problems[0].code if made.problems else made.status

    def _pixels(self, folder: SlideFolder) -> np.ndarray | None:
        """Level 0, or None where a tile that was copied turns out to be no picture."""
        try:
            return np.asarray(zarr.open_group(folder.tiles, mode="r")["0"][:])
        except ValueError as error:
            if "is no picture" not in str(error):
                raise
            return None
