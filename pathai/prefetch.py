"""Batches made ready by a thread while the caller works on the ones before."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Batch = tuple[Pixels, NDArray[np.float16]]
ROOMS = 5
"""Two in the caller's hands, two ready, one being filled."""


def prefetched(source: Generator[Batch], rooms: list[Pixels]) -> Generator[Batch]:
    """The batches of a source, read ahead.

    Parameters
    ----------
    source : generator of (uint8[B, H, W, 3], float16[B])
        Run by a thread, and closed at the end, with the processes that it started.
    rooms : list of uint8[batch, H, W, 3]
        `ROOMS` of them, into which batches are copied.

    Yields
    ------
    uint8[B, H, W, 3], float16[B]
        Pixels stay valid until the one after the next batch is asked for: the next may be begun
        on a device before the results of this one are fetched.

    Raises
    ------
    Exception
        What the source raised, after the batches before it.
    """

    def fill(room: Pixels) -> Batch | None:
        for pixels, valid in source:
            np.copyto(room[: len(pixels)], pixels)
            return room, valid
        return None

    with ThreadPoolExecutor(1, "prefetch") as thread:
        waiting: deque[Future[Batch | None]] = deque(thread.submit(fill, room) for room in rooms)
        held: deque[Pixels] = deque()
        try:
            while (found := waiting.popleft().result()) is not None:
                room, valid = found
                held.append(room)
                yield room[: len(valid)], valid
                if len(held) > 1:
                    waiting.append(thread.submit(fill, held.popleft()))
        finally:
            for future in waiting:
                future.cancel()
            thread.shutdown()
            source.close()
