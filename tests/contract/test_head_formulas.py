"""What each head computes, against its formula or against known truth."""

import numpy as np
import pytest
import torch
from head_cases import CLASSES, DIM, bags, made, places, truth_of

from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.base import collate
from pathai.likelihood import Truth
from pathai.outputs import TargetSpec


@pytest.mark.parametrize("name", ["abmil", "clam-sb"])
def test_training_in_parts_is_training_on_the_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bag longer than the cache has the same loss and the same gradients."""
    x, mask = collate(bags(23, 9))
    found = []
    for cached in (1024, 5):
        monkeypatch.setattr("pathai.heads.abmil.CACHED", cached)
        head = made(name)
        loss = head.loss(x, mask, truth_of(head, [0, 2], [23, 9]))
        loss.sum().backward()
        found.append([loss.detach(), *[p.grad for p in head.parameters() if p.grad is not None]])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-6)


def test_a_share_depends_on_other_tiles_through_attention_alone() -> None:
    """Shown to two bags, a tile with the same attention adds the same."""
    head = made("additive", 8)
    torch.nn.init.zeros_(head.weight.weight)  # every tile of a bag is attended alike
    a, b = bags(6, 6)
    b[0] = a[0]
    shares = head.shares(*collate([a, b]))
    torch.testing.assert_close(shares[0, 0], shares[1, 0])


def test_gated_attention_is_the_formula() -> None:
    head = made("abmil", 8)
    (bag,) = bags(9)
    h = torch.relu(bag @ head.embed[0].weight.T + head.embed[0].bias)
    (v, u), (b, c) = head.gated.weight.chunk(2), head.gated.bias.chunk(2)
    content, gate = torch.tanh(h @ v.T + b), 1 / (1 + torch.exp(-(h @ u.T + c)))
    score = ((content * gate) @ head.weight.weight.T)[:, 0]
    a = score.exp() / score.exp().sum()
    wanted = (a[:, None] * h).sum(0) @ head.classify.weight.T + head.classify.bias
    logits, attention = head(*collate([bag]))
    torch.testing.assert_close(logits[0], wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(attention[0], a, rtol=1e-5, atol=1e-6)


def test_dual_stream_is_the_formula() -> None:
    head = made("dsmil")
    (bag,) = bags(9)
    h = torch.relu(bag @ head.embed[0].weight.T + head.embed[0].bias)
    score, q = head.score(h), torch.tanh(h @ head.query[0].weight.T + head.query[0].bias)
    v = torch.relu(h @ head.value[1].weight.T + head.value[1].bias)
    wanted, attention = [], torch.zeros(9)
    for c in range(CLASSES):
        m = int(score[:, c].argmax())
        a = torch.softmax(torch.stack([q[k] @ q[m] for k in range(9)]) / 4, 0)
        wanted.append((score[m, c] + (a @ v) @ head.classify[c] + head.bias[c]) / 2)
        attention += a / CLASSES
    logits, found = head(*collate([bag]))
    torch.testing.assert_close(logits[0], torch.stack(wanted), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0], attention, rtol=1e-5, atol=1e-6)


def test_max_is_decided_by_one_tile_of_each_class() -> None:
    head = made("max")
    (bag,) = bags(9)
    each = head(*collate([*bag[:, None]]))[0]
    logits, attention = head(*collate([bag]))
    torch.testing.assert_close(logits[0], each.max(dim=0).values)
    wanted = torch.bincount(each.argmax(dim=0), minlength=9) / CLASSES
    torch.testing.assert_close(attention[0], wanted)


def test_clam_learns_from_the_ends_of_its_attention() -> None:
    """Its examples are the most and the least attended tiles, as many of both."""
    head = made("clam-sb")
    (bag,) = bags(20)
    x, mask = collate([bag])
    logits, attention = head(x, mask)
    order = attention[0].argsort(descending=True)
    h = head.embed(bag)
    ends = head.examples[1](torch.cat([h[order[:8]], h[order[-8:]]]))
    wanted = torch.tensor([1] * 8 + [0] * 8)
    extra = torch.nn.functional.cross_entropy(ends, wanted)
    bag_loss = torch.nn.functional.cross_entropy(logits, torch.tensor([1]))
    found = head.loss(x, mask, truth_of(head, [1], [20]))[0]
    torch.testing.assert_close(found, 0.7 * bag_loss + 0.3 * extra)


def test_transmil_sees_which_tiles_touch() -> None:
    """The same tiles in another arrangement are another tissue."""
    head = made("transmil")
    x, mask = collate(bags(20))
    close = places(mask)
    apart = close * 9
    assert not torch.allclose(head(x, mask, close)[0], head(x, mask, apart)[0], atol=1e-5)


def test_linear_probe_sees_the_mean_tile_alone_and_mean_does_not() -> None:
    a = torch.randn(30, DIM, generator=torch.Generator().manual_seed(4))
    b = 2 * a.mean(dim=0) - a  # other tiles, same mean
    for name, same in (("linear", True), ("mean", False)):
        one, other = (made(name)(*collate([bag]))[0] for bag in (a, b))
        assert torch.allclose(one, other, atol=1e-5) == same, name


def test_clam_without_classes_is_gated_attention() -> None:
    head = made("clam-sb")
    x, mask = collate(bags(20, 12))
    targets = (TargetSpec("ordinal", 4),)
    values = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]], dtype=torch.float64)
    truth = Truth(targets, values, torch.tensor([20, 12]))
    assert truth.classes is None
    torch.testing.assert_close(head.loss(x, mask, truth), truth.loss(head(x, mask)[0]))


def test_a_head_that_counts_refuses_other_widths() -> None:
    with pytest.raises(PathaiError, match=r"E192.*2 outputs per count, not 3"):
        HEADS.load("count")(DIM, 3)


def test_a_count_of_nothing_has_shares_all_the_same() -> None:
    head = made("count")
    with torch.no_grad():
        head.rate[-1].bias.fill_(-1e4)
    outputs, attention = head(*collate(bags(5)))
    assert torch.isfinite(outputs).all()
    torch.testing.assert_close(attention, torch.full((1, 5), 0.2))


@pytest.mark.parametrize("level", [0.02, 40.0])
def test_counts_of_tiles_are_learned_from_counts_of_slides(level: float) -> None:
    """Cells per tile are in the features; only the slides' sums are told."""
    source = torch.Generator().manual_seed(6)
    tiles = torch.poisson(torch.rand(60, 50, generator=source) * 4 * level, generator=source)
    tiles = tiles * (torch.rand(60, 1, generator=source) + 0.2).round()  # some without any
    x = torch.randn(60, 50, DIM, generator=source) * 0.3
    x[..., 2] += tiles / level
    mask = torch.ones(60, 50, dtype=torch.bool)
    values = torch.stack([tiles.sum(1), torch.zeros(60)], dim=1).double()
    unit = TargetSpec("count", location=float(tiles[:40].mean().log()))
    truth = Truth((unit,), values[:, None], torch.full((60,), 50))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head = HEADS.load("count")(DIM, 2, 16, 0.0)
        optimizer = torch.optim.AdamW(head.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            head.loss(x[:40], mask[:40], truth.take(torch.arange(40))).mean().backward()
            optimizer.step()
    with torch.no_grad():
        shares = head.shares(x[40:], mask[40:])[..., 0] * tiles[:40].mean()
    true = tiles[40:]
    error = (shares.sum(1) - true.sum(1)).abs().sum() / true.sum()
    assert error < 0.1
    assert np.corrcoef(shares.flatten(), true.flatten())[0, 1] > 0.9
