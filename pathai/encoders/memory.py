"""Batches that shrink when memory does not suffice. No torch here."""

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError

Made = TypeVar("Made")
_SAID_BY_TORCH = ("can't allocate memory", "out of memory")


class TileError(PathaiError):
    """What is wrong with one tile of a batch; who knows the tile's place adds it.

    Parameters
    ----------
    row : int
        Tile in the batch.
    code, message, remedy : str
        As of `PathaiError`.
    """

    def __init__(self, row: int, code: str, message: str, remedy: str = "") -> None:
        super().__init__(code, message, remedy)
        self.row = row


class Halving(Generic[Made]):
    """Calls a function with as many tiles as memory allows.

    When it runs out of memory, half as many tiles are tried, down to one; the smaller number is
    kept for all calls that follow.

    Parameters
    ----------
    call : callable
        Of tiles ``uint8[B, H, W, 3]``.
    recover : callable, optional
        Called after memory ran out: gives back what a device's allocator keeps.
    """

    def __init__(
        self,
        call: Callable[[NDArray[np.uint8]], Made],
        recover: Callable[[], None] | None = None,
    ) -> None:
        self._call, self._recover = call, recover
        self.most: int | None = None
        """Tiles per call, once memory ran out."""

    def __call__(self, tiles: NDArray[np.uint8]) -> list[Made]:
        """What the function made of the tiles, in order, one part for each call.

        Raises
        ------
        TileError
            E170 if not even one tile fits.
        """
        parts: list[Made] = []
        start = 0
        while start < len(tiles):
            size = min(self.most or len(tiles), len(tiles) - start)
            try:
                parts.append(self._call(tiles[start : start + size]))
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if size == 1:
                    raise TileError(start, "E170", "not even one tile fits", _REMEDY) from None
                self.most = size // 2
            else:
                start += size
                continue
            if self._recover is not None:  # outside of except: the traceback holds tensors
                self._recover()
        return parts


_REMEDY = "use a device with more memory, or a smaller network"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, of the processor or of a device."""
    said = type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)
    return said or any(words in str(error) for words in _SAID_BY_TORCH)
