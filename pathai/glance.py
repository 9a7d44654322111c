"""What can be known of a slide without decoding a pixel: size, µm per pixel, packed bytes."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pathai.chain import slide_steps
from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.sheet import SheetRow
from pathai.source import Place
from pathai.store.manifest import READABLE
from pathai.units import Mpp, Size

if TYPE_CHECKING:
    from pathai.readers.tiled_tiff import TiledTiffReader

SECONDS = 20.0
"""Longest that opening one slide may take."""
ALL_SECONDS = 120.0
"""Longest that opening slides may take together; the rest is guessed from those."""
Known = Literal["tiled", "empty", "ingested", "opened", "guessed", "unreadable"]


@dataclass(frozen=True)
class Shape:
    """Geometry of a slide, and where it is from.

    Parameters
    ----------
    known : str
        What it rests on: results, or the file as it was opened now.
    size : Size or None
        Level 0, px.
    mpp : Mpp or None
        µm per level-0 px.
    packed_bytes : int
        Bytes of the compressed tiles of level 0 where the store can copy them, else 0.
    problem : str
        Code, and where it is new message and remedy, of what fails the slide.
    """

    known: Known
    size: Size | None = None
    mpp: Mpp | None = None
    packed_bytes: int = 0
    problem: str = ""

    @property
    def px_mm2(self) -> float:
        """Area of a level-0 pixel, mm²."""
        return self.mpp.x * self.mpp.y / 1e6 if self.mpp else 0.0

    @property
    def mm2(self) -> float:
        """Area of the slide, mm²."""
        return self.size.width * self.size.height * self.px_mm2 if self.size else 0.0

    def fine_enough(self, mpp: float, tolerance: float) -> bool:
        """Whether tiles of this µm/px hold no invented detail."""
        return self.mpp is not None and max(self.mpp.x, self.mpp.y) <= mpp * (1 + tolerance)


def shapes(plan: Plan) -> dict[str, Shape]:
    """Every slide of a run, by id, within bounded time."""
    end = time.monotonic() + ALL_SECONDS
    return {row.slide_id: _shape(plan, row, end) for row in plan.sheet.rows}


def _shape(plan: Plan, row: SheetRow, end: float) -> Shape:
    (ingest,) = slide_steps(plan, "ingest", row.slide_id)
    manifest = ingest.manifest()
    if manifest is None:
        return _opened(plan, row, end)
    if manifest.status not in READABLE:
        return Shape("unreadable", problem=manifest.problems[0].code)
    info = plan.results.slide(row.slide_id).read_slide()
    size, mpp = Size(info.width, info.height), info.mpp
    done = slide_steps(plan, "tile", row.slide_id)[0].manifest()
    if done is None:
        packed = 0
        with suppress(PathaiError):  # a slide that is away now was read once
            _, _, packed = _glanced(plan.place(row.slide_id), plan, end - time.monotonic())
        return Shape("ingested", size, mpp, packed)
    if done.status == "skipped":  # no tissue: nothing is wrong, and nothing is left to do
        return Shape("empty", size, mpp)
    if done.status not in READABLE:
        return Shape("unreadable", problem=done.problems[0].code)
    return Shape("tiled", size, mpp)


def _opened(plan: Plan, row: SheetRow, end: float) -> Shape:
    from pathai.ingest import choose_mpp

    left = end - time.monotonic()
    if left <= 0:
        return Shape("guessed")
    try:
        size, recorded, packed = _glanced(plan.place(row.slide_id), plan, left)
        override = plan.config.ingest.mpp_override
        mpp, _ = choose_mpp(recorded, row.mpp, override=override, notes=[])
    except PathaiError as error:
        return Shape("unreadable", problem=f"{error.code}: {error.message}; {error.remedy}")
    return Shape("opened", size, mpp, packed)


def _glanced(place: Place, plan: Plan, left: float) -> tuple[Size, Mpp | None, int]:
    from pathai.guard import shared

    section, tile = plan.config.ingest, plan.config.tile
    found: tuple[Size, Mpp | None, int] = shared(section.memory_mib).call(
        "pathai.glance:glance", place, section, seconds=max(min(left, SECONDS), 0.001)
    )
    copies = tile.copy_tiles and tile.jpeg_quality is None
    return found if copies else (*found[:2], 0)


def glance(place: Place, limits: IngestConfig) -> tuple[Size, Mpp | None, int]:
    """Size, µm per pixel and packed bytes of a slide; decodes nothing (runs in a child)."""
    from pathai.readers import open_slide, reopen
    from pathai.tiling import COPIED

    slide = open_slide(place, limits)
    facts = slide.facts
    slide.close()
    packed = 0
    if facts.vendor in COPIED:
        direct: TiledTiffReader = reopen(place, "tiled-tiff")  # type: ignore[assignment]
        with suppress(PathaiError):  # then its tiles are decoded
            levels = direct.compressed()
            if levels and levels[0].size == facts.size:
                packed = int(levels[0].counts.sum())
        direct.close()
    return facts.size, facts.mpp, packed
