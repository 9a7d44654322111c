"""How good a detector is on labeled fields: matches, F1 with interval, error of counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist

from pathai.detectors.base import CountError
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
    """How far counts are off: mean and spread of ln(true / found) between fields.

    The spread has the noise of few nuclei in small fields taken out (as if each one were missed or
    invented for itself), so that it holds for whole slides; it is never below 2 %. None where
    fewer than two fields hold five nuclei.
    """
    used = [r for r in rows if max(r.found, r.true) >= 5]
    if len(used) < 2:
        return None
    true = np.array([r.true + 0.5 for r in used])
    found = np.array([r.found + 0.5 for r in used])
    hit = np.array([r.matched for r in used])
    ratio = np.log(true / found)
    noise = float(np.mean((true - hit) / true**2 + (found - hit) / found**2))
    spread = float(np.sqrt(max(ratio.var(ddof=1) - noise, 0.02**2)))
    densest = max(r.found / r.area_mm2 for r in used)
    return CountError(float(ratio.mean()), spread, float(densest), len(used), source)
