"""Quantiles of Student's t and of chi-squared, without loading all of ``scipy.stats``.

A job of a run lives for seconds, and that import alone takes one.
"""

from scipy.special import gammaincinv, stdtrit


def t_quantile(p: float, freedom: float) -> float:
    """Value that Student's t with ``freedom`` degrees of freedom stays below with chance ``p``."""
    return float(stdtrit(freedom, p))


def chi2_quantile(p: float, freedom: float) -> float:
    """Value that chi-squared with ``freedom`` degrees of freedom stays below with chance ``p``."""
    return float(2 * gammaincinv(freedom / 2, p))
