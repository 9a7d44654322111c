"""Nuclei: where each one lies, its shape, and the small picture that is painted for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from pathai.testing.contours import Array, inset, inside_any, walk
from pathai.testing.noise import stream
from pathai.testing.tissue_model import (
    BENIGN,
    GRID,
    MALIGNANT,
    STROMA,
    Layout,
)
from pathai.testing.truth import EPITHELIAL, KI67, LYMPHOCYTE, STROMAL, TUMOR, Recipe

ANGLES = 64
VERTICES = 24


@dataclass(frozen=True)
class Kind:
    """Shape and chromatin of one class; micrometers and hematoxylin units."""

    length: tuple[float, float]
    width: tuple[float, float]
    irregular: float
    dark: float
    grain: float
    rim: float
    nucleoli: float


KINDS = {
    EPITHELIAL: Kind((8.9, 1.0), (5.6, 0.6), 0.035, 0.98, 0.17, 0.16, 0.1),
    TUMOR: Kind((11.0, 2.1), (8.4, 1.5), 0.060, 0.86, 0.25, 0.30, 0.8),
    LYMPHOCYTE: Kind((6.5, 0.5), (6.0, 0.45), 0.025, 1.40, 0.20, 0.04, 0.0),
    STROMAL: Kind((13.0, 3.2), (3.3, 0.7), 0.050, 1.10, 0.16, 0.08, 0.0),
}


@dataclass
class Nuclei:
    """All nuclei of a picture, row by row.

    `xy` float32[M, 2] level-0 pixels; `class_` uint8[M]; `length`, `width` float32[M] pixels;
    `angle` float32[M] radians of the long axis; `bend` float32[M]; `dark` float32[M] hematoxylin;
    `dab` float32[M] DAB optical density;
    `radii` float32[M, ANGLES] factor on the ellipse at each angle.
    """

    xy: Array
    class_: Array
    length: Array
    width: Array
    angle: Array
    bend: Array
    dark: Array
    dab: Array
    radii: Array

    def __len__(self) -> int:
        return len(self.xy)

    def take(self, rows: Array) -> Nuclei:
        """Return the chosen rows."""
        return Nuclei(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def outlines(self) -> tuple[Array, Array]:
        """Return (float32[K, 2] vertices, int64[M + 1] starts), `VERTICES` per nucleus."""
        angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
        picked = self.radii[:, np.round(angle / (2 * np.pi) * ANGLES).astype(int) % ANGLES]
        a = picked * np.cos(angle) * self.length[:, None] / 2
        b = picked * np.sin(angle) * self.width[:, None] / 2 + _sag(
            a, self.length[:, None], self.bend[:, None]
        )
        cos, sin = np.cos(self.angle)[:, None], np.sin(self.angle)[:, None]
        points = np.stack([a * cos - b * sin, a * sin + b * cos], 2) + self.xy[:, None]
        starts = np.arange(len(self) + 1, dtype=np.int64) * VERTICES
        return points.reshape(-1, 2).astype(np.float32), starts


def _sag(a: Array, length: Array, bend: Array) -> Array:
    """Return how far a curved nucleus leaves its long axis; 0 at its center, which stays inside."""
    return np.asarray(bend * (a / (length / 2)) ** 2)


def place_nuclei(recipe: Recipe, layout: Layout) -> Nuclei:
    """Place every nucleus of the picture; none lies on another, none outside the tissue."""
    um = 1 / recipe.mpp
    groups = [
        _epithelium(recipe, layout, um),
        _tumor_cells(recipe, layout, um),
        _endothelium(recipe, layout, um),
        _lymphocytes(recipe, layout, um),
        _stroma_cells(recipe, layout, um),
    ]
    xy = np.concatenate([g[0] for g in groups]).astype(np.float32)
    angle = np.concatenate([g[1] for g in groups]).astype(np.float32)
    class_ = np.concatenate([np.full(len(g[0]), g[2], np.uint8) for g in groups])
    nuclei = _shape(recipe, layout, xy, angle, class_)
    inside = _sample(layout.tissue, xy) > 2.5 * um
    inside &= ((xy > 1) & (xy < [recipe.width - 2, recipe.height - 2])).all(1)
    nuclei = nuclei.take(np.flatnonzero(inside))
    nuclei = nuclei.take(np.flatnonzero(_uncrowded(nuclei)))
    if recipe.stain == KI67:
        _stain_ki67(recipe, layout, nuclei)
    return nuclei


def _sample(grid: Array, xy: Array) -> Array:
    """Return the grid's values at level-0 positions."""
    column = np.clip((xy[:, 0] / GRID).astype(int), 0, grid.shape[1] - 1)
    row = np.clip((xy[:, 1] / GRID).astype(int), 0, grid.shape[0] - 1)
    return np.asarray(grid[row, column])


def region_at(layout: Layout, xy: Array) -> Array:
    """Return the region code at level-0 positions."""
    rows, columns = layout.regions.shape
    row = np.clip(xy[:, 1].astype(int), 0, rows - 1)
    column = np.clip(xy[:, 0].astype(int), 0, columns - 1)
    return np.asarray(layout.regions[row, column])


def _epithelium(recipe: Recipe, layout: Layout, um: float) -> tuple[Array, Array, int]:
    """Rows of basal nuclei along the benign glands; small glands cut across the top are filled."""
    rng = stream(recipe.seed, "epithelium")
    points, angles = [np.zeros((0, 2))], [np.zeros(0)]
    for gland in layout.glands:
        if gland.malignant:
            continue
        spacing = rng.uniform(5.6, 6.8) * um
        spread = rng.choice([0.9, 1.3, 2.4]) * um
        layers = [5.2] if gland.lumens else [5.0, 12.0, 19.0]
        if gland.lumens and gland.height > 17 * um and rng.uniform() < 0.4:
            layers.append(5.2 + 6.5)
        for depth in layers:
            if not gland.lumens and np.ptp(gland.outer, axis=0).min() / um < 2 * depth + 5:
                break
            at, normal = walk(inset(gland.outer, (depth - 5.0) * um), spacing)
            lift = 5.2 * um + spread * np.abs(rng.standard_normal(len(at)))
            slip = rng.normal(0, 0.13, len(at)) * spacing
            at = at + np.stack([-normal[:, 1], normal[:, 0]], 1) * slip[:, None]
            points.append(at + normal * lift[:, None])
            angles.append(
                np.arctan2(normal[:, 1], normal[:, 0]) + 0.17 * rng.standard_normal(len(at))
            )
    xy, angle = np.concatenate(points), np.concatenate(angles)
    keep = (region_at(layout, xy) == BENIGN) & ~inside_any(layout.tumor_regions, xy)
    return xy[keep], angle[keep], EPITHELIAL


def _tumor_cells(recipe: Recipe, layout: Layout, um: float) -> tuple[Array, Array, int]:
    """Fill the tumor nests with cells in no order."""
    rng = stream(recipe.seed, "tumor cells")
    nests = layout.regions == MALIGNANT
    if not nests.any():
        return np.zeros((0, 2)), np.zeros(0), TUMOR
    step = rng.uniform(8.2, 10.0) * um
    rows, columns = int(recipe.height / step / 0.866) + 2, int(recipe.width / step) + 2
    j, i = np.mgrid[0:rows, 0:columns]
    xy = np.stack([(i + 0.5 * (j % 2)) * step, j * step * 0.866], 2).reshape(-1, 2)
    xy += rng.normal(0, 0.22 * step, xy.shape)
    # even the smallest nest holds a cell; the first of two that overlap stays
    middles = [g.outer.mean(0) for g in layout.glands if g.malignant and not g.lumens]
    xy = np.concatenate([np.reshape(middles, (-1, 2)), xy])
    near = xy[(_sample(layout.tumor, xy)) & (region_at(layout, xy) == MALIGNANT)]
    depth = ndimage.distance_transform_edt(np.pad(nests[::2, ::2], 1, mode="edge"))[1:-1, 1:-1] * 2
    row = np.clip((near[:, 1] / 2).astype(int), 0, depth.shape[0] - 1)
    column = np.clip((near[:, 0] / 2).astype(int), 0, depth.shape[1] - 1)
    near = near[depth[row, column] > 3.2 * um]
    near = near[inside_any(layout.tumor_regions, near)]
    return near, rng.uniform(0, np.pi, len(near)), TUMOR


def _endothelium(recipe: Recipe, layout: Layout, um: float) -> tuple[Array, Array, int]:
    rng = stream(recipe.seed, "endothelium")
    points, angles = [np.zeros((0, 2))], [np.zeros(0)]
    for vessel in layout.vessels:
        at, normal = walk(inset(vessel, -2.2 * um), 17 * um)
        keep = rng.uniform(size=len(at)) < 0.8
        points.append(at[keep])
        angles.append(np.arctan2(normal[keep, 0], -normal[keep, 1]))
    return np.concatenate(points), np.concatenate(angles), STROMAL


def _lymphocytes(recipe: Recipe, layout: Layout, um: float) -> tuple[Array, Array, int]:
    """Clusters, some of them dense, and a thin scatter; in tumor and benign tissue alike."""
    rng = stream(recipe.seed, "lymphocytes")
    habit = layout.habit
    inside = np.flatnonzero((layout.tissue > 0).ravel())
    area_mm2 = len(inside) * (GRID * recipe.mpp / 1000) ** 2
    columns = layout.tissue.shape[1]

    def spots(count: int) -> Array:
        cells = rng.choice(inside, count)
        return (
            np.stack([cells % columns, cells // columns], 1) + rng.uniform(0, 1, (count, 2))
        ) * GRID

    clusters = spots(int(rng.poisson(26 * habit.infiltrate * area_mm2)) + 1)
    points = [spots(int(rng.poisson((90 + 260 * habit.infiltrate) * area_mm2)))]
    for center in clusters:
        spread = rng.uniform(8, 30) * um
        count = int(rng.uniform(0.3, 1.5) * 2 * np.pi * (spread / um) ** 2 / 44)
        stretch = rng.normal(0, spread, (count, 2)) * [rng.uniform(0.6, 1.5), rng.uniform(0.6, 1.5)]
        points.append(center + stretch)
    xy = np.concatenate(points)
    # stroma takes nearly all; a few wander into epithelium
    where = region_at(layout, xy)
    keep = (where == STROMA) | (
        np.isin(where, (BENIGN, MALIGNANT)) & (rng.uniform(size=len(xy)) < 0.04)
    )
    xy = xy[keep]
    return xy, rng.uniform(0, np.pi, len(xy)), LYMPHOCYTE


def _stroma_cells(recipe: Recipe, layout: Layout, um: float) -> tuple[Array, Array, int]:
    """Spindle cells along the fibers; a few flat nuclei between fat cells."""
    rng = stream(recipe.seed, "stroma")
    area_mm2 = recipe.width * recipe.height * (recipe.mpp / 1000) ** 2
    count = int(layout.habit.stroma_per_mm2 * 1.5 * area_mm2)
    xy = rng.uniform(0, 1, (count, 2)) * [recipe.width, recipe.height]
    xy = xy[region_at(layout, xy) == STROMA]
    gy, gx = (np.asarray(g, np.float32) for g in np.gradient(layout.across))
    angle = np.arctan2(_sample(gx, xy), -_sample(gy, xy)) + 0.22 * rng.standard_normal(len(xy))
    return xy, angle, STROMAL


def _shape(recipe: Recipe, layout: Layout, xy: Array, angle: Array, class_: Array) -> Nuclei:
    rng, um, count = stream(recipe.seed, "shape"), 1 / recipe.mpp, len(xy)
    sizes = np.array([[*KINDS[k].length, *KINDS[k].width] for k in range(4)])[class_]
    rough = np.array([KINDS[k].irregular for k in range(4)])[class_]
    dark = np.array([KINDS[k].dark for k in range(4)])[class_]
    body = rng.standard_normal((3, count))
    length = sizes[:, 0] + sizes[:, 1] * np.clip(body[0], -2, 2.5)
    width = sizes[:, 2] + sizes[:, 3] * np.clip(0.5 * body[0] + 0.87 * body[1], -2, 2.5)
    width = np.minimum(width, length)
    theta = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    radii = np.ones((count, ANGLES))
    for k in (2, 3, 4, 5):
        part = rng.standard_normal(count) * rough * (1.6 / k)
        radii += part[:, None] * np.cos(k * theta + rng.uniform(0, 2 * np.pi, count)[:, None])
    bend = np.where(class_ == STROMAL, rng.normal(0, 0.9, count), 0) * um
    dark = dark * np.clip(1 + 0.13 * body[2], 0.65, 1.4)
    # a few pyknotic or hyperchromatic tumor nuclei
    dark = np.where((class_ == TUMOR) & (rng.uniform(size=count) < 0.12), dark * 1.5, dark)
    columns = (
        length * um,
        width * um,
        angle,
        bend,
        dark,
        np.zeros(count),
        np.clip(radii, 0.75, 1.3),
    )
    return Nuclei(xy, class_, *(np.asarray(c, np.float32) for c in columns))


def _uncrowded(nuclei: Nuclei) -> Array:
    """Return bool[M]: keep the earlier of two nuclei that would overlap by much."""
    alive = np.ones(len(nuclei), bool)
    if len(nuclei) < 2:
        return alive
    # spindles reach further along their axis: test them as a row of three discs
    third = (
        np.stack([np.cos(nuclei.angle), np.sin(nuclei.angle)], 1)
        * (nuclei.length - nuclei.width)[:, None]
        / 2
    )
    points = np.concatenate([nuclei.xy, nuclei.xy + third * 0.8, nuclei.xy - third * 0.8])
    owner = np.tile(np.arange(len(nuclei)), 3)
    reach = np.tile(nuclei.width / 2, 3)
    pairs = cKDTree(points).query_pairs(float(2 * reach.max()), output_type="ndarray")
    gap = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    # neighbors in epithelium may touch and overlap a little, as in a section of 4 µm
    epithelial = nuclei.class_[owner[pairs]].max(1) <= TUMOR
    pairs = pairs[
        gap < np.where(epithelial, 0.76, 0.86) * (reach[pairs[:, 0]] + reach[pairs[:, 1]])
    ]
    both = np.sort(owner[pairs], axis=1)
    both = np.unique(both[both[:, 0] != both[:, 1]], axis=0)
    flags = alive.tolist()
    for first, second in both.tolist():
        if flags[first]:
            flags[second] = False
    return np.asarray(flags)


def _stain_ki67(recipe: Recipe, layout: Layout, nuclei: Nuclei) -> None:
    """Decide which nuclei are DAB positive and how strongly."""
    rng = stream(recipe.seed, "ki67")
    share = np.array([0.06, layout.habit.proliferation, 0.07, 0.02])[nuclei.class_]
    positive = rng.uniform(size=len(nuclei)) < share
    strength = 0.25 + 1.0 * rng.beta(1.8, 1.5, len(nuclei))
    nuclei.dab[:] = np.where(positive, strength, 0)


def stamps(
    nuclei: Nuclei, tiles: dict[int, Array], seed: int
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Draw the nuclei in batches of like size.

    Yields
    ------
    rows : int64[b]
        Which nuclei.
    corner : int64[b, 2]
        Level-0 (x, y) of the stamps' upper left pixel.
    cover : float32[b, s, s]
        Coverage, 0 to 1.
    depth : float32[b, s, s]
        Chromatin, 1 on average inside.
    """
    rng = stream(seed, "chromatin")
    half = np.ceil(np.maximum(nuclei.length, nuclei.width) / 2 * 1.22 + np.abs(nuclei.bend) + 1.5)
    half = (np.ceil(half / 3) * 3).astype(int)
    for class_ in range(4):
        for size in np.unique(half[nuclei.class_ == class_]).tolist():
            rows = np.flatnonzero((nuclei.class_ == class_) & (half == size))
            for part in np.array_split(rows, -(-len(rows) * (2 * size + 1) ** 2 // 300_000)):
                yield (part, *_draw(nuclei.take(part), size, tiles[class_], KINDS[class_], rng))


def _draw(
    nuclei: Nuclei, half: int, tile: Array, kind: Kind, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    side = 2 * half + 1
    corner = np.floor(nuclei.xy).astype(np.int64) - half
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    # a pixel's center lies half a pixel from its corner
    shift_x, shift_y = (nuclei.xy - corner).astype(np.float32).T
    dx, dy = x + 0.5 - shift_x[:, None, None], y + 0.5 - shift_y[:, None, None]
    cos, sin = np.cos(nuclei.angle)[:, None, None], np.sin(nuclei.angle)[:, None, None]
    long, short = nuclei.length[:, None, None] / 2, nuclei.width[:, None, None] / 2
    a = (dx * cos + dy * sin) / long
    b = (dy * cos - dx * sin) / short - nuclei.bend[:, None, None] / short * a * a
    turn = (np.arctan2(b, a) * np.float32(ANGLES / (2 * np.pi)) + np.float32(ANGLES + 0.5)).astype(
        np.int32
    ) % ANGLES
    radius = nuclei.radii[np.arange(len(nuclei))[:, None, None], turn]
    reach = np.hypot(a, b) / radius
    cover = np.clip((1 - reach) * short + 0.5, 0, 1)
    shift = rng.integers(0, tile.shape[0], (2, len(nuclei), 1, 1))
    grain = tile[
        (shift[0] + y.astype(int)) % tile.shape[0], (shift[1] + x.astype(int)) % tile.shape[1]
    ]
    ring = np.clip((reach - 0.62) * 3.2, 0, 1)
    depth = 1 - 0.5 * kind.rim + kind.rim * ring + kind.grain * grain
    if kind.nucleoli:
        depth += _nucleoli(a, b, kind.nucleoli, rng)
    return corner, cover, np.clip(depth, 0.25, 2.2).astype(np.float32)


def _nucleoli(a: Array, b: Array, amount: float, rng: np.random.Generator) -> Array:
    """Return one dark spot per nucleus, of varying size, off the center."""
    count = len(a)
    at = rng.uniform(-0.35, 0.35, (2, count, 1, 1)).astype(np.float32)
    width = rng.uniform(0.10, 0.2, (count, 1, 1)).astype(np.float32)
    height = (amount * np.clip(rng.uniform(-0.4, 1.0, (count, 1, 1)), 0, 1)).astype(np.float32)
    return np.asarray(height * np.exp(-((a - at[0]) ** 2 + (b - at[1]) ** 2) / (2 * width**2)))
