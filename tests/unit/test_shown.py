"""Slides are shown to heads with the same values, however they are kept and grouped."""

import numpy as np
import pytest
import torch
from mil_cases import cohort_of

from pathai.config import TrainConfig
from pathai.heads.base import Ensemble
from pathai.heads.dropout import Dropout
from pathai.train import shown as room
from pathai.train.bags import Bags
from pathai.train.cohort import Cohort
from pathai.train.fitting import Settings, fit
from pathai.train.shown import Held, Read, shown, together


def slides(n: int = 9) -> tuple[Bags, Ensemble]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, n)
    bags = [torch.tensor(rng.normal(size=(s, 4)), dtype=torch.float32) for s in sizes]
    places = [torch.tensor(rng.integers(0, 9, (s, 2))) for s in sizes]
    return Bags.of(bags, places), Ensemble([], torch.ones(4), torch.full((4,), 2.0))


@pytest.mark.parametrize("max_tiles", [0, 7])
@pytest.mark.parametrize("rows", [[2, 0, 5], [3], [8, 7]])
def test_slides_in_memory_and_slides_read_are_the_same(rows: list[int], max_tiles: int) -> None:
    bags, scales = slides()
    found = []
    for kind in (Held, Read):
        torch.manual_seed(1)
        found.append(kind(bags, scales).batch(torch.tensor(rows), max_tiles))
    (x, mask, place), (y, other, at) = found
    assert torch.equal(mask, other)
    assert torch.equal(x[mask], y[mask])
    assert torch.equal(place[mask], at[mask])
    assert torch.isfinite(x).all()
    if not max_tiles:
        for one, real, row in zip(x, mask, rows, strict=True):
            assert torch.equal(one[real], scales.standardize(bags[row]))


def test_slides_larger_than_the_limit_stay_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    bags, scales = slides()
    assert isinstance(shown(bags, scales), Held)
    monkeypatch.setattr(room, "HELD", int(bags.sizes.sum()) * 16 - 1)
    assert isinstance(shown(bags, scales), Read)


def test_a_fit_is_the_same_in_memory_and_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    given, section = cohort(12), TrainConfig(epochs=3, hidden=8, members=1)
    curves = []
    for limit in (room.HELD, 0):
        monkeypatch.setattr(room, "HELD", limit)
        curves.append(fit(given, Settings.of("abmil", section), section, watched=given).losses)
    np.testing.assert_array_equal(*curves)


def cohort(n: int) -> Cohort:
    return cohort_of(list(map(slides(n)[0].__getitem__, range(n))), [0.0, 1.0] * (n // 2))


def test_groups_hold_every_slide_once_with_little_padding() -> None:
    rng = np.random.default_rng(3)
    for sizes in (rng.integers(1, 9, 200), rng.integers(1, 20_000, 40), np.full(50, 500)):
        groups = together(sizes.tolist())
        assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
        for group in groups:
            own = sizes[group]
            padded = own.max() * len(own)
            assert len(own) == 1 or padded <= room.TOGETHER
            assert padded - own.sum() <= room.PADDING
    assert len(together([5] * 100)) == 1


def test_groups_do_not_change_the_loss_that_is_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = TrainConfig(epochs=3, hidden=8, members=1, dropout=0)
    given, curves = cohort(40), []
    for limit in (room.TOGETHER, 1):
        monkeypatch.setattr(room, "TOGETHER", limit)
        curves.append(fit(given, Settings.of("abmil", section), section, watched=given).losses)
    np.testing.assert_allclose(*curves, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float) -> None:
    layer, x = Dropout(share), torch.ones(333, 301, requires_grad=True)
    torch.manual_seed(0)
    y = layer(x)
    y.sum().backward()
    assert torch.equal(x.grad, y)
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=0.005)
    assert y.mean().item() == pytest.approx(1, abs=0.03)
    for dim in (0, 1):  # no row, no column and no byte of a draw is special
        assert (y == 0).float().mean(dim).std().item() < 0.04
    every = [(y == 0).flatten()[i::8].float().mean().item() for i in range(8)]
    np.testing.assert_allclose(every, share, atol=0.015)
    torch.manual_seed(0)
    assert torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)
