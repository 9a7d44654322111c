"""CLAM: gated attention whose most and least attended tiles are trained as examples as well."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathai.heads.abmil import AbMil
from pathai.likelihood import Truth


class ClamSb(AbMil):
    r"""Single-branch clustering-constrained attention.

    The answer is that of `AbMil`. In training, with :math:`y` the bag's class, the :math:`k` tiles
    of highest attention are shown to a two-way classifier :math:`I_y` as examples of that class and
    the :math:`k` of lowest attention as examples of something else:

    .. math::
        L = w\, L_\text{bag} + (1 - w)\, \frac{1}{2k} \sum_{i \in \text{top} \cup \text{bottom}}
            \mathrm{CE}\left(I_y h_i, [i \in \text{top}]\right), \qquad w = 0.7.

    The smooth SVM loss of the paper is replaced by cross-entropy, as its authors' code allows.
    Where the main target has no classes there are no examples, and the head is `AbMil`.

    References
    ----------
    .. [1] Lu et al., "Data-efficient and weakly supervised computational pathology on whole-slide
       images", Nature Biomedical Engineering 2021, 5:555-570.
    """

    EXAMPLES = 8
    """Tiles of either end of the attention; fewer where a bag has not twice as many."""
    BAG = 0.7
    """Weight of the bag's own loss."""

    def __init__(self, dim: int, width: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__(dim, width, hidden, dropout)
        self.examples = nn.ModuleList(nn.Linear(hidden, 2) for _ in range(width))

    def loss(self, x: Tensor, mask: Tensor, truth: Truth, place: Tensor | None = None) -> Tensor:
        """Loss float[B] of bags against the truth, that of the examples included."""
        h = self.embedded(x)
        outputs, attention = self.pool(h, mask)
        if truth.classes is None:
            return truth.loss(outputs)
        rows = zip(torch.cat(h, dim=1), attention, mask, truth.classes.tolist(), strict=True)
        extra = torch.stack([self._example_loss(*row) for row in rows])
        return self.BAG * truth.loss(outputs) + (1 - self.BAG) * extra

    def _example_loss(self, h: Tensor, attention: Tensor, mask: Tensor, label: int) -> Tensor:
        real = torch.nonzero(mask)[:, 0]
        k = min(self.EXAMPLES, len(real) // 2)
        if k == 0 or label < 0:  # one tile has no two ends; a class may be unknown
            return h.new_zeros(())
        order = real[torch.argsort(attention[real], descending=True, stable=True)]
        chosen = torch.cat([order[:k], order[-k:]])
        wanted = torch.cat([torch.ones(k), torch.zeros(k)]).long().to(h.device)
        return nn.functional.cross_entropy(self.examples[label](h[chosen]), wanted)
