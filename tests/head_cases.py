"""Small heads, bags and truths for the tests of heads."""

import torch

from pathai.heads import HEADS
from pathai.heads.base import Head
from pathai.likelihood import Truth
from pathai.outputs import TargetSpec

DIM, CLASSES = 7, 3


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


def bags(*sizes: int) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(3)
    return [torch.randn(n, DIM, generator=source) for n in sizes]


def places(mask: torch.Tensor) -> torch.Tensor:
    """Tiles of a bag at different places of a slide five tiles wide."""
    number = torch.arange(mask.shape[1])
    at = torch.stack([number // 5 + 2, number % 5 + 11], dim=1)
    return at.expand(len(mask), -1, -1)
