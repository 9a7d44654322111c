"""Painting: from geometry to optical densities to the light that a scanner sees.

References
----------
Ruifrok AC, Johnston DA (2001). Quantification of histochemical staining by color deconvolution.
Anal Quant Cytol Histol 23(4):291-299. (Stains absorb by Beer-Lambert, densities add.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage
from scipy.spatial import cKDTree

from pathai.testing.contours import inset
from pathai.testing.fiber_model import paint_fibers
from pathai.testing.looks import Triple
from pathai.testing.noise import (
    FloatImage,
    enlarge,
    fractal_noise,
    noise_tile,
    repeat_tile,
    smooth_noise,
    stream,
)
from pathai.testing.nuclei_model import Nuclei, stamps
from pathai.testing.tissue_model import (
    BENIGN,
    GRID,
    MALIGNANT,
    SECRETION,
    STROMA,
    VESSEL,
    Layout,
)
from pathai.testing.truth import KI67, LYMPHOCYTE, STROMAL, TUMOR, Recipe

Picture = npt.NDArray[np.uint8]
CELL_UM = 1.5
# length of the optical density (red, green, blue) of one unit of any stain
DENSITY = 1.25
# eosin and hematoxylin of each region before texture, in the order of the region codes: glass,
# stroma, fat, benign, malignant, lumen, vessel, mucin, secretion
EOSIN = np.array([0.0, 0.0, 0.0, 0.46, 0.40, 0.01, 0.03, 0.12, 0.17], np.float32)
BLUE = np.array([0.0, 0.035, 0.0, 0.14, 0.20, 0.003, 0.01, 0.08, 0.03], np.float32)


def paint(
    recipe: Recipe, layout: Layout, nuclei: Nuclei
) -> tuple[FloatImage, FloatImage, FloatImage | None]:
    """Return the amounts of hematoxylin, eosin and (Ki-67 only) DAB, float32[y, x] each."""
    eosin, blue = _background(recipe, layout, nuclei)
    _red_cells(recipe, layout, eosin, blue)
    dab = np.zeros_like(eosin) if recipe.stain == KI67 else None
    _stamp_nuclei(recipe, nuclei, eosin, blue, dab)
    return blue, eosin, dab


def _background(recipe: Recipe, layout: Layout, nuclei: Nuclei) -> tuple[FloatImage, FloatImage]:
    """Return eosin and hematoxylin of everything but nuclei and red cells."""
    rng, um = stream(recipe.seed, "background"), 1 / recipe.mpp
    width, height = recipe.width, recipe.height
    fibers, clefts = _bundles(recipe, layout)
    cells = _granules(rng, width, height, um)
    eosin, blue = EOSIN[layout.regions], BLUE[layout.regions]
    collagen = 1 + 0.25 * smooth_noise(rng, *_grid(layout), 150 * um / GRID)
    # the stroma of a tumor is looser and bluer
    loose = ndimage.uniform_filter(layout.tumor.astype(np.float32), 7)
    collagen = np.clip(layout.habit.collagen * collagen * (1 - 0.25 * loose), 0.3, 1.5)
    clefts *= enlarge(collagen, width, height, GRID)
    clefts *= 0.40 + 0.13 * fibers + 0.03 * cells
    stroma = layout.regions == STROMA
    np.copyto(eosin, clefts, where=stroma)
    np.copyto(clefts, enlarge(0.09 * loose, width, height, GRID))
    np.add(blue, clefts + 0.02 * fibers, out=blue, where=stroma)
    del clefts
    _tint_cells(recipe, layout, nuclei, cells, eosin, blue)
    eosin += _ink(recipe, layout)
    cover = enlarge(layout.tissue, width, height, GRID) + um * (1.1 * fibers + 0.9 * cells)
    cover = np.clip(cover / np.float32(1.2 * um), 0, 1, out=cover)
    thick = 1 + 0.10 * fractal_noise(rng, *_grid(layout), 400 * um / GRID, 2)
    cover *= enlarge(thick, width, height, GRID)
    for amount in (eosin, blue):
        amount *= cover
        np.maximum(amount, 0, out=amount)
    return eosin, blue


def _bundles(recipe: Recipe, layout: Layout) -> tuple[FloatImage, FloatImage]:
    """Return the fibers, about -2 to 2, and what the clefts between bundles leave of them."""
    fine, bundles = paint_fibers(recipe, layout)
    fibers = 0.55 * fine + 0.65 * bundles
    bundles *= 0.8
    bundles += 0.5 * fine
    bundles *= 1.3
    bundles += 1 + 1.3 * 1.05
    return fibers, np.clip(bundles, 1 - recipe.look.fiber_contrast, 1, out=bundles)


def _tint_cells(
    recipe: Recipe,
    layout: Layout,
    nuclei: Nuclei,
    cells: FloatImage,
    eosin: FloatImage,
    blue: FloatImage,
) -> None:
    """Give cytoplasm and secretion their grain, and each epithelial cell a shade of its own."""
    inside = np.isin(layout.regions, (BENIGN, MALIGNANT, SECRETION))
    tint, border = _cell_tint(recipe, layout, nuclei)
    border = 0.30 * border + (1 + 0.13 * cells)
    border += tint
    np.multiply(eosin, border, out=eosin, where=inside)
    np.multiply(blue, 1 + 0.20 * cells - 0.6 * tint, out=blue, where=inside)


def _grid(layout: Layout) -> tuple[int, int]:
    return layout.tissue.shape[1], layout.tissue.shape[0]


def _granules(rng: np.random.Generator, width: int, height: int, um: float) -> FloatImage:
    """Return the texture of cytoplasm: fine grain on slow clouds."""
    fine = noise_tile(rng, 512, 512, (0.55 * um, 0.55 * um))
    coarse = noise_tile(rng, 512, 512, (2.6 * um, 2.6 * um))
    return repeat_tile((0.55 * fine + 0.8 * coarse).astype(np.float32), width, height)


def _cell_tint(recipe: Recipe, layout: Layout, nuclei: Nuclei) -> tuple[FloatImage, FloatImage]:
    """Return how each cell's cytoplasm differs from the mean, and where cells meet, 0 to 1."""
    rng, step = stream(recipe.seed, "cells"), CELL_UM / recipe.mpp
    width, height = max(8, round(recipe.width / step)), max(8, round(recipe.height / step))
    rows = (np.arange(height) * recipe.height // height)[:, None]
    columns = (np.arange(width) * recipe.width // width)[None]
    codes = layout.regions[rows, columns]
    tint, border = np.zeros((2, height, width), np.float32)
    epithelial = np.flatnonzero(nuclei.class_ <= TUMOR)
    at = np.argwhere((codes == BENIGN) | (codes == MALIGNANT))
    if len(at) and len(epithelial) > 1:
        places = np.stack(
            [(at[:, 1] + 0.5) * recipe.width / width, (at[:, 0] + 0.5) * recipe.height / height], 1
        )
        gap, owner = cKDTree(nuclei.xy[epithelial]).query(places, k=2)
        tint[at[:, 0], at[:, 1]] = (0.16 * rng.standard_normal(len(epithelial)))[owner[:, 0]]
        border[at[:, 0], at[:, 1]] = np.clip(1 - (gap[:, 1] - gap[:, 0]) * recipe.mpp / 2.2, 0, 1)
    size = (recipe.width, recipe.height)
    bilinear = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(tint).resize(size, bilinear)), np.asarray(
        Image.fromarray(border).resize(size, bilinear)
    )


def _ink(recipe: Recipe, layout: Layout) -> FloatImage:
    """Return eosin of thin lines: basement membranes, brush borders, walls of vessels and fat."""
    um = 1 / recipe.mpp
    image = Image.new("L", (recipe.width, recipe.height), 0)
    draw = ImageDraw.Draw(image)
    line = max(1, round(0.7 * um))
    for cell in layout.fat_cells:
        draw.line([*cell.ravel().tolist(), *cell[0].tolist()], fill=105, width=line)
    for vessel in layout.vessels:
        wall = inset(vessel, -1.5 * um)
        draw.line(
            [*wall.ravel().tolist(), *wall[0].tolist()], fill=95, width=max(1, round(2.2 * um))
        )
    for gland in layout.glands:
        if gland.malignant:
            continue
        draw.line([*gland.outer.ravel().tolist(), *gland.outer[0].tolist()], fill=60, width=line)
        for lumen in gland.lumens:
            draw.line(
                [*lumen.ravel().tolist(), *lumen[0].tolist()],
                fill=75,
                width=max(1, round(1.5 * um)),
            )
    return np.asarray(image, np.float32) * np.float32(0.55 / 150)


def _red_cells(recipe: Recipe, layout: Layout, eosin: FloatImage, blue: FloatImage) -> None:
    """Fill most vessels with red cells and let a few lie about in the stroma."""
    rng, um = stream(recipe.seed, "red cells"), 1 / recipe.mpp
    centers = [rng.uniform(0, 1, (int(6 * len(layout.vessels)), 2)) * [recipe.width, recipe.height]]
    for vessel in layout.vessels:
        low, span = vessel.min(0), np.ptp(vessel, axis=0)
        count = int(span.prod() / (30 * um * um) * rng.choice([0.0, 0.3, 0.8]))
        centers.append(low + rng.uniform(0, 1, (count, 2)) * span)
    xy = np.concatenate(centers)
    column = np.clip(xy[:, 0].astype(int), 0, recipe.width - 1)
    row = np.clip(xy[:, 1].astype(int), 0, recipe.height - 1)
    where = layout.regions[row, column]
    inside = layout.tissue[row // GRID, column // GRID] > 8 * um
    image = Image.new("L", (recipe.width, recipe.height), 0)
    draw = ImageDraw.Draw(image)
    for x, y in xy[inside & ((where == VESSEL) | (where == STROMA))].tolist():
        radius = 3.1 * um * rng.uniform(0.85, 1.1)
        draw.ellipse(
            [x - radius, y - radius, x + radius, y + radius], fill=int(rng.integers(150, 215))
        )
        draw.ellipse(
            [x - radius / 2.4, y - radius / 2.4, x + radius / 2.4, y + radius / 2.4], fill=140
        )
    red = np.asarray(image, np.float32) / np.float32(200)
    np.maximum(eosin, red, out=eosin)
    blue *= red < 0.1


def _stamp_nuclei(
    recipe: Recipe, nuclei: Nuclei, eosin: FloatImage, blue: FloatImage, dab: FloatImage | None
) -> None:
    um, look = 1 / recipe.mpp, recipe.look
    grain = look.chromatin_um * um
    rng = stream(recipe.seed, "chromatin tiles")
    scale = {TUMOR: 1.5, LYMPHOCYTE: 1.1, STROMAL: 0.8}
    tiles = {
        k: look.chromatin * noise_tile(rng, 256, 256, (grain * scale.get(k, 1.0),) * 2)
        for k in range(4)
    }
    height, width = eosin.shape
    for rows, corner, cover, depth in stamps(nuclei, tiles, recipe.seed):
        faint = 1.0 if dab is None else 0.62
        dark = cover * depth * (nuclei.dark[rows] * faint)[:, None, None]
        brown = cover * (0.7 + 0.3 * depth) * nuclei.dab[rows][:, None, None]
        side = cover.shape[1]
        for k, (x, y) in enumerate(corner.tolist()):
            x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
            here = np.s_[y0:y1, x0:x1]
            there = np.s_[k, y0 - y : y1 - y, x0 - x : x1 - x]
            eosin[here] *= 1 - 0.72 * cover[there]
            np.maximum(blue[here], dark[there], out=blue[here])
            if dab is not None and nuclei.dab[rows[k]] > 0:
                np.maximum(dab[here], brown[there], out=dab[here])


def expose(recipe: Recipe, blue: FloatImage, eosin: FloatImage, dab: FloatImage | None) -> Picture:
    """Return uint8[y, x, 3]: the light that the scanner records, by Beer-Lambert, blurred."""
    look, um = recipe.look, 1 / recipe.mpp
    rng = stream(recipe.seed, "sensor")
    h, e, d = (_unit(v) for v in (look.hematoxylin, look.eosin, look.dab))
    if dab is not None:
        e = _unit(look.counterstain) * 0.16
        blue = blue + 0.04 * eosin
        dab = dab + 0.05 * eosin
    strength = np.float32(look.nuclear), np.float32(look.cytoplasmic)
    shape = (recipe.height, recipe.width)
    noise = rng.standard_normal((256, 257)).astype(np.float32) * np.float32(look.noise)
    noise = repeat_tile(noise + np.float32(0.5), recipe.width, recipe.height)
    out = np.empty((*shape, 3), np.uint8)
    for channel in range(3):
        density = blue * (h[channel] * strength[0]) + eosin * (e[channel] * strength[1])
        if dab is not None:
            density += dab * d[channel]
        density *= np.float32(-look.gamma)
        light = np.exp(density, out=density)
        light *= np.float32(look.glass[channel] * look.gain[channel])
        light += noise
        out[..., channel] = np.clip(light, 0, 255, out=light)
    blur = ImageFilter.GaussianBlur(look.focus_um * um)
    return np.asarray(Image.fromarray(out).filter(blur))


def _unit(vector: Triple) -> npt.NDArray[np.float32]:
    array = np.asarray(vector, np.float64)
    # one length for all, so that strengths mean the same for every look
    return (DENSITY * array / np.linalg.norm(array)).astype(np.float32)
