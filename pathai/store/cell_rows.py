"""Nuclei as they are found, block by block, in one file that may be cut off at any byte.

As in `pathai.store.journal`, each record says itself whether it is whole, so a killed job goes on
after the last block that is. What is short (places, classes) stays in memory as well; outlines and
measures stay on disk and are fetched in any order, so memory hardly grows with the slide.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pathai.store.chunks import CRC_BYTES, sealed

MAGIC = b"pathai cells 1\n"
_HEAD = struct.Struct("<8I")
"""Nuclei, classes, measures, vertices, squares, boxes, outlines mended, nothing."""
_ALIGN = 8
F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class CellBlock:
    """What was found in one block of a slide.

    Parameters
    ----------
    centers, anchors : float32[m, 2]
        As of a detection, level-0 px.
    score : float16[m]
    class_ : uint8[m]
    prob : float16[m, C]
    dab_od : float16[m]
    vertices : int32[m]
        Points of each outline.
    squares : int32[n, 3]
        Column and row of each square that holds more nuclei than there can be, and how many; they
        are not among the others.
    boxes : float64[l, 4]
        Left, top, right, bottom of what turned out to be unreadable, level-0 px.
    measures : float32[m, F]
    outline : float32[k, 2]
        Points x, y of all outlines, level-0 px.
    mended : int
        Outlines that had to be mended or left out.
    """

    centers: F32
    anchors: F32
    score: F16
    class_: U8
    prob: F16
    dab_od: F16
    vertices: I32
    squares: I32
    boxes: F64
    measures: F32
    outline: F32
    mended: int = 0

    def __len__(self) -> int:
        return len(self.centers)


def _shapes(head: tuple[int, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each array of a record, in the order in which they lie there."""
    m, classes, measures, points, squares, boxes = head[:6]
    return {
        "centers": ("<f4", (m, 2)),
        "anchors": ("<f4", (m, 2)),
        "score": ("<f2", (m,)),
        "class_": ("u1", (m,)),
        "prob": ("<f2", (m, classes)),
        "dab_od": ("<f2", (m,)),
        "vertices": ("<i4", (m,)),
        "squares": ("<i4", (squares, 3)),
        "boxes": ("<f8", (boxes, 4)),
        "measures": ("<f4", (m, measures)),
        "outline": ("<f4", (points, 2)),
    }


_ON_DISK = ("measures", "outline")
_LIGHT = tuple(f.name for f in fields(CellBlock) if f.name not in (*_ON_DISK, "mended"))


def _layout(head: tuple[int, ...]) -> tuple[dict[str, int], int]:
    """Where each array of a record starts, from the start of its head, and the record's size."""
    place, offsets = _HEAD.size, {}
    for name, (dtype, shape) in _shapes(head).items():
        offsets[name] = place
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        place += -(-size // _ALIGN) * _ALIGN
    return offsets, place + _ALIGN  # the checksum ends the record on a multiple of eight again


class CellJournal:
    """The nuclei of one slide so far.

    Parameters
    ----------
    path : Path
        Blocks of an earlier process are taken up if they are of the same key, else mended.
    key : str
        SHA-256 of what the nuclei are made from.
    classes, measures : int
        Columns of ``prob`` and of ``measures``.

    Attributes
    ----------
    blocks : int
        Blocks that are safe.
    cells : int
        Nuclei in them.
    mended : int
        Outlines that had to be mended or left out.
    """

    def __init__(self, path: Path, key: str, classes: int, measures: int) -> None:
        self._path, self._classes, self._measures = path, classes, measures
        start = MAGIC + key.encode() + b"\n"
        self._start = start + b"\0" * (-len(start) % _ALIGN)
        self.blocks = self.cells = self.mended = 0
        self._light: dict[str, list[NDArray[Any]]] = {name: [] for name in _LIGHT}
        self._first: list[tuple[int, ...]] = []
        end = self._take_up() if path.is_file() else 0
        self._file: BinaryIO = path.open("r+b" if end else "wb")
        self._end = end or len(self._start)
        if end:
            self._file.truncate(end)
            self._file.seek(end)
        else:
            self._file.write(self._start)
            self._file.flush()

    def __enter__(self) -> "CellJournal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # a full disk was told when it was written to
            self._file.close()

    def append(self, block: CellBlock) -> None:
        """Add what was found in the next block."""
        counts = (len(block), self._classes, self._measures, len(block.outline))
        head = (*counts, len(block.squares), len(block.boxes), block.mended, 0)
        offsets, size = _layout(head)
        body = bytearray(size - CRC_BYTES)
        _HEAD.pack_into(body, 0, *head)
        for name, (dtype, shape) in _shapes(head).items():
            np.ndarray(shape, dtype, body, offsets[name])[...] = getattr(block, name)
        self._file.write(sealed(bytes(body)))
        self._file.flush()
        self._note(head, body)

    def column(self, name: str) -> NDArray[Any]:
        """One short column over all blocks, in the order of the journal."""
        head = (0, self._classes, self._measures, 0, 0, 0)
        dtype, shape = _shapes(head)[name]
        return np.concatenate([np.empty(shape, dtype), *self._light[name]])

    def measures(self, rows: I64) -> F32:
        """Measures float32[n, F] of nuclei ``rows``."""
        first, at = self._owners(rows, 1)
        start = at // 4 + (rows - first) * self._measures
        place = start[:, None] + np.arange(self._measures)
        found: F32 = self._mapped(np.dtype("<f4"), 1)[place, 0]
        return found

    def outlines(self, rows: I64, start: I64) -> F32:
        """Outlines of nuclei, one after the other: float32[k, 2].

        Parameters
        ----------
        rows : int64[n]
            Which nuclei, in any order.
        start : int64[M + 1]
            Vertices before each nucleus, in the order of the journal.
        """
        owner, at = self._owners(rows, 2)
        first = at // 8 + start[rows] - start[owner]
        length = start[rows + 1] - start[rows]
        shift = np.concatenate([[0], np.cumsum(length)])
        place = np.arange(shift[-1]) + np.repeat(first - shift[:-1], length)
        found: F32 = self._mapped(np.dtype("<f4"), 2)[place]
        return found

    def _mapped(self, dtype: np.dtype[Any], width: int) -> NDArray[Any]:
        """The file as rows of numbers; mapped anew each time, so that its pages can go."""
        rows = self._end // (dtype.itemsize * width)
        return np.memmap(self._path, dtype, "r", shape=(rows, width))

    def _owners(self, rows: I64, kind: int) -> tuple[I64, I64]:
        """First nucleus of each nucleus' block, and where the block's array lies in the file."""
        table = np.array(self._first, np.int64).reshape(-1, 3)
        block = np.searchsorted(table[:, 0], rows, side="right") - 1
        return table[block, 0], table[block, kind]

    def _note(self, head: tuple[int, ...], record: bytes | bytearray) -> None:
        offsets, size = _layout(head)
        for name, (dtype, shape) in _shapes(head).items():
            if name in self._light and shape[0]:
                self._light[name].append(np.ndarray(shape, dtype, record, offsets[name]).copy())
        if head[0]:
            places = (self._end + offsets[name] for name in _ON_DISK)
            self._first.append((self.cells, *places))
        self.blocks += 1
        self.cells += head[0]
        self.mended += head[6]
        self._end += size

    def _take_up(self) -> int:
        """Note every whole record of an earlier process; where they end, 0 without a header."""
        self._end = len(self._start)
        with self._path.open("rb") as file:
            if file.read(len(self._start)) != self._start:
                return 0
        for head, record in self._records():
            self._note(head, record)
        return self._end

    def _records(self) -> Iterator[tuple[tuple[int, ...], bytes]]:
        """Head and bytes of each record, up to the first fault."""
        left = os.stat(self._path).st_size - len(self._start)
        with self._path.open("rb") as file:
            file.seek(len(self._start))
            while left >= _HEAD.size:
                packed = file.read(_HEAD.size)
                head = _HEAD.unpack(packed)
                size = _layout(head)[1]
                if head[1:3] != (self._classes, self._measures) or size > left:
                    return
                record = packed + file.read(size - _HEAD.size)
                if sealed(record[:-CRC_BYTES]) != record:
                    return
                yield head, record
                left -= size
