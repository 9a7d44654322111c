"""Pictures, truths and views for training the encoder `tissue-small`; imported by its script.

Every source may be passed on: synthetic fields of the training looks, DSB2018 (CC0) and the slide
CMU-1 (CC0). NuCLS and the test looks take no part: the encoders are judged on them.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from tiffslide import TiffSlide

from pathai.stain import STAINS, optical_density
from pathai.testing.looks import TRAIN_LOOKS, vary
from pathai.testing.picture import synthetic_field

EDGE = 128
"""Edge of a view in px of 0.5 µm."""
CELL = 8
"""Edge in px of the cells in which truths are summed."""
USUAL_NUCLEUS_UM = 8.0
TARGETS = (
    *("log_count", "log_area_um2", "nuclear_share"),
    *("share_epithelial", "share_tumor", "share_lymphocyte", "share_stromal"),
)
UNKNOWN = np.nan


@dataclass(frozen=True)
class Source:
    """One picture at 0.5 µm/px.

    ``picture`` uint8[y, x, 3]; ``sums`` float32[5, y / 8, x / 8]: nuclei of each class, then their
    area in px; without classes all nuclei are in row 0. ``known``: 0 nothing, 1 nuclei, 2 classes.
    """

    picture: np.ndarray
    sums: np.ndarray
    known: int


def _sums(
    shape: tuple[int, ...], xy: np.ndarray, class_: np.ndarray, area_px: np.ndarray
) -> np.ndarray:
    rows, columns = -(-shape[0] // CELL), -(-shape[1] // CELL)
    out = np.zeros((5, rows, columns), np.float32)
    inside = ((xy >= 0) & (xy < [shape[1], shape[0]])).all(axis=1)
    column, row = (xy[inside] // CELL).astype(int).T
    np.add.at(out, (class_[inside], row, column), 1)
    np.add.at(out[4], (row, column), area_px[inside])
    return out


def _outline_areas(truth) -> np.ndarray:
    """Area of each outline in px, by the shoelace formula."""
    x, y = truth.outline_px0.reshape(len(truth), -1, 2).transpose(2, 0, 1)
    cross = x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)
    return np.abs(cross.sum(axis=1)) / 2


def synthetic(seeds: range, edge: int = 512) -> list[Source]:
    """Fields of the training looks, each slide's look varied; two of three with tumor."""
    found = []
    for seed in seeds:
        look = tuple(TRAIN_LOOKS.values())[seed % 2]
        look = vary(look, np.random.default_rng(seed))
        picture, truth = synthetic_field(seed, look, width=edge, height=edge, tumor=bool(seed % 3))
        sums = _sums(picture.shape, truth.xy_px0, truth.class_, _outline_areas(truth))
        found.append(Source(picture, sums, 2))
    return found


def dsb2018(folder: Path) -> list[Source]:
    """DSB2018, brought to 0.5 µm/px by taking a usual nucleus for 8 µm wide; no classes."""
    found = []
    with (folder / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image = Image.open(folder / row["file"]).convert("RGB")
        labels = np.asarray(Image.open(next((folder / "labels").glob(f"{row['image']}*"))))
        # r_px is half the median nucleus
        factor = USUAL_NUCLEUS_UM / (2 * float(row["r_px"])) / 0.5
        factor = max(factor, 1.5 * EDGE / min(image.size))
        size = (round(image.width * factor), round(image.height * factor))
        picture = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        area = np.bincount(labels.ravel())[1:]
        y, x = np.divmod(np.arange(labels.size), labels.shape[1])
        weight = np.maximum(np.bincount(labels.ravel())[1:], 1)
        xy = np.stack([np.bincount(labels.ravel(), v)[1:] / weight for v in (x, y)], axis=1)
        real = area > 0
        xy, area = (xy[real] + 0.5) * factor, area[real] * factor**2
        sums = _sums(picture.shape, xy, np.zeros(len(xy), int), area)
        found.append(Source(picture, sums, 1))
    return found


def cmu1(path: Path, edge: int = 512) -> list[Source]:
    """Pieces of CMU-1 (0.499 µm/px) of which at least a fifth is tissue; nothing is known."""
    with TiffSlide(path) as slide:
        image = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    found = []
    for top in range(0, image.shape[0] - edge + 1, edge // 2):
        for left in range(0, image.shape[1] - edge + 1, edge // 2):
            piece = np.ascontiguousarray(image[top : top + edge, left : left + edge])
            if (optical_density(piece).mean(axis=-1) > 0.08).mean() > 0.2:
                found.append(Source(piece, np.zeros((5, edge // CELL, edge // CELL)), 0))
    return found


def _truth(source: Source, top: int, left: int, edge: int) -> np.ndarray:
    """``float32[7]`` of a window, as it looks once it is `EDGE` px wide; nan where unknown."""
    out = np.full(len(TARGETS), UNKNOWN, np.float32)
    if source.known == 0:
        return out
    here = np.s_[:, top // CELL : (top + edge) // CELL, left // CELL : (left + edge) // CELL]
    *classes, area = source.sums[here].sum(axis=(1, 2))
    count = sum(classes)
    out[0] = np.log1p(count)
    out[2] = area / edge**2
    if count > 0:
        out[1] = np.log(area / count * (EDGE / edge) ** 2 * 0.25)
        if source.known == 2:
            out[3:] = np.array(classes) / count
    return out


def view(
    source: Source, rng: np.random.Generator, top: int, left: int, edge: int
) -> tuple[np.ndarray, np.ndarray]:
    """A window turned, resized and stained anew: ``uint8[128, 128, 3]``; and its truth."""
    piece = source.picture[top : top + edge, left : left + edge]
    piece = np.rot90(piece, rng.integers(4))
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    image = Image.fromarray(np.ascontiguousarray(piece))
    image = image.resize((EDGE, EDGE), Image.Resampling.BICUBIC)
    image = Image.fromarray(stained_anew(np.asarray(image), rng))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.3)))
    elif rng.random() < 0.4:
        image = image.filter(ImageFilter.UnsharpMask(1.5, int(rng.uniform(30, 150)), 0))
    if rng.random() < 0.5:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(rng.uniform(35, 95)))
        image = Image.open(stream)
    pixels = np.asarray(image)
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(1, 6), pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return pixels, _truth(source, top, left, edge)


def pair(
    source: Source, rng: np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Two views of nearly the same place at nearly the same scale."""
    room = min(source.picture.shape[:2]) // CELL
    common = int(rng.integers(13, 22))
    edges = np.clip(common + rng.integers(-1, 2, 2), 12, room)
    span = np.array(source.picture.shape[:2]) // CELL - edges.max()
    corner = rng.integers(0, span + 1)
    views = []
    for edge in edges:
        limit = np.array(source.picture.shape[:2]) // CELL - edge
        top, left = np.clip(corner + rng.integers(-2, 3, 2), 0, limit) * CELL
        views.append(view(source, rng, int(top), int(left), int(edge) * CELL))
    return views[0], views[1]


def stained_anew(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other strengths and vectors of the two stains, another light, another tone curve.

    References
    ----------
    Tellez D et al. Quantifying the effects of data augmentation and stain color normalization in
    convolutional neural networks for computational pathology. Med Image Anal 2019;58:101544.
    """
    usual = STAINS["H&E"].matrix
    other = usual.copy()
    other[:2] = np.maximum(other[:2] + rng.uniform(-0.10, 0.10, (2, 3)), 0)
    other[1, 2] += rng.uniform(0, 0.5)  # eosin of scanners absorbs more blue than the table's
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    amount = np.exp(rng.uniform(-0.45, 0.45, 3))
    mixed = np.linalg.inv(usual) * amount @ other
    density = optical_density(rgb, (255, 255, 255)) @ mixed.astype(np.float32)
    density += rng.normal(0, 0.015, 3).astype(np.float32)
    density *= np.float32(np.exp(rng.uniform(-0.2, 0.2)))
    light = np.exp(density * np.float32(-np.log(10)))
    light *= (255 * rng.uniform(0.9, 1.0) * rng.uniform(0.96, 1.0, 3)).astype(np.float32)
    return np.clip(light, 0, 255).astype(np.uint8)
