"""Seeded noise of one scale, of several, and as a small tile that repeats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

FloatImage = npt.NDArray[np.float32]


def stream(seed: int, *names: str) -> np.random.Generator:
    """Return the random generator of one purpose, independent of all others of the same seed.

    A generator per purpose keeps the nuclei where they are when, say, the stain is changed.
    """
    words = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    for name in names:
        words += [len(name), *name.encode("utf-8")]
    return np.random.default_rng(np.random.SeedSequence(words))


def enlarge(image: FloatImage, width: int, height: int, factor: float) -> FloatImage:
    """Return float32[height, width]: `image` enlarged by `factor`, bilinear, areas aligned."""
    box = (0.0, 0.0, min(width / factor, image.shape[1]), min(height / factor, image.shape[0]))
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))


def smooth_noise(rng: np.random.Generator, width: int, height: int, period: float) -> FloatImage:
    """Return float32[height, width], mean 0, deviation near 1, that varies over `period` pixels."""
    columns, rows = (int(np.ceil(n / period)) + 3 for n in (width, height))
    grid = rng.standard_normal((rows, columns)).astype(np.float32) * 1.4
    box = (1.0, 1.0, 1.0 + width / period, 1.0 + height / period)
    return np.asarray(
        Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box)
    )


def fractal_noise(
    rng: np.random.Generator,
    width: int,
    height: int,
    period: float,
    octaves: int,
    gain: float = 0.5,
) -> FloatImage:
    """Return float32[height, width]: a sum of `octaves` noises.

    Each has half the period and `gain` times the amplitude of the one before.
    """
    total = np.zeros((height, width), np.float32)
    amplitude, power = 1.0, 0.0
    for _ in range(octaves):
        total += amplitude * smooth_noise(rng, width, height, max(period, 1.5))
        power += amplitude**2
        period, amplitude = period / 2, amplitude * gain
    return total / np.float32(np.sqrt(power))


def noise_tile(
    rng: np.random.Generator, rows: int, columns: int, sigma: tuple[float, float]
) -> FloatImage:
    """Return float32[rows, columns], mean 0, deviation 1, whose edges meet when repeated."""
    tile: FloatImage = ndimage.gaussian_filter(
        rng.standard_normal((rows, columns)).astype(np.float32), sigma, mode="wrap"
    )
    return np.asarray((tile - tile.mean()) / tile.std(), np.float32)


def repeat_tile(tile: FloatImage, width: int, height: int) -> FloatImage:
    """Return float32[height, width]: the tile laid beside itself."""
    rows, columns = -(-height // tile.shape[0]), -(-width // tile.shape[1])
    return np.tile(tile, (rows, columns))[:height, :width]
