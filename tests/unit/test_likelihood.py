"""Likelihoods against independent formulas, limits and known truth; outputs turned into answers."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from pathai.calibration import softmax
from pathai.errors import PathaiError
from pathai.likelihood import (
    Truth,
    class_loss,
    count_loss,
    ordinal_loss,
    ratio_loss,
    regression_loss,
    survival_loss,
    target_loss,
)
from pathai.outputs import (
    KINDS,
    TargetSpec,
    columns,
    count_mean,
    count_sd,
    median_survival,
    ordinal_log_prob,
    ratio_share,
    risk,
    survival_at,
    survival_curve,
)

NAN = float("nan")
EDGES = (0.0, 1.0, 3.0, 7.0)
SPECS = {
    "binary": TargetSpec("binary"),
    "multiclass": TargetSpec("multiclass", 4),
    "ordinal": TargetSpec("ordinal", 4),
    "regression": TargetSpec("regression", location=50.0, scale=10.0),
    "count": TargetSpec("count"),
    "ratio": TargetSpec("ratio"),
    "survival": TargetSpec("survival", edges=EDGES),
}
TRUTH = {
    "binary": (1, 0),
    "multiclass": (2, 0),
    "ordinal": (2, 0),
    "regression": (61.0, 0),
    "count": (37, 0),
    "ratio": (3, 9),
    "survival": (2.0, 1),
}


def rows(*pairs: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(pairs, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_kind_is_tested() -> None:
    assert set(SPECS) == set(TRUTH) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_truth_gives_no_loss_and_no_gradient(kind: str) -> None:
    outputs = normal(3, SPECS[kind].width).requires_grad_()
    truth, tiles = rows(TRUTH[kind], (NAN, NAN), (NAN, 0)), torch.tensor([5, 6, 7])
    loss = target_loss(SPECS[kind], outputs, truth, tiles)
    assert loss.dtype == torch.float64
    assert loss[0] > 0
    assert loss[1:].tolist() == [0, 0]
    loss.sum().backward()
    assert torch.isfinite(outputs.grad).all()
    assert outputs.grad[0].any()
    assert not outputs.grad[1:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_loss(kind: str) -> None:
    outputs = normal(4, SPECS[kind].width, seed=2).double().requires_grad_()
    truth = rows(*[TRUTH[kind]] * 4)
    tiles = torch.tensor([3, 5, 8, 20])
    assert torch.autograd.gradcheck(lambda o: target_loss(SPECS[kind], o, truth, tiles), outputs)


# --- classes ---------------------------------------------------------------------------------


def test_class_loss_is_minus_log_probability() -> None:
    outputs = normal(5, 4)
    label = np.array([0, 3, 1, 2, 2])
    found = class_loss(outputs, rows(*[(c, 0) for c in label]))
    wanted = -np.log(softmax(outputs.numpy())[np.arange(5), label])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_ordinal_outputs_are_probabilities_and_the_loss_is_their_logarithm() -> None:
    outputs = normal(50, 4) * 3
    prob = ordinal_log_prob(outputs.numpy())
    np.testing.assert_allclose(np.exp(prob).sum(axis=1), 1)
    for y in range(5):
        found = ordinal_loss(outputs, rows(*[(y, 0)] * 50))
        np.testing.assert_allclose(found, -prob[:, y], rtol=1e-9, atol=1e-12)


def test_ordinal_outputs_are_conditional_probabilities() -> None:
    """By definition: of those that reach class k, the share that goes beyond."""
    z = np.array([[0.4, -1.2, 2.0]])
    p = np.exp(ordinal_log_prob(z))[0]
    for k in range(3):
        assert p[k + 1 :].sum() / p[k:].sum() == pytest.approx(special.expit(z[0, k]))


def test_ordinal_probabilities_survive_extreme_logits() -> None:
    found = ordinal_log_prob(np.array([[800.0, -800.0], [-800.0, 0.0]]))
    np.testing.assert_allclose(found[:, :2], [[-800, 0], [0, -800 - math.log(2)]])


# --- numbers ---------------------------------------------------------------------------------


def test_regression_is_squared_near_and_linear_far() -> None:
    outputs = torch.tensor([[0.5], [0.5], [10.5], [20.5]])
    each = regression_loss(outputs, rows(*[(50.0, 0)] * 4), 50.0, 10.0)
    assert each[0] == pytest.approx(0.125)
    assert float(each[3] - each[2]) == pytest.approx(13.45)


@pytest.mark.parametrize("dispersion", [1e-6, 0.003, 0.02, 0.03, 0.04, 0.7, 30.0, 1e6])
@pytest.mark.parametrize("count", [0, 1, 17, 5000, 400_000])
def test_count_loss_is_the_negative_binomial(dispersion: float, count: int) -> None:
    tiles, log_rate = 250, 0.7
    outputs = torch.tensor([[log_rate, math.log(dispersion)]], dtype=torch.float64)
    found = count_loss(outputs, rows((count, 0)), torch.tensor([tiles]))
    r, mean = 1 / dispersion, math.exp(log_rate) * tiles
    wanted = -stats.nbinom.logpmf(count, r, r / (r + mean))
    assert float(found[0]) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("log_dispersion", [-20.0, -80.0, -1e30])
@pytest.mark.parametrize("count", [0, 3, 900, 90_000])
def test_count_without_dispersion_is_poisson(log_dispersion: float, count: int) -> None:
    outputs = torch.tensor([[1.5, log_dispersion]], dtype=torch.float64)
    found = count_loss(outputs, rows((count, 0)), torch.tensor([200]))
    wanted = -stats.poisson.logpmf(count, math.exp(1.5) * 200)
    assert float(found[0]) == pytest.approx(wanted, rel=1e-3 if log_dispersion == -20 else 1e-8)


def test_count_loss_is_finite_for_any_output() -> None:
    grid = [-1e4, -90.0, -31.0, -3.5, 0.0, 3.5, 31.0, 88.0]
    outputs = torch.tensor([[a, b] for a in grid for b in [*grid, 1e4]], requires_grad=True)
    for count in (0, 1, 1_000_000):
        loss = count_loss(outputs, rows(*[(count, 0)] * len(outputs)), torch.ones(len(outputs)))
        (gradient,) = torch.autograd.grad(loss.sum(), outputs)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()


def test_likelihood_finds_the_mean_and_the_dispersion() -> None:
    source = np.random.default_rng(4)
    tiles = source.integers(50, 500, 4000)
    mean, dispersion = 1.3 * tiles, 0.4
    counts = source.poisson(mean * source.gamma(1 / dispersion, dispersion, 4000))
    outputs = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([outputs], max_iter=50)
    truth = rows(*[(c, 0) for c in counts])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = count_loss(outputs.expand(4000, 2), truth, torch.tensor(tiles)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert outputs.detach().exp()[0].tolist() == pytest.approx([1.3, 0.4], rel=0.05)
    answer = outputs.detach().expand(4000, 2).numpy()
    z = (counts - count_mean(answer, tiles)) / count_sd(answer, tiles)
    assert z.std() == pytest.approx(1, abs=0.05)


def test_count_sd_has_both_limits() -> None:
    outputs = np.array([[1.0, -1e9], [1.0, np.log(4.0)]])
    mean = math.e * 100
    np.testing.assert_allclose(count_mean(outputs, [100, 100]), mean)
    wanted = [math.sqrt(mean), math.sqrt(mean + 4 * mean**2)]
    np.testing.assert_allclose(count_sd(outputs, [100, 100]), wanted)


def test_ratio_is_best_at_the_true_share_and_large_slides_do_not_drown_small_ones() -> None:
    share = torch.linspace(0.01, 0.99, 99)
    outputs = torch.logit(share)[:, None]
    loss = {n: ratio_loss(outputs, rows(*[(0.3 * n, n)] * 99)) for n in (10, 10_000)}
    for each in loss.values():
        assert float(share[each.argmin()]) == pytest.approx(0.3)
    rise = {n: float(each.max() - each.min()) for n, each in loss.items()}
    assert 1 < rise[10_000] / rise[10] < 3
    assert ratio_loss(outputs[:1], rows((0, 0))).tolist() == [0]
    np.testing.assert_allclose(ratio_share(outputs.numpy()), share, rtol=1e-5)


# --- survival --------------------------------------------------------------------------------


def test_survival_loss_is_the_product_over_bins() -> None:
    z = normal(1, 3)
    h = torch.sigmoid(z[0]).double()
    cases = {
        (0.5, 1): h[0],
        (0.0, 1): h[0],
        (1.0, 1): h[0],  # a bin contains its end
        (2.0, 1): (1 - h[0]) * h[1],
        (7.0, 1): (1 - h[0]) * (1 - h[1]) * h[2],
        (9.0, 1): (1 - h).prod(),
        (9.0, 0): (1 - h).prod(),
        (0.4, 0): 1.0,  # less than half of the first bin was seen
        (0.6, 0): 1 - h[0],
        (4.9, 0): (1 - h[0]) * (1 - h[1]),
        (5.0, 0): (1 - h).prod(),
    }
    for case, wanted in cases.items():
        found = survival_loss(z, rows(case), EDGES)
        assert float(torch.exp(-found)) == pytest.approx(float(wanted), rel=1e-6), case


def test_hazards_of_censored_data_are_unbiased() -> None:
    """Exponential times, half of them censored: the curve found is the true one."""
    source = np.random.default_rng(5)
    died, left = source.exponential(4.0, 20_000), source.exponential(4.0, 20_000)
    edges = tuple(np.arange(0, 6.01, 0.25))
    truth = torch.tensor(np.column_stack([np.minimum(died, left), died <= left]))
    outputs = torch.zeros(1, len(edges) - 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([outputs], max_iter=40)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = survival_loss(outputs.expand(len(truth), -1), truth, edges).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    curve = survival_curve(outputs.detach().numpy())[0]
    np.testing.assert_allclose(curve, np.exp(-np.array(edges[1:]) / 4), atol=0.015)


def test_survival_between_bins_and_its_median() -> None:
    outputs = special.logit(np.array([[0.2, 0.5, 0.5], [0.1, 0.1, 0.1]]))
    np.testing.assert_allclose(survival_curve(outputs)[0], [0.8, 0.4, 0.2])
    assert survival_at(outputs, EDGES, 0).tolist() == [1, 1]
    np.testing.assert_allclose(survival_at(outputs, EDGES, 2.0), [0.6, 0.855])
    np.testing.assert_allclose(survival_at(outputs, EDGES, [0.5, 7.0]), [0.9, 0.729])
    assert np.isnan(survival_at(outputs, EDGES, 7.1)).all()
    median = median_survival(outputs, EDGES)
    assert median.tolist() == [pytest.approx(2.5), np.inf]
    assert survival_at(outputs, EDGES, float(median[0]))[0] == pytest.approx(0.5)


def test_risk_rises_with_every_hazard_and_orders_curves_that_cross() -> None:
    z = normal(20, 5).numpy()
    for b in range(5):
        worse = z.copy()
        worse[:, b] += 0.3
        assert (risk(worse) > risk(z)).all()
    early, late = special.logit([[0.6, 0.01]]), special.logit([[0.01, 0.6]])
    assert survival_curve(early)[0, -1] == pytest.approx(survival_curve(late)[0, -1])
    assert risk(early) > risk(late)


# --- several targets -------------------------------------------------------------------------


def test_loss_is_the_weighted_mean_over_known_targets() -> None:
    targets = (*SPECS.values(), TargetSpec("ratio", weight=3.0))
    own = columns(targets)
    outputs = normal(2, own[-1].stop)
    values = torch.stack([rows(*TRUTH.values(), (5, 6)), rows(*TRUTH.values(), (5, 6))])
    values[1, 1:7, 0] = NAN
    truth = Truth(targets, values, torch.tensor([4, 5]))
    each = [
        target_loss(t, outputs[:, part], values[:, i], truth.tiles)
        for i, (t, part) in enumerate(zip(targets, own, strict=True))
    ]
    first = sum(float(e[0]) for e in each[:7]) + 3 * float(each[7][0])
    second = float(each[0][1]) + 3 * float(each[7][1])
    assert truth.loss(outputs).tolist() == pytest.approx([first / 10, second / 4])
    assert truth.width == outputs.shape[1]
    assert truth.take(torch.tensor([1])).loss(outputs[1:]).tolist() == pytest.approx([second / 4])


def test_a_slide_of_which_nothing_is_known_teaches_nothing() -> None:
    values = torch.full((1, 2, 2), NAN, dtype=torch.float64)
    truth = Truth((SPECS["count"], SPECS["survival"]), values, torch.tensor([3]))
    outputs = normal(1, truth.width).requires_grad_()
    truth.loss(outputs).sum().backward()
    assert truth.loss(outputs).tolist() == [0]
    assert not outputs.grad.any()


def test_classes_are_those_of_the_main_target() -> None:
    values = torch.tensor([[[1.0, 0.0]], [[NAN, 0.0]]], dtype=torch.float64)
    assert Truth((SPECS["multiclass"],), values, torch.ones(2)).classes.tolist() == [1, -1]
    assert Truth((SPECS["count"],), values, torch.ones(2)).classes is None
    assert Truth.of_classes(torch.tensor([2, 0]), 3).classes.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "clustering"}, "no kind named"),
        ({"kind": "ordinal", "n_classes": 1}, "1 classes"),
        ({"kind": "binary", "n_classes": 3}, "3 classes"),
        ({"kind": "survival"}, "edges"),
        ({"kind": "survival", "edges": (0.0,)}, "edges"),
        ({"kind": "survival", "edges": (1.0, 2.0)}, "edges"),
        ({"kind": "survival", "edges": (0.0, 2.0, 2.0)}, "edges"),
        ({"kind": "survival", "edges": (0.0, math.inf)}, "edges"),
        ({"kind": "regression", "scale": 0.0}, "scale"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(PathaiError, match=f"E192.*{message}"):
        TargetSpec(**wrong)


def test_truth_of_another_shape_is_refused() -> None:
    with pytest.raises(PathaiError, match=r"E184.*\(2, 1, 2\) is needed"):
        Truth((SPECS["count"],), torch.zeros(2, 2, 2), torch.ones(2))


def test_outputs_load_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, pathai.outputs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
