"""Contents of ``metrics.json`` for every kind of target, computed from simulated patients."""

import math

import numpy as np

from pathai.stats import auroc, bootstrap_interval, wilson

GRADES = ("benign", "1", "2", "3", "4", "5")
NOTHING = {"value": None, "low": None, "high": None}


def listed(values):
    return [None if not math.isfinite(v) else round(float(v), 6) for v in values]


def by_patient(statistic, n):
    names = [f"p{i}" for i in range(n)]
    return bootstrap_interval(statistic, names, n_resamples=60).as_json()


def exactly(value):
    return {"value": round(float(value), 6), "low": None, "high": None}


def share(hits):
    return wilson(int(np.sum(hits)), len(hits)).as_json()


# --- classes ---------------------------------------------------------------------------------


def roc_curve(y, p):
    cuts = np.r_[np.inf, np.unique(p)[::-1]]
    return [np.mean(p[~y] >= c) for c in cuts], [np.mean(p[y] >= c) for c in cuts]


def pr_curve(y, p):
    cuts = np.unique(p)[::-1]
    return [np.mean(p[y] >= c) for c in cuts], [np.mean(y[p >= c]) for c in cuts]


def area_under_pr(y, p):
    recall, precision = pr_curve(y, p)
    return float(np.sum(np.diff([0, *recall]) * precision))


def bins(y, p, label):
    """Reliability in ten groups of equal width; empty ones are absent."""
    part = np.minimum((p * 10).astype(int), 9)
    rows = [(p[part == b].mean(), wilson(int(y[part == b].sum()), int((part == b).sum())),
             int((part == b).sum())) for b in np.unique(part)]  # fmt: skip
    return {"class": label, "predicted": listed(r[0] for r in rows),
            "observed": listed(r[1].value for r in rows), "low": listed(r[1].low for r in rows),
            "high": listed(r[1].high for r in rows), "n": [r[2] for r in rows]}  # fmt: skip


def calibration_error(y, p):
    found = bins(y, p, "")
    gaps = np.abs(np.subtract(found["predicted"], found["observed"]))
    return float(np.average(gaps, weights=found["n"]))


def weighted_kappa(y, z, n):
    seen = np.zeros((n, n))
    np.add.at(seen, (y, z), 1)
    cost = np.subtract.outer(np.arange(n), np.arange(n)) ** 2
    chance = np.outer(seen.sum(1), seen.sum(0)) / seen.sum()
    return 1 - (cost * seen).sum() / (cost * chance).sum()


def class_curves(prob, y, classes):
    """Curves that every target of classes has."""
    n, said = len(classes), prob.argmax(1)
    order = np.argsort(-prob.max(1), kind="stable")
    matrix = np.zeros((n, n), int)
    np.add.at(matrix, (y, said), 1)
    of = range(1, 2) if n == 2 else range(n)
    lines = [(classes[c], y == c, prob[:, c]) for c in of]
    return {
        "roc": [dict(zip("xy", map(listed, roc_curve(t, p)), strict=True)) | {"class": k}
                for k, t, p in lines],
        "pr": [dict(zip("xy", map(listed, pr_curve(t, p)), strict=True))
               | {"class": k, "prevalence": float(t.mean())} for k, t, p in lines],
        "reliability": [bins(t, p, k) for k, t, p in lines],
        "risk_coverage": {"coverage": listed(np.arange(1, len(y) + 1) / len(y)),
                          "risk": listed(np.cumsum((said != y)[order])
                                         / np.arange(1, len(y) + 1))},
        "confusion": matrix.tolist(),
    }  # fmt: skip


def class_sets(prob, y, classes, alpha=0.1):
    """Sets from the patients' own scores; good enough for a page."""
    cut = [np.quantile(prob[y == c, c], alpha) for c in range(len(classes))]
    held = prob >= cut
    right = held[np.arange(len(y)), y]
    return {
        "alpha": alpha,
        "coverage": share(right),
        "by_class": {k: {"coverage": share(right[y == c]), "n": int((y == c).sum())}
                     for c, k in enumerate(classes)},
        "mean_size": by_patient(lambda i: float(held[i].sum(1).mean()), len(y)),
        "single": share(held.sum(1) == 1),
    }  # fmt: skip


def of_classes(kind, question, column, prob, y, classes, figures, baseline):
    n = len(y)
    brier = ((prob - np.eye(len(classes))[y]) ** 2).sum(1)
    figures |= {
        "balanced_accuracy": by_patient(
            lambda i: float(np.mean([(prob[i].argmax(1) == y[i])[y[i] == c].mean()
                                     for c in np.unique(y[i])])), n),
        "accuracy": share(prob.argmax(1) == y),
        "brier": by_patient(lambda i: float(brier[i].mean()), n),
        "ece": by_patient(lambda i: calibration_error(y[i] == 1, prob[i, 1]), n),
        "log_loss": by_patient(lambda i: float(-np.log(prob[i, y[i]]).mean()), n),
    }  # fmt: skip
    sites = np.array(["A", "B"])[np.arange(n) % 2]
    return {
        "kind": kind, "question": question, "column": column, "n": n, "n_patients": n,
        "classes": list(classes), "figures": figures, "baselines": baseline,
        "n_by_class": {k: int((y == c).sum()) for c, k in enumerate(classes)},
        "calibration": {"method": "temperature", "figures_before": {
            k: {f: None if v is None else round(1.15 * v, 4) for f, v in figures[k].items()}
            for k in ("brier", "ece", "log_loss")}},
        "conformal": class_sets(prob, y, classes),
        "operating_points": [],
        "subgroups": [{"column": "site", "value": s, "n": int((sites == s).sum()),
                       "n_patients": int((sites == s).sum()),
                       "figures": {"accuracy": share((prob.argmax(1) == y)[sites == s])}}
                      for s in "AB"],
        "warnings": [], "curves": class_curves(prob, y, classes),
    }  # fmt: skip


def binary(n=140, gap=1.6, seed=1, classes=("no", "yes"), question="Is there tumor on the slide?"):
    """Scores of two normal distributions ``gap`` apart, as honest probabilities."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 5 < 2).astype(int)
    score = rng.normal(gap * y, 1)
    odds = 2 / 3 * np.exp(gap * score - gap**2 / 2)
    p = odds / (1 + odds)
    area = rng.normal(0.3 * y, 1)
    true = y == 1
    figures = {
        "auroc": by_patient(lambda i: auroc(true[i], p[i]), n),
        "auprc": by_patient(lambda i: area_under_pr(true[i], p[i]), n),
        "sensitivity": share(p[true] >= 0.5),
        "specificity": share(p[~true] < 0.5),
    }
    baselines = {
        "constant": {"auroc": exactly(0.5), "brier": exactly(2 * true.mean() * (1 - true.mean()))},
        "tissue_area": {"auroc": by_patient(lambda i: auroc(true[i], area[i]), n)},
    }
    found = of_classes("binary", question, "tumor", np.c_[1 - p, p], y, classes, figures, baselines)
    cut = float(np.quantile(p[true], 0.05))
    called = p >= cut
    found["operating_points"] = [
        {"aim": 0.95, "of": "sensitivity", "threshold": cut, "sensitivity": share(called[true]),
         "specificity": share(~called[~true]), "ppv": share(true[called]),
         "npv": share(~true[~called])}
    ]  # fmt: skip
    t = np.arange(0.01, 1, 0.01)
    rate = true.mean()
    worth = [np.mean((p >= x) & true) - np.mean((p >= x) & ~true) * x / (1 - x) for x in t]
    found["curves"]["decision"] = {"threshold": listed(t), "model": listed(worth),
                                   "all": listed(rate - (1 - rate) * t / (1 - t))}  # fmt: skip
    return found


def graded(kind, classes, question, n=150, seed=2):
    """A hidden value with noise, cut into classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(classes)
    seen = y + rng.normal(0, 0.9, n)
    prob = np.exp(-((seen[:, None] - np.arange(len(classes))) ** 2) / 1.6)
    prob /= prob.sum(1, keepdims=True)
    area = y + rng.normal(0, 4, n)

    def kappa(z):
        return by_patient(lambda i: weighted_kappa(y[i], z[i], len(classes)), n)

    def macro(i, score):
        return float(np.mean([auroc(y[i] == c, score[i, c]) for c in range(len(classes))]))

    off = np.abs(prob.argmax(1) - y)
    figures = {"auroc": by_patient(lambda i: macro(i, prob), n), "kappa": kappa(prob.argmax(1))}
    if kind == "ordinal":
        figures["mae_classes"] = by_patient(lambda i: float(off[i].mean()), n)
    near = -np.abs(area[:, None] - np.arange(len(classes)))
    baselines = {
        "constant": {"kappa": exactly(0.0), "auroc": exactly(0.5)},
        "tissue_area": {
            "kappa": kappa(near.argmax(1)),
            "auroc": by_patient(lambda i: macro(i, near), n),
        },
    }
    return of_classes(kind, question, "grade", prob, y, classes, figures, baselines)


# --- numbers ---------------------------------------------------------------------------------


def of_numbers(kind, question, unit, truth, value, low, high, baselines):
    n = len(truth)
    error, known = value - truth, truth > 0
    held = (low <= truth) & (truth <= high)
    ranks = [np.argsort(np.argsort(v)) for v in (truth, value)]
    figures = {
        "mae": by_patient(lambda i: float(np.abs(error[i]).mean()), n),
        "median_absolute_error": by_patient(lambda i: float(np.median(np.abs(error[i]))), n),
        "r2": by_patient(lambda i: 1 - float((error[i] ** 2).mean() / truth[i].var()), n),
        "spearman": by_patient(lambda i: float(np.corrcoef(ranks[0][i], ranks[1][i])[0, 1]), n),
        "signed_error": by_patient(lambda i: float(error[i].mean()), n),
    }
    relative = error[known] / truth[known]
    if kind == "count":
        m = len(relative)
        figures |= {
            "mape": by_patient(lambda i: float(np.abs(relative[i]).mean()), m),
            "median_relative_error": by_patient(lambda i: float(np.median(abs(relative[i]))), m),
            "signed_relative_error": by_patient(lambda i: float(relative[i].mean()), m),
        }
    return {
        "kind": kind, "question": question, "column": kind, "n": n, "n_patients": n,
        "unit_of_value": unit, "figures": figures, "baselines": baselines,
        "conformal": {"alpha": 0.1, "coverage": share(held),
                      "median_width": by_patient(lambda i: float(np.median((high - low)[i])), n)},
        "operating_points": [], "subgroups": [], "warnings": [],
        "curves": {"scatter": {"truth": listed(truth), "value": listed(value),
                               "low": listed(low), "high": listed(high)}},
    }  # fmt: skip


def guesses(name, truth, area):
    """What a constant and the tissue area reach on a figure."""
    known = truth > 0

    def size(z):
        off = np.abs(z - truth)
        off = off[known] / truth[known] if name == "mape" else off
        return {name: by_patient(lambda i: float(off[i].mean()), len(off))}

    return {"constant": size(np.full(len(truth), np.median(truth[known]))),
            "tissue_area": size(area)}  # fmt: skip


def count(n=120, seed=3):
    rng = np.random.default_rng(seed)
    truth = np.where(np.arange(n) % 12 == 0, 0, np.exp(rng.normal(6.5, 1.3, n))).round()
    value = np.where(truth > 0, truth * np.exp(rng.normal(0, 0.15, n)), rng.exponential(2.0, n))
    area = np.exp(rng.normal(6.5, 0.8, n))
    return of_numbers("count", "How many cancer cells are on the slide?", "cancer cells", truth,
                      value, value * 0.77, value * 1.3 + 3,
                      guesses("mape", truth, area))  # fmt: skip


def regression(n=90, seed=4):
    rng = np.random.default_rng(seed)
    truth = rng.normal(12, 4, n)
    value = 12 + 0.8 * (truth - 12) + rng.normal(0, 1.5, n)
    return of_numbers("regression", "How thick is the tumor?", "mm", truth, value, value - 2.7,
                      value + 2.7, guesses("mae", truth, rng.normal(12, 3, n)))  # fmt: skip


def ratio(n=90, seed=5):
    rng = np.random.default_rng(seed)
    truth = rng.beta(1, 3, n)
    value = np.clip(truth + rng.normal(0, 0.07, n), 0, 1)
    return of_numbers("ratio", "What share of the tumor's nuclei is positive for Ki-67?", "",
                      truth, value, np.clip(value - 0.12, 0, 1), np.clip(value + 0.12, 0, 1),
                      guesses("mae", truth, rng.beta(1, 3, n)))  # fmt: skip


# --- survival --------------------------------------------------------------------------------


def kaplan_meier(time, event, group):
    """Product-limit estimate with Greenwood's variance on the log-log scale."""
    out = {"group": group, "time": [], "survival": [], "low": [], "high": [], "at_risk": []}
    s, total = 1.0, 0.0
    for t in np.unique(time[event]):
        n, d = int((time >= t).sum()), int(((time == t) & event).sum())
        s *= 1 - d / n
        total += d / (n * (n - d)) if n > d else math.inf
        se = math.sqrt(total) / abs(math.log(s)) if 0 < s < 1 else math.nan
        low, high = (s ** math.exp(k * 1.96 * se) if math.isfinite(se) else math.nan
                     for k in (1, -1))  # fmt: skip
        for k, v in zip(("time", "survival", "low", "high"), (t, s, low, high), strict=True):
            out[k] += listed([v])
        out["at_risk"].append(n)
    return out


def concordance(time, event, risk):
    earlier = (time[:, None] < time[None, :]) & event[:, None]
    ahead = risk[:, None] - risk[None, :]
    return float(((ahead > 0) + 0.5 * (ahead == 0))[earlier].mean()) if earlier.any() else math.nan


def survival(n=130, seed=6):
    rng = np.random.default_rng(seed)
    risk = rng.normal(0, 1, n)
    death, end = rng.exponential(60 * np.exp(-0.8 * risk)), rng.uniform(12, 96, n)
    time, event = np.minimum(death, end).round(1) + 0.1, death <= end
    high = risk > np.median(risk)
    area = rng.normal(0, 1, n)

    def c_index(r):
        return {"c_index": by_patient(lambda i: concordance(time[i], event[i], r[i]), n)}

    early = (time <= 36) & event
    return {
        "kind": "survival", "question": "How long does the patient live?", "column": "months",
        "n": n, "n_patients": n, "unit_of_value": "months", "n_events": int(event.sum()),
        "horizon": 36.0, "log_rank": {"chi_square": 12.3, "p": 0.00045},
        "figures": c_index(risk)
        | {"auroc_at_horizon": by_patient(lambda i: auroc(early[i], risk[i]), n)},
        "baselines": {"constant": {"c_index": exactly(0.5)},
                      "tissue_area": c_index(area)},
        "operating_points": [], "subgroups": [], "warnings": [],
        "curves": {"kaplan_meier": [kaplan_meier(time[~high], event[~high], "low risk"),
                                    kaplan_meier(time[high], event[high], "high risk")]},
    }  # fmt: skip


# --- the whole file --------------------------------------------------------------------------

KINDS = {
    "binary": binary,
    "multiclass": lambda: graded("multiclass", ("ductal", "lobular", "other"), "Which type is it?"),
    "ordinal": lambda: graded("ordinal", GRADES, "Which ISUP grade does the tumor have?"),
    "regression": regression,
    "count": count,
    "ratio": ratio,
    "survival": survival,
}


def metrics(*targets, unit="patient"):
    """``metrics.json`` of one model with these targets."""
    n = max(t["n_patients"] for t in targets)
    return {
        "schema_version": 2, "task": "tumor", "unit": unit, "n_slides": n + 11, "n_patients": n,
        "left_out": {"no label": 4, "no tissue": 1},
        "folds": [{"n": n // 3, "n_patients": n // 3,
                   "chosen": {"learning rate": 0.0003 * (k + 1), "hidden": 128, "epochs": 12 + k},
                   "figures": {"auroc": 0.8 + k / 50, "brier": 0.15 - k / 100}}
                  for k in range(3)],
        "targets": {f"{t['column']}-{i}": t for i, t in enumerate(targets)},
    }  # fmt: skip


def emptied(value):
    """The same file with every figure unknown and every curve empty."""
    if isinstance(value, dict):
        if set(value) == {"value", "low", "high"}:
            return dict(NOTHING)
        return {k: [] if k == "curves" else emptied(v) for k, v in value.items()}
    return value
