"""Positive or negative: the classes of a detector that does not tell kinds of nuclei apart."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pathai.stain import stain_matrix

SOFT_OD = 0.05
"""Distance to the cut-off at which the support is 0.73 (not calibrated)."""


def dab_classes(stain: str, otherwise: tuple[str, ...] = ("nucleus",)) -> tuple[str, ...]:
    """Names of the classes: with DAB, negative and positive.

    Raises
    ------
    PathaiError
        E142 if the stain has no vectors.
    """
    return ("negative", "positive") if stain_matrix(stain).is_dab else otherwise


def positive(
    dab_od: NDArray[np.float32], cutoff_od: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Class ``uint8[M]``, 1 from the cut-off on, and support ``float32[M, 2]``."""
    support = expit((dab_od - cutoff_od) / SOFT_OD)
    prob = np.stack([1 - support, support], axis=1).astype(np.float32)
    return (dab_od >= cutoff_od).astype(np.uint8), prob
