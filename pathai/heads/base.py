"""What every head promises, and the few steps that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pathai.heads.bag import CHUNK, Bag, no_tile
from pathai.likelihood import Truth
from pathai.outputs import KINDS


class Head(nn.Module):
    """Tiles of a slide to one answer.

    A head is built as ``Head(dim, width, hidden, dropout)`` and keeps these promises, which
    ``tests/contract/test_heads.py`` holds every registered head to: the order of tiles and the
    amount of padding change nothing, attention sums to one over the real tiles and is zero on
    padding, one tile is enough, no tile is an error, every parameter receives a gradient, and a
    bag read in chunks gets the same answer. A head with ``shares`` is additive: what its tiles
    contribute adds up to its answer.

    Parameters
    ----------
    dim : int
        Features per tile.
    width : int
        Number of outputs: classes, or what ``TargetSpec.width`` says, summed over the targets.
    hidden : int
        Width of hidden layers; a head without any ignores it.
    dropout : float
        Share of hidden units dropped in training.
    """

    kinds: ClassVar[tuple[str, ...]] = KINDS
    """Kinds of target that the head can answer."""

    def __init__(self, dim: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()

    def loss(self, x: Tensor, mask: Tensor, truth: Truth, place: Tensor | None = None) -> Tensor:
        """Loss float[B] of bags against the truth; a head may add to it."""
        outputs, _ = self(x, mask, place)
        return truth.loss(outputs)

    def answer(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Outputs float[C] and attention float[N] for one bag, read in chunks.

        The same as ``forward`` to 1e-5. A head that does not replace it needs the whole bag in
        float32.
        """
        x = torch.cat(list(bag))[None]
        place = None if bag.place is None else bag.place[None].to(x.device)
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        outputs, attention = self(x, mask, place)
        return outputs[0], attention[0]

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Answer for each bag.

        Parameters
        ----------
        x : float[B, N, D]
            Features of the tiles, padded to the longest bag; padding may hold anything finite.
        mask : bool[B, N]
            True for a real tile, False for padding.
        place : int[B, N, 2], optional
            Row and column of each tile on the slide; most heads do not look at it.

        Returns
        -------
        outputs : float[B, C]
        attention : float[B, N]
            Share of each tile in the answer; rows sum to 1, padding is 0.

        Raises
        ------
        PathaiError
            E180 when a bag has no tile: a slide without tissue is skipped, not scored.
        """
        raise NotImplementedError


def require_tiles(mask: Tensor) -> None:
    """Refuse a bag without a single real tile (E180)."""
    if mask.shape[1] == 0 or not bool(mask.any(dim=1).all()):
        raise no_tile()


def attend(score: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the real tiles of each bag: float[B, N], bool[B, N] -> float[B, N]."""
    return torch.softmax(score.masked_fill(~mask, float("-inf")), dim=1)


def collate(bags: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad bags float[N_i, D] to one batch: x float[B, N, D] and mask bool[B, N]."""
    sizes = torch.tensor([len(bag) for bag in bags])
    x = pad_sequence(list(bags), batch_first=True)
    return x, torch.arange(x.shape[1])[None, :] < sizes[:, None]


def collate_places(places: Sequence[Tensor]) -> Tensor | None:
    """Pad places int64[N_i, 2] like the bags that they belong to; None for none."""
    return pad_sequence(list(places), batch_first=True) if places else None


class Ensemble(nn.Module):
    """Heads from several seeds behind the standardization they were trained with.

    The answer and the attention are the means over the heads. Standardized features are clipped
    at ``limit`` standard deviations: a feature that hardly varied in training must not decide
    alone when it varies on a new slide.

    Parameters
    ----------
    heads : sequence of Head
        At least one; they see standardized features.
    mean, scale : float32[D]
        Of the training tiles; a feature without variation has scale 1.
    limit : float
        Largest absolute standardized value.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, heads: Sequence[Head], mean: Tensor, scale: Tensor, limit: float = 10.0
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.limit = limit
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())

    def standardize(self, x: Tensor) -> Tensor:
        """Float[..., N, D] in the encoder's units -> float[..., N, D] in standard deviations.

        A covariate that is not known is NaN in every tile of the slide; it becomes the mean, 0.
        """
        z = (x.float() - self.mean).div_(self.scale).clamp_(-self.limit, self.limit)
        missing = z.shape[-2] > 0 and bool(torch.isnan(z.select(-2, 0)).any())
        return z.nan_to_num_(0.0) if missing else z

    def summary(self, x: Any) -> Tensor:
        """Mean standardized tile, float[N, D] -> float[D]: tells whether a slide is foreign."""
        return Bag(x, device=self.mean.device, prepare=self.standardize).mean()

    def forward(
        self, x: Tensor, mask: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Standardize, ask every head, average; see ``Head.forward``."""
        z = self.standardize(x)
        return _average([head(z, mask, place) for head in self.heads])

    @torch.inference_mode()
    def answer(
        self, x: Any, place: Tensor | None = None, chunk: int = CHUNK
    ) -> tuple[Tensor, Tensor]:
        """Answer for one bag in memory that does not grow with it, but for ``transmil``.

        Parameters
        ----------
        x : float[N, D]
            Float16 or float32: a tensor, or an array that is read by slices of rows.
        place : int[N, 2], optional
            Row and column of each tile.
        chunk : int
            Tiles standardized and looked at together.

        Returns
        -------
        outputs : float32[C]
        attention : float32[N]

        Raises
        ------
        PathaiError
            E180 when there is no tile.
        """
        bag = Bag(x, place, chunk, self.mean.device, self.standardize)
        return _average([cast(Head, head).answer(bag) for head in self.heads])


def _average(answers: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    outputs = torch.stack([outputs for outputs, _ in answers]).mean(dim=0)
    return outputs, torch.stack([attention for _, attention in answers]).mean(dim=0)
