"""Where tissue, fat, glands, vessels and tumor regions lie: geometry only, no color, no nuclei.

The layout is kept on a grid of `GRID` level-0 pixels where it is smooth (tissue edge, fiber
direction), as polygons where it is sharp (glands, lumens, tumor regions), and as one full-size
image of region codes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from pathai.testing.contours import (
    Array,
    Mask,
    Polygon,
    fill_polygons,
    inset,
    runs_along,
    star,
    walk,
    wobbling,
)
from pathai.testing.noise import FloatImage, fractal_noise, smooth_noise, stream
from pathai.testing.truth import Recipe

GRID = 4
GLASS, STROMA, FAT, BENIGN, MALIGNANT, LUMEN, VESSEL, MUCIN, SECRETION = range(9)


@dataclass(frozen=True)
class Habit:
    """What varies from slide to slide and has nothing to do with the label."""

    tissue_share: float
    fat_share: float
    gland_gap_um: float
    gland_um: float
    goblets: float
    stroma_per_mm2: float
    infiltrate: float
    collagen: float
    tumor_share: float
    tumor_kind: float
    proliferation: float

    @classmethod
    def draw(cls, recipe: Recipe) -> Habit:
        """Draw the habit of a slide; nothing here depends on whether the recipe has tumor."""
        rng = stream(recipe.seed, "habit")
        return cls(
            tissue_share=float(rng.uniform(0.42, 0.66)),
            fat_share=float(max(0.0, rng.uniform(-0.05, 0.16))),
            gland_gap_um=float(rng.uniform(4, 60)),
            gland_um=float(rng.uniform(29, 46)),
            goblets=float(max(0.0, rng.uniform(-0.6, 0.7))),
            stroma_per_mm2=float(rng.uniform(600, 3000)),
            infiltrate=float(rng.gamma(1.2, 1.2)),
            collagen=float(rng.uniform(0.7, 1.1)),
            tumor_share=float(rng.uniform(0.13, 0.36)),
            tumor_kind=float(rng.uniform()),
            proliferation=float(rng.uniform(0.08, 0.6)),
        )


@dataclass(frozen=True)
class Gland:
    """A gland or tumor nest: its contours, height of the epithelium (px), and what fills it."""

    outer: Polygon
    lumens: tuple[Polygon, ...]
    malignant: bool
    height: float = 0.0
    goblets: float = 0.0
    secretes: bool = False


@dataclass
class Layout:
    """The geometry of one picture.

    Attributes
    ----------
    tissue : float32[gh, gw]
        Level-0 pixels to the tissue's edge, positive inside, on the grid.
    tumor : bool[gh, gw]
        The union of the tumor regions, on the grid.
    tumor_regions : list of float32[n, 2]
        Their outlines, level-0 pixels.
    glands : list of Gland
    vessels : list of float32[n, 2]
        Inner contours.
    fat_cells : list of float32[n, 2]
    regions : uint8[height, width]
        Region code of every pixel.
    across : float32[gh, gw]
        A height whose contour lines the fibers follow, level-0 pixels.
    """

    tissue: FloatImage
    tumor: Mask
    tumor_regions: list[Polygon]
    habit: Habit
    glands: list[Gland] = field(default_factory=list)
    vessels: list[Polygon] = field(default_factory=list)
    fat_cells: list[Polygon] = field(default_factory=list)
    regions: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((1, 1), np.uint8))
    across: FloatImage = field(default_factory=lambda: np.zeros((1, 1), np.float32))


def build_layout(recipe: Recipe) -> Layout:
    """Lay out the tissue of a recipe."""
    habit = Habit.draw(recipe)
    tissue = _tissue_distance(recipe, habit)
    regions = _tumor_regions(recipe, habit, tissue) if recipe.tumor else []
    tumor = fill_polygons(regions, tissue.shape, GRID) > 0
    layout = Layout(tissue, tumor, regions, habit)
    fat = _fat_mask(recipe, layout)
    _place_glands(recipe, layout, fat)
    _place_vessels(recipe, layout, fat)
    _place_fat_cells(recipe, layout, fat)
    layout.regions = _draw_regions(recipe, layout)
    _lay_fibers(recipe, layout)
    return layout


def grid_size(recipe: Recipe) -> tuple[int, int]:
    """Return (columns, rows) of the grid."""
    return -(-recipe.width // GRID), -(-recipe.height // GRID)


def _tissue_distance(recipe: Recipe, habit: Habit) -> FloatImage:
    columns, rows = grid_size(recipe)
    if not recipe.glass:
        return np.full((rows, columns), 1e4, np.float32)
    rng = stream(recipe.seed, "tissue")
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    tilt, stretch = rng.uniform(0, np.pi), rng.uniform(0.85, 1.15)
    dx, dy = (x / columns - 0.5) * 2, (y / rows - 0.5) * 2
    turned = dx * np.cos(tilt) + dy * np.sin(tilt), -dx * np.sin(tilt) + dy * np.cos(tilt)
    height = -np.hypot(turned[0] * stretch, turned[1] / stretch)
    height += 0.13 * fractal_noise(rng, columns, rows, columns / 3.2, 5, gain=0.5)
    margin = np.minimum(1 - np.abs(dx), 1 - np.abs(dy)) + 0.05 * smooth_noise(
        rng, columns, rows, columns / 9
    )
    height -= 3 * np.clip(0.16 - margin, 0, None) ** 2 / 0.16**2
    inside = height > np.quantile(height, 1 - habit.tissue_share)
    labels, count = ndimage.label(inside)
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        inside = (labels == sizes.argmax()) | ((sizes[labels] > 400) & inside)
    inside = ndimage.binary_fill_holes(inside)
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return np.asarray(GRID * depth, np.float32)


def _tumor_regions(recipe: Recipe, habit: Habit, tissue: FloatImage) -> list[Polygon]:
    """Return one or two star-shaped regions that stay inside the tissue."""
    rng = stream(recipe.seed, "tumor")
    allowed = tissue > 10 / recipe.mpp
    count = 1 if rng.uniform() < 0.6 else 2
    area = habit.tumor_share * float((tissue > 0).sum()) * GRID**2
    regions: list[Polygon] = []
    for share in (1.0,) if count == 1 else (0.6, 0.4):
        depth = ndimage.distance_transform_edt(np.pad(allowed, 1))[1:-1, 1:-1]
        best = np.flatnonzero(depth >= 0.6 * depth.max())
        row, column = divmod(int(rng.choice(best)), allowed.shape[1])
        angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        radius = np.sqrt(share * area / np.pi) * 1.15 * wobbling(rng, angle, 0.16, 7)
        reach = _reach(allowed, column, row, angle) * GRID
        radius = ndimage.uniform_filter1d(np.minimum(radius, reach), 3, mode="wrap")
        radius = np.minimum(radius, reach)
        x, y = (
            (column + 0.5) * GRID + radius * np.cos(angle),
            (row + 0.5) * GRID + radius * np.sin(angle),
        )
        x, y = np.clip(x, 0, recipe.width - 1), np.clip(y, 0, recipe.height - 1)
        regions.append(np.stack([x, y], 1).astype(np.float32))
        near = ndimage.binary_dilation(
            fill_polygons(regions[-1:], allowed.shape, GRID) > 0, iterations=int(12 / recipe.mpp)
        )
        allowed = allowed & ~near
        if not allowed.any():
            break
    return regions


def _reach(
    allowed: Mask, column: int, row: int, angle: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return how far rays from the cell stay inside the mask, in grid pixels.

    The edge of the picture does not stop them.
    """
    step = np.arange(0, max(allowed.shape), dtype=np.float64)
    x = np.rint(column + step * np.cos(angle)[:, None]).astype(int)
    y = np.rint(row + step * np.sin(angle)[:, None]).astype(int)
    rows, columns = allowed.shape
    free = allowed[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
    blocked = ~free
    first = np.where(blocked.any(1), blocked.argmax(1), len(step))
    return np.maximum(first - 1.0, 1.0)


def _fat_mask(recipe: Recipe, layout: Layout) -> Mask:
    columns, rows = grid_size(recipe)
    noise = smooth_noise(stream(recipe.seed, "fat"), columns, rows, 170 / recipe.mpp / GRID)
    inside = layout.tissue > 0
    open_ground = inside & ~ndimage.binary_dilation(layout.tumor, iterations=4)
    wanted = min(layout.habit.fat_share * inside.sum(), 0.5 * open_ground.sum())
    if wanted < 100:
        return np.zeros_like(inside)
    chosen = noise > np.quantile(noise[open_ground], 1 - wanted / open_ground.sum())
    return np.asarray(open_ground & chosen)


def _scatter(
    rng: np.random.Generator,
    ground: Mask,
    radii: Array,
    gap: float,
    taken: list[tuple[float, float, float]],
) -> list[tuple[float, float, float]]:
    """Throw discs of the given radii (px) on the ground; keep those `gap` clear of all before."""
    depth = ndimage.distance_transform_edt(ground) * GRID
    cells = np.flatnonzero(ground)
    if not len(cells):
        return []
    spots = rng.choice(cells, len(radii))
    xs = (spots % ground.shape[1] + rng.uniform(0, 1, len(radii))) * GRID
    ys = (spots // ground.shape[1] + rng.uniform(0, 1, len(radii))) * GRID
    held = np.zeros((len(taken) + len(radii), 3))
    held[: len(taken)] = np.asarray(taken).reshape(-1, 3)
    count, start = len(taken), len(taken)
    room = depth.ravel()[spots]
    for x, y, radius, free in zip(xs, ys, radii, room, strict=True):
        if free < radius * 0.85:
            continue
        other = held[:count]
        if (
            (other[:, 0] - x) ** 2 + (other[:, 1] - y) ** 2 < (other[:, 2] + radius + gap) ** 2
        ).any():
            continue
        held[count] = x, y, radius
        count += 1
    return [(float(a), float(b), float(c)) for a, b, c in held[start:count]]


def _place_glands(recipe: Recipe, layout: Layout, fat: Mask) -> None:
    rng, um, habit = stream(recipe.seed, "glands"), 1 / recipe.mpp, layout.habit
    tissue, tumor = layout.tissue > 8 * um, layout.tumor
    edge = ndimage.binary_dilation(tumor, iterations=max(1, int(5 * um / GRID)))
    benign_ground = tissue & ~edge & ~ndimage.binary_dilation(fat, iterations=3)
    # glands come in lobules: leave some of the stroma without any
    lobules = smooth_noise(rng, *grid_size(recipe), 140 * um / GRID)
    benign_ground &= lobules > -0.75
    radii = np.sort(np.clip(rng.normal(habit.gland_um, 12, 3000), 15, 75))[::-1] * um
    for x, y, radius in _scatter(rng, benign_ground, radii, habit.gland_gap_um * um, []):
        layout.glands.append(_benign_gland(rng, habit, x, y, radius, um))
    tumor_ground = tumor & (layout.tissue > 4 * um)
    radii = np.clip(np.concatenate([rng.gamma(3, 12, 4000), rng.uniform(9, 18, 4000)]), 9, 85)
    radii = np.sort(radii)[::-1] * um
    for x, y, radius in _scatter(rng, tumor_ground, radii, -5.0 * um, []):
        outer = star(rng, x, y, radius, rng.uniform(0.5, 1.0), 0.14, 1.1 * um)
        lumens = tuple(_tumor_lumens(rng, habit, x, y, radius, um))
        layout.glands.append(Gland(outer, lumens, True, secretes=bool(rng.uniform() < 0.4)))


def _benign_gland(
    rng: np.random.Generator, habit: Habit, x: float, y: float, radius: float, um: float
) -> Gland:
    outer = star(rng, x, y, radius * 1.06, rng.uniform(0.55, 1.0), 0.06)
    narrow = float(np.ptp(outer, axis=0).min()) / 2
    height = min(rng.uniform(14, 22) * um, 0.75 * narrow)
    bumps = ndimage.gaussian_filter1d(rng.standard_normal(72), 1.2, mode="wrap")
    lumen = inset(outer, height * (1 + 0.22 * bumps))
    lumens = (lumen,) if height > 11 * um and runs_along(outer, lumen) else ()
    goblets = min(0.8, habit.goblets * rng.uniform(0.5, 1.3)) if lumens else 0.0
    return Gland(outer, lumens, False, height, goblets, bool(rng.uniform() < 0.45))


def _tumor_lumens(
    rng: np.random.Generator, habit: Habit, x: float, y: float, radius: float, um: float
) -> list[Polygon]:
    """Return the lumens of a tumor nest: none (solid), one, or several round ones (cribriform)."""
    kind = rng.uniform() + (habit.tumor_kind - 0.5)
    if radius < 22 * um or kind < 0.35:
        return []
    if kind < 0.7:
        return [star(rng, x, y, radius * rng.uniform(0.2, 0.38), rng.uniform(0.4, 0.9), 0.2)]
    holes = []
    for turn in np.arange(int(rng.integers(2, 6))) * 2.1 + rng.uniform(0, 6):
        away = radius * rng.uniform(0.25, 0.5)
        hole = rng.uniform(4, 8) * um
        holes.append(
            star(
                rng,
                x + away * np.cos(turn),
                y + away * np.sin(turn),
                hole,
                rng.uniform(0.7, 1),
                0.05,
            )
        )
    return holes


def _place_vessels(recipe: Recipe, layout: Layout, fat: Mask) -> None:
    rng, um = stream(recipe.seed, "vessels"), 1 / recipe.mpp
    ground = (layout.tissue > 15 * um) & ~fat
    glands = fill_polygons([g.outer for g in layout.glands], ground.shape, GRID) > 0
    ground &= ~ndimage.binary_dilation(glands, iterations=2)
    count = int(rng.poisson(26 * ground.sum() * (GRID * recipe.mpp / 1000) ** 2)) + 3
    radii = np.sort(rng.uniform(4, 16, count * 6))[::-1] * um
    for x, y, radius in _scatter(rng, ground, radii, 25 * um, [])[:count]:
        layout.vessels.append(star(rng, x, y, radius, rng.uniform(0.35, 0.9), 0.06))


def _place_fat_cells(recipe: Recipe, layout: Layout, fat: Mask) -> None:
    rng, um = stream(recipe.seed, "fat cells"), 1 / recipe.mpp
    if not fat.any():
        return
    taken: list[tuple[float, float, float]] = []
    for low, high, tries in ((19, 30, 1500), (10, 19, 2500), (5, 10, 2000)):
        radii = np.sort(rng.uniform(low, high, tries))[::-1] * um
        taken += _scatter(rng, ndimage.binary_dilation(fat, iterations=3), radii, 0.4 * um, taken)
    for x, y, radius in taken:
        layout.fat_cells.append(star(rng, x, y, radius * 1.04, rng.uniform(0.9, 1), 0.03))


def _draw_regions(recipe: Recipe, layout: Layout) -> npt.NDArray[np.uint8]:
    """Return uint8[height, width] of region codes; glass is decided when painting."""
    image = Image.new("L", (recipe.width, recipe.height), STROMA)
    draw = ImageDraw.Draw(image)

    def paint(polygon: Polygon, code: int) -> None:
        draw.polygon(polygon.ravel().tolist(), fill=code)

    for cell in layout.fat_cells:
        paint(cell, FAT)
    for gland in layout.glands:
        paint(gland.outer, MALIGNANT if gland.malignant else BENIGN)
    for gland in layout.glands:
        for lumen in gland.lumens:
            paint(lumen, LUMEN)
            if gland.secretes:
                paint(lumen.mean(0) + 0.78 * (lumen - lumen.mean(0)), SECRETION)
    rng, um = stream(recipe.seed, "goblets"), 1 / recipe.mpp
    for gland in layout.glands:
        if gland.goblets > 0:
            at, normal = walk(gland.outer, 7.5 * um)
            chosen = rng.uniform(size=len(at)) < gland.goblets
            for (x, y), (nx, ny) in zip(at[chosen].tolist(), normal[chosen].tolist(), strict=True):
                angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
                a, b = (
                    0.26 * gland.height * np.cos(angle),
                    rng.uniform(2.4, 3.6) * um * np.sin(angle),
                )
                x, y = x + nx * 0.72 * gland.height, y + ny * 0.72 * gland.height
                paint(np.stack([x + a * nx - b * ny, y + a * ny + b * nx], 1), MUCIN)
    for vessel in layout.vessels:
        paint(vessel, VESSEL)
    return np.array(image)


def _lay_fibers(recipe: Recipe, layout: Layout) -> None:
    """Fibers run around glands near them and along a wandering direction away from them."""
    rng, um = stream(recipe.seed, "fibers"), 1 / recipe.mpp
    columns, rows = grid_size(recipe)
    small = layout.regions[GRID // 2 :: GRID, GRID // 2 :: GRID]
    solid = np.zeros((rows, columns), bool)
    solid[: small.shape[0], : small.shape[1]] = small != STROMA
    away = (
        np.minimum(ndimage.distance_transform_edt(~solid) * GRID, 60 * um)
        if solid.any()
        else np.zeros_like(solid)
    )
    away = ndimage.gaussian_filter(away.astype(np.float32), 3)
    y, x = (np.mgrid[0:rows, 0:columns] * GRID).astype(np.float32)
    turn = rng.uniform(0, np.pi)
    warp = fractal_noise(rng, columns, rows, 180 * um / GRID, 3, 0.45) * 42 * um
    crimp = smooth_noise(rng, columns, rows, 22 * um / GRID) * 2.2 * um
    layout.across = (x * np.sin(turn) + y * np.cos(turn) + warp + crimp + 1.2 * away).astype(
        np.float32
    )
