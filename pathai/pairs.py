"""Where a place of one slide lies on another: an affine map from pairs of points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError

FEWEST = 3
THIN = 0.02
"""Points whose spread across is less than this share of that along lie on one line."""
Point = tuple[float, float]
"""x and y, µm from the slide's top-left corner."""


@dataclass(frozen=True)
class Fit:
    """An affine map in µm, and how well it fits.

    Attributes
    ----------
    matrix : float64[2, 3]
        Maps (x, y, 1) of the first slide to (x, y) of the second.
    residual_um : float
        Root mean square distance between the mapped and the picked points. With three pairs it
        is 0 whatever they are: it says something from the fourth pair on.
    number : int
        Pairs that it was made from.
    """

    matrix: NDArray[np.float64]
    residual_um: float
    number: int

    def apply(self, xy_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places ``float64[n, 2]`` (x, y) of the first slide on the second, µm."""
        points = np.asarray(xy_um, np.float64).reshape(-1, 2)
        moved: NDArray[np.float64] = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return moved

    @property
    def scale(self) -> float:
        """How much larger things are on the second slide; about 1 for sections of one block."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    def inverse(self) -> "Fit":
        """The map back."""
        turned = np.linalg.inv(self.matrix[:, :2])
        matrix = np.column_stack([turned, -turned @ self.matrix[:, 2]])
        return Fit(matrix, self.residual_um / max(self.scale, 1e-9), self.number)


IDENTITY = Fit(np.eye(2, 3), 0.0, 0)


def fit_pairs(first_um: Sequence[Point], second_um: Sequence[Point]) -> Fit:
    """The affine map that brings points of one slide closest to those of another.

    Parameters
    ----------
    first_um, second_um : sequence of (float, float)
        Picked places (x, y) in µm, in pairs.

    Raises
    ------
    PathaiError
        E193 with fewer than three pairs, or if they lie on one line: pick three corners of a
        large triangle.
    """
    source, target = (np.asarray(v, np.float64).reshape(-1, 2) for v in (first_um, second_um))
    if len(source) != len(target) or len(source) < FEWEST:
        message = f"{min(len(source), len(target))} pairs of points cannot align two slides"
        raise PathaiError("E193", message, f"pick {FEWEST} pairs at least, far apart")
    for points in (source, target):
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        if spread[0] == 0 or spread[1] < THIN * spread[0]:
            message = "the picked points lie on one line"
            raise PathaiError("E193", message, "pick corners of a large triangle")
    padded = np.column_stack([source, np.ones(len(source))])
    matrix = np.asarray(np.linalg.lstsq(padded, target, rcond=None)[0].T, np.float64)
    fit = Fit(matrix, 0.0, len(source))
    away = fit.apply(source) - target
    return Fit(matrix, float(np.sqrt((away**2).sum(axis=1).mean())), len(source))
