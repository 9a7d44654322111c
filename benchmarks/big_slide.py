"""A large slide in Aperio layout whose tissue is known, written tile by tile in little memory.

Synthetic H&E of one block is repeated all over the tissue; outlines are cut out of it exactly, so
the mask of the tissue is known at any resolution.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from pathai.testing.aperio import JPEG_TABLES, split_jpeg
from pathai.testing.picture import synthetic_field

MPP = 0.25
STEPS = (1, 4, 16)
GLASS = (243, 242, 244)
BLOBS = ((0.30, 0.33, 0.26, 0.22), (0.72, 0.40, 0.17, 0.31), (0.38, 0.78, 0.24, 0.15))
"""Center and half axes of each piece of tissue, shares of the slide's edge."""


@dataclass(frozen=True)
class BigSlide:
    """What to write.

    Parameters
    ----------
    edge : int
        Width and height of level 0, px.
    tile : int
        Edge of a tile, px.
    grain : float
        Standard deviation of the camera's noise, gray levels; decides the bytes of a tile.
    seed : int
    """

    edge: int = 30_000
    tile: int = 256
    grain: float = 14.0
    seed: int = 5

    @property
    def block(self) -> int:
        """Period of the texture, level-0 px: whole tiles on every level."""
        return self.tile * STEPS[-1]

    def mask(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether level-0 places (broadcast x and y) are tissue."""
        found = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
        for cx, cy, rx, ry in BLOBS:
            dx, dy = (x / self.edge - cx) / rx, (y / self.edge - cy) / ry
            wave = 1 + 0.08 * np.sin(9 * x / self.edge * np.pi) * np.cos(7 * y / self.edge * np.pi)
            found |= np.hypot(dx, dy) < wave
        return found

    def coverage(self, covered: np.ndarray, step: float) -> tuple[float, float]:
        """Share of the tissue that is covered, and covered background as a share of the tissue.

        Parameters
        ----------
        covered : bool[h, w]
            A map of the slide.
        step : float
            Level-0 px per px of the map.
        """
        y, x = ((np.arange(n) + 0.5) * step for n in covered.shape)
        truth = self.mask(x[None, :], y[:, None])
        truth &= (x[None, :] < self.edge) & (y[:, None] < self.edge)
        return float(covered[truth].mean()), float((covered & ~truth).sum() / truth.sum())


def write(path: Path, slide: BigSlide) -> Path:
    """Write the slide as SVS, levels 1, 4 and 16, JPEG YCbCr 4:2:0 of quality 85."""
    texture = _texture(slide)
    text = f"Aperio Image Library v11.2.1 \r\n{slide.edge}x{slide.edge}|AppMag = 40|MPP = {MPP}"
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for step in STEPS:
            tables, tiles = _tiles(slide, texture[step], step)
            size = slide.edge // step
            tiff.write(
                tiles,
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(slide.tile, slide.tile),
                photometric="ycbcr",
                compression="jpeg",
                compressionargs={"subsampling": (2, 2)},
                extratags=[(JPEG_TABLES, 7, len(tables), tables, True)],
                description=text,
                metadata=None,
                software=False,
            )
            if step == 1:
                tiff.write(np.ascontiguousarray(texture[16][:64, :64]), photometric="rgb",
                           metadata=None, software=False, description=text)  # fmt: skip
    return path


def _texture(slide: BigSlide) -> dict[int, np.ndarray]:
    """One period of tissue at every step; a smaller field repeated, so that drawing stays short."""
    field, _ = synthetic_field(slide.seed, width=slide.tile * 4, height=slide.tile * 4, mpp=MPP)
    whole = np.tile(field, (slide.block // field.shape[0], slide.block // field.shape[1], 1))
    noise = np.random.default_rng(slide.seed).normal(0, slide.grain, whole.shape)
    whole = np.clip(whole + noise, 0, 255).astype(np.uint8)
    image = Image.fromarray(whole)
    return {step: np.asarray(image.reduce(step)) if step > 1 else whole for step in STEPS}


def _tiles(slide: BigSlide, texture: np.ndarray, step: int) -> tuple[bytes, Iterator[bytes]]:
    side, size = slide.tile, slide.edge // step
    rng = np.random.default_rng(slide.seed)
    glass = np.clip(np.array(GLASS) + rng.normal(0, 1.5, (side, side, 3)), 0, 255).astype(np.uint8)

    def encode(tile: np.ndarray) -> tuple[bytes, bytes]:
        data = imagecodecs.jpeg8_encode(
            np.ascontiguousarray(tile), level=85, colorspace="RGB", outcolorspace="YCBCR",
            subsampling="420", optimize=False,
        )  # fmt: skip
        return split_jpeg(bytes(data))

    empty = encode(glass)[1]

    @cache
    def full(row: int, column: int) -> bytes:
        return encode(texture[row : row + side, column : column + side])[1]

    def tiles() -> Iterator[bytes]:
        for top in range(0, size, side):
            for left in range(0, size, side):
                y = (np.arange(top, top + side) + 0.5) * step
                x = (np.arange(left, left + side) + 0.5) * step
                mask = slide.mask(x[None, :], y[:, None])
                row, column = top % texture.shape[0], left % texture.shape[1]
                if not mask.any():
                    yield empty
                elif mask.all():
                    yield full(row, column)
                else:
                    part = texture[row : row + side, column : column + side]
                    yield encode(np.where(mask[..., None], part, glass))[1]

    return encode(glass)[0], tiles()
