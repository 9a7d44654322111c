"""CHIEF: the gated attention of its publisher's weights, rebuilt from its description.

The slide vector is the mean of the tiles, weighted by attention; the branch for the organ does
not enter it.

References
----------
Wang X, Zhao J, Marostica E, et al. A pathology foundation model for cancer diagnosis and
prognosis prediction. Nature 2024;634:970-978.
Ilse M, Tomczak JM, Welling M. Attention-based deep multiple instance learning. ICML 2018.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pathai.encoders.load import read_state
from pathai.encoders.slide_cards import SlideCard
from pathai.encoders.slide_network import Forward
from pathai.errors import PathaiError

HIDDEN, GATE = 512, 256
PREFIX = "attention_net."


class Gate(nn.Module):
    """Gated attention, one score per tile."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_a = nn.Sequential(nn.Linear(HIDDEN, GATE), nn.Tanh())
        self.attention_b = nn.Sequential(nn.Linear(HIDDEN, GATE), nn.Sigmoid())
        self.attention_c = nn.Linear(GATE, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores ``float[N]`` of tiles ``float[N, 512]``."""
        found: torch.Tensor = self.attention_c(self.attention_a(hidden) * self.attention_b(hidden))
        return found[:, 0]


def chief(card: SlideCard, weights: Path) -> tuple[Any, Forward]:
    """Network and forward; CHIEF does not look at where tiles lie.

    Raises
    ------
    PathaiError
        E182 naming the first tensor of the attention that is missing or of another shape.
    """
    network = nn.Sequential(nn.Linear(card.tile_dim, HIDDEN), nn.ReLU(), nn.Dropout(), Gate())
    given = read_state(weights)
    own = {k.removeprefix(PREFIX): v for k, v in given.items() if k.startswith(PREFIX)}
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in own.items()}
    wrong = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
    if wrong:
        message = f"{weights.name}: {PREFIX}{wrong[0]} does not fit the attention of CHIEF"
        raise PathaiError("E182", message, "give the authors' CHIEF_pretraining.pth")
    network.load_state_dict(own)

    def forward(tiles: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return torch.softmax(network(tiles), dim=0) @ tiles

    return network, forward
