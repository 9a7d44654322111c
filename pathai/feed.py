"""Batches of the pixels of a grid's tiles, each stored chunk decoded about once.

Tiles come in row-major order, on one process or several. Several share the columns of the slide
among them, so that each decodes its own chunks, and write into the same ring of tiles; what is
yielded does not depend on how many they are.
"""

import multiprocessing
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.grid import Grid
from pathai.store.chunked import Levels
from pathai.store.pyramid import Pyramid
from pathai.tile_reader import reader, ring_length

if TYPE_CHECKING:
    Link = Connection[Any, Any]

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]
"""``uint8[B, H, W, 3]`` to the same: color management or normalization, done where it was read."""
SECONDS = 600.0
"""Longest that a batch may take."""


def batches(
    pyramid: Levels,
    tiles: Grid,
    batch: int,
    *,
    workers: int = 1,
    change: Change | None = None,
    first: int = 0,
) -> Generator[tuple[Pixels, NDArray[np.float16]]]:
    """Pixels of a grid's tiles, in its order.

    Parameters
    ----------
    pyramid : Levels
        Open ``tiles.zarr``, or the tiles of a slide itself (on one process).
    tiles : Grid
        From `pathai.grid.grid`.
    batch : int
        Tiles per batch; the last one may be smaller.
    workers : int
        Processes that decode; 1 is this one.
    change : callable, optional
        Picklable; applied to every batch.
    first : int
        Tile to begin with. At a multiple of the batch, batches are those of the whole grid.

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
    tiles = tiles.rest(first) if first else tiles
    if workers > 1 and len(tiles) > batch and isinstance(pyramid, Pyramid):
        yield from _shared(pyramid, tiles, batch, workers, change)
        return
    length = ring_length(pyramid, tiles, batch)
    ring = np.empty((length, tiles.tile_px, tiles.tile_px, 3), np.uint8)
    source = reader(pyramid, tiles, ring, np.arange(len(tiles)))
    for start in range(0, len(tiles), batch):
        stop = min(start + batch, len(tiles))
        which = source.fill(start, stop, min(start + length, len(tiles)))
        pixels = ring[start % length : start % length + stop - start]
        yield (change(pixels) if change else pixels), source.valid(which)


def readable(pyramid: Levels, tiles: Grid) -> NDArray[np.float16]:
    """Share of every tile that lies on the slide and is not known to be lost, float16[N]."""
    nothing = np.empty((0, tiles.tile_px, tiles.tile_px, 3), np.uint8)
    return reader(pyramid, tiles, nothing, np.arange(0)).valid(list(range(len(tiles))))


def _shared(
    pyramid: Pyramid, tiles: Grid, batch: int, workers: int, change: Change | None
) -> Generator[tuple[Pixels, NDArray[np.float16]]]:
    """Batches filled by several processes, each of which reads some columns of the slide."""
    length = ring_length(pyramid, tiles, batch)
    shape = (length, tiles.tile_px, tiles.tile_px, 3)
    context = multiprocessing.get_context("spawn")
    memory = SharedMemory(create=True, size=int(np.prod(shape)))
    free = [context.Semaphore(length // batch - 1) for _ in range(workers)]
    links: list[Link] = []
    started = []
    ring: Pixels | None = np.ndarray(shape, np.uint8, buffer=memory.buf)
    try:
        for part, may in zip(columns(tiles, workers), free, strict=True):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (pyramid.path, tiles, batch, part, memory.name, shape, change, may, theirs)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            links.append(ours)
            started.append(process)
        for start in range(0, len(tiles), batch):
            stop = min(start + batch, len(tiles))
            valid = np.empty(stop - start, np.float16)
            for link, process in zip(links, started, strict=True):
                which, share = _answer(link, process.sentinel)
                valid[np.asarray(which, np.int64) - start] = share
            assert ring is not None  # noqa: S101  (it is dropped at the end)
            yield ring[start % length : start % length + stop - start], valid
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


def _answer(link: "Link", sentinel: int) -> tuple[list[int], NDArray[np.float16]]:
    try:
        # a worker that dies before it has taken over the pipe leaves it open: watch both
        if not wait([link, sentinel], SECONDS):
            raise PathaiError("E171", f"no batch within {SECONDS:g} s", "run the stage again")
        if not link.poll(0):
            raise EOFError
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
    source = None
    try:
        source = reader(Pyramid(path), tiles, ring, part)
        horizon = 0
        for start in range(0, len(tiles), batch):
            while horizon <= start or may.acquire(block=False):
                if horizon <= start:
                    may.acquire()
                horizon += batch
            stop = min(start + batch, len(tiles))
            which = source.fill(start, stop, min(horizon, len(tiles)))
            if change is not None and which:
                slots = np.asarray(which) % len(ring)
                ring[slots] = change(ring[slots])
            link.send(("done", which, source.valid(which)))
    except PathaiError as error:
        link.send(("failed", error.code, error.message, error.remedy))
    finally:
        del ring, source
        memory.close()
