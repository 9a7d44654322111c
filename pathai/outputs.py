"""What a head's outputs mean, by kind of target: plain arrays, no torch.

A head gives ``width`` numbers per target; those of several targets lie side by side. The
likelihoods that they are trained with stand in ``pathai.likelihood``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.errors import PathaiError

FloatArray = NDArray[np.float64]

CLASSES = ("binary", "multiclass", "ordinal")
"""Kinds whose truth is the index of a class."""
KINDS = (*CLASSES, "regression", "count", "ratio", "survival")
LOG_DISPERSION = 30.0
"""Log dispersions are held within this of 0; at ``-LOG_DISPERSION`` the count is Poisson's."""


@dataclass(frozen=True)
class TargetSpec:
    """One target of a task, as its likelihood needs to know it.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    n_classes : int
        Number of classes; 0 for kinds without classes, binary may leave it out.
    location, scale : float
        Of a regression target: mean and standard deviation of the training part, in its unit. Of
        a count: log of the training part's count per tile; of a ratio: logit of its share. A
        head starts from there, so that it need not learn the unit.
    edges : tuple of float
        Of a survival target: 0 and the end of each time bin, in the unit of time, increasing.
    weight : float
        Of this target's loss among those of its task.

    Raises
    ------
    PathaiError
        E192 when the numbers do not fit the kind.
    """

    kind: str
    n_classes: int = 0
    location: float = 0.0
    scale: float = 1.0
    edges: tuple[float, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PathaiError("E192", f"no kind named {self.kind!r}", f"one of {', '.join(KINDS)}")
        given = f"{self.kind} with {self.n_classes} classes"
        if self.kind in ("multiclass", "ordinal") and self.n_classes < 2:
            raise PathaiError("E192", given, "name 2 or more")
        if self.kind == "binary" and self.n_classes not in (0, 2):
            raise PathaiError("E192", given, "name 2")
        if self.kind == "survival" and not _rise_from_zero(self.edges):
            message = f"time bins with edges {self.edges} do not begin at 0 and rise to the end"
            raise PathaiError("E192", message)
        if not (np.isfinite(self.location) and 0 < self.scale < np.inf and self.weight > 0):
            raise PathaiError("E192", f"{self.kind}: scale and weight must be above 0")

    @property
    def shift(self) -> tuple[float, ...]:
        """What is added to the outputs of a count or a ratio before they are understood."""
        if self.kind == "count":
            return (self.location, 0.0)
        return (self.location,) if self.kind == "ratio" else ()

    @property
    def width(self) -> int:
        """Outputs of a head for this target."""
        if self.kind == "ordinal":
            return self.n_classes - 1
        if self.kind == "survival":
            return len(self.edges) - 1
        return {"binary": 2, "multiclass": self.n_classes, "count": 2}.get(self.kind, 1)


def _rise_from_zero(edges: Sequence[float]) -> bool:
    steps = np.diff(edges)
    return len(steps) > 0 and edges[0] == 0 and bool(np.all(np.isfinite(steps) & (steps > 0)))


def columns(targets: Sequence[TargetSpec]) -> list[slice]:
    """Columns of the outputs that belong to each target, in order."""
    ends = np.cumsum([t.width for t in targets]).tolist()
    return [slice(end - t.width, end) for t, end in zip(targets, ends, strict=True)]


def ordinal_log_prob(outputs: ArrayLike) -> FloatArray:
    r"""Log-probability float64[n, C] of each class from continuation-ratio logits[n, C - 1].

    Output :math:`z_k` is the logit of :math:`P(y > k \mid y \ge k)`, so that
    :math:`P(y = k) = (1 - \sigma(z_k)) \prod_{j<k} \sigma(z_j)`.

    References
    ----------
    .. [1] Shi, Cao and Raschka, "Deep neural networks for rank-consistent ordinal regression
       based on conditional probabilities", arXiv:2111.08851.
    """
    z = np.asarray(outputs, float)
    nothing = np.zeros((len(z), 1))
    reached = np.hstack([nothing, np.cumsum(log_sigmoid(z), axis=1)])
    out: FloatArray = reached + np.hstack([log_sigmoid(-z), nothing])
    return out


def count_mean(outputs: ArrayLike, tiles: ArrayLike) -> FloatArray:
    """Expected count float64[n] of outputs[n, 2] (log mean per tile, log dispersion)."""
    out: FloatArray = np.exp(np.asarray(outputs, float)[:, 0]) * np.asarray(tiles, float)
    return out


def count_sd(outputs: ArrayLike, tiles: ArrayLike) -> FloatArray:
    """Standard deviation float64[n] of the count: variance = mean + dispersion * mean².

    References
    ----------
    .. [1] Hilbe, "Negative binomial regression", Cambridge University Press 2011 (NB2).
    """
    mean = count_mean(outputs, tiles)
    log = np.asarray(outputs, float)[:, 1].clip(-LOG_DISPERSION, LOG_DISPERSION)
    out: FloatArray = np.sqrt(mean) * np.sqrt(1 + np.exp(log) * mean)
    return out


def ratio_share(outputs: ArrayLike) -> FloatArray:
    """Expected share float64[n] in (0, 1) of outputs[n, 1]."""
    out: FloatArray = np.exp(log_sigmoid(np.asarray(outputs, float)[:, 0]))
    return out


# --- survival --------------------------------------------------------------------------------


def survival_curve(outputs: ArrayLike) -> FloatArray:
    """Probability float64[n, B] of living past the end of each time bin.

    Output b is the logit of the hazard: of dying in bin b when alive at its beginning.

    References
    ----------
    .. [1] Gensheimer and Narasimhan, "A scalable discrete-time survival model for neural
       networks", PeerJ 7:e6257, 2019.
    """
    out: FloatArray = np.exp(np.cumsum(log_sigmoid(-np.asarray(outputs, float)), axis=1))
    return out


def survival_at(outputs: ArrayLike, edges: Sequence[float], time: ArrayLike) -> FloatArray:
    """Probability float64[n] of living past a time, straight lines between the ends of bins.

    Parameters
    ----------
    outputs : float[n, B]
        Logits of hazards.
    edges : sequence of float, length B + 1
        0 and the ends of the bins.
    time : float or float[n]
        In the unit of the edges; NaN is returned beyond the last edge, where nothing is known.
    """
    at_edges = _at_edges(outputs)
    when = np.broadcast_to(np.asarray(time, float), len(at_edges))
    found = [np.interp(t, edges, s, right=np.nan) for t, s in zip(when, at_edges, strict=True)]
    return np.array(found, float)


def median_survival(outputs: ArrayLike, edges: Sequence[float]) -> FloatArray:
    """Time float64[n] that half of such patients reach; infinite when beyond the last edge."""
    found = [np.interp(-0.5, -s, edges) if s[-1] <= 0.5 else np.inf for s in _at_edges(outputs)]
    return np.array(found, float)


def risk(outputs: ArrayLike) -> FloatArray:
    """Score float64[n], higher for those expected to die earlier: minus the number of bins lived.

    It is the negative restricted mean survival with each bin counted as 1. Unlike the cumulative
    hazard at the end it hears the whole curve, so that two curves that cross are ordered, and it
    is bounded, so that one certain bin does not decide; bins made to hold equally many events
    give early and late deaths the same say.

    References
    ----------
    .. [1] Royston and Parmar, "Restricted mean survival time: an alternative to the hazard ratio",
       BMC Medical Research Methodology 13:152, 2013.
    """
    at_edges = _at_edges(outputs)
    out: FloatArray = -(at_edges[:, 1:] + at_edges[:, :-1]).sum(axis=1) / 2
    return out


def _at_edges(outputs: ArrayLike) -> FloatArray:
    curve = survival_curve(outputs)
    return np.hstack([np.ones((len(curve), 1)), curve])


def log_sigmoid(z: FloatArray) -> FloatArray:
    """``log(1 / (1 + exp(-z)))`` without overflow."""
    out: FloatArray = -np.logaddexp(0.0, -z)
    return out
