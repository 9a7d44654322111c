"""The batch's verdict alarms as seldom as it promises, sees a shift, and says when it cannot."""

import numpy as np
import pytest

from pathai.cohort.drift import ENOUGH, by_patient, judge

REPEATS = 400


def alarms(n, draw, limit=99.0):
    rng = np.random.default_rng(5)
    verdicts = [judge(draw(rng, n), limit)["verdict"] for _ in range(REPEATS)]
    return np.mean([v in ("unlike", "partly") for v in verdicts])


def uniform(rng, n):
    return rng.uniform(0, 100, n)


def shifted(rng, n):
    """Every patient is one standard deviation farther off than those of the training."""
    from scipy.special import ndtr

    return 100 * ndtr(rng.normal(1.0, 1.0, n))


@pytest.mark.parametrize("n", [5, 20, 80])
def test_batches_like_the_training_alarm_in_about_5_percent(n):
    """At most 4 % by the one test and 1 % by the other; the second is discrete."""
    share = alarms(n, uniform)
    band = 3 * np.sqrt(0.05 * 0.95 / REPEATS)
    assert 0.04 - band < share < 0.05 + band


def test_shifted_batches_alarm():
    assert alarms(20, shifted) > 0.9
    assert alarms(80, shifted) == 1.0


def test_a_strange_part_of_a_batch_alarms_as_a_part():
    """One patient of ten from elsewhere: the batch as a whole still looks like the training."""

    def mixed(rng, n):
        values = uniform(rng, n)
        values[: n // 10] = 99.9
        return values

    assert alarms(80, mixed) > 0.9
    rng = np.random.default_rng(0)
    verdicts = [judge(mixed(rng, 80), 99.0)["verdict"] for _ in range(50)]
    assert verdicts.count("partly") > 25


def test_batches_nearer_than_the_training_do_not_alarm():
    assert alarms(40, lambda rng, n: rng.uniform(0, 40, n)) == 0


def test_few_patients_cannot_show_that_a_batch_is_alike_but_can_show_that_it_is_not():
    few = np.linspace(5, 95, ENOUGH - 1)
    assert judge(few, 99.0)["verdict"] == "unknown"
    assert judge(np.linspace(2, 98, ENOUGH), 99.0)["verdict"] == "like"
    assert judge([99.9, 99.8, 99.95], 99.0)["verdict"] == "unlike"


def test_many_slides_of_one_patient_count_as_one():
    """Ten slides of one unusual patient are no unusual batch."""
    percentile = [*np.linspace(5, 90, 9), *[97.0] * 10]
    patients = [f"p{i}" for i in range(9)] + ["odd"] * 10
    values = by_patient(percentile, patients)
    assert len(values) == 10
    assert values.max() == pytest.approx(97)
    assert judge(values, 99.0)["verdict"] == "unknown"
    assert judge(percentile, 99.0)["verdict"] == "unlike"  # the mistake


def test_percentiles_at_the_ends_stay_finite():
    assert np.isfinite(by_patient([0.0, 100.0, 100.0], ["a", "b", "b"])).all()


def test_asking_of_many_groups_shares_the_chance_of_a_false_alarm():
    values = [60.0, 65.0, 70.0, 75.0]
    alone = judge(values, 99.0)
    assert alone["p_whole"] == judge(values, 99.0, tests=20)["p_whole"]
    high = [97.0, 96.0, 75.0]
    assert judge(high, 99.9)["verdict"] == "unlike"
    assert judge(high, 99.9, tests=20)["verdict"] == "unknown"
