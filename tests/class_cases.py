"""Cells with known classes: two kinds that differ in a few measures."""

import numpy as np

from pathai.cell_classes.context import Neighborhood
from pathai.cell_classes.fit import Labeled
from pathai.cell_classes.model import CLASSES
from pathai.morphometry import MEASURES

DARK, PALE = CLASSES.index("lymphocyte"), CLASSES.index("tumor")


def made_up(seed: int, count: int = 300, apart: float = 3.0) -> tuple[np.ndarray, ...]:
    """Centers in µm, measures and classes of a made-up slide."""
    rng = np.random.default_rng(seed)
    class_ = np.where(rng.random(count) < 0.6, DARK, PALE)
    measures = np.abs(rng.normal(2.0, 0.5, (count, len(MEASURES)))).astype(np.float32)
    area, blue = MEASURES.index("area_um2"), MEASURES.index("hematoxylin_od")
    measures[:, area] = np.where(class_ == DARK, 30, 30 + 10 * apart) + rng.normal(0, 8, count)
    measures[:, blue] = np.where(class_ == DARK, 0.8, 0.8 - 0.1 * apart) + rng.normal(0, 0.1, count)
    xy_um = rng.uniform(0, 400, (count, 2))
    return xy_um, measures, class_


def labeled(seeds: range, count: int = 120, apart: float = 3.0) -> Labeled:
    """Cells of several made-up slides."""
    parts = []
    for seed in seeds:
        xy_um, measures, class_ = made_up(seed, count, apart)
        features = Neighborhood(xy_um, measures).features(slice(0, count))
        parts.append(Labeled(features, class_.astype(np.int64), (f"S{seed}",) * count))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.plus(part)
    return whole
