"""A number with its interval, and the interval of a proportion."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; ``low`` and ``high`` are NaN where none can be given."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def as_json(self) -> dict[str, float | None]:
        """Give the three numbers rounded to six digits, with ``None`` for what is not finite."""
        return {k: round(v, 6) if math.isfinite(v) else None for k, v in asdict(self).items()}


def two_sided_z(level: float) -> float:
    """Standard normal quantile of a two-sided interval: 1.96 for ``level = 0.95``."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """Proportion with Wilson's score interval; (0, 1) for ``n = 0``.

    References
    ----------
    .. [1] Wilson, "Probable inference, the law of succession, and statistical inference",
       JASA 22:209-212, 1927.
    """
    if not 0 <= successes <= n:
        raise ValueError("successes must lie between 0 and n")
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0)
    z, p = two_sided_z(level), successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else middle - half
    return Estimate(p, low, 1.0 if successes == n else middle + half)
