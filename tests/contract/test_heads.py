"""Properties that every registered head has."""

import pytest
import torch

from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.base import Ensemble, Head, collate

DIM, CLASSES = 7, 3


@pytest.fixture(params=HEADS.names())
def head(request: pytest.FixtureRequest) -> Head:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        built: Head = HEADS.load(request.param)(DIM, CLASSES, 16, 0.3)
    return built.eval()


def bags(*sizes: int) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(3)
    return [torch.randn(n, DIM, generator=source) for n in sizes]


def test_order_of_tiles_changes_nothing(head: Head) -> None:
    (bag,) = bags(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    logits, attention = head(*collate([bag]))
    moved, moved_attention = head(*collate([bag[order]]))
    torch.testing.assert_close(logits, moved)
    torch.testing.assert_close(attention[:, order], moved_attention)


def test_padding_changes_nothing(head: Head) -> None:
    many = bags(4, 17, 9)
    x, mask = collate(many)
    logits, attention = head(x.masked_fill(~mask[..., None], 1e3), mask)
    for i, bag in enumerate(many):
        alone, alone_attention = head(*collate([bag]))
        torch.testing.assert_close(logits[i : i + 1], alone)
        torch.testing.assert_close(attention[i, : len(bag)], alone_attention[0])
        assert (attention[i, len(bag) :] == 0).all()


def test_the_tiles_matter(head: Head) -> None:
    a, b = bags(9, 9)
    assert not torch.allclose(head(*collate([a]))[0], head(*collate([b]))[0])


def test_one_tile_gets_all_attention(head: Head) -> None:
    logits, attention = head(*collate(bags(1)))
    assert logits.shape == (1, CLASSES)
    assert torch.isfinite(logits).all()
    assert attention.tolist() == [[1.0]]


@pytest.mark.parametrize("sizes", [(0,), (5, 0)])
def test_no_tile_is_an_error(head: Head, sizes: tuple[int, ...]) -> None:
    with pytest.raises(PathaiError, match=r"E180.*no tile"):
        head(*collate(bags(*sizes)))


def test_attention_sums_to_one(head: Head) -> None:
    _, attention = head(*collate(bags(3, 1, 50)))
    assert (attention >= 0).all()
    torch.testing.assert_close(attention.sum(1), torch.ones(3))


def places(mask: torch.Tensor) -> torch.Tensor:
    """Tiles of a bag at different places of a slide five tiles wide."""
    number = torch.arange(mask.shape[1])
    at = torch.stack([number // 5 + 2, number % 5 + 11], dim=1)
    return at.expand(len(mask), -1, -1)


def test_order_of_tiles_changes_nothing_where_places_are_known(head: Head) -> None:
    x, mask = collate(bags(20))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    logits, attention = head(x, mask, places(mask))
    moved, moved_attention = head(x[:, order], mask, places(mask)[:, order])
    torch.testing.assert_close(logits, moved)
    torch.testing.assert_close(attention[:, order], moved_attention)


def test_where_the_tissue_lies_on_the_glass_changes_nothing(head: Head) -> None:
    x, mask = collate(bags(20, 7))
    here, there = places(mask), places(mask) + torch.tensor([31, 7])
    torch.testing.assert_close(head(x, mask, here)[0], head(x, mask, there)[0])


def test_padding_changes_nothing_where_places_are_known(head: Head) -> None:
    many = bags(4, 17, 9)
    x, mask = collate(many)
    logits, _ = head(x, mask, places(mask))
    for i, bag in enumerate(many):
        alone_x, alone_mask = collate([bag])
        torch.testing.assert_close(
            logits[i : i + 1], head(alone_x, alone_mask, places(alone_mask))[0]
        )


def test_gradient_reaches_every_parameter(head: Head) -> None:
    x, mask = collate(bags(6, 8, 9))
    head.loss(x, mask, torch.tensor([0, 1, 2]), places(mask)).sum().backward()
    silent = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_eval_is_deterministic_and_training_is_not(head: Head) -> None:
    x, mask = collate(bags(12, 5))
    assert torch.equal(head(x, mask)[0], head(x, mask)[0])
    head.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(head(x, mask)[0], head(x, mask)[0])


def test_loss_is_of_each_bag_and_falls_when_the_answer_is_right(head: Head) -> None:
    x, mask = collate(bags(12, 5, 8))
    logits, _ = head(x, mask)
    right, wrong = logits.argmax(dim=1), logits.argmin(dim=1)
    assert head.loss(x, mask, right).shape == (3,)
    assert (head.loss(x, mask, right) < head.loss(x, mask, wrong)).all()


def test_ensemble_is_the_mean_of_its_heads_on_standardized_tiles(head: Head) -> None:
    mean, scale = torch.arange(DIM).float(), torch.arange(DIM).float() + 0.5
    with torch.random.fork_rng():
        torch.manual_seed(9)
        other = type(head)(DIM, CLASSES, 16, 0.3).eval()
    model = Ensemble([head, other], mean, scale).eval()
    many = bags(4, 6)
    logits, attention = model(*collate([bag * scale + mean for bag in many]))
    alone = [h(*collate(many)) for h in (head, other)]
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(logits, (alone[0][0] + alone[1][0]) / 2, **close)
    torch.testing.assert_close(attention, (alone[0][1] + alone[1][1]) / 2, **close)
    torch.testing.assert_close(attention.sum(1), torch.ones(2))


def test_features_far_outside_are_clipped(head: Head) -> None:
    model = Ensemble([head], torch.zeros(DIM), torch.ones(DIM)).eval()
    one = torch.ones(1, 2) > 0
    logits, _ = model(torch.full((1, 2, DIM), 1e9), one)
    torch.testing.assert_close(logits, head(torch.full((1, 2, DIM), 10.0), one)[0])


def test_listing_heads_loads_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, pathai.heads as h; h.HEADS.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def made(name: str) -> Head:
    with torch.random.fork_rng():
        torch.manual_seed(8)
        built: Head = HEADS.load(name)(DIM, CLASSES, 16, 0.3)
    return built.eval()


def test_shares_of_tiles_add_up_to_the_answer() -> None:
    head = made("additive")
    torch.nn.init.normal_(head.bias, generator=torch.Generator().manual_seed(2))
    x, mask = collate(bags(40, 3))
    shares, attention = head.shares(x, mask)
    logits, same = head(x, mask)
    assert torch.equal(attention, same)
    torch.testing.assert_close(shares.sum(dim=1), logits, rtol=1e-5, atol=1e-5)
    assert (shares[~mask] == 0).all()


def test_a_share_depends_on_other_tiles_through_attention_alone() -> None:
    """Shown to two bags, a tile with the same attention adds the same."""
    head = made("additive")
    torch.nn.init.zeros_(head.weight.weight)  # every tile of a bag is attended alike
    a, b = bags(6, 6)
    b[0] = a[0]
    shares, _ = head.shares(*collate([a, b]))
    torch.testing.assert_close(shares[0, 0], shares[1, 0])


def test_gated_attention_is_the_formula() -> None:
    head = made("abmil")
    (bag,) = bags(9)
    h = torch.relu(bag @ head.embed[0].weight.T + head.embed[0].bias)
    content = torch.tanh(h @ head.content.weight.T + head.content.bias)
    gate = 1 / (1 + torch.exp(-(h @ head.gate.weight.T + head.gate.bias)))
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
    torch.testing.assert_close(
        head.loss(x, mask, torch.tensor([1]))[0], 0.7 * bag_loss + 0.3 * extra
    )


def test_transmil_sees_which_tiles_touch() -> None:
    """The same tiles in another arrangement are another tissue."""
    head = made("transmil")
    x, mask = collate(bags(20))
    close = places(mask)
    apart = close * 9
    assert not torch.allclose(head(x, mask, close)[0], head(x, mask, apart)[0], atol=1e-5)
