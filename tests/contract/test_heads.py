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


def test_gradient_reaches_every_parameter(head: Head) -> None:
    logits, _ = head(*collate(bags(6, 8)))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
    silent = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_eval_is_deterministic_and_training_is_not(head: Head) -> None:
    x, mask = collate(bags(12, 5))
    assert torch.equal(head(x, mask)[0], head(x, mask)[0])
    head.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(head(x, mask)[0], head(x, mask)[0])


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
