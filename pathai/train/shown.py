"""Slides as a head wants to see them: standardized, and padded where several are seen at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pathai.heads.base import Ensemble, collate, collate_places
from pathai.train.bags import Bags

HELD = 2**29
"""Bytes of standardized tiles that a fit keeps in memory; larger cohorts are read at each step."""
TOGETHER, PADDING = 8192, 512
"""Tiles that a head sees at once, and padding among them, at most; one slide may have more."""

Batch = tuple[Tensor, Tensor, Tensor | None]
"""Tiles float32[B, N, D], which of them are real bool[B, N], their places int64[B, N, 2]."""


class Shown(Protocol):
    """Standardized slides of a cohort."""

    def batch(self, rows: Tensor, max_tiles: int = 0) -> Batch:
        """Slides int64[B] of the cohort; of each ``max_tiles`` by chance, all for 0."""


def shown(bags: Bags, scales: Ensemble) -> Shown:
    """All slides in memory where they fit, else read one after another.

    Both show the same values.
    """
    fits = int(bags.sizes.sum()) * bags.dim * 4 <= HELD
    return Held(bags, scales) if fits else Read(bags, scales)


class Held:
    """Slides that lie in memory, standardized once."""

    def __init__(self, bags: Bags, scales: Ensemble) -> None:
        self.sizes = torch.from_numpy(bags.sizes)
        self.start = torch.cumsum(self.sizes, 0) - self.sizes
        device = scales.mean.device
        self.tiles = torch.empty(int(self.sizes.sum()), bags.dim, device=device)
        for i, start in enumerate(self.start.tolist()):
            bag = scales.standardize(bags[i].to(device))
            self.tiles[start : start + len(bag)] = bag
        places = [p for i in range(len(bags)) if (p := bags.place(i)) is not None]
        self.places = torch.cat(places).to(device) if places else None

    def batch(self, rows: Tensor, max_tiles: int = 0) -> Batch:
        """See `Shown`."""
        sizes, start = self.sizes[rows], self.start[rows]
        if max_tiles:
            kept = [first + some(n, max_tiles) for first, n in zip(start, sizes, strict=True)]
            sizes = sizes.clamp(max=max_tiles)
            at = torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)
        elif len(rows) == 1:
            return self._one(int(start), int(sizes))
        else:  # padding may hold anything: here it holds the tiles of the next slides
            at = start[:, None] + torch.arange(int(sizes.max()))
            at.clamp_(max=len(self.tiles) - 1)
        mask = torch.arange(at.shape[1]) < sizes[:, None]
        flat = at.flatten().to(self.tiles.device)
        x = self.tiles.index_select(0, flat).view(*at.shape, -1)
        place = None if self.places is None else self.places[flat].view(*at.shape, 2)
        return x, mask.to(x.device), place

    def _one(self, start: int, size: int) -> Batch:
        """A single slide, which need not be copied."""
        x = self.tiles[None, start : start + size]
        place = None if self.places is None else self.places[None, start : start + size]
        return x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device), place


class Read:
    """Slides that are read when they are asked for; memory holds one batch."""

    def __init__(self, bags: Bags, scales: Ensemble) -> None:
        self.bags, self.scales = bags, scales

    def batch(self, rows: Tensor, max_tiles: int = 0) -> Batch:
        """See `Shown`."""
        device, bags, places = self.scales.mean.device, [], []
        for i in rows.tolist():
            x, place = self.bags[i], self.bags.place(i)
            if max_tiles:
                kept = some(torch.tensor(len(x)), max_tiles)
                x, place = x[kept], None if place is None else place[kept]
            bags.append(self.scales.standardize(x.to(device)))
            places += [] if place is None else [place.to(device)]
        if len(bags) == 1:
            mask = torch.ones(1, len(bags[0]), dtype=torch.bool, device=device)
            return bags[0][None], mask, places[0][None] if places else None
        x, mask = collate(bags)
        return x, mask.to(device), collate_places(places)


def some(n: Tensor, wanted: int) -> Tensor:
    """At most so many of ``n`` tiles, by chance, in order."""
    return torch.randperm(int(n))[:wanted].sort().values


def together(sizes: Sequence[int]) -> list[list[int]]:
    """Places of slides that a head sees at once, so that little is padding.

    Small slides share a pass, large ones go alone. The mean over the slides stays the same.

    Parameters
    ----------
    sizes : sequence of int
        Tiles of each slide.
    """
    groups: list[list[int]] = []
    real = most = 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        n = sizes[i]
        padded = most * (len(groups[-1]) + 1) if groups else 0
        if groups and padded <= TOGETHER and padded - real - n <= PADDING:
            groups[-1].append(i)
            real += n
        else:
            groups.append([i])
            real = most = n
    return groups
