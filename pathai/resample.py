"""Exact reduction of images to another µm/px, on grids fixed to absolute coordinates."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathai.units import Box, Mpp, Size

if TYPE_CHECKING:
    from scipy import sparse

U8 = NDArray[np.uint8]
SLACK = 1.01
"""A level this much coarser than asked for still serves: resampling hides 1 %."""
NEAR = 1.1
"""Factors below this are left alone: resampling by so little only blurs."""


def reduction(mpp: Mpp, target_mpp: float) -> tuple[float, float]:
    """Factor along x and y that brings ``mpp`` to ``target_mpp``; 1 where it is near or coarser."""
    fx, fy = (target_mpp / m if target_mpp / m > NEAR else 1.0 for m in (mpp.x, mpp.y))
    return fx, fy


def resample(read: Callable[[int, int, int, int], U8], place: Box, out: Size) -> U8:
    """Bring a box of an image, which may lie between pixels, to ``out`` pixels.

    Where a pixel of the result is a whole number of pixels (up to one pixel over the whole box)
    it is their mean; other ratios go through a Hamming filter that sees the pixels around the box,
    so neighboring boxes join seamlessly.

    Parameters
    ----------
    read : callable
        x, y, width, height in whole px of the image to ``uint8[h, w, ...]``; may be asked for
        pixels outside of the image.
    place : Box
        Px of the image.
    out : Size
        Size of the result, px.

    Returns
    -------
    uint8[out.height, out.width, ...]
    """
    x, y, width, height = place.x, place.y, place.width, place.height
    if (width, height) == (out.width, out.height) and x == int(x) and y == int(y):
        return read(int(x), int(y), out.width, out.height)
    from PIL import Image

    whole = _whole(width, out.width) and _whole(height, out.height)
    margin = 0 if whole else int(np.ceil(max(width / out.width, height / out.height))) + 1
    x0, y0 = int(np.floor(x)) - margin, int(np.floor(y)) - margin
    columns = int(np.ceil(x + width)) + margin - x0
    rows = int(np.ceil(y + height)) + margin - y0
    image = Image.fromarray(read(x0, y0, columns, rows))
    if whole and (columns % out.width, rows % out.height) == (0, 0) and (x, y) == (x0, y0):
        # one rounding, where resize would round once per axis
        return np.asarray(image.reduce((columns // out.width, rows // out.height)))
    kind = Image.Resampling.BOX if whole else Image.Resampling.HAMMING
    part = (x - x0, y - y0, x - x0 + width, y - y0 + height)
    return np.asarray(image.resize((out.width, out.height), kind, box=part))


def _whole(source: float, out: int) -> bool:
    ratio = round(source / out)
    return ratio >= 1 and abs(source - ratio * out) <= 1


def area_reduce(
    rgb: U8,
    factor: tuple[float, float],
    origin: tuple[int, int],
    start: tuple[int, int],
    size: tuple[int, int],
) -> U8:
    """Reduce an image by exact area averaging on a grid that is fixed to absolute coordinates.

    Output pixel *k* covers the input interval ``[k * factor, (k + 1) * factor)``, whatever part of
    the image is at hand: two blocks that share a pixel agree on it.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Part of an image; its top-left pixel is pixel ``origin`` (x, y) of the whole.
    factor : tuple of float
        Reduction along x and y, at least 1.
    origin : tuple of int
        Absolute x, y of ``rgb[0, 0]``.
    start, size : tuple of int
        First absolute output pixel and number of output pixels, x and y.

    Returns
    -------
    uint8[size_y, size_x, 3]
    """
    down = _weights(factor[1], origin[1], rgb.shape[0], start[1], size[1])
    across = _weights(factor[0], origin[0], rgb.shape[1], start[0], size[0])
    rows = down @ rgb.reshape(rgb.shape[0], -1).astype(np.float32)
    columns = rows.reshape(size[1], rgb.shape[1], 3).transpose(1, 0, 2).reshape(rgb.shape[1], -1)
    out = (across @ columns).reshape(size[0], size[1], 3).transpose(1, 0, 2)
    return np.ascontiguousarray(np.rint(out).clip(0, 255).astype(np.uint8))


def _weights(factor: float, origin: int, length: int, start: int, size: int) -> "sparse.csr_array":
    """Overlap of each output pixel with each input pixel, ``float32[size, length]``, sparse."""
    from scipy import sparse  # loading it would cost more than many a stage

    span = int(np.ceil(factor)) + 1
    low = (start + np.arange(size, dtype=np.float64))[:, None] * factor
    pixel = np.floor(low) + np.arange(span)
    cover = np.minimum(low + factor, pixel + 1) - np.maximum(low, pixel)
    column = (pixel - origin).astype(np.int64)
    used = (cover > 1e-9) & (column >= 0) & (column < length)
    row = np.broadcast_to(np.arange(size)[:, None], used.shape)[used]
    total = np.where(used, cover, 0).sum(axis=1, keepdims=True)
    share = (cover / np.maximum(total, 1e-9))[used].astype(np.float32)
    return sparse.csr_array((share, (row, column[used])), shape=(size, length))
