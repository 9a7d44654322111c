"""Tissue, nuclei and drawn regions that the tests of quantities and of findings share."""

import json

import numpy as np

from pathai.quantities.error import CountError
from pathai.quantities.shares import ClassError
from pathai.quantities.summary import Nuclei
from pathai.store.records import TissueMap
from pathai.units import Mpp

EIGHT = Mpp(8.0, 8.0)
STEP = 16.0
"""Level-0 px per map pixel: 0.5 µm/px."""
KINDS = ("tumor", "epithelial", "lymphocyte", "stromal", "other")
CONFUSION = ClassError(KINDS, tuple(tuple(80 if i == j else 5 for j in range(5)) for i in range(5)))
COUNTED = CountError(0.02, 0.05, 8000.0, 60, "drawn tissue")


def two_pieces() -> TissueMap:
    classes = np.zeros((120, 200), np.uint8)
    classes[10:110, 10:90] = 1
    classes[20:100, 110:190] = 1
    classes[50:60, 130:150] = 6  # blur: not analyzed
    classes[0, 0] = 1  # a speck
    return TissueMap(classes, STEP, EIGHT)


def on(tissue, count, rng):
    row, column = np.nonzero(tissue.classes == 1)
    pick = rng.integers(0, len(row), count)
    place = np.stack([column[pick], row[pick]], axis=1) + rng.random((count, 2))
    return (place * tissue.downsample).astype(np.float32)


def nuclei(classes, tissue, count=3000, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(classes), count).astype(np.uint8)
    od = np.where(kind == len(classes) - 1, rng.uniform(0.16, 1, count), 0.05)
    return Nuclei(on(tissue, count, rng), kind, od, classes)


def write_drawn(path, *features):
    made = [
        {"type": "Feature", "geometry": {"type": kind, "coordinates": at}, "properties": about}
        for kind, at, about in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    return path
