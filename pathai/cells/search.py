"""Seeking the nuclei of a slide: block by block into a journal, from which a killed job goes on."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.cells.finder import Finder, Measure
from pathai.cells.frame import Block, Frame, blocks, frame
from pathai.cells.workers import found_in, pool
from pathai.config import CellsConfig
from pathai.detectors import load_detector
from pathai.detectors.base import Detector
from pathai.morphometry import MEASURES
from pathai.progress import Pace
from pathai.sampling import sample
from pathai.stain import given_matrix, slide_background, stain_matrix
from pathai.store.cell_rows import CellJournal
from pathai.store.chunked import ChunkCache
from pathai.store.folders import SlideFolder
from pathai.store.level import Level
from pathai.store.manifest import canonical
from pathai.store.records import SlideInfo, TissueMap
from pathai.units import Box


@dataclass(frozen=True)
class Search:
    """All that decides which nuclei a slide has.

    Attributes
    ----------
    info : SlideInfo
    tissue : TissueMap
    level : Level
        Of the pyramid, which is read.
    grid : Frame
        Working px.
    finder : Finder
        With the detector fitted to the slide.
    block_px : int
        Edge of a block, working px.
    measures : tuple of str
        Names of what is measured.
    """

    info: SlideInfo
    tissue: TissueMap
    level: Level
    grid: Frame
    finder: Finder
    block_px: int
    measures: tuple[str, ...]

    @property
    def detector(self) -> Detector:
        """Fitted to the slide."""
        return self.finder.detector

    def blocks(self) -> Iterator[Block]:
        """Blocks with tissue, in the order of the journal."""
        shape = (self.level.size.height, self.level.size.width)
        halo = self.grid.halo_px(self.detector)
        return blocks(self.grid, shape, self.tissue, halo, self.block_px)

    def key(self, made_from: str) -> str:
        """What blocks of an earlier process must have been made from to be kept."""
        facts = [
            made_from,
            self.info.sha256,
            self.detector.digest,
            list(self.detector.classes),
            self.level.number,
            self.block_px,
            list(self.measures),
        ]
        return sha256(canonical(facts)).hexdigest()

    def unreadable(self, journal: CellJournal) -> tuple[NDArray[np.float64], int]:
        """Boxes float64[l, 4] without readable pixels, level-0 px, and how many are news.

        What the tile stage knew is no news; what turned out while pixels were read is.
        """
        known = _corners([Box(*place) for place in self.level.info.unreadable])
        seen = [known, _corners(self.level.lost), journal.column("boxes")]
        boxes = np.unique(np.concatenate(seen), axis=0)
        return boxes, len(boxes) - len(np.unique(known, axis=0))


def prepare(
    folder: SlideFolder,
    section: CellsConfig,
    measure: Measure | None = None,
    vectors: str = "",
) -> Search:
    """Choose the level, fit the detector to the slide, lay the grid.

    Parameters
    ----------
    folder : SlideFolder
    section : CellsConfig
    measure : callable, optional
        As `pathai.morphometry.measure`.
    vectors : str
        Stain vectors of the sheet; empty: the configuration says where they are from.

    Raises
    ------
    PathaiError
        E131 if the slide's µm/px is outside the detector's range, E142 if its stain is unknown;
        as `pathai.detectors.load_detector`.
    """
    info, tissue, pyramid = folder.read_slide(), folder.read_tissue(), folder.open_tiles()
    stains: dict[str, Any] = {}
    if vectors:
        stains["vectors"] = given_matrix(info.stain, vectors)
    elif section.stain_vectors == "fixed":
        stains["estimate"] = False
    detector = load_detector(
        section.detector, stain=info.stain, dab_cutoff_od=section.dab_cutoff_od, **stains
    )
    number = pyramid.level_for(min(detector.mpp / info.mpp_x, detector.mpp / info.mpp_y))
    level = pyramid.levels[number]
    shape = (level.size.height, level.size.width, 3)
    grid = frame(shape, info.mpp.scaled(level.downsample), level.downsample, detector)
    pixels = sample(pyramid, tissue, number)
    fitted = detector.for_slide(pixels)
    background = getattr(fitted, "background", None) or slide_background(
        pixels, stain_matrix(info.stain)
    )
    measures = MEASURES if measure is not None else ()
    finder = Finder(
        fitted,
        section.detector,
        grid,
        tissue.downsample,
        background,
        measure,
        len(measures),
    )
    return Search(info, tissue, level, grid, finder, section.block_px, measures)


def fill(journal: CellJournal, search: Search, workers: int = 1, scheduler: str = "") -> None:
    """Seek through every block that the journal does not hold yet.

    Parameters
    ----------
    journal : CellJournal
        Gets one record per block.
    search : Search
        What to do.
    workers, scheduler : int, str
        As of `pathai.cells.workers.pool`; the journal is the same to the bit with any.
    """
    total = sum(1 for _ in search.blocks())
    pace = Pace(
        search.info.slide_id,
        total,
        journal.blocks,
        unit="blocks",
        beside="cells",
        had=journal.cells,
    )
    if journal.blocks == total:
        return
    todo = islice(search.blocks(), journal.blocks, None)
    cache = ChunkCache()

    def read(block: Block) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        left, top, right, bottom = block.window
        before = len(search.level.lost)
        pixels = search.level.read_px(left, top, right - left, bottom - top, cache)
        return pixels, _corners(search.level.lost[before:])

    with (
        pool(search.finder, workers, scheduler) as hands,
        closing(found_in(todo, read, hands)) as results,
    ):
        for _, found, boxes in results:
            journal.append(found.rows(boxes))
            pace.note(journal.blocks, journal.cells)


def _corners(boxes: list[Box]) -> NDArray[np.float64]:
    corners = [(box.x, box.y, box.right, box.bottom) for box in boxes]
    return np.array(corners, np.float64).reshape(-1, 4)
