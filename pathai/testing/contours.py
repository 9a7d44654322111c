"""Polygons: star shapes, insets, walks along a contour, and what lies inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

Array = npt.NDArray[Any]
Polygon = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def star(
    rng: np.random.Generator,
    x: float,
    y: float,
    radius: float,
    aspect: float,
    wobble: float,
    rough: float = 0.0,
) -> Polygon:
    """Return float32[72, 2]: an ellipse at (x, y) with a wobbling outline.

    It stays within about 1.1 times the radius. `rough` is the size in pixels of the bumps that
    single cells make.
    """
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    scale = radius * np.minimum(wobbling(rng, angle, wobble, 6), 1.12)
    if rough:
        # a bump is about as long as a cell is wide, whatever the size of the nest
        width = max(72 * 2.4 * rough / (2 * np.pi * radius), 0.5)
        bumps = ndimage.gaussian_filter1d(rng.standard_normal(72), width, mode="wrap")
        scale = scale + rough * bumps / max(float(bumps.std()), 0.2)
    turn = rng.uniform(0, np.pi)
    a, b = scale * np.cos(angle), scale * np.sin(angle) * aspect
    return np.stack(
        [x + a * np.cos(turn) - b * np.sin(turn), y + a * np.sin(turn) + b * np.cos(turn)], 1
    ).astype(np.float32)


def wobbling(rng: np.random.Generator, angle: Array, amount: float, order: int) -> Array:
    """Return factors around 1 for the radius at each angle: harmonics 2 to `order`."""
    total = np.ones(len(angle))
    for k in range(2, order + 1):
        size = amount * rng.standard_normal() / (k - 1) ** 0.8
        total += size * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.clip(total, 0.35, 1.8)


def inset(contour: Polygon, depth: Array | float) -> Polygon:
    """Return the contour moved inward along its normals by `depth` pixels."""
    tangent = np.roll(contour, -1, 0) - np.roll(contour, 1, 0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    moved: Polygon = (contour + normal * np.reshape(depth, (-1, 1))).astype(np.float32)
    return moved


def walk(contour: Polygon, spacing: float) -> tuple[Array, Array]:
    """Return points and inward normals, float64[n, 2] each, at equal steps along a contour."""
    closed = np.concatenate([contour, contour[:1]]).astype(np.float64)
    step = np.linalg.norm(np.diff(closed, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(step)])
    count = max(3, int(along[-1] / spacing))
    at = np.arange(count) * along[-1] / count
    points = np.stack([np.interp(at, along, closed[:, k]) for k in (0, 1)], 1)
    tangent = np.roll(points, -1, 0) - np.roll(points, 1, 0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    return points, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


def runs_along(outer: Polygon, lumen: Polygon) -> bool:
    """Return whether an inset contour runs as the outer one does (no fold through itself)."""
    a, b = np.roll(outer, -1, 0) - outer, np.roll(lumen, -1, 0) - lumen
    return bool(((a * b).sum(1) > 0).mean() > 0.9)


def inside_any(polygons: list[Polygon], xy: Array) -> Mask:
    """Return bool[M]: whether each level-0 point lies in one of the polygons (even-odd rule)."""
    found = np.zeros(len(xy), bool)
    x, y = xy[:, 0, None].astype(np.float64), xy[:, 1, None].astype(np.float64)
    for polygon in polygons:
        corners = polygon.T.astype(np.float64)
        (x0, y0), (x1, y1) = corners, np.roll(corners, -1, 1)
        spans = (y0 > y) != (y1 > y)
        crossing = x0 + (y - y0) * (x1 - x0) / np.where(y1 == y0, 1e-9, y1 - y0)
        found |= (spans & (x < crossing)).sum(1) % 2 == 1
    return found


def fill_polygons(
    polygons: list[Polygon], shape: tuple[int, int], scale: float
) -> npt.NDArray[np.uint8]:
    """Return uint8[shape]: 1 inside the polygons, each pixel `scale` level-0 pixels wide."""
    image = Image.new("L", (shape[1], shape[0]), 0)
    draw = ImageDraw.Draw(image)
    for polygon in polygons:
        draw.polygon([(float(a), float(b)) for a, b in polygon / scale], fill=1)
    return np.asarray(image)
