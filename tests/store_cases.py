"""Stores of pixels for tests: what the tile stage does, without a slide."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

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
    plain = Level.decode

    def counting(self: Level, row: int, column: int, out: np.ndarray) -> bool:
        found = plain(self, row, column, out)
        seen.extend([(row, column)] * found)
        return found

    monkeypatch.setattr(Level, "decode", counting)
    return seen


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(80, 230, (height // 8 + 1, width // 8 + 1, 3))
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.uint8)


def write_tiff(path: Path, *levels: np.ndarray, tile: int = 256, text: str = "") -> Path:
    """A pyramid of JPEG tiles as a scanner would write it, YCbCr with shared tables."""
    options = {"tile": (tile, tile), "compression": "jpeg", "photometric": "ycbcr"}
    with tifffile.TiffWriter(path) as tiff:
        for i, level in enumerate(levels):
            tiff.write(level, description=text, metadata=None, subfiletype=int(i > 0), **options)
    return path
