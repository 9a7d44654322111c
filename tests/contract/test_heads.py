"""Properties that every registered head has."""

import numpy as np
import pytest
import torch
from head_cases import DIM, bags, made, places, targets, truth_of

from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.bag import Bag
from pathai.heads.base import Ensemble, Head, collate

ADDITIVE = [name for name in HEADS.names() if hasattr(HEADS.load(name), "shares")]


@pytest.fixture(params=HEADS.names())
def head(request: pytest.FixtureRequest) -> Head:
    return made(request.param)


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


class Counted:
    """An array that remembers how many rows it was asked for at once."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.shape, self.most = x, x.shape, 0

    def __getitem__(self, rows: slice) -> np.ndarray:
        part = self.x[rows]
        self.most = max(self.most, len(part))
        return part


def test_no_more_than_a_chunk_is_read_at_once(head: Head) -> None:
    (bag,) = bags(60)
    given = Counted(bag.numpy())
    model = Ensemble([head], torch.zeros(DIM), torch.ones(DIM)).eval()
    outputs, _ = model.answer(given, chunk=8)
    assert given.most == 8
    torch.testing.assert_close(outputs, model(*collate([bag]))[0][0], rtol=1e-5, atol=1e-5)


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
