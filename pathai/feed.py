"""Batches of the pixels of a grid's tiles, each stored chunk decoded about once.

Tiles come in row-major order, on one process or several. Several share the columns of the slide
among them, so that each decodes its own chunks, and write into the same ring of batches; what is
yielded does not depend on how many they are.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.grid import Grid
from pathai.resample import resample
from pathai.store.level import ChunkCache, Level
from pathai.store.pyramid import Pyramid
from pathai.units import Box, Size

if TYPE_CHECKING:
    Link = Connection[Any, Any]

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]
"""``uint8[B, H, W, 3]`` to the same: color management or normalization, done where it was read."""
AHEAD = 3
"""Batches that may be ready beyond the one that is used."""
SECONDS = 600.0
"""Longest that a batch may take."""


def batches(
    pyramid: Pyramid, tiles: Grid, batch: int, *, workers: int = 1, change: Change | None = None
) -> Iterator[tuple[Pixels, NDArray[np.float16]]]:
    """Pixels of a grid's tiles, in its order.

    Parameters
    ----------
    pyramid : Pyramid
        Open ``tiles.zarr``.
    tiles : Grid
        From `pathai.grid.grid`.
    batch : int
        Tiles per batch; the last one may be smaller.
    workers : int
        Processes that decode; 1 is this one.
    change : callable, optional
        Picklable; applied to every batch.

    Yields
    ------
    pixels : uint8[B, H, W, 3]
        Tiles at the grid's own mpp, white where nothing is stored. Valid until the next one.
    valid : float16[B]
        Share of each tile that lies on the slide and was readable.

    Raises
    ------
    PathaiError
        E164 if the pixels are damaged: run ``pathai verify``; E172 if a worker died.
    """
    if workers > 1 and len(tiles) > batch:
        yield from _shared(pyramid.path, tiles, batch, workers, change)
        return
    reader = _Reader(pyramid, tiles)
    room = np.empty((min(batch, len(tiles)), tiles.tile_px, tiles.tile_px, 3), np.uint8)
    for start in range(0, len(tiles), batch):
        stop = min(start + batch, len(tiles))
        pixels = room[: stop - start]
        reader.fill(pixels, range(start, stop), start)
        valid = reader.valid(np.arange(start, stop))
        yield (change(pixels) if change else pixels), valid


def readable(pyramid: Pyramid, tiles: Grid) -> NDArray[np.float16]:
    """Share of every tile that lies on the slide and is not known to be lost, float16[N]."""
    return _Reader(pyramid, tiles).valid(np.arange(len(tiles)))


class _Reader:
    """Reads tiles of one grid, in its order."""

    def __init__(self, pyramid: Pyramid, tiles: Grid) -> None:
        self.tiles, self.size = tiles, pyramid.size
        width, height = (float(v) for v in tiles.size_px0)
        edge = tiles.tile_px
        self.level: Level = pyramid.levels[pyramid.level_for(min(width, height) / edge)]
        d = self.level.downsample
        self.place = tiles.xy_px0 / d
        self.extent = width / d, height / d
        self.plain = self.extent == (edge, edge) and bool((self.place % 1 == 0).all())
        chunk = self.level.chunk
        alone = self.plain and (edge, edge) == (chunk.width, chunk.height)
        alone = alone and tiles.stride_px == edge and bool((self.place % edge == 0).all())
        # a tile that is a chunk is decoded where it belongs; else chunks serve several tiles
        self.cache = None if alone else ChunkCache()

    def fill(self, out: Pixels, which: Any, start: int) -> None:
        """Tiles ``which`` (numbers of the grid) into ``out``, whose first tile is ``start``."""
        edge = self.tiles.tile_px
        for i in which:
            x, y = self.place[i].tolist()
            if self.plain:
                self.level.read_into(out[i - start], int(x), int(y), self.cache)
            else:
                out[i - start] = resample(self._read, Box(x, y, *self.extent), Size(edge, edge))

    def _read(self, x: int, y: int, width: int, height: int) -> Pixels:
        return self.level.read_px(x, y, width, height, self.cache)

    def valid(self, which: NDArray[np.int64]) -> NDArray[np.float16]:
        """Share of tiles that lies on the slide and was readable, float16[B]."""
        low = self.tiles.xy_px0[which].astype(np.float64)
        high = low + self.tiles.size_px0
        area = float(np.prod(self.tiles.size_px0.astype(np.float64)))
        good = _overlap(low, high, Box(0, 0, self.size.width, self.size.height))
        for box in self.level.lost:
            good -= _overlap(low, high, box)
        return (np.maximum(good, 0) / area).astype(np.float16)


def _overlap(low: NDArray[np.float64], high: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Area that boxes (corners ``float64[B, 2]``, x before y) share with one, ``float64[B]``."""
    sides = np.minimum(high, (box.right, box.bottom)) - np.maximum(low, (box.x, box.y))
    shared: NDArray[np.float64] = np.maximum(sides, 0).prod(axis=1)
    return shared


def _shared(
    path: Path, tiles: Grid, batch: int, workers: int, change: Change | None
) -> Iterator[tuple[Pixels, NDArray[np.float16]]]:
    """Batches filled by several processes, each of which reads some columns of the slide."""
    shape = (AHEAD + 1, batch, tiles.tile_px, tiles.tile_px, 3)
    context = multiprocessing.get_context("spawn")
    memory = SharedMemory(create=True, size=int(np.prod(shape)))
    free = [context.Semaphore(AHEAD) for _ in range(workers)]
    links: list[Link] = []
    started = []
    ring: Pixels | None = np.ndarray(shape, np.uint8, buffer=memory.buf)
    try:
        for part, may in zip(columns(tiles, workers), free, strict=True):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (path, tiles, batch, part, memory.name, shape, change, may, theirs)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            links.append(ours)
            started.append(process)
        for number, start in enumerate(range(0, len(tiles), batch)):
            stop = min(start + batch, len(tiles))
            valid = np.empty(stop - start, np.float16)
            for link in links:
                which, share = _answer(link)
                valid[which - start] = share
            assert ring is not None  # noqa: S101  (it is dropped at the end)
            yield ring[number % shape[0], : stop - start], valid
            for may in free:
                may.release()
    finally:
        for process in started:
            process.kill()
            process.join()
        for link in links:
            link.close()
        ring = None
        memory.close()
        memory.unlink()


def columns(tiles: Grid, workers: int) -> list[NDArray[np.int64]]:
    """Tiles of each worker (numbers, ascending): bands of columns with about as many tiles."""
    x = tiles.xy_px0[:, 0]
    edges = np.quantile(x, np.arange(1, workers) / workers) if len(x) else np.empty(0)
    band = np.searchsorted(edges, x, side="right")
    return [np.flatnonzero(band == k) for k in range(workers)]


def _answer(link: "Link") -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    try:
        if not link.poll(SECONDS):
            raise PathaiError("E171", f"no batch within {SECONDS:g} s", "run the stage again")
        kind, *rest = link.recv()
    except EOFError:
        raise PathaiError("E172", "a process that reads tiles died", "lower its number") from None
    if kind == "failed":
        raise PathaiError(*rest)
    return rest[0], rest[1]


def _work(
    path: Path,
    tiles: Grid,
    batch: int,
    part: NDArray[np.int64],
    name: str,
    shape: tuple[int, ...],
    change: Change | None,
    may: Any,
    link: "Link",
) -> None:
    """Fill this worker's tiles of every batch (runs in a process of its own)."""
    memory = SharedMemory(name=name)
    ring: Pixels = np.ndarray(shape, np.uint8, buffer=memory.buf)
    try:
        reader = _Reader(Pyramid(path), tiles)
        for number, start in enumerate(range(0, len(tiles), batch)):
            which = part[np.searchsorted(part, start) : np.searchsorted(part, start + batch)]
            may.acquire()
            slot = ring[number % shape[0]]
            reader.fill(slot, which.tolist(), start)
            if change is not None and len(which):
                slot[which - start] = change(slot[which - start])
            link.send(("done", which, reader.valid(which)))
    except PathaiError as error:
        link.send(("failed", error.code, error.message, error.remedy))
    finally:
        del ring
        memory.close()
