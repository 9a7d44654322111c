"""Who finds nuclei: threads of this process, or the workers of a dask scheduler.

Pixels are read here, in the order of the blocks, and results are given in that order, so neither
the number of workers nor where they run changes anything. Only a few blocks are on their way at a
time. A worker elsewhere gets the detector and arrays of pixels: no name, no path, no slide id.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from pathai.cells.finder import Finder, Found
from pathai.cells.frame import Block
from pathai.errors import PathaiError

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Read = Callable[[Block], tuple[U8, F64]]
"""A block to the pixels of its window and the boxes in it that turned out to be unreadable."""
AHEAD = 2
"""Blocks that are read beyond those in work."""
MOST_AHEAD = 64
"""Blocks on their way at most, however many workers a scheduler has."""
SECONDS = 30
"""In which a scheduler must answer."""


class Pool(ABC):
    """Workers with one finder.

    Attributes
    ----------
    depth : int
        Blocks on their way at a time.
    """

    depth: int

    @abstractmethod
    def start(self, pixels: U8, block: Block) -> Callable[[], Found]:
        """Begin a block; what it gives waits for the result."""


class Threads(Pool):
    """Threads of this process.

    Parameters
    ----------
    finder : Finder
        What they do.
    executor : ThreadPoolExecutor
        Where they run.
    workers : int
        How many there are.
    """

    def __init__(self, finder: Finder, executor: ThreadPoolExecutor, workers: int) -> None:
        self._finder, self._executor, self.depth = finder, executor, workers + AHEAD

    def start(self, pixels: U8, block: Block) -> Callable[[], Found]:
        """See `Pool.start`."""
        return self._executor.submit(self._finder, pixels, block).result


class Cluster(Pool):
    """Workers of a dask scheduler.

    Parameters
    ----------
    finder : Finder
        Sent to every worker once.
    client : distributed.Client
        Connected to the scheduler.
    """

    def __init__(self, finder: Finder, client: Any) -> None:
        self._client = client
        with _answering():
            client.wait_for_workers(1, timeout=SECONDS)
            self.depth = min(sum(client.nthreads().values()) * 2, MOST_AHEAD)
            self._finder = client.scatter(finder, broadcast=True, hash=False)

    def start(self, pixels: U8, block: Block) -> Callable[[], Found]:
        """See `Pool.start`."""
        key = f"pathai-block-{uuid4().hex}"
        with _answering():
            sent = self._client.scatter(np.ascontiguousarray(pixels), hash=False)
            future = self._client.submit(_find, self._finder, sent, block, key=key, pure=False)

        def wait() -> Found:
            with _answering():
                found: Found = future.result()
                return found

        return wait


@contextmanager
def _answering() -> Iterator[None]:
    """What goes wrong between here and a scheduler is E177; what a detector raises stays."""
    from distributed.scheduler import KilledWorker

    try:
        yield
    except (OSError, TimeoutError, CancelledError, KilledWorker) as error:
        raise PathaiError("E177", f"{type(error).__name__}: {error}") from None


def _find(finder: Finder, pixels: U8, block: Block) -> Found:
    return finder(pixels, block)


@contextmanager
def pool(finder: Finder, workers: int = 1, scheduler: str = "") -> Iterator[Pool]:
    """Workers for a slide.

    Parameters
    ----------
    finder : Finder
        What they do.
    workers : int
        Threads of this process; a scheduler has its own.
    scheduler : str
        Address of a dask scheduler, such as ``tcp://host:8786``; empty for threads.

    Raises
    ------
    PathaiError
        E177 if the scheduler does not answer, E194 without the extra ``cluster``.
    """
    if not scheduler:
        executor = ThreadPoolExecutor(workers, thread_name_prefix="cells")
        try:
            yield Threads(finder, executor, workers)
        finally:
            executor.shutdown(cancel_futures=True)
        return
    try:
        from distributed import Client
    except ImportError:
        message = "cells.scheduler needs the package distributed"
        raise PathaiError("E194", message, "pip install 'pathai[cluster]'") from None
    with _answering():
        client: Any = Client(scheduler, timeout=SECONDS, set_as_default=False)
    try:
        yield Cluster(finder, client)
    finally:
        client.close()


def found_in(
    blocks: Iterable[Block], read: Read, workers: Pool
) -> Generator[tuple[Block, Found, F64]]:
    """Nuclei of each block and what of it was unreadable, in the order of the blocks."""
    waiting: deque[tuple[Block, F64, Callable[[], Found]]] = deque()
    for block in blocks:
        pixels, boxes = read(block)
        waiting.append((block, boxes, workers.start(pixels, block)))
        del pixels
        if len(waiting) >= workers.depth:
            first, lost, result = waiting.popleft()
            yield first, result(), lost
    while waiting:
        first, lost, result = waiting.popleft()
        yield first, result(), lost
