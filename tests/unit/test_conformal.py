"""Sets and intervals hold the truth as often as they promise."""

import numpy as np
import pytest
from scipy.stats import binom

from pathai import conformal
from pathai.calibration import softmax


def test_conformal_sets_cover_each_class() -> None:
    rng = np.random.default_rng(2)
    hits, n_new = np.zeros(2), np.zeros(2)
    sizes = []
    for _ in range(300):
        y = np.repeat([0, 1], [60, 25])
        prob = softmax(np.column_stack([np.zeros(85), rng.normal(3 * y - 1.0, 1.5)]))
        reference = [1 - prob[:-1][y[:-1] == c, c] for c in (0, 1)]
        c = int(rng.random() < 0.5)
        new = softmax([[0.0, rng.normal(3 * c - 1.0, 1.5)]])[0]
        kept = [k for k, p in enumerate(conformal.conformal_p(reference, new)) if p > 0.2]
        hits[c] += c in kept
        n_new[c] += 1
        sizes.append(len(kept))
    for c in (0, 1):
        low, high = binom.interval(0.999, int(n_new[c]), 0.8)
        assert low <= hits[c] <= high + 0.05 * n_new[c]  # discreteness may add a little
    assert np.mean(sizes) < 1.5  # sets that hold everything would cover too


def test_a_small_reference_leaves_no_class_out() -> None:
    few = [[0.01] * 8, [0.02] * 8]
    assert min(conformal.conformal_p(few, [0.999, 0.001])) > 0.1
    assert min(conformal.conformal_p([[0.01] * 9, [0.02] * 9], [0.999, 0.001])) <= 0.1
    assert conformal.conformal_p([[], []], [0.9, 0.1]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="classes"):
        conformal.conformal_p([[0.1]], [0.5, 0.5])


# --- several slides, folds, numbers ----------------------------------------------------------


def model(rng: np.random.Generator, patients: int, slides: int):
    """Slides of one patient share their difficulty; the rare class is harder."""
    y = np.repeat((rng.random(patients) < 0.35).astype(int), slides)
    shift = np.repeat(rng.normal(0, 1, patients), slides) + rng.normal(0, 0.5, len(y))
    prob = softmax(np.column_stack([np.zeros(len(y)), np.where(y == 1, 1.0, -1.5) + shift]))
    who = [f"p{i // slides}" for i in range(len(y))]
    fold = np.repeat(np.arange(patients) % 5, slides)
    return prob, y, who, fold


def held(hits: int, n: int, alpha: float, patients: int) -> bool:
    """Whether a coverage lies in the 99.9 % band around 1 - alpha, discreteness granted above."""
    low, high = binom.interval(0.999, n, 1 - alpha)
    return bool(low <= hits <= high + n / patients)


def test_scores_take_the_oddest_slide_of_a_patient() -> None:
    prob = [[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]
    assert conformal.class_scores(prob, [0, 0, 1, 1], list("aabc")) == ((0.4,), (0.2, 0.5))


def test_cross_sets_judge_by_the_other_folds_alone() -> None:
    prob, y, who, fold = model(np.random.default_rng(0), 60, 2)
    sets = conformal.cross_sets(prob, y, who, fold, 0.2)
    for i in (0, 31, 77):
        rest = fold != fold[i]
        reference = conformal.class_scores(prob[rest], y[rest], np.array(who)[rest].tolist())
        assert sets[i].tolist() == [p > 0.2 for p in conformal.conformal_p(reference, prob[i])]
    changed = prob.copy()
    changed[fold == 2] = [0.5, 0.5]
    assert (conformal.cross_sets(changed, y, who, fold, 0.2)[fold != 2] != sets[fold != 2]).any()


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_cross_sets_cover_each_class_for_one_slide_per_patient(alpha: float) -> None:
    """One patient of each repetition counts, so that the trials are independent."""
    rng, right, n, size = np.random.default_rng(1), np.zeros(2, int), np.zeros(2, int), []
    for _ in range(400):
        prob, y, who, fold = model(rng, 120, 1)
        sets = conformal.cross_sets(prob, y, who, fold, alpha)
        for c in (0, 1):
            i = np.flatnonzero(y == c)[0]
            right[c] += sets[i, c]
            n[c] += 1
        size.append(sets.sum(axis=1).mean())
    assert all(held(right[c], n[c], alpha, 30) for c in (0, 1)), right / n
    assert np.mean(size) < 1.8


def test_cross_sets_hold_every_slide_of_a_patient() -> None:
    rng, every = np.random.default_rng(2), 0
    for _ in range(200):
        prob, y, who, fold = model(rng, 100, 4)
        sets = conformal.cross_sets(prob, y, who, fold, 0.2)
        every += sets[np.arange(4), y[:4]].all()
    assert held(every, 200, 0.2, 25)


def noisy(rng: np.random.Generator, patients: int, slides: int):
    """Errors that grow with the value, have heavy tails, and are alike within a patient."""
    value = rng.gamma(2, 100, patients * slides) + 20
    shared = np.repeat(rng.standard_t(4, patients), slides)
    truth = value * (1 + 0.1 * (shared + 0.3 * rng.normal(size=len(value))))
    return truth, value, [f"p{i // slides}" for i in range(len(value))]


@pytest.mark.parametrize(("slides", "alpha"), [(1, 0.1), (3, 0.2)])
def test_intervals_of_numbers_cover(slides: int, alpha: float) -> None:
    rng, found = np.random.default_rng(3), {"split": 0, "cross": 0}
    for _ in range(400):
        truth, value, who = noisy(rng, 61, slides)
        old = slice(slides, None)
        scores = conformal.number_scores(truth[old], value[old], value[old], who[old])
        low, high = conformal.interval(scores, value[:slides], value[:slides], alpha)
        found["split"] += ((low <= truth[:slides]) & (truth[:slides] <= high)).all()
        fold = np.repeat(np.arange(61) % 5, slides)
        low, high = conformal.cross_intervals(truth, value, value, who, fold, alpha)
        found["cross"] += ((low <= truth) & (truth <= high))[:slides].all()
    assert all(held(n, 400, alpha, 48) for n in found.values()), found


def test_intervals_follow_the_spread() -> None:
    truth, value, who = noisy(np.random.default_rng(4), 200, 1)
    scores = conformal.number_scores(truth, value, value, who)
    low, high = conformal.interval(scores, [100.0, 300.0], [100.0, 300.0], 0.1)
    assert (high - low)[1] == pytest.approx(3 * (high - low)[0])
    assert (high + low) / 2 == pytest.approx([100, 300])


def test_too_few_patients_promise_nothing() -> None:
    scores = conformal.number_scores([1.0] * 8, [2.0] * 8, 1.0, list("abcdefgh"))
    assert np.isinf(conformal.interval(scores, [5.0], 1.0, 0.1)).all()
    low, high = conformal.interval([*scores, 1.0], [5.0], 1.0, 0.1)
    assert (low[0], high[0]) == (4.0, 6.0)
    slides = conformal.number_scores([1.0] * 40, [2.0] * 40, 1.0, ["a"] * 20 + ["b"] * 20)
    assert len(slides) == 2  # forty slides of two patients are two patients
    with pytest.raises(ValueError, match="spreads"):
        conformal.number_scores([1.0], [2.0], 0.0, ["a"])
    with pytest.raises(ValueError, match="alpha"):
        conformal.interval(scores, [5.0], 1.0, 0.0)
