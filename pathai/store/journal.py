"""Rows as they are made, in one file that may be cut off at any byte.

The header is a digest of what the rows are made from. Each record that follows holds the rows of
one batch and their CRC-32C, so the file itself says how many rows are safe: a killed process needs
nothing but the file, and neither a second file nor their order on the disk has to be trusted.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pathai.store.chunks import CRC_BYTES, sealed

MAGIC = b"pathai rows 1\n"
_HEAD = struct.Struct("<Idd")
"""Rows of a record, largest error of their rounding, largest value."""
Rows = NDArray[np.float16]


class RowJournal:
    """The rows of one slide so far.

    Parameters
    ----------
    path : Path
        Rows of an earlier process are taken up if they are of the same key, else dropped.
    key : str
        SHA-256 of what the rows are made from.
    dim : int
        Length of a row.

    Attributes
    ----------
    count : int
        Rows that are safe.
    dim : int
        Length of a row.
    error, largest : float
        Largest error by which a value was rounded, and largest value, over all rows.
    """

    def __init__(self, path: Path, key: str, dim: int) -> None:
        self._path, self.dim = path, dim
        self._start = MAGIC + key.encode() + b"\n"
        self.count, self.error, self.largest = 0, 0.0, 0.0
        self._valid: list[Rows] = []
        end = self._take_up() if path.is_file() else 0
        self._file: BinaryIO = path.open("r+b" if end else "wb")
        if end:
            self._file.truncate(end)
            self._file.seek(end)
        else:
            self._file.write(self._start)
            self._file.flush()

    def __enter__(self) -> "RowJournal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # a full disk was told when it was written to
            self._file.close()

    def append(self, x: Rows, valid: Rows, error: float, largest: float) -> None:
        """Add the rows of one batch.

        Parameters
        ----------
        x : float16[B, D]
            Rows.
        valid : float16[B]
            One value beside each.
        error, largest : float
            Of these rows: how far they were rounded, and their largest value.
        """
        body = _HEAD.pack(len(x), error, largest) + x.tobytes() + valid.tobytes()
        self._file.write(sealed(body))
        self._file.flush()
        self._note(valid, error, largest)

    def rows(self, size: int) -> Iterator[Rows]:
        """All rows, ``size`` at a time: ``float16[size, D]``, the last ones fewer."""
        room, filled = np.empty((size, self.dim), np.float16), 0
        for _, _, x, _ in self._records():
            while len(x):
                taken = min(len(x), size - filled)
                room[filled : filled + taken] = x[:taken]
                x, filled = x[taken:], filled + taken
                if filled == size:
                    yield room
                    filled = 0
        if filled:
            yield room[:filled]

    @property
    def valid(self) -> Rows:
        """The value beside each row, float16[N]."""
        return np.concatenate([np.empty(0, np.float16), *self._valid])

    def _note(self, valid: Rows, error: float, largest: float) -> None:
        self._valid.append(valid.copy())
        self.count += len(valid)
        self.error, self.largest = max(self.error, error), max(self.largest, largest)

    def _take_up(self) -> int:
        """Note every whole record of an earlier process; where they end, 0 without a header."""
        end = 0
        with self._path.open("rb") as file:
            if file.read(len(self._start)) == self._start:
                end = len(self._start)
        for size, head, _, valid in self._records() if end else ():
            end += size
            self._note(valid, *head)
        return end

    def _records(self) -> Iterator[tuple[int, tuple[float, float], Rows, Rows]]:
        """Size in bytes, error and largest value, rows and their values, up to the first fault."""
        left = os.stat(self._path).st_size - len(self._start)
        with self._path.open("rb") as file:
            file.seek(len(self._start))
            while left >= _HEAD.size:
                head = file.read(_HEAD.size)
                count, error, largest = _HEAD.unpack(head)
                values = count * self.dim
                size = _HEAD.size + 2 * (values + count) + CRC_BYTES
                if size > left:  # cut off, or the head itself is damaged
                    return
                rest = file.read(size - _HEAD.size)
                body = rest[:-CRC_BYTES]
                if sealed(head + body)[-CRC_BYTES:] != rest[-CRC_BYTES:]:
                    return
                x = np.frombuffer(body, np.float16, values).reshape(count, self.dim)
                yield size, (error, largest), x, np.frombuffer(body, np.float16, -1, 2 * values)
                left -= size
