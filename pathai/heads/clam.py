"""CLAM: gated attention whose most and least attended tiles are trained as examples as well."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.abmil import AbMil


class ClamSb(AbMil):
    r"""Single-branch clustering-constrained attention.

    The answer is that of `AbMil`. In training, with :math:`y` the bag's class, the :math:`k` tiles
    of highest attention are shown to a two-way classifier :math:`I_y` as examples of that class and
    the :math:`k` of lowest attention as examples of something else:

    .. math::
        L = w\, L_\text{bag} + (1 - w)\, \frac{1}{2k} \sum_{i \in \text{top} \cup \text{bottom}}
            \mathrm{CE}\left(I_y h_i, [i \in \text{top}]\right), \qquad w = 0.7.

    The smooth SVM loss of the paper is replaced by cross-entropy, as its authors' code allows.

    References
    ----------
    .. [1] Lu et al., "Data-efficient and weakly supervised computational pathology on whole-slide
       images", Nature Biomedical Engineering 2021, 5:555-570.
    """

    EXAMPLES = 8
    """Tiles of either end of the attention; fewer where a bag has not twice as many."""
    BAG = 0.7
    """Weight of the bag's own loss."""

    def __init__(self, dim: int, n_classes: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, n_classes, hidden, dropout)
        self.examples = nn.ModuleList(nn.Linear(hidden, 2) for _ in range(n_classes))

    def loss(self, x: Tensor, mask: Tensor, target: Tensor, place: Tensor | None = None) -> Tensor:
        """Loss float[B] of bags with classes ``target`` int[B]."""
        h = self.embed(x)
        logits, attention = self.answer(h, mask)
        bag = nn.functional.cross_entropy(logits, target, reduction="none")
        extra = [
            self._example_loss(h[b], attention[b], mask[b], int(target[b])) for b in range(len(x))
        ]
        return self.BAG * bag + (1 - self.BAG) * torch.stack(extra)

    def _example_loss(self, h: Tensor, attention: Tensor, mask: Tensor, label: int) -> Tensor:
        real = torch.nonzero(mask)[:, 0]
        k = min(self.EXAMPLES, len(real) // 2)
        if k == 0:
            return h.new_zeros(())
        order = real[torch.argsort(attention[real], descending=True, stable=True)]
        chosen = torch.cat([order[:k], order[-k:]])
        wanted = torch.cat([torch.ones(k), torch.zeros(k)]).long().to(h.device)
        return nn.functional.cross_entropy(self.examples[label](h[chosen]), wanted)
