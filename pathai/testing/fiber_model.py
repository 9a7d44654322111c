"""Collagen: noise smeared along the direction of the fibers.

References
----------
Cabral B, Leedom LC (1993). Imaging vector fields using line integral convolution. SIGGRAPH '93,
263-270.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from pathai.testing.noise import FloatImage, stream
from pathai.testing.tissue_model import GRID, STROMA, Layout
from pathai.testing.truth import Recipe

FINE_UM, COARSE_UM = 1.0, 2.5


def paint_fibers(recipe: Recipe, layout: Layout) -> tuple[FloatImage, FloatImage]:
    """Return fine fibers and the bundles that they form.

    Both are float32[height, width], about -2 to 2, and 0 off the stroma.
    """
    look = recipe.look
    rng = stream(recipe.seed, "collagen")
    fine = _smear(recipe, layout, rng, FINE_UM, 0.42 * look.fiber_um, look.fiber_length_um / 2)
    coarse = _smear(
        recipe, layout, rng, COARSE_UM, 1.4 * look.fiber_um, look.fiber_length_um * 1.25
    )
    return fine, coarse


def _resize(image: FloatImage, width: int, height: int) -> FloatImage:
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _smear(
    recipe: Recipe,
    layout: Layout,
    rng: np.random.Generator,
    pitch_um: float,
    sigma_um: float,
    reach_um: float,
) -> FloatImage:
    """Average noise along the stream line through each stroma pixel, on a grid of `pitch_um`."""
    step = pitch_um / recipe.mpp
    width, height = max(8, round(recipe.width / step)), max(8, round(recipe.height / step))
    reach = max(2, round(reach_um / pitch_um))
    pad = reach + 2
    gy, gx = (np.asarray(g, np.float32) for g in np.gradient(layout.across))
    vx, vy = _resize(gy, width, height), _resize(-gx, width, height)
    length = np.maximum(np.hypot(vx, vy), 1e-4)
    flow: list[FloatImage] = [
        np.pad(np.asarray(v / length), pad, mode="edge").ravel().astype(np.float32)
        for v in (vx, vy)
    ]
    noise = rng.standard_normal((height + 2 * pad, width + 2 * pad)).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, max(0.35, sigma_um / pitch_um)).ravel()
    ground = np.pad(_stroma(recipe, layout, width, height), pad).ravel()
    at = np.flatnonzero(ground)
    total = _walk(noise, flow[0], flow[1], at, width + 2 * pad, reach)
    if len(total):
        total = (total - total.mean()) / np.float32(max(float(total.std()), 1e-6))
    flat = np.zeros(noise.shape, np.float32)
    flat[at] = np.clip(total, -2.4, 2.4)
    out = flat.reshape(height + 2 * pad, width + 2 * pad)[pad:-pad, pad:-pad]
    return _resize(np.ascontiguousarray(out), recipe.width, recipe.height)


def _stroma(recipe: Recipe, layout: Layout, width: int, height: int) -> npt.NDArray[np.bool_]:
    rows = (np.arange(height) * recipe.height // height)[:, None]
    columns = (np.arange(width) * recipe.width // width)[None]
    near = layout.tissue[rows // GRID, columns // GRID] > -6 / recipe.mpp
    ground: npt.NDArray[np.bool_] = ndimage.binary_dilation(layout.regions[rows, columns] == STROMA)
    return near & ground


def _walk(
    noise: FloatImage,
    vx: FloatImage,
    vy: FloatImage,
    at: npt.NDArray[np.int64],
    columns: int,
    reach: int,
) -> FloatImage:
    """Sum the noise along the stream line, both ways from each start, weights falling off."""
    total = noise[at]
    start_x = (at % columns + 0.5).astype(np.float32)
    start_y = (at // columns + 0.5).astype(np.float32)
    for sign in (1, -1):
        x, y, cell = start_x.copy(), start_y.copy(), at.astype(np.int32)
        for k in range(1, reach + 1):
            if sign > 0:
                x += vx[cell]
                y += vy[cell]
            else:
                x -= vx[cell]
                y -= vy[cell]
            cell = y.astype(np.int32) * columns + x.astype(np.int32)
            total += np.float32(np.cos(0.5 * np.pi * k / (reach + 1))) * noise[cell]
    return total
