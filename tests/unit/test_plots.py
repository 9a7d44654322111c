"""Plots: what is drawn lies where the data say, as the axes' own labels tell."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import metrics_cases as cases
import numpy as np
import pytest

from pathai import plots
from pathai.plots.svg import Axis, look, range_of

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg):
    """An SVG as XML; in a page its namespace is understood."""
    named = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    return ElementTree.fromstring(named)  # noqa: S314 (our own text)


def marks(svg, kind, tag):
    return [e for e in parsed(svg).iter(f"{SVG}{tag}") if kind <= set(e.get("class", "").split())]


def words_of(text):
    return float(text.replace("%", "e-2").replace(",", "").replace("−", "-"))


def scale(svg, axis):
    """Values of px along an axis, from where its tick labels stand and what they say."""
    ticks = marks(svg, {"tick", axis}, "text")
    px = [float(t.get(axis)) - (4 if axis == "y" else 0) for t in ticks]
    slope, start = np.polyfit(px, [words_of(t.text) for t in ticks], 1)
    return lambda at: slope * np.asarray(at) + start


def curve(svg, kind, tag="polyline"):
    """Points of the first curve of a kind, in values."""
    [first, *_] = marks(svg, kind, tag)
    px = np.array([p.split(",") for p in first.get("points").split()], float)
    return np.c_[scale(svg, "x")(px[:, 0]), scale(svg, "y")(px[:, 1])]


def dots(svg):
    found = marks(svg, {"dot"}, "circle")
    x, y = ([float(d.get(k)) for d in found] for k in ("cx", "cy"))
    return np.c_[scale(svg, "x")(x), scale(svg, "y")(y)]


@pytest.fixture(scope="module")
def binary():
    return cases.binary()["curves"]


@pytest.fixture(scope="module")
def drawn(binary):
    """One of every plot."""
    ordinal, count = cases.KINDS["ordinal"](), cases.count()["curves"]
    km = cases.survival()["curves"]["kaplan_meier"]
    rows = [("this model", {"value": 0.8, "low": 0.7, "high": 0.9}), ("a constant", cases.NOTHING)]
    return {
        "roc": plots.roc(binary["roc"], "s"),
        "pr": plots.precision_recall(binary["pr"], "s"),
        "reliability": plots.reliability(binary["reliability"][0], "s"),
        "risk_coverage": plots.risk_coverage(binary["risk_coverage"], "s"),
        "decision": plots.decision(binary["decision"], "s"),
        "confusion": plots.confusion(ordinal["curves"]["confusion"], ordinal["classes"], "s"),
        "scatter": plots.scatter(count["scatter"], "s", "cells", log=True),
        "kaplan_meier": plots.kaplan_meier(km, "s", "Time (months)"),
        "comparison": plots.comparison(rows, "AUROC", "s", chance=0.5),
        "roc of six": plots.roc(ordinal["curves"]["roc"], "s"),
    }


def test_every_plot_is_whole_and_speaks(drawn):
    for svg in drawn.values():
        tree = parsed(svg)
        assert tree.get("role") == "img"
        assert [tree[0].tag, tree[1].tag] == [f"{SVG}title", f"{SVG}desc"]
        assert tree[0].text
        assert tree[1].text == "s"
        assert not re.search(r"(?i)https?:|url\(|style=|href|<script", svg)


def test_nothing_leaves_the_picture_and_no_two_labels_of_an_axis_touch(drawn):
    for svg in drawn.values():
        width, height = map(float, parsed(svg).get("viewBox").split()[2:])
        for text in parsed(svg).iter(f"{SVG}text"):
            if text.get("x") is None:
                continue
            x, room, kind = float(text.get("x")), 6.2 * len(text.text or ""), text.get("class")
            left = x - room * (1 if "end" in kind else 0.5 if "middle" in kind else 0)
            assert left >= -1, text.text
            assert left + room <= width + 1, text.text
            assert 0 < float(text.get("y")) <= height
        ticks = [(float(t.get("x")), len(t.text)) for t in marks(svg, {"tick", "x"}, "text")]
        for (a, n), (b, m) in pairwise(ticks):
            assert b - a > 6.2 * (n + m) / 2


def test_curves_lie_where_the_data_say(binary, drawn):
    for name, x, y in (("roc", "x", "y"), ("pr", "x", "y")):
        [found] = binary[name]
        np.testing.assert_allclose(
            curve(drawn[name], {"curve", "c0", "d0"}), np.c_[found[x], found[y]], atol=2e-3
        )
    risk = binary["risk_coverage"]
    shown = curve(drawn["risk_coverage"], {"curve"})
    np.testing.assert_allclose(shown, np.c_[risk["coverage"], risk["risk"]], atol=2e-3)


def test_prevalence_is_a_line_across(binary, drawn):
    [line] = marks(drawn["pr"], {"dotted"}, "line")
    y = scale(drawn["pr"], "y")([float(line.get(k)) for k in ("y1", "y2")])
    np.testing.assert_allclose(y, binary["pr"][0]["prevalence"], atol=2e-3)


def test_reliability_shows_share_interval_and_number(binary, drawn):
    [found], svg = binary["reliability"], drawn["reliability"]
    np.testing.assert_allclose(dots(svg), np.c_[found["predicted"], found["observed"]], atol=2e-3)
    ends = [[float(w.get(k)) for k in ("y1", "y2")] for w in marks(svg, {"whisker"}, "line")]
    np.testing.assert_allclose(scale(svg, "y")(ends), np.c_[found["low"], found["high"]], atol=2e-3)
    bars = [float(b.get("height")) for b in marks(svg, {"bar"}, "rect")]
    np.testing.assert_allclose(bars, 26 * np.array(found["n"]) / max(found["n"]), atol=0.02)
    numbers = [int(t.text) for t in marks(svg, {"count"}, "text")]
    assert numbers == found["n"]


def test_acting_on_everybody_stops_at_the_floor(binary, drawn):
    svg = drawn["decision"]
    everybody = curve(svg, {"curve", "c1"})
    known = np.array([binary["decision"][k] for k in ("threshold", "all")]).T
    np.testing.assert_allclose(everybody[:-1, 1] / 100, known[: len(everybody) - 1, 1], atol=2e-3)
    [axis] = marks(svg, {"axis"}, "line")
    assert everybody[-1, 1] == pytest.approx(scale(svg, "y")(float(axis.get("y1"))), abs=0.1)
    model = curve(svg, {"curve", "c0"})
    np.testing.assert_allclose(model[:, 1] / 100, binary["decision"]["model"], atol=2e-3)


def test_confusion_prints_counts_and_shares_of_the_row():
    svg = plots.confusion([[3, 1], [0, 0]], ["a", "b"], "s")
    assert [t.text for t in marks(svg, {"number"}, "text")] == ["3", "1", "0", "0"]
    assert [t.text for t in marks(svg, {"soft"}, "text")] == ["75%", "25%", "–", "–"]
    assert len(marks(svg, {"cell", "right"}, "rect")) == 2
    darkness = [int(re.search(r"s(\d+)", c.get("class"))[1]) for c in marks(svg, {"cell"}, "rect")]
    assert darkness == [8, 3, 0, 0]


def test_scatter_on_even_axes():
    truth, value = [1.0, 4.0, 9.0], [2.0, 4.0, None]
    svg = plots.scatter({"truth": truth, "value": value}, "s", "mm")
    np.testing.assert_allclose(dots(svg), [[1, 2], [4, 4]], atol=0.02)
    [line] = marks(svg, {"guide"}, "line")
    x, y = ([float(line.get(f"{k}{i}")) for i in (1, 2)] for k in "xy")
    np.testing.assert_allclose(scale(svg, "x")(x), scale(svg, "y")(y), atol=0.02)


def test_log_axes_keep_order_have_room_for_zero_and_true_ticks():
    axis = Axis("", 0, 50_000, bend=10)
    places = [axis.place(v) for v in (0, 1, 10, 100, 1000, 50_000)]
    assert places[0] == 0
    assert places[-1] == 1
    assert np.all(np.diff(places) > 0.01)
    steps = np.diff([axis.place(10.0**k) for k in (2, 3, 4)])
    assert steps[1] == pytest.approx(steps[0], rel=0.05)
    truth = [0, 20, 300, 4000]
    svg = plots.scatter({"truth": truth, "value": truth}, "s", log=True)
    found = marks(svg, {"dot"}, "circle")
    ticks = {t.text: float(t.get("x")) for t in marks(svg, {"tick", "x"}, "text")}
    assert float(found[0].get("cx")) == ticks["0"]
    assert ticks["10"] < float(found[1].get("cx")) < ticks["100"] < float(found[2].get("cx"))
    even = plots.scatter({"truth": [100, 200], "value": [150, 190]}, "s", log=True)
    assert len(marks(even, {"tick", "x"}, "text")) >= 3  # too narrow a spread: no logarithm


def test_kaplan_meier_steps_and_numbers_at_risk():
    group = {"group": "high", "time": [5.0, 10.0, 20.0], "survival": [0.8, 0.6, 0.3],
             "low": [0.6, 0.4, None], "high": [0.9, 0.8, None], "at_risk": [10, 7, 4]}  # fmt: skip
    svg = plots.kaplan_meier([group], "s", "Time (months)")
    expected = [(0, 1), (5, 1), (5, 0.8), (10, 0.8), (10, 0.6), (20, 0.6), (20, 0.3)]
    np.testing.assert_allclose(curve(svg, {"curve", "c0"}), expected, atol=0.05)
    ticks = {float(t.get("x")): words_of(t.text) for t in marks(svg, {"tick", "x"}, "text")}
    risk = {ticks[float(t.get("x"))]: t.text for t in marks(svg, {"risk"}, "text")}
    assert [risk[t] for t in (0, 5, 10, 15, 20)] == ["10", "10", "7", "4", "4"]
    short = plots.kaplan_meier([group, group | {"time": [1.0, 2.0, 3.0]}], "s")
    assert [t.text for t in marks(short, {"risk"}, "text")][-1] == "–"  # nobody knows


def test_a_missing_estimate_leaves_its_row(drawn):
    svg = drawn["comparison"]
    assert len(marks(svg, {"dot"}, "circle")) == 1
    [dot] = marks(svg, {"dot"}, "circle")
    assert scale(svg, "x")(float(dot.get("cx"))) == pytest.approx(0.8, abs=2e-3)
    [line] = marks(svg, {"range"}, "line")
    ends = scale(svg, "x")([float(line.get(k)) for k in ("x1", "x2")])
    np.testing.assert_allclose(ends, [0.7, 0.9], atol=2e-3)


def test_curves_differ_without_color():
    looks = [look(i) for i in range(36)]
    assert len(set(looks)) == 36
    for start in range(0, 36, 6):
        assert len({k.split()[1] for k in looks[start : start + 6]}) == 6


@pytest.mark.parametrize("empty", [[], [None, None]])
def test_what_is_not_known_is_not_drawn(empty):
    one = {"class": "yes", "x": empty, "y": empty, "prevalence": None}
    ends = {"low": empty, "high": empty, "n": empty}
    for svg in (
        plots.roc([one], "s"),
        plots.precision_recall([one], "s"),
        plots.reliability({"class": "a", "predicted": empty, "observed": empty, **ends}, "s"),
        plots.risk_coverage({"coverage": empty, "risk": empty}, "s"),
        plots.decision({"threshold": empty, "model": empty, "all": empty}, "s"),
        plots.scatter({"truth": empty, "value": empty, **ends}, "s", log=True),
        plots.kaplan_meier([{"group": "g", "time": empty, "survival": empty, "at_risk": empty,
                             **ends}], "s"),
        plots.comparison([("this model", cases.NOTHING)], "AUROC", "s"),
    ):  # fmt: skip
        assert "nan" not in svg.lower()
        assert not marks(svg, {"dot"}, "circle")
        parsed(svg)


def test_foreign_text_is_inert():
    bad = '</text><script>alert(1)</script>"&\0\x1b'
    group = {"group": bad, "time": [1.0], "survival": [0.5], "low": [0.2], "high": [0.8],
             "at_risk": [2]}  # fmt: skip
    one = {"class": bad, "x": [0, 1], "y": [0, 1], "prevalence": 0.5}
    binned = {"class": bad, "predicted": [0.5], "observed": [0.5], "low": [0.2], "high": [0.8],
              "n": [3]}  # fmt: skip
    for svg in (
        plots.roc([one, one], bad),
        plots.reliability(binned, bad),
        plots.kaplan_meier([group], bad, bad),
        plots.confusion([[1, 0], [0, 1]], [bad, "b"], bad),
        plots.scatter({"truth": [1], "value": [1]}, bad, bad),
        plots.comparison([(bad, {"value": 1.0})], bad, bad),
    ):
        assert not list(parsed(svg).iter(f"{SVG}script"))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.13, 0.4), (0, 37_000), (2e-4, 9e-4)])
def test_ticks_are_round_and_inside(low, high):
    axis = Axis("", low, high)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 7
    assert low - 1e-9 <= min(ticks)
    assert max(ticks) <= high * (1 + 1e-9)
    assert [words_of(axis.text(t)) for t in ticks] == pytest.approx(ticks)


def test_an_axis_is_never_empty():
    for values in ([], [0.0], [3.0, 3.0]):
        low, high = range_of(values, zero=False)
        assert low < high


def test_bars_of_a_histogram_are_as_high_as_their_counts():
    """Heights share one scale; an empty part has no bar; the dashed line is the expected count."""
    svg = plots.histogram([4, 0, 2], 0, 30, 2, title="t", said="<s>", labels=("x", "y"))
    bars = re.findall(r'<rect class="bar c0" x="[^"]+" y="([^"]+)" [^>]*height="([^"]+)"', svg)
    heights = [float(h) for _, h in bars]
    assert len(heights) == 2
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.02)
    line = re.search(r'<line class="guide" [^>]*y1="([^"]+)"', svg)
    assert float(line[1]) == pytest.approx(float(bars[1][0]), abs=0.02)
    assert "<s>" not in svg
