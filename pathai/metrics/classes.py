"""Report of a target whose answer is a class: binary, multiclass or ordinal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai import stats
from pathai.metrics.class_curves import class_curves
from pathai.metrics.tables import Figures, Json, as_json, subgroup_table
from pathai.stats import Estimate, FloatArray, Statistic

ON_LOGIT = ("auroc", "auroc_bootstrap", "auprc", "balanced_accuracy")
"""Figures between 0 and 1 whose percentiles would be too narrow for small classes."""

PROBABILITY = ("brier", "ece", "log_loss")
"""Figures that calibration changes."""


def class_report(
    truth: ArrayLike,
    prob: ArrayLike,
    groups: Sequence[str],
    classes: Sequence[str],
    *,
    ordinal: bool = False,
    raw: ArrayLike | None = None,
    calibration_method: str = "",
    sets: ArrayLike | None = None,
    alpha: float = 0.1,
    baselines: Mapping[str, ArrayLike] | None = None,
    subgroups: Mapping[str, Sequence[str]] | None = None,
    confounders: Sequence[str] = (),
    aims: Sequence[float] = (0.9, 0.95),
    seed: int = 0,
) -> Json:
    """Everything a model is judged by on one target of classes.

    Parameters
    ----------
    truth : int[n]
        True class of each unit.
    prob : float[n, C]
        Calibrated probabilities from models that never saw the unit's patient.
    groups : sequence of str, length n
        Patient of each unit.
    classes : sequence of str, length C
        Names; the second of two is the positive one, ordered ones stand in order.
    ordinal : bool
        Whether the order of the classes means something.
    raw : float[n, C], optional
        Probabilities before calibration.
    calibration_method : str
        What made ``prob`` of ``raw``.
    sets : bool[n, C], optional
        Conformal sets, promised to miss the truth in at most ``alpha`` of each class.
    alpha : float
        See ``sets``.
    baselines : mapping of str to float[n, C], optional
        Probabilities that know nothing of pathology.
    subgroups : mapping of str to sequence of str, optional
        Columns (site, scanner, ...) whose values get their own figures.
    confounders : sequence of str
        Those columns of ``subgroups`` that must not tell the label.
    aims : sequence of float
        Sensitivities to find a threshold for (binary only); thresholds are chosen on these
        very units, so the sensitivity is met by construction.
    seed : int
        Seed of every resampling.

    Returns
    -------
    dict
        Ready for JSON: kind, n, n_patients, classes, n_by_class, figures, baselines,
        calibration, conformal, operating_points, subgroups, warnings, curves.

    Raises
    ------
    ValueError
        Arrays that do not fit each other, no unit, or rows that are no probabilities.
    """
    y, p = _checked(truth, prob, groups, len(classes))
    who, columns = list(groups), dict(subgroups or {})
    of = np.asarray(who, str)

    def figures(rows: NDArray[np.intp], intervals: bool) -> Figures:
        return class_figures(
            y[rows], p[rows], of[rows].tolist(), ordinal=ordinal, intervals=intervals, seed=seed
        )

    before = None
    if raw is not None:
        _, r = _checked(truth, raw, groups, len(classes))
        found = class_figures(y, r, who, ordinal=ordinal, seed=seed, names=PROBABILITY)
        before = {"method": calibration_method, "figures_before": as_json(found)}
    binary = len(classes) == 2 and not ordinal
    return {
        "kind": "ordinal" if ordinal else "binary" if binary else "multiclass",
        "n": len(y),
        "n_patients": len(np.unique(of)),
        "classes": list(classes),
        "n_by_class": {name: int((y == c).sum()) for c, name in enumerate(classes)},
        "figures": as_json(figures(np.arange(len(y)), True)),
        "baselines": {
            name: as_json(
                class_figures(*_checked(y, b, who, len(classes)), who, ordinal=ordinal, seed=seed)
            )
            for name, b in (baselines or {}).items()
        },
        "calibration": before,
        "conformal": None if sets is None else _conformal(y, sets, of, classes, alpha, seed),
        "operating_points": _operating_points(y, p, who, aims, seed) if binary else [],
        "subgroups": subgroup_table(columns, who, figures),
        "warnings": _warnings(y, of, columns, confounders, seed),
        "curves": class_curves(y, p, who, classes, ordinal=ordinal, seed=seed),
    }


def class_statistics(
    truth: ArrayLike, prob: ArrayLike, *, ordinal: bool, n_bins: int = 10
) -> dict[str, Statistic]:
    """Every figure as a function of resamples; see ``pathai.stats.bootstrap``.

    ``auroc`` and ``auprc`` of more than two classes are means of each class against the rest.
    The answer is the likeliest class. ``n_bins`` is of ``ece``; see ``pathai.stats.bins_for``.
    """
    y, p = np.asarray(truth, np.int64), np.asarray(prob, float)
    n_classes = p.shape[1]
    answer = p.argmax(axis=1)
    events = [1] if n_classes == 2 else list(range(n_classes))
    out: dict[str, Statistic] = {
        "auroc": _macro([stats.weighted_auroc(y == c, p[:, c]) for c in events]),
        "auprc": _macro([stats.weighted_average_precision(y == c, p[:, c]) for c in events]),
        "balanced_accuracy": stats.weighted_balanced_accuracy(y, answer, n_classes),
        "kappa": stats.weighted_kappa(y, answer, n_classes, quadratic=ordinal),
        "brier": stats.weighted_mean(stats.brier_losses(y, p)),
        "ece": stats.weighted_ece(y, p, n_bins),
        "log_loss": stats.weighted_mean(stats.log_losses(y, p)),
        "accuracy": stats.weighted_mean(answer == y),
    }
    if ordinal:
        out["mae_classes"] = stats.weighted_mean(np.abs(answer - y))
    return out


def class_figures(
    truth: ArrayLike,
    prob: ArrayLike,
    groups: Sequence[str],
    *,
    ordinal: bool,
    intervals: bool = True,
    seed: int = 0,
    names: Sequence[str] = (),
) -> Figures:
    """Every figure (or those of ``names``) with its interval.

    Shares have Wilson's interval where each patient is one unit, the binary ``auroc`` has
    Newcombe's with patients counted, and the rest a bootstrap of patients: on the logit scale
    for ``ON_LOGIT``, mirrored for ``ece``, percentiles for the others. With fewer than ten
    patients of a class they are too narrow; Newcombe's and Wilson's are not.
    """
    y, p, who = np.asarray(truth, np.int64), np.asarray(prob, float), list(groups)
    wanted = class_statistics(y, p, ordinal=ordinal, n_bins=stats.bins_for(who))
    wanted = {k: s for k, s in wanted.items() if not names or k in names}
    hits = {"accuracy": np.ones(len(y), bool)} if "accuracy" in wanted else {}
    right = p.argmax(axis=1) == y
    if p.shape[1] == 2 and not names:
        wanted["auroc_bootstrap"] = wanted["auroc"]
        hits |= {"sensitivity": y == 1, "specificity": y == 0}
        wanted |= {k: _among(right, rows) for k, rows in hits.items()}
    if not intervals:
        one = np.ones((1, len(y)))
        return {k: Estimate(float(s(one)[0])) for k, s in wanted.items()}
    drawn = stats.resample(who, seed=seed)
    out = {}
    special = {"ece": drawn.reflected, **dict.fromkeys(ON_LOGIT, drawn.on_logit)}
    for name, statistic in wanted.items():
        out[name] = special.get(name, drawn.interval)(statistic)
    of = np.asarray(who, str)
    for name, rows in hits.items():
        out[name] = stats.share(right[rows], of[rows].tolist(), seed=seed)
    if "auroc_bootstrap" in wanted:
        patients = [len(np.unique(of[y == c])) for c in (1, 0)]
        auc = out["auroc"].value
        out["auroc"] = Estimate(auc, *stats.auroc_interval(auc, *patients))
    return out


def _among(right: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Statistic:
    plain = stats.weighted_mean(right[rows])
    return lambda w: plain(w[:, rows])


def _macro(parts: Sequence[Statistic]) -> Statistic:
    """Mean of the parts, NaN where one is."""
    return lambda w: np.mean([part(w) for part in parts], axis=0)


def _conformal(
    y: NDArray[np.int64],
    sets: ArrayLike,
    who: NDArray[Any],
    classes: Sequence[str],
    alpha: float,
    seed: int,
) -> Json:
    chosen = np.asarray(sets, bool)
    if chosen.shape != (len(y), len(classes)):
        raise ValueError(f"sets of shape {chosen.shape} for {len(y)} units")
    held, size = chosen[np.arange(len(y)), y], chosen.sum(axis=1)

    def held_share(rows: NDArray[np.bool_]) -> Json:
        return stats.share(held[rows], who[rows].tolist(), seed=seed).as_json()

    everyone = np.ones(len(y), bool)
    drawn = stats.resample(who.tolist(), seed=seed)
    return {
        "alpha": alpha,
        "coverage": held_share(everyone),
        "by_class": {
            name: {"coverage": held_share(y == c), "n": int((y == c).sum())}
            for c, name in enumerate(classes)
        },
        "mean_size": drawn.interval(stats.weighted_mean(size)).as_json(),
        "single": stats.share(size == 1, who.tolist(), seed=seed).as_json(),
    }


def _operating_points(
    y: NDArray[np.int64], p: FloatArray, who: list[str], aims: Sequence[float], seed: int
) -> list[Json]:
    if not (y == 1).any():
        return []
    points = []
    for aim in aims:
        threshold = stats.threshold_for(y == 1, p[:, 1], aim)
        at = stats.operating_point(y == 1, p[:, 1], who, threshold, seed)
        figures = {k: getattr(at, k) for k in ("sensitivity", "specificity", "ppv", "npv")}
        points.append({"aim": aim, "of": "sensitivity", "threshold": threshold, **as_json(figures)})
    return points


def _warnings(
    y: NDArray[np.int64],
    who: NDArray[Any],
    columns: Mapping[str, Sequence[str]],
    confounders: Sequence[str],
    seed: int,
) -> list[str]:
    found = []
    for column in confounders:
        if column not in columns:
            raise ValueError(f"confounder {column} is no column of subgroups")
        found.append(stats.confounder_warning(column, columns[column], y, who.tolist(), seed=seed))
    return [text for text in found if text]


def _checked(
    truth: ArrayLike, prob: ArrayLike, groups: Sequence[str], n_classes: int
) -> tuple[NDArray[np.int64], FloatArray]:
    y, p = np.asarray(truth, np.int64), np.asarray(prob, float)
    if not len(y) or p.shape != (len(y), n_classes) or len(groups) != len(y):
        raise ValueError(
            f"{len(y)} truths, {len(groups)} patients and probabilities of shape {p.shape} for "
            f"{n_classes} classes do not fit: one row per unit, at least one"
        )
    if not ((y >= 0) & (y < n_classes)).all():
        raise ValueError(f"truth must be a class index below {n_classes}")
    if not np.isfinite(p).all() or (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-4).any():
        raise ValueError("each row of probabilities must be finite, not negative, and sum to 1")
    return y, p
