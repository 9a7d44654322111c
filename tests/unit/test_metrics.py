"""Reports hold the figures their parts give, warn where they must, and are honest JSON."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from pathai import stats
from pathai.metrics import (
    class_report,
    compare_class_models,
    compare_number_models,
    compare_survival_models,
    number_report,
    survival_report,
)

TARGET = {
    *("kind", "n", "n_patients", "figures", "baselines", "calibration", "conformal"),
    *("operating_points", "subgroups", "warnings", "curves"),
}


def people(n: int, slides: int = 1) -> list[str]:
    return [f"p{i // slides}" for i in range(n)]


def binary(seed: int = 0, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    p = 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(0, 1.2, n))))
    return y, np.column_stack([1 - p, p])


def estimates(report: Any) -> Iterator[tuple[float, float, float]]:
    """Every value with its interval, wherever it stands."""
    if isinstance(report, dict):
        if set(report) == {"value", "low", "high"}:
            if None not in report.values():
                yield report["value"], report["low"], report["high"]
        else:
            for part in report.values():
                yield from estimates(part)
    elif isinstance(report, list):
        for part in report:
            yield from estimates(part)


def test_binary_report_holds_what_its_parts_give() -> None:
    y, p = binary()
    who = people(120)
    site = [f"s{i % 3}" for i in range(120)]
    report = class_report(
        *(y, p, who, ["no", "yes"]),
        raw=np.full((120, 2), 0.5),
        calibration_method="temperature",
        sets=p > 0.2,
        baselines={"constant": np.full((120, 2), 0.5)},
        subgroups={"site": site},
        confounders=["site"],
    )
    assert set(report) == TARGET | {"classes", "n_by_class"}
    assert report["kind"] == "binary"
    json.dumps(report, allow_nan=False)
    old = stats.binary_metrics(y, p[:, 1], who)
    figures = report["figures"]
    for name in ("auroc", "sensitivity", "specificity"):
        assert figures[name] == old[name]
    for name in ("brier", "auroc_bootstrap"):
        assert figures[name]["value"] == old[name]["value"]
    assert figures["log_loss"]["value"] == pytest.approx(sk.log_loss(y, p), abs=1e-6)
    assert figures["auprc"]["value"] == pytest.approx(
        sk.average_precision_score(y, p[:, 1]), abs=1e-6
    )
    assert report["baselines"]["constant"]["auroc"]["value"] == 0.5
    assert report["calibration"]["figures_before"]["brier"]["value"] == 0.25
    assert report["calibration"]["method"] == "temperature"
    assert all(low <= value <= high for value, low, high in estimates(report))
    rows = {row["value"]: row for row in report["subgroups"]}
    first = class_report(y[::3], p[::3], who[::3], ["no", "yes"])
    assert rows["s0"]["figures"] == first["figures"]
    assert report["warnings"] == []


def test_conformal_part_counts_sets() -> None:
    sets = np.array([[1, 0], [1, 1], [0, 1], [1, 1], [1, 0], [0, 0]], bool)
    p = np.full((6, 2), 0.5)
    report = class_report([0, 0, 1, 1, 1, 0], p, people(6), ["a", "b"], sets=sets, alpha=0.2)
    found = report["conformal"]
    assert found["alpha"] == 0.2
    assert found["coverage"] == stats.wilson(4, 6).as_json()
    assert found["by_class"]["a"] == {"coverage": stats.wilson(2, 3).as_json(), "n": 3}
    assert found["mean_size"]["value"] == pytest.approx(7 / 6, abs=1e-6)
    assert found["single"] == stats.wilson(3, 6).as_json()


def test_operating_points_and_curves_of_a_binary_target() -> None:
    y, p = binary(1, 500)
    report = class_report(y, p, people(500), ["no", "yes"], aims=(0.8, 0.95))
    for point, aim in zip(report["operating_points"], (0.8, 0.95), strict=True):
        called = p[:, 1] >= point["threshold"]
        assert point["sensitivity"]["value"] == pytest.approx(called[y == 1].mean(), abs=1e-6)
        assert point["sensitivity"]["value"] >= aim
        assert point["npv"]["value"] == pytest.approx((y[~called] == 0).mean(), abs=1e-6)
    curves = report["curves"]
    roc = curves["roc"][0]
    assert roc["class"] == "yes"
    assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1]) == (0, 0, 1, 1)
    area = np.trapezoid(roc["y"], roc["x"])
    assert area == pytest.approx(report["figures"]["auroc"]["value"], abs=0.01)
    assert curves["pr"][0]["prevalence"] == pytest.approx(y.mean(), abs=1e-6)
    assert all(len(c["x"]) <= 200 for c in (roc, curves["pr"][0]))
    assert np.array(curves["confusion"]).tolist() == sk.confusion_matrix(y, p[:, 1] > 0.5).tolist()
    covered = curves["risk_coverage"]
    assert covered["coverage"][-1] == 1.0
    assert covered["risk"][-1] == pytest.approx(1 - report["figures"]["accuracy"]["value"])
    reliable = curves["reliability"][0]
    gap = np.abs(np.subtract(reliable["predicted"], reliable["observed"]))
    ece = np.average(gap, weights=reliable["n"])
    assert report["figures"]["ece"]["value"] == pytest.approx(ece, abs=1e-5)
    decision = curves["decision"]
    assert decision["all"][0] > 0 > decision["all"][-1]


def test_ordinal_report() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 4, 90)
    logits = -np.abs(np.arange(4) - y[:, None] + rng.normal(0, 0.8, (90, 1)))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    report = class_report(y, p, people(90, 2), ["g1", "g2", "g3", "g4"], ordinal=True)
    json.dumps(report, allow_nan=False)
    assert report["kind"] == "ordinal"
    assert report["n_patients"] == 45
    figures = report["figures"]
    answer = p.argmax(axis=1)
    quadratic = sk.cohen_kappa_score(y, answer, weights="quadratic")
    assert figures["kappa"]["value"] == pytest.approx(quadratic, abs=1e-6)
    assert figures["mae_classes"]["value"] == pytest.approx(np.abs(answer - y).mean(), abs=1e-6)
    macro = sk.roc_auc_score(y, p, multi_class="ovr")
    assert figures["auroc"]["value"] == pytest.approx(macro, abs=1e-6)
    assert "sensitivity" not in figures
    assert report["operating_points"] == []
    assert "decision" not in report["curves"]
    assert [c["class"] for c in report["curves"]["roc"]] == ["g1", "g2", "g3", "g4"]


def test_slides_of_a_patient_widen_every_interval() -> None:
    y, p = (np.repeat(a, 4, axis=0) for a in binary(3, 50))
    apart = class_report(y, p, people(200), ["no", "yes"])["figures"]
    together = class_report(y, p, people(200, 4), ["no", "yes"])["figures"]
    for name in set(apart) - {"ece"}:
        assert apart[name]["value"] == together[name]["value"]
        widths = [f[name]["high"] - f[name]["low"] for f in (apart, together)]
        assert widths[1] > 1.5 * widths[0], name


def test_small_subgroups_are_said_to_be_small() -> None:
    y, p = binary(4, 60)
    y[:] = 0
    y[:5] = 1
    scanner = ["new" if i < 9 else "" for i in range(60)]
    report = class_report(y, p, people(60), ["no", "yes"], subgroups={"scanner": scanner})
    rows = {row["value"]: row for row in report["subgroups"]}
    assert set(rows) == {"new", "not given"}
    assert rows["new"]["n_patients"] == 9
    assert {e["low"] for e in rows["new"]["figures"].values()} == {None}
    assert rows["new"]["figures"]["brier"]["value"] is not None
    assert rows["not given"]["figures"]["auroc"]["value"] is None  # one class only
    assert rows["not given"]["figures"]["brier"]["low"] is not None


def test_a_site_that_tells_the_label_is_a_warning() -> None:
    y, p = binary(5)
    site = ["north" if c else "south" for c in y]
    options = {"subgroups": {"site": site, "other": site}, "confounders": ["site"]}
    (text,) = class_report(y, p, people(120), ["no", "yes"], **options)["warnings"]
    assert text.startswith("site predicts the label")
    with pytest.raises(ValueError, match="no column"):
        class_report(y, p, people(120), ["no", "yes"], confounders=["site"])


def test_one_class_alone_is_reported_without_what_does_not_exist() -> None:
    report = class_report(np.zeros(12, int), binary(0, 12)[1], people(12), ["no", "yes"])
    json.dumps(report, allow_nan=False)
    assert report["figures"]["auroc"]["value"] is None
    assert report["figures"]["sensitivity"]["value"] is None
    assert report["operating_points"] == []
    assert report["curves"]["roc"] == [{"class": "yes", "x": [], "y": []}]


@pytest.mark.parametrize(
    ("truth", "prob", "text"),
    [
        ([0, 1], [[0.5, 0.5]], "do not fit"),
        ([], np.zeros((0, 2)), "at least one"),
        ([0, 2], [[0.5, 0.5]] * 2, "class index"),
        ([0, 1], [[0.5, 0.6]] * 2, "sum to 1"),
        ([0, 1], [[0.5, np.nan]] * 2, "finite"),
    ],
)
def test_class_report_refuses_what_does_not_fit(truth: Any, prob: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        class_report(truth, prob, people(len(truth)), ["no", "yes"])


# --- numbers and survival --------------------------------------------------------------------


def test_count_report() -> None:
    rng = np.random.default_rng(6)
    t = np.r_[0.0, rng.poisson(400, 79)]
    v = t * rng.normal(1.1, 0.1, 80)
    report = number_report(
        *(t, v, people(80)),
        kind="count",
        unit="cells",
        low=v - 90,
        high=v + 90,
        baselines={"constant": np.full(80, t.mean())},
        subgroups={"site": ["a"] * 5 + ["b"] * 75},
    )
    json.dumps(report, allow_nan=False)
    assert set(report) == TARGET | {"unit_of_value"}
    known = number_report(t[1:], v[1:], people(79), kind="count")["figures"]
    relative = stats.relative_error(t[1:], v[1:], people(79))
    assert known["mape"] == relative.mape.as_json()
    assert known["median_relative_error"] == relative.median.as_json()
    assert report["figures"]["mape"]["value"] == known["mape"]["value"]
    assert report["figures"]["mae"]["value"] == pytest.approx(np.abs(v - t).mean(), abs=1e-6)
    assert report["baselines"]["constant"]["r2"]["value"] == pytest.approx(0, abs=1e-6)
    assert report["conformal"]["median_width"]["value"] == 180
    held = int((np.abs(v - t) <= 90).sum())
    assert report["conformal"]["coverage"] == stats.wilson(held, 80).as_json()
    assert "1 of 80 units whose true count is 0" in report["warnings"][0]
    assert report["subgroups"][0]["figures"]["mae"]["low"] is None
    scatter = report["curves"]["scatter"]
    assert scatter["truth"] == sorted(scatter["truth"])
    assert len({len(column) for column in scatter.values()}) == 1


def test_numbers_with_infinite_intervals() -> None:
    t = np.arange(5.0)
    report = number_report(
        *(t, t + 1, people(5)), kind="regression", low=np.full(5, -np.inf), high=np.full(5, np.inf)
    )
    json.dumps(report, allow_nan=False)
    assert report["conformal"]["coverage"]["value"] == 1.0
    assert report["conformal"]["median_width"]["value"] is None
    assert report["curves"]["scatter"]["low"] == [None] * 5
    assert "mape" not in report["figures"]
    with pytest.raises(ValueError, match="negative"):
        number_report([-1.0, 2], [1, 2], people(2), kind="count")
    with pytest.raises(ValueError, match="without a truth"):
        number_report([np.nan, 2], [1, 2], people(2), kind="regression")


def lives(seed: int, n: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    death, loss = rng.exponential(np.exp(-risk)), rng.exponential(2, n)
    return np.minimum(death, loss), death <= loss, risk, np.exp(-np.exp(risk))


def test_survival_report() -> None:
    time, event, risk, alive = lives(7, 120)
    report = survival_report(
        *(time, event, risk, alive, 1.0, people(120)),
        baselines={
            "constant": (np.zeros(120), np.full(120, 0.4)),
            "tissue_area": (risk**2, None),
        },
        subgroups={"site": ["a", "b"] * 60},
    )
    json.dumps(report, allow_nan=False)
    assert set(report) == TARGET | {"n_events", "horizon", "log_rank"}
    figures = report["figures"]
    assert figures["c_index"]["value"] == pytest.approx(
        stats.concordance(time, event, risk), abs=1e-6
    )
    assert figures["brier_at_horizon"]["value"] == pytest.approx(
        stats.brier_at(time, event, alive, 1.0), abs=1e-6
    )
    assert report["baselines"]["constant"]["c_index"]["value"] == 0.5
    assert "brier_at_horizon" not in report["baselines"]["tissue_area"]
    assert 0 < report["log_rank"]["p"] < 0.01
    everyone, low, high = report["curves"]["kaplan_meier"]
    assert [c["group"] for c in (everyone, low, high)] == ["all", "low risk", "high risk"]
    assert (low["at_risk"][0], high["at_risk"][0]) == (60, 60)
    assert all(a >= b for a, b in pairwise(everyone["survival"]))
    at = [np.interp(0.5, c["time"], c["survival"]) for c in (high, everyone, low)]
    assert at == sorted(at)


def test_survival_curves_count_patients_not_slides() -> None:
    time, event, risk, alive = (np.repeat(a, 3) for a in lives(8, 30))
    report = survival_report(time, event, risk, alive, 0.5, people(90, 3))
    assert report["curves"]["kaplan_meier"][0]["at_risk"][0] == 30
    assert report["n_patients"] == 30


def test_survival_report_warns_of_too_little() -> None:
    report = survival_report([1, 2, 3, 4], [1, 0, 0, 0], [4, 3, 2, 1], [0.5] * 4, 9.0, people(4))
    json.dumps(report, allow_nan=False)
    events, followed = report["warnings"]
    assert "only 1 events" in events
    assert "horizon of 9" in followed
    assert report["figures"]["brier_at_horizon"]["value"] is None


# --- two models ------------------------------------------------------------------------------


def test_comparison_of_class_models() -> None:
    y, good = binary(9, 200)
    poor = good[np.random.default_rng(0).permutation(200)]
    found = compare_class_models(y, poor, good, people(200))
    json.dumps(found, allow_nan=False)
    auroc = found["figures"]["auroc"]
    assert auroc["test"] == "DeLong"
    assert 0 < auroc["p"] < 1e-6
    assert auroc["difference"]["value"] == pytest.approx(auroc["second"] - auroc["first"], abs=2e-6)
    assert found["figures"]["brier"]["difference"]["high"] < 0
    assert "ece" not in found["figures"]
    clustered = compare_class_models(y, poor, good, people(200, 2))
    assert clustered["figures"]["auroc"]["test"] == "bootstrap of patients"
    same = compare_class_models(y, good, good, people(200))["figures"]
    assert {figure["p"] for figure in same.values()} == {1.0}


def test_comparison_of_numbers_and_survival() -> None:
    rng = np.random.default_rng(10)
    t = rng.normal(50, 10, 80)
    near, far = t + rng.normal(0, 1, 80), t + rng.normal(0, 9, 80)
    found = compare_number_models(t, far, near, people(80), kind="regression")["figures"]
    assert found["mae"]["difference"]["high"] < 0
    assert found["mae"]["p"] < 0.01
    time, event, risk, alive = lives(11, 150)
    blind = rng.permutation(150)
    survival = compare_survival_models(
        time, event, (risk[blind], alive[blind]), (risk, alive), 1.0, people(150)
    )
    json.dumps(survival, allow_nan=False)
    assert survival["figures"]["c_index"]["difference"]["low"] > 0
