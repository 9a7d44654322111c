"""Properties that every registered head has."""

import numpy as np
import pytest
import torch

from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.bag import Bag
from pathai.heads.base import Ensemble, Head, collate
from pathai.likelihood import Truth
from pathai.outputs import TargetSpec

DIM, CLASSES = 7, 3
ADDITIVE = [name for name in HEADS.names() if hasattr(HEADS.load(name), "shares")]


def targets(kind: type[Head]) -> tuple[TargetSpec, ...]:
    """What to ask of a head: three classes, or two counts where it can only count."""
    if "multiclass" in kind.kinds:
        return (TargetSpec("multiclass", CLASSES),)
    return (TargetSpec("count"), TargetSpec("count"))


def made(name: str, seed: int = 5) -> Head:
    kind = HEADS.load(name)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built: Head = kind(DIM, sum(t.width for t in targets(kind)), 16, 0.3)
    return built.eval()


def truth_of(head: Head, main: list[int], tiles: list[int]) -> Truth:
    """Truth with these values in the main target, and others in a second."""
    values = torch.zeros(len(main), len(targets(type(head))), 2, dtype=torch.float64)
    values[:, 0, 0] = torch.tensor(main)
    values[:, 1:, 0] = 4.0
    return Truth(targets(type(head)), values, torch.tensor(tiles))


@pytest.fixture(params=HEADS.names())
def head(request: pytest.FixtureRequest) -> Head:
    return made(request.param)


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
    assert logits.shape == (1, sum(t.width for t in targets(type(head))))
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
    head.loss(x, mask, truth_of(head, [0, 1, 2], [6, 8, 9]), places(mask)).sum().backward()
    silent = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_eval_is_deterministic_and_training_is_not(head: Head) -> None:
    x, mask = collate(bags(12, 5))
    assert torch.equal(head(x, mask)[0], head(x, mask)[0])
    head.train()
    drops = any(isinstance(part, torch.nn.Dropout) for part in head.modules())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert torch.equal(head(x, mask)[0], head(x, mask)[0]) != drops


def test_loss_is_of_each_bag_and_falls_when_the_answer_is_right(head: Head) -> None:
    x, mask = collate(bags(12, 5, 8))
    outputs, _ = head(x, mask)
    if "multiclass" in head.kinds:
        right, wrong = outputs.argmax(dim=1).tolist(), outputs.argmin(dim=1).tolist()
    else:
        right = (outputs[:, 0].exp() * mask.sum(1)).round().int().tolist()
        wrong = [9 * count + 20 for count in right]
    losses = [head.loss(x, mask, truth_of(head, main, [12, 5, 8])) for main in (right, wrong)]
    assert losses[0].shape == (3,)
    assert (losses[0] < losses[1]).all()


def test_a_bag_without_truth_teaches_nothing(head: Head) -> None:
    x, mask = collate(bags(12, 5))
    truth = truth_of(head, [1, 1], [12, 5])
    truth.values[1, :, 0] = float("nan")
    loss = head.loss(x, mask, truth)
    assert loss[1] == 0
    head.zero_grad()
    loss.sum().backward()
    both = {n: p.grad.clone() for n, p in head.named_parameters() if p.grad is not None}
    head.zero_grad()
    head.loss(x[:1], mask[:1], truth.take(torch.tensor([0]))).sum().backward()
    for name, parameter in head.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(both[name], parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_a_bag_in_chunks_gets_the_same_answer(head: Head, chunk: int) -> None:
    (bag,) = bags(40)
    at = places(torch.ones(1, 40))
    outputs, attention = head(*collate([bag]), at)
    parts, share = head.answer(Bag(bag, at[0], chunk))
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(parts, outputs[0], **close)
    torch.testing.assert_close(share, attention[0], **close)


@pytest.mark.parametrize("kind", ["tensor", "float16", "memory map"])
def test_an_ensemble_reads_large_bags_in_chunks(head: Head, kind: str, tmp_path) -> None:
    model = Ensemble([head], torch.arange(DIM).float(), torch.arange(DIM).float() + 0.5).eval()
    (bag,) = bags(40)
    whole = bag.half().float() if kind == "float16" else bag
    given = {"tensor": bag, "float16": bag.half(), "memory map": None}[kind]
    if given is None:
        np.save(tmp_path / "x.npy", bag.numpy())
        given = np.load(tmp_path / "x.npy", mmap_mode="r")
    outputs, attention = model(*collate([whole]))
    parts, share = model.answer(given, chunk=9)
    torch.testing.assert_close(parts, outputs[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(share, attention[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.summary(given), model.standardize(whole).mean(0))


def test_no_tile_is_an_error_in_chunks_too(head: Head) -> None:
    with pytest.raises(PathaiError, match=r"E180.*no tile"):
        Ensemble([head], torch.zeros(DIM), torch.ones(DIM)).answer(torch.zeros(0, DIM))


def test_ensemble_is_the_mean_of_its_heads_on_standardized_tiles(head: Head) -> None:
    mean, scale = torch.arange(DIM).float(), torch.arange(DIM).float() + 0.5
    with torch.random.fork_rng():
        torch.manual_seed(9)
        other = type(head)(DIM, sum(t.width for t in targets(type(head))), 16, 0.3).eval()
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


@pytest.mark.parametrize("name", ADDITIVE)
def test_shares_of_tiles_add_up_to_the_answer(name: str) -> None:
    """Logits for attention, counts for a head that counts."""
    head = made(name)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(2))
    x, mask = collate(bags(40, 3))
    shares, (outputs, attention) = head.shares(x, mask), head(x, mask)
    answer = outputs if name != "count" else outputs[:, ::2].exp() * mask.sum(1, keepdim=True)
    torch.testing.assert_close(shares.sum(dim=1), answer, rtol=1e-5, atol=1e-5)
    assert (shares[~mask] == 0).all()
    if name == "count":
        part = (shares / shares.sum(1, keepdim=True)).mean(2)
        torch.testing.assert_close(attention, part)


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
    truth = Truth((TargetSpec("count"),), values[:, None], torch.full((60,), 50))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head = HEADS.load("count")(DIM, 2, 16, 0.0)
        head.start(truth)
        optimizer = torch.optim.AdamW(head.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            head.loss(x[:40], mask[:40], truth.take(torch.arange(40))).mean().backward()
            optimizer.step()
    with torch.no_grad():
        shares = head.shares(x[40:], mask[40:])[..., 0]
    true = tiles[40:]
    error = (shares.sum(1) - true.sum(1)).abs().sum() / true.sum()
    assert error < 0.1
    assert np.corrcoef(shares.flatten(), true.flatten())[0, 1] > 0.9
