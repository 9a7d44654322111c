"""A bag that is gone through in chunks, so that its size does not decide the memory needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathai.errors import PathaiError

CHUNK = 512
"""Tiles looked at together in an answer; changes memory and speed only."""


@dataclass(frozen=True, eq=False)
class Bag:
    """The tiles of one slide; each ``for`` loop over it reads them once more, chunk by chunk.

    Parameters
    ----------
    x : float[N, D]
        Tensor, or any array that can be sliced by rows: numpy, memory map, Zarr.
    place : int[N, 2], optional
        Row and column of each tile.
    chunk : int
        Tiles per chunk.
    device : str or torch.device
        Where chunks are moved to.
    prepare : callable
        Applied to each chunk float32[n, D], which it must not change in place.

    Raises
    ------
    PathaiError
        E180 when there is no tile.
    """

    x: Any
    place: Tensor | None = None
    chunk: int = CHUNK
    device: str | torch.device = "cpu"
    prepare: Callable[[Tensor], Tensor] = Tensor.float

    def __post_init__(self) -> None:
        if self.n_tiles == 0:
            raise no_tile()

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return int(self.x.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, self.n_tiles, self.chunk):
            part = self.x[start : start + self.chunk]
            if not isinstance(part, Tensor):
                part = torch.from_numpy(np.array(part, np.float32))
            yield self.prepare(part.to(self.device, torch.float32))

    def each(self, of: Callable[[Tensor], Tensor], width: int) -> Tensor:
        """What a function float[n, D] -> float[n, width] gives for all tiles, float32[N, width].

        The result is reserved first: small results kept between large chunks would cut the
        memory into pieces that no chunk fits in again.
        """
        out = torch.empty(self.n_tiles, width, device=self.device)
        start = 0
        for x in self:
            out[start : start + len(x)] = of(x)
            start += len(x)
        return out

    def mean(self, of: Callable[[Tensor], Tensor] = Tensor.float) -> Tensor:
        """Mean float32[S] over all tiles of a function float[n, D] -> float[n, S]."""
        total: Tensor | float = 0.0
        for x in self:
            total = total + of(x).sum(dim=0).double()
        return torch.as_tensor(total / self.n_tiles).float()


def no_tile() -> PathaiError:
    """E180: a mean of nothing would be NaN."""
    return PathaiError("E180", "a bag has no tile", "leave slides without tissue out")


class SoftmaxMean:
    """Means of the tiles' values, weighted by the softmax of their scores, in one pass.

    Sums are kept relative to the largest score so far and rescaled when a larger one comes.

    References
    ----------
    .. [1] Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867.
    """

    def __init__(self, bag: Bag, softmaxes: int, width: int) -> None:
        self._scores = torch.empty(bag.n_tiles, softmaxes, device=bag.device)
        self._seen = 0
        self._top = self._scores.new_full((softmaxes,), float("-inf"))
        self._weight = self._scores.new_zeros(softmaxes, dtype=torch.float64)
        self._sum = self._scores.new_zeros(softmaxes, width, dtype=torch.float64)

    def add(self, score: Tensor, value: Tensor) -> None:
        """Take in a chunk: scores float[n, S] of S softmaxes, values float[n, width]."""
        self._scores[self._seen : self._seen + len(score)] = score
        self._seen += len(score)
        top = torch.maximum(self._top, score.amax(dim=0))
        shrink = torch.exp(self._top - top).double()
        weight = torch.exp(score - top)
        self._weight = self._weight * shrink + weight.sum(dim=0)
        self._sum = self._sum * shrink[:, None] + weight.T @ value
        self._top = top

    @property
    def mean(self) -> Tensor:
        """Float32[S, width]."""
        return (self._sum / self._weight[:, None]).float()

    @property
    def attention(self) -> Tensor:
        """Weight float32[N, S] of each tile; columns sum to 1."""
        return torch.softmax(self._scores, dim=0)
