"""How good a detector is on labeled fields: matches, F1 with interval, error of counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist

from pathai.quantities.error import LEAST_FIELDS, CountError, calibrate
from pathai.train_detector.fields import Field

MATCH_UM = 3.3
"""Distance within which a found center is a true one."""
Points = NDArray[np.float32]


@dataclass(frozen=True)
class Tally:
    """One field: how many were matched, found, true; its area."""

    matched: int
    found: int
    true: int
    area_mm2: float


def match(found: NDArray[np.floating], truth: NDArray[np.floating], radius: float) -> int:
    """Size of the largest one-to-one matching of points ``float[M, 2]`` within ``radius``."""
    if len(found) == 0 or len(truth) == 0:
        return 0
    near = csr_array(cdist(found, truth) <= radius)
    return int((maximum_bipartite_matching(near) >= 0).sum())


def tally(field: Field, found: Points) -> Tally:
    """Compare found centers, px of the field, with its truth."""
    hit = match(found, field.xy, MATCH_UM / field.mpp)
    height, width = field.labels.shape
    return Tally(hit, len(found), len(field.xy), height * width * (field.mpp / 1000) ** 2)


def f1(rows: Sequence[Tally]) -> float:
    """F1 over all fields: nuclei weigh alike, not fields."""
    both = sum(r.found + r.true for r in rows)
    return 2 * sum(r.matched for r in rows) / both if both else 1.0


def f1_interval(rows: Sequence[Tally], seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    """Percentile interval of F1, 95 %, over resampled fields."""
    table = np.array([(r.matched, r.found, r.true) for r in rows], float)
    rng = np.random.default_rng(seed)
    part = table[rng.integers(0, len(table), (draws, len(table)))].sum(axis=1)
    values = 2 * part[:, 0] / np.maximum(part[:, 1] + part[:, 2], 1)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def count_error(rows: Sequence[Tally], source: str) -> CountError | None:
    """How far counts are off; see `pathai.quantities.error.calibrate`.

    None where fewer than eight fields hold five nuclei.
    """
    used = [r for r in rows if max(r.found, r.true) >= 5]
    if len(used) < LEAST_FIELDS:
        return None
    found, true, area = ([getattr(r, n) for r in used] for n in ("found", "true", "area_mm2"))
    return calibrate(found, true, area, source)
