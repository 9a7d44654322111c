"""DAB intensity of nuclei: bins by stated cut-offs, H-score, Allred score.

A score is about tumor nuclei, which a detector without tumor classes does not tell from others:
who prints it says which nuclei it is of. Cut-offs are optical densities and belong to a laboratory.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from pathai.stats.quantiles import t_quantile
from pathai.store.records import Interval

COVERS = (
    "scatter between squares of 250 µm of the analyzed tissue; not the choice of cut-offs, nor "
    "missed or false nuclei"
)
PROPORTIONS = (0.01, 0.10, 1 / 3, 2 / 3)
"""Shares up to which the proportion score is 1 (below), 2, 3 and 4."""


def intensity_bins(
    dab_od: NDArray[np.floating], cutoffs_od: tuple[float, float, float]
) -> NDArray[np.int64]:
    """Bin of each nucleus, 0 to 3, int64[M]; a nucleus at a cut-off is in the upper bin."""
    found: NDArray[np.int64] = np.searchsorted(cutoffs_od, dab_od, side="right").astype(np.int64)
    return found


def h_score(sums: NDArray[np.int64], total: NDArray[np.int64], level: float = 0.95) -> Interval:
    """100 times the mean bin, 0 to 300, with the interval of scatter between squares.

    Parameters
    ----------
    sums : int64[K]
        Sum of the bins of each square's nuclei.
    total : int64[K]
        Its nuclei; not 0 everywhere.
    level : float
        Nominal coverage.

    References
    ----------
    McCarty KS et al. Use of a monoclonal anti-estrogen receptor antibody in the immunohistochemical
    evaluation of human tumors. Cancer Res 1986;46:4244s-4248s.
    Cochran WG. Sampling Techniques, 3rd ed. Wiley 1977, chapter 6 (a ratio from clusters).
    """
    n, squares = int(total.sum()), int((total > 0).sum())
    mean = float(sums.sum()) / n
    if squares < 2:
        low, high = 0.0, 300.0  # one square tells nothing of scatter
    else:
        rest = sums - mean * total
        se = sqrt(squares / (squares - 1) * float((rest * rest).sum())) / n
        width = t_quantile((1 + level) / 2, squares - 1) * se
        low, high = 100 * max(mean - width, 0), 100 * min(mean + width, 3)
    return Interval(value=100 * mean, low=low, high=high, level=level, covers=COVERS)


def allred(counts: tuple[int, int, int, int]) -> tuple[int, int]:
    """Proportion score 0 to 5 and intensity score 0 to 3; their sum is the Allred score.

    Proportion: none 0, below 1 % 1, to 10 % 2, to a third 3, to two thirds 4, above 5. Intensity:
    mean bin of the positive nuclei, rounded, halves up.

    References
    ----------
    Harvey JM et al. Estrogen receptor status by immunohistochemistry is superior to the
    ligand-binding assay for predicting response to adjuvant endocrine therapy in breast cancer.
    J Clin Oncol 1999;17:1474-1481.
    """
    total, positive = sum(counts), sum(counts[1:])
    if positive == 0:
        return 0, 0
    share = positive / total
    proportion = 1 if share < PROPORTIONS[0] else 2 + sum(share > p for p in PROPORTIONS[1:])
    mean = sum(k * counts[k] for k in (1, 2, 3)) / positive
    return proportion, int(mean + 0.5)
