"""A bag that is gone through in chunks, so that its size does not decide the memory needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathai.errors import PathaiError

CHUNK = 1024
"""Tiles looked at together; changes memory and speed only."""


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
            yield self.prepare(part.float())


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

    def __init__(self) -> None:
        self._scores: list[Tensor] = []
        self._top: Tensor | None = None

    def add(self, score: Tensor, value: Tensor) -> None:
        """Take in a chunk: scores float[n, S] of S softmaxes, values float[n, H]."""
        self._scores.append(score)
        top = score.amax(dim=0)
        if self._top is None:
            self._top = top
            self._weight = top.new_zeros(len(top), dtype=torch.float64)
            self._sum = value.new_zeros(len(top), value.shape[1], dtype=torch.float64)
        top = torch.maximum(top, self._top)
        shrink = torch.exp(self._top - top).double()
        weight = torch.exp(score - top)
        self._weight = self._weight * shrink + weight.sum(dim=0)
        self._sum = self._sum * shrink[:, None] + weight.T @ value
        self._top = top

    @property
    def mean(self) -> Tensor:
        """Float32[S, H]."""
        return (self._sum / self._weight[:, None]).float()

    @property
    def attention(self) -> Tensor:
        """Weight float32[N, S] of each tile; columns sum to 1."""
        return torch.softmax(torch.cat(self._scores), dim=0)
