"""Intervals of shares of nuclei: a positive fraction, a class among all."""

from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from pathai.errors import PathaiError
from pathai.quantities.error import ShareError, log_odds
from pathai.stats import wilson
from pathai.stats.quantiles import t_quantile
from pathai.store.records import Interval

F64 = NDArray[np.float64]
COVERS_SHARE = (
    "scatter of the share between squares of 250 µm of the analyzed tissue; not wrong classes, "
    "nor missed or false nuclei"
)
COVERS_TRUE_SHARE = (
    "wrong classes, missed and false nuclei as measured on {fields} held-back fields ({source}); "
    "all of the analyzed tissue was counted; not tissue unlike those fields"
)
COVERS_SHARE_ERROR = (
    "wrong classes, missed and false nuclei as measured on {fields} held-back fields ({source}), "
    "and scatter of the share between squares of 250 µm; not tissue unlike those fields"
)
COVERS_CLASSES = (
    "confusion between classes as measured on {nuclei} held-back nuclei ({source}); not missed or "
    "false nuclei, nor tissue unlike those nuclei"
)
COVERS_UNKNOWN = "nothing: how often classes are confused was not measured"
NO_ERROR = ShareError(0.0, 0.0, 0.0, 0, "")
DRAWS, SEED = 4000, 20260


def true_share(
    part: NDArray[np.int64],
    total: NDArray[np.int64],
    error: ShareError | None,
    level: float = 0.95,
) -> Interval:
    """Share of nuclei in the analyzed tissue: that found, with the interval of the true one.

    Parameters
    ----------
    part, total : int64[K]
        Nuclei of the class, and all, in each square; ``total`` must not be 0 everywhere.
    error : ShareError or None
        Measured error of such shares; None gives the interval of scatter alone, and says so.
    level : float
        Nominal coverage.
    """
    if error is None:
        return tissue_share(part, total, None, level)
    k, n = _sums(part, total)
    own = _own(k, n, error, level)
    return _around(k, n, error, (own, own), COVERS_TRUE_SHARE, level)


def tissue_share(
    part: NDArray[np.int64],
    total: NDArray[np.int64],
    error: ShareError | None,
    level: float = 0.95,
) -> Interval:
    """Share of nuclei to expect in tissue of this kind, from squares of it.

    Scatter between squares is that of a ratio of two counts (nuclei of one square are alike, so
    an interval that takes each nucleus for itself would be too narrow), never less than binomial;
    the detector's own error joins on the log-odds scale, where its measured bias also moves the
    interval. The value is the share found, and the interval always holds it. Below two squares,
    and where none or all are of the class, scatter is Wilson's.

    Parameters
    ----------
    part, total : int64[K]
        Nuclei of the class, and all, in each square; ``total`` must not be 0 everywhere.
    error : ShareError or None
        Measured error of such shares; None gives scatter alone, and says so.
    level : float
        Nominal coverage.

    References
    ----------
    Cochran WG. Sampling Techniques, 3rd ed. Wiley 1977, sections 3.12 and 6.4 (a share from
    clusters as a ratio).
    Wilson EB. Probable inference, the law of succession, and statistical inference. JASA
    1927;22:209-212.
    """
    k, n = _sums(part, total)
    down, up = _scatter(part, total, level)
    if error is not None:
        own = _own(k, n, error, level)
        return _around(k, n, error, (hypot(down, own), hypot(up, own)), COVERS_SHARE_ERROR, level)
    found = _around(k, n, NO_ERROR, (down, up), COVERS_SHARE, level)
    sure = {"low": 0.0} if k == 0 else {"high": 1.0} if k == n else {}
    return found.model_copy(update=sure)


def _sums(part: NDArray[np.int64], total: NDArray[np.int64]) -> tuple[int, int]:
    k, n = int(np.sum(part)), int(np.sum(total))
    if n <= 0:
        raise PathaiError("E193", "a share of no nuclei", "count nuclei first")
    return k, n


def _own(k: int, n: int, error: ShareError, level: float) -> float:
    """Half-width of the log odds that the detector's error gives, for one more slide."""
    quantile = t_quantile((1 + level) / 2, error.fields - 1)
    return quantile * error.sd(k, n) * sqrt(1 + 1 / error.fields)


def _around(
    k: int, n: int, error: ShareError, width: tuple[float, float], covers: str, level: float
) -> Interval:
    middle, value = float(log_odds(k, n)) + error.log_odds, k / n
    low, high = float(expit(middle - width[0])), float(expit(middle + width[1]))
    words = covers.format(fields=error.fields, source=error.source or "source not stated")
    return Interval(
        value=value, low=min(low, value), high=max(high, value), level=level, covers=words
    )


def _scatter(
    part: NDArray[np.int64], total: NDArray[np.int64], level: float
) -> tuple[float, float]:
    """Half-widths down and up on the log-odds scale from the scatter between squares."""
    k, n = int(part.sum()), int(total.sum())
    used = total > 0
    squares, middle = int(used.sum()), float(log_odds(k, n))
    simple = wilson(k, n, level)
    edges = np.clip([simple.low, simple.high], 1e-12, 1 - 1e-12)
    down, up = (
        middle - np.log(edges[0] / (1 - edges[0])),
        np.log(edges[1] / (1 - edges[1])) - middle,
    )
    down, up = max(float(down), 0.0), max(float(up), 0.0)
    if squares < 2 or k in (0, n):
        return down, up
    p = k / n
    rest = part - p * total
    variance = squares / (squares - 1) * float((rest * rest).sum()) / n**2
    quantile = t_quantile((1 + level) / 2, squares - 1)
    width = quantile * sqrt(variance) / (p * (1 - p))
    return max(down, width), max(up, width)


@dataclass(frozen=True)
class ClassError:
    """How often a class model confuses classes, on held-back nuclei.

    Attributes
    ----------
    classes : tuple of str
        Names, in the order of rows and columns.
    confusion : tuple of tuple of int
        Nuclei by true class (rows) and class given (columns).
    source : str
        Which tissue, in words.
    design_effect : float
        Nuclei of one patient are alike: so many of them tell as much as one independent one.
    """

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    source: str = ""
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        size = len(self.classes)
        if len(self.confusion) != size or any(len(row) != size for row in self.confusion):
            message = f"a confusion of {size} classes needs {size} rows of {size} numbers"
            raise PathaiError("E193", message, "rows are true classes, columns given ones")


def class_count_intervals(
    class_counts: ArrayLike, error: ClassError | None, level: float = 0.95
) -> tuple[Interval, ...]:
    """Number of nuclei of each class, with the error band of the class model.

    A count of given classes ``y`` comes from true counts ``x`` by ``y = Aᵀ x``, where row *i* of
    ``A`` is how nuclei of class *i* are called. ``A`` is known from held-back nuclei only: it is
    drawn from its Dirichlet posterior, ``y`` from what confusion of so many nuclei scatters, and
    ``x`` solved for and brought back to the simplex of counts that sum to all nuclei. The band is
    the central part of the draws, stretched to hold the value, which is the count given. The total
    is taken as it is: its error is another interval.

    Parameters
    ----------
    class_counts : int[C]
        Nuclei of each class as given.
    error : ClassError or None
        Measured confusion; None gives a band from 0 to all nuclei, and says that nothing is known.
    level : float
        Nominal coverage.

    Returns
    -------
    tuple of Interval, one per class

    References
    ----------
    Rogan WJ, Gladen B. Estimating prevalence from the results of a screening test. Am J Epidemiol
    1978;107:71-76.
    Hopkins DJ, King G. A method of automated nonparametric content analysis for social science.
    Am J Polit Sci 2010;54:229-247.
    """
    given = np.asarray(class_counts, float)
    total = float(given.sum())
    if error is None or total == 0:
        covers = COVERS_UNKNOWN if error is None else ""
        return tuple(
            Interval(value=float(v), low=0.0, high=total, level=level, covers=covers) for v in given
        )
    if len(error.classes) != len(given):
        message = f"{len(given)} classes were counted, {len(error.classes)} were measured"
        raise PathaiError("E193", message, "measure the confusion of these classes")
    drawn = _true_counts(given, error)
    tail = 50 * (1 - level)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    nuclei = int(np.sum(error.confusion))
    covers = COVERS_CLASSES.format(nuclei=nuclei, source=error.source or "source not stated")
    return tuple(
        Interval(value=v, low=min(a, v), high=max(b, v), level=level, covers=covers)
        for v, a, b in zip(given.tolist(), low.tolist(), high.tolist(), strict=True)
    )


def _true_counts(given: F64, error: ClassError) -> F64:
    """Draws of the true counts, float64[DRAWS, C]."""
    rng = np.random.default_rng(SEED)
    size, total = len(given), float(given.sum())
    seen = np.asarray(error.confusion, float) / error.design_effect
    rows = rng.gamma(seen + 1 / size, size=(DRAWS, size, size))
    rows /= rows.sum(axis=2, keepdims=True)
    middle = (seen + 1 / size) / (seen + 1 / size).sum(axis=1, keepdims=True)
    best = _simplex(_solved(middle[None], given[None]), total)[0]
    # What confusion of so many nuclei scatters: a sum of multinomials, taken as normal.
    scatter = np.diag(best @ middle) - (middle.T * best) @ middle
    noise = rng.multivariate_normal(np.zeros(size), scatter, DRAWS, method="eigh")
    return _simplex(_solved(rows, given + noise), total)


def _solved(rows: F64, given: F64) -> F64:
    """``x`` of ``y = Aᵀ x`` for each draw, by least squares where classes cannot be told apart."""
    inverse = np.linalg.pinv(np.swapaxes(rows, 1, 2), rcond=1e-3)
    solved: F64 = np.einsum(
        "dij,dj->di", inverse, np.broadcast_to(given, (len(rows), rows.shape[1]))
    )
    return solved


def _simplex(x: F64, total: float) -> F64:
    """Nearest counts that are not negative and sum to ``total``, of each row.

    References
    ----------
    Duchi J et al. Efficient projections onto the l1-ball. ICML 2008:272-279.
    """
    falling = -np.sort(-x, axis=1)
    excess = (np.cumsum(falling, axis=1) - total) / np.arange(1, x.shape[1] + 1)
    last = (falling > excess).sum(axis=1) - 1
    nearest: F64 = np.maximum(x - np.take_along_axis(excess, last[:, None], axis=1), 0)
    return nearest
