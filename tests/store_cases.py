"""Stores of pixels for tests: what the tile stage does, without a slide."""

from pathlib import Path

import numpy as np
import pytest

from pathai.store.damage import Damage
from pathai.store.level import Level
from pathai.store.pyramid import write_metadata
from pathai.store.pyramid_writer import ReadBlock, write_pyramid
from pathai.store.records import TissueMap
from pathai.units import Mpp, Size


def store(
    path: Path,
    read: ReadBlock,
    size: Size,
    mpp: Mpp,
    tissue: TissueMap,
    *,
    limit: float = 1.0,
    quality: int | None = None,
) -> Damage:
    """Write ``tiles.zarr`` from decoded blocks; what could not be read."""
    damage = Damage(tissue, limit)
    write_metadata(path, mpp, write_pyramid(path, read, size, damage, quality), {"source": "test"})
    return damage


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Filled with the row and column of every chunk that is decoded from now on."""
    seen: list[tuple[int, int]] = []
    plain = Level._decode

    def counting(self: Level, row: int, column: int, out: np.ndarray) -> bool:
        found = plain(self, row, column, out)
        seen.extend([(row, column)] * found)
        return found

    monkeypatch.setattr(Level, "_decode", counting)
    return seen
