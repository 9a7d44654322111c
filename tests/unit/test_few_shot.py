"""Few labels: known truth, and nothing of a test patient in what is fitted or chosen."""

import numpy as np
import pytest

from pathai import few_shot
from pathai.errors import PathaiError
from pathai.few_shot import learning_curve, linear, probe

D = 24


def planted(n=48, effect=3.0, seed=0, slides=1, classes=2):
    """Slides whose class shifts one direction by ``effect`` standard deviations."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=D)
    direction /= np.linalg.norm(direction)
    patient = np.repeat(np.arange(n), slides)
    label = (np.arange(n) % classes)[patient]
    x = rng.normal(size=(len(patient), D)) + effect * label[:, None] * direction
    return x, label.astype(float), [f"P{p:03d}" for p in patient]


def numbers(n=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D))
    value = 40 + 5 * (x @ np.linspace(-1, 1, D)) + rng.normal(size=n)
    return x, value, [f"P{p:03d}" for p in range(n)]


# --- known truth -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_curve_rises_with_the_labels_on_a_planted_signal():
    curve = learning_curve(*planted(effect=3.0), ks=(1, 4, 16, None), repeats=4, n_classes=2)
    assert [(p.k, p.n_patients) for p in curve] == [(1, 2), (4, 8), (16, 32), (None, 48)]
    area = [p.figures["auroc"].value for p in curve]
    lost = [p.figures["log_loss"].value for p in curve]
    assert area[0] < area[1] < area[2] < area[3] + 0.01
    assert area[2] > 0.9
    assert lost[0] > lost[1] > lost[3]
    assert lost[0] < 0.75  # unsure with one patient per class, not wrongly sure
    spread = [p.figures["auroc"].high - p.figures["auroc"].low for p in curve]
    assert spread[2] < spread[0]  # luck matters less with more labels
    for point in curve:
        for figure in point.figures.values():
            assert figure.low <= figure.value <= figure.high


def test_a_number_is_learned_in_its_own_unit():
    curve = learning_curve(*numbers(), ks=(1, 4, 16, 40, None), repeats=3, n_classes=0)
    assert [p.k for p in curve] == [4, 16, 40, None]  # one patient makes no slope
    error = [p.figures["mae"].value for p in curve]
    assert error[0] > error[1] > error[2] > error[3]
    assert curve[-1].figures["r2"].value > 0.9
    assert curve[-1].figures["spearman"].value > 0.9
    constant = learning_curve(
        numbers()[0], np.full(60, 7.0), numbers()[2], ks=(8,), repeats=2, n_classes=0
    )
    assert constant[0].figures["mae"].value == pytest.approx(0, abs=1e-9)
    assert np.isnan(constant[0].figures["spearman"].value)


def test_three_classes():
    x, label, groups = planted(n=60, effect=0.0, classes=3)
    x[np.arange(60), label.astype(int)] += 4.0
    found = probe(x, label, groups, 8, 0, n_classes=3)
    assert found.weight.shape == (3, D)
    assert found.figures["auroc"] > 0.9
    assert found.figures["balanced_accuracy"] > 0.75
    assert np.exp(found.held_out).sum(axis=1) == pytest.approx(1)


# --- nothing leaks ---------------------------------------------------------------------------


def leaking(made, x, truth, groups):
    """What must not be done: the prior that is best on the test patients."""
    data = linear.checked(x, truth, groups, 2)
    drawn = [data.names.index(p) for p in made.patients]
    found = linear._path(data, data.slides(drawn), linear.PRIORS)
    answers = [linear.answers(one, data, made.rows) for one in found]
    return min(few_shot._figures(a, data, made.rows)["log_loss"] for a in answers)


def error(values):
    return np.std(values) / np.sqrt(len(values))


@pytest.mark.slow
def test_labels_by_chance_give_a_half_and_choosing_on_the_test_is_caught():
    """No probe can know a coin better than ln 2; only one that saw the answers looks as if."""
    noise = [planted(n=24, effect=0.0, seed=s) for s in range(50)]
    honest = [probe(*one, 4, 0, n_classes=2) for one in noise]
    area = [made.figures["auroc"] for made in honest]
    lost = np.array([made.figures["log_loss"] for made in honest])
    assert abs(np.mean(area) - 0.5) < 3 * error(area)
    assert np.mean(lost) > np.log(2)
    cheating = [leaking(made, *one) for made, one in zip(honest, noise, strict=True)]
    assert np.mean(cheating) < np.log(2) - 2 * error(cheating)


@pytest.mark.slow
def test_labels_by_chance_over_all_patients_are_not_above_a_half():
    area = [
        probe(*planted(n=18, effect=0.0, seed=s), None, 0, n_classes=2).figures["auroc"]
        for s in range(5)
    ]
    assert np.mean(area) < 0.5 + 3 * error(area)


@pytest.mark.parametrize("n_classes", [0, 2])
def test_test_patients_enter_neither_fit_nor_choice_nor_standardization(n_classes):
    x, truth, groups = planted(slides=2)
    made = probe(x, truth, groups, 5, 3, n_classes=n_classes)
    rest = ~np.isin(groups, made.patients)
    assert np.array_equal(made.rows, np.flatnonzero(rest))
    changed, other = x.copy(), truth.copy()
    changed[rest] = 100 * np.random.default_rng(1).normal(size=changed[rest].shape)
    if not n_classes:
        other[rest] += 1000  # classes decide who is drawn, numbers do not
    again = probe(changed, other, groups, 5, 3, n_classes=n_classes)
    assert again.prior == made.prior
    for name in ("weight", "bias", "mean", "scale"):
        assert np.array_equal(getattr(again, name), getattr(made, name)), name


def test_a_patient_is_on_one_side_only():
    x, truth, groups = planted(n=20, slides=3)
    data = linear.checked(x, truth, groups, 2)
    seen = []
    for rest, test in linear.folds(data, np.arange(20), 5, np.random.default_rng(0)):
        assert set(rest).isdisjoint(test)
        assert np.bincount(data.classes[test]).tolist() == [2, 2]
        seen += test.tolist()
    assert sorted(seen) == list(range(20))


def test_many_slides_of_a_patient_weigh_as_one():
    x, truth, groups = planted(n=20)
    made = probe(x, truth, groups, 4, 0, n_classes=2)
    copies = np.where(np.arange(20) == groups.index(made.patients[0]), 7, 1)
    rows = np.repeat(np.arange(20), copies)
    again = probe(x[rows], truth[rows], [groups[i] for i in rows], 4, 0, n_classes=2)
    assert again.prior == made.prior
    assert again.weight == pytest.approx(made.weight, abs=1e-4)
    assert again.figures == pytest.approx(made.figures, abs=1e-4)


# --- use as a model --------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_weights_move_to_a_linear_layer_of_another_standardization(n_classes):
    x, truth, groups = planted(n=30, classes=max(n_classes, 2))
    made = probe(x, truth, groups, None, 0, n_classes=n_classes)
    rng = np.random.default_rng(2)
    mean, scale = rng.normal(size=D), rng.uniform(0.5, 3, D)
    weight, bias = made.as_linear(mean, scale)
    tiles = rng.normal(size=(50, D))
    z = ((tiles - mean) / scale).mean(axis=0)  # the mean standardized tile of a slide
    assert weight @ z + bias == pytest.approx(made.outputs(tiles.mean(axis=0)[None])[0])


def test_fitting_in_the_span_of_the_rows_changes_nothing():
    from sklearn.linear_model import LogisticRegression

    x, truth, groups = planted(n=20)
    data = linear.checked(x, truth, groups, 2)
    rows = data.slides(np.arange(10))  # fewer slides than features
    made = next(linear._path(data, rows, (1.0,)))
    z = (x[rows] - made.mean) / made.scale
    plain = LogisticRegression(C=1 / D, max_iter=5_000, tol=1e-8).fit(z, truth[rows])
    assert made.weight[1] - made.weight[0] == pytest.approx(plain.coef_[0], abs=1e-4)
    assert made.bias[1] - made.bias[0] == pytest.approx(plain.intercept_[0], abs=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_more_labels_keep_the_first():
    args = planted()
    first, second = (learning_curve(*args, ks=(2, 4), repeats=3, n_classes=2) for _ in range(2))
    assert first == second
    other = learning_curve(*args, ks=(2, 4), repeats=3, seed=1, n_classes=2)
    assert other != first
    few, more = (set(probe(*args, k, 0, n_classes=2).patients) for k in (2, 4))
    assert few < more
    order = np.random.default_rng(0).permutation(len(args[0]))
    moved = (args[0][order], args[1][order], [args[2][i] for i in order])
    shuffled = probe(*moved, 4, 0, n_classes=2)
    assert set(shuffled.patients) == more  # who is drawn does not depend on the order of rows


# --- bad input -------------------------------------------------------------------------------


def test_what_cannot_be_fitted_is_refused_with_the_row():
    x, truth, groups = planted(n=10)
    for value, target, code in (
        (np.where(np.arange(10)[:, None] == 3, np.nan, x), truth, "E180: row 3"),
        (x, np.where(np.arange(10) == 4, np.nan, truth), "E184: row 4"),
        (x, np.zeros(10), "E184: 0 patients"),
    ):
        with pytest.raises(PathaiError, match=code):
            probe(value, target, groups, 1, 0, n_classes=2)
    with pytest.raises(PathaiError, match=r"E184: 4 labeled.*at most 3"):
        probe(x, truth, groups, 4, 0, n_classes=2)
    assert [p.k for p in learning_curve(x, truth, groups, repeats=1, n_classes=2)] == [1, 2, None]
