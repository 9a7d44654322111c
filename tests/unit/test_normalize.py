"""Stain normalization: one tissue in two laboratories' looks comes together, glass stays glass."""

from dataclasses import replace

import numpy as np
import pytest

from pathai.normalize import (
    HE_LAB,
    HE_LOOK,
    MOST,
    TISSUE_OD,
    Macenko,
    Normalizer,
    Reinhard,
    appearance,
    fit_macenko,
    fit_reinhard,
    lab_look,
)
from pathai.stain import optical_density
from pathai.testing.synthetic import TEST_LOOKS, TRAIN_LOOKS, Look, synthetic_field

FITS = {"macenko": fit_macenko, "reinhard": fit_reinhard}
PAIRS = [(TRAIN_LOOKS["A"], TEST_LOOKS["A"]), (TRAIN_LOOKS["B"], TEST_LOOKS["B"])]


def slide(look: Look, seed: int = 11) -> np.ndarray:
    """Tissue above, glass with the scanner's noise below: ``uint8[640, 512, 3]``."""
    picture, _ = synthetic_field(seed, look)
    noise = np.random.default_rng(seed).normal(0, look.noise, (128, 512, 3))
    light = np.asarray(look.glass) * look.gain
    return np.concatenate([picture, np.clip(np.rint(light + noise), 0, 255).astype(np.uint8)])


def stained(picture: np.ndarray) -> np.ndarray:
    return optical_density(picture).mean(axis=-1) > TISSUE_OD + 0.05


def apart(one: np.ndarray, two: np.ndarray) -> float:
    """Mean difference of the same tissue pixels, gray levels."""
    mask = stained(one) & stained(two)
    return float(np.abs(one[mask].astype(float) - two[mask]).mean())


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1].name)
def test_two_looks_of_one_tissue_come_together(method: str, pair: tuple[Look, Look]) -> None:
    before = [slide(look) for look in pair]
    after = [FITS[method](picture).apply(picture) for picture in before]
    means = [[p[stained(p)].mean(axis=0) for p in pictures] for pictures in (before, after)]
    distance = [float(np.linalg.norm(one - two)) for one, two in means]
    assert distance[1] < 0.5 * distance[0]
    assert apart(*after) < 0.9 * apart(*before)


def angle(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    cosine = np.dot(one, two) / np.linalg.norm(one) / np.linalg.norm(two)
    return float(np.rad2deg(np.arccos(min(cosine, 1.0))))


@pytest.mark.parametrize("look", [TRAIN_LOOKS["B"], TEST_LOOKS["A"], TEST_LOOKS["B"]])
def test_macenko_brings_vectors_and_strength_to_the_target(look: Look) -> None:
    target = appearance(slide(TRAIN_LOOKS["A"]))
    picture = slide(look, seed=5)
    before, after = (appearance(p) for p in (picture, fit_macenko(picture, target).apply(picture)))
    for name in ("hematoxylin", "eosin"):
        old, new, wanted = (getattr(one, name) for one in (before, after, target))
        assert angle(new, wanted) < max(1, angle(old, wanted) / 3)
    assert after.strength == pytest.approx(target.strength, rel=0.1)
    assert after.white == pytest.approx(target.white, abs=4)


@pytest.mark.parametrize("look", [TRAIN_LOOKS["B"], TEST_LOOKS["A"], TEST_LOOKS["B"]])
def test_reinhard_brings_mean_and_spread_to_the_target(look: Look) -> None:
    target = lab_look(slide(TRAIN_LOOKS["A"]))
    picture = slide(look, seed=5)
    after = lab_look(fit_reinhard(picture, target).apply(picture))
    assert after.mean == pytest.approx(target.mean, abs=1.5)
    assert after.spread == pytest.approx(target.spread, rel=0.15)


@pytest.mark.parametrize("method", FITS)
def test_the_target_itself_is_nearly_unchanged(method: str) -> None:
    picture = slide(TRAIN_LOOKS["A"])
    own = {"macenko": appearance, "reinhard": lab_look}[method](picture)
    changed = np.abs(FITS[method](picture, own).apply(picture).astype(float) - picture)
    assert changed.mean() < 3
    assert np.percentile(changed, 99) < 25


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize("look", [TRAIN_LOOKS["A"], TEST_LOOKS["A"], TEST_LOOKS["B"]])
def test_glass_stays_neutral_and_as_bright_as_the_target(method: str, look: Look) -> None:
    picture = slide(look)
    glass = FITS[method](picture).apply(picture)[-100:].reshape(-1, 3)
    assert glass.mean(axis=0) == pytest.approx(HE_LOOK.white, abs=5)
    assert np.ptp(glass.mean(axis=0)) < 3
    absent = np.full((1, 8, 8, 3), 255, np.uint8)
    assert (FITS[method](picture).apply(absent) >= 238).all()


@pytest.mark.parametrize("method", FITS)
def test_a_tile_alone_is_as_in_a_batch_and_the_input_is_kept(method: str) -> None:
    picture = slide(TEST_LOOKS["B"])
    normalizer: Normalizer = FITS[method](picture)
    batch = np.stack([picture[y : y + 96, x : x + 96] for y, x in ((0, 0), (100, 311), (540, 7))])
    before = batch.copy()
    whole = normalizer.apply(batch)
    assert (whole == np.stack([normalizer.apply(tile[None])[0] for tile in batch])).all()
    assert (whole[:, 3:60, 5:77] == normalizer.apply(batch[:, 3:60, 5:77])).all()
    assert (batch == before).all()
    assert normalizer.apply(batch[:0]).shape == (0, 96, 96, 3)


@pytest.mark.parametrize("method", FITS)
def test_digest_follows_the_statistics_and_nothing_else(method: str) -> None:
    one, other = slide(TRAIN_LOOKS["A"]), slide(TEST_LOOKS["A"])
    fit = FITS[method]
    assert fit(one).digest == fit(one.copy()).digest
    assert fit(one).digest != fit(other).digest
    normalizer = fit(one)
    assert replace(normalizer, target=replace(normalizer.target, white=(1.0, 1.0, 1.0))).digest != (
        normalizer.digest
    )
    assert set(normalizer.parameters) >= {"white"}


def test_the_table_of_reinhard_is_the_formula() -> None:
    normalizer = fit_reinhard(slide(TEST_LOOKS["B"]))
    colors = np.random.default_rng(0).integers(0, 256, (40_000, 3), dtype=np.uint8)
    exact = normalizer.exact(colors.astype(np.float64))
    error = np.abs(normalizer.apply(colors[None])[0] - exact)
    assert error.mean() < 0.6
    assert np.percentile(error, 99.9) < 5
    tissue = slide(TEST_LOOKS["B"])[:512].reshape(-1, 3)[::7]
    error = np.abs(normalizer.apply(tissue[None])[0] - normalizer.exact(tissue.astype(np.float64)))
    assert error.max() < 1.5


def test_the_tables_of_macenko_are_the_formula() -> None:
    normalizer = fit_macenko(slide(TEST_LOOKS["B"]))
    colors = np.random.default_rng(0).integers(1, 256, (40_000, 3), dtype=np.uint8)
    od = np.maximum(np.log10(np.asarray(normalizer.source.white) / colors), 0)
    amount = od @ np.linalg.inv(normalizer.source.stain.matrix)
    ratio = np.asarray(HE_LOOK.strength) / np.asarray(normalizer.source.strength)
    assert (ratio < MOST).all()
    target = HE_LOOK.stain.matrix[:2]
    exact = np.clip(240 * 10 ** -((amount[:, :2] * ratio) @ target), 0, 240)
    assert np.abs(normalizer.apply(colors[None])[0] - exact).max() < 1


@pytest.mark.parametrize("method", FITS)
def test_slides_without_stain_are_not_inflated(method: str) -> None:
    pale = np.full((64, 64, 3), 236, np.uint8)
    changed = FITS[method](pale).apply(pale)
    assert np.abs(changed.astype(int) - 236).max() < 12
    nothing = np.full((64, 64, 3), 255, np.uint8)
    assert (FITS[method](nothing).apply(nothing) >= 238).all()


def test_looks_of_the_two_methods_agree() -> None:
    picture = slide(TRAIN_LOOKS["A"])
    one, two = Macenko(appearance(picture)), Reinhard(lab_look(picture))
    means = [n.apply(picture)[:512].reshape(-1, 3).mean(axis=0) for n in (one, two)]
    assert means[0] == pytest.approx(means[1], abs=20)
    assert HE_LAB.white == HE_LOOK.white
