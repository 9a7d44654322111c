"""Artefacts on a finished picture, each with its mask: pen, blur, fold, air bubble."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from pathai.testing.contours import Array
from pathai.testing.noise import FloatImage, enlarge, smooth_noise, stream
from pathai.testing.tissue_model import GRID, Layout
from pathai.testing.truth import MAP_DOWNSAMPLE, Recipe

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
INKS = {"green": (38, 140, 92), "blue": (52, 70, 168), "black": (48, 48, 54), "red": (190, 40, 60)}


def apply_artefacts(recipe: Recipe, layout: Layout, picture: Picture) -> tuple[Picture, Mask]:
    """Return the picture with the recipe's artefacts, and their masks bool[A, h, w]."""
    masks = []
    for name in recipe.artefacts:
        picture, strength = _MAKERS[name](recipe, layout, picture)
        masks.append(to_map(strength > 0.5))
    shape = to_map(np.zeros((recipe.height, recipe.width), bool)).shape
    return picture, np.stack(masks) if masks else np.zeros((0, *shape), bool)


def to_map(mask: Mask) -> Mask:
    """Return the mask at one pixel per `MAP_DOWNSAMPLE` level-0 pixels."""
    middle = MAP_DOWNSAMPLE // 2
    return np.ascontiguousarray(mask[middle::MAP_DOWNSAMPLE, middle::MAP_DOWNSAMPLE])


def _tissue_spot(
    recipe: Recipe, layout: Layout, rng: np.random.Generator, depth_um: float
) -> tuple[float, float]:
    """Return level-0 (x, y) of a random place so deep inside the tissue, or as deep as any."""
    limit = min(depth_um / recipe.mpp, 0.7 * float(layout.tissue.max()))
    row, column = divmod(
        int(rng.choice(np.flatnonzero(layout.tissue >= limit))), layout.tissue.shape[1]
    )
    return column * GRID + 2.0, row * GRID + 2.0


def _box(weight: FloatImage) -> tuple[slice, slice]:
    """Return the rows and columns in which the weight is not 0."""
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero(weight.any(axis))
        spans.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0))
    return spans[0], spans[1]


def _blend(picture: Picture, box: tuple[slice, slice], other: Array, weight: FloatImage) -> Picture:
    """Return the picture with `other`, which fills the box, laid over it by weight."""
    part = weight[box][..., None]
    out = picture.copy()
    out[box] = picture[box] * (1 - part) + other * part + np.float32(0.5)
    return out


def _waves(rng: np.random.Generator, recipe: Recipe, period_um: float) -> FloatImage:
    """Return a slow noise over the picture, to break straight edges."""
    columns, rows = -(-recipe.width // GRID), -(-recipe.height // GRID)
    return enlarge(
        smooth_noise(rng, columns, rows, period_um / recipe.mpp / GRID),
        recipe.width,
        recipe.height,
        GRID,
    )


def _offset(recipe: Recipe, x: float, y: float) -> tuple[FloatImage, FloatImage]:
    dy, dx = np.ogrid[0 : recipe.height, 0 : recipe.width]
    return (dx - x).astype(np.float32), (dy - y).astype(np.float32)


def _pen(recipe: Recipe, layout: Layout, picture: Picture) -> tuple[Picture, FloatImage]:
    """A felt pen's stroke along the edge of the tissue, partly over it."""
    rng, um = stream(recipe.seed, "pen"), 1 / recipe.mpp
    x, y = _tissue_spot(recipe, layout, rng, 0)
    edge = np.argwhere(np.abs(layout.tissue) < 12 * um)
    if len(edge):
        y, x = (edge[int(rng.integers(len(edge)))] * GRID).astype(float)
    turn = np.arctan2(y - recipe.height / 2, x - recipe.width / 2) + np.pi / 2
    size = 0.45 * min(recipe.width, recipe.height)
    t = np.linspace(-1, 1, 24)
    bow = rng.uniform(0.15, 0.4) * size * (t**2 - 0.4)
    px = x + size * t * np.cos(turn) - bow * np.sin(turn) * -1
    py = y + size * t * np.sin(turn) - bow * np.cos(turn)
    image = Image.new("L", (recipe.width, recipe.height), 0)
    width = max(3, round(rng.uniform(45, 75) * um))
    ImageDraw.Draw(image).line(
        list(zip(px.tolist(), py.tolist(), strict=True)), fill=255, width=width, joint="curve"
    )
    soft = image.filter(ImageFilter.GaussianBlur(1.2 * um))
    cover = np.asarray(soft, np.float32) / np.float32(255)
    ink = np.asarray(INKS[str(rng.choice(sorted(INKS)))], np.float32) / 255
    strength = cover * np.clip(0.86 + 0.07 * _waves(rng, recipe, 25), 0.6, 0.97)
    box = _box(strength)
    return _blend(picture, box, picture[box] * ink, strength), cover


def _blur(recipe: Recipe, layout: Layout, picture: Picture) -> tuple[Picture, FloatImage]:
    """A patch out of focus."""
    rng, um = stream(recipe.seed, "blur"), 1 / recipe.mpp
    dx, dy = _offset(recipe, *_tissue_spot(recipe, layout, rng, 60))
    radius = min(rng.uniform(90, 150) * um, 0.2 * min(recipe.width, recipe.height))
    edge = 1 - np.hypot(dx, dy * rng.uniform(0.7, 1.3)) / radius + 0.12 * _waves(rng, recipe, 80)
    weight = np.clip(edge * 8 + 0.5, 0, 1).astype(np.float32)
    soft = np.asarray(
        Image.fromarray(picture).filter(ImageFilter.GaussianBlur(rng.uniform(3.0, 4.5) * um))
    )
    box = _box(weight)
    return _blend(picture, box, soft[box], weight), weight


def _fold(recipe: Recipe, layout: Layout, picture: Picture) -> tuple[Picture, FloatImage]:
    """A strip where the tissue lies on itself: light passes twice."""
    rng, um = stream(recipe.seed, "fold"), 1 / recipe.mpp
    dx, dy = _offset(recipe, *_tissue_spot(recipe, layout, rng, 80))
    turn, width = rng.uniform(0, np.pi), rng.uniform(14, 26) * um
    across = dx * np.cos(turn) + dy * np.sin(turn) + 11 * um * _waves(rng, recipe, 160)
    along = np.abs(dx * np.sin(turn) - dy * np.cos(turn)) / (rng.uniform(140, 240) * um)
    half = width * np.sqrt(np.clip(1 - along**2, 0, 1))
    weight = np.clip((half - np.abs(across)) / (1.5 * um) + 0.5, 0, 1) * (half > 0.5)
    tissue = enlarge((layout.tissue > 0).astype(np.float32), recipe.width, recipe.height, GRID)
    weight = (weight * tissue).astype(np.float32)
    shift = tuple(int(v) for v in np.rint(2.5 * width * np.array([np.sin(turn), np.cos(turn)])))
    glass = np.clip(np.asarray(recipe.look.glass) * recipe.look.gain, 1, 255).astype(np.float32)
    box = _box(weight)
    above = np.clip(np.roll(picture, shift, (0, 1))[box] / glass, 0, 1)
    rim = 1 - 0.35 * np.exp(-(((np.abs(across[box]) - half[box]) / (2 * um)) ** 2))
    return _blend(picture, box, picture[box] * above * rim[..., None], weight), weight


def _bubble(recipe: Recipe, layout: Layout, picture: Picture) -> tuple[Picture, FloatImage]:
    """Air under the cover glass: a dark rim, a bright line, a paler and softer picture inside."""
    rng, um = stream(recipe.seed, "bubble"), 1 / recipe.mpp
    dx, dy = _offset(recipe, *_tissue_spot(recipe, layout, rng, 0))
    radius = min(rng.uniform(60, 120) * um, 0.2 * min(recipe.width, recipe.height))
    away = np.hypot(dx, dy * rng.uniform(0.9, 1.1)) + 2 * um * _waves(rng, recipe, 90)
    inside = np.clip((radius - away) / (1.0 * um) + 0.5, 0, 1).astype(np.float32)
    box = _box(inside)
    soft = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.3 * um)))[box]
    depth = away[box] - np.float32(radius)
    rim = 1 - 0.72 * np.exp(-(((depth + 3 * um) / (2.4 * um)) ** 2))
    rim += 0.12 * np.exp(-(((depth + 9 * um) / (2.0 * um)) ** 2))
    pale = (soft * np.float32(0.72) + 70) * rim[..., None]
    return _blend(picture, box, np.clip(pale, 0, 255), inside), inside


_MAKERS: dict[str, Callable[[Recipe, Layout, Picture], tuple[Picture, FloatImage]]] = {
    "pen": _pen,
    "blur": _blur,
    "fold": _fold,
    "bubble": _bubble,
}
