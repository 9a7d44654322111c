"""Gated attention: a training step beside torchmil's, and the memory that a large bag needs.

Both networks get the same layers (an embedding, gated attention and a classifier, all of the same
width), weights, loss, bag, thread and optimizer. torchmil's own default is attention of 128 units;
its embedding is left to the user, and is given here. Needs torchmil 1.0.2.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmil.models.abmil import ABMIL

from pathai.heads import HEADS
from pathai.heads.abmil import AbMil
from pathai.heads.base import Ensemble, Head
from pathai.likelihood import Truth

TILES, DIM = 10_000, 1024
ROUNDS, WARM = 15, 2
LARGE = 100_000
STREAMED = ("abmil", "additive", "clam-sb", "count", "dsmil", "linear", "max", "mean")
MEMBERS = 3


def cross_entropy(outputs: Tensor, label: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, label.long())


def pair(width: int, dropout: float) -> tuple[AbMil, ABMIL]:
    """Our head and torchmil's with the same weights and two outputs."""
    torch.manual_seed(0)
    ours = AbMil(DIM, 2, width, dropout)
    embed = nn.Sequential(nn.Linear(DIM, width), nn.ReLU(), nn.Dropout(dropout))
    theirs = ABMIL((DIM,), att_dim=width, gated=True, feat_ext=embed, criterion=cross_entropy)
    theirs.classifier = nn.Linear(width, 2)
    state = {
        "feat_ext.0.weight": ours.embed[0].weight,
        "feat_ext.0.bias": ours.embed[0].bias,
        "classifier.weight": ours.classify.weight,
        "classifier.bias": ours.classify.bias,
    }
    for name in theirs.state_dict():
        part = "weight" if name.endswith("weight") else "bias"
        if name.startswith("pool.fc2"):
            state[name] = ours.weight.weight
        elif name.startswith("pool."):
            both = ours.gated.weight if part == "weight" else ours.gated.bias
            state[name] = both.chunk(2)["gated" in name]  # tanh first, then sigmoid
    theirs.load_state_dict({n: t.detach().clone() for n, t in state.items()})
    return ours.train(), theirs.train()


class Steps:
    """Training steps of one network on one bag."""

    def __init__(self, network: nn.Module, bag: Tensor, label: int) -> None:
        self.network, self.bag, self.label = network, bag[None], torch.tensor([label])
        self.mask = torch.ones(1, len(bag), dtype=torch.bool)
        self.optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)

    def loss(self) -> Tensor:
        if isinstance(self.network, Head):
            truth = Truth.of_classes(self.label, 2)
            return self.network.loss(self.bag, self.mask, truth).mean()
        _, losses = self.network.compute_loss(self.label, self.bag, self.mask)
        return sum(losses.values())

    def step(self) -> tuple[float, float]:
        """Loss before the step, and CPU seconds."""
        start = time.process_time()
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        seconds = time.process_time() - start
        return float(loss.detach()), seconds


def speed(width: int, dropout: float = 0.0) -> dict[str, float]:
    """CPU time of a step, in turn, and how much the two loss curves differ without dropout."""
    bag = torch.randn(TILES, DIM, generator=torch.Generator().manual_seed(1))
    ours, theirs = (Steps(network, bag, 1) for network in pair(width, dropout))
    rounds = []
    for k in range(WARM + ROUNDS):
        order = (ours, theirs) if k % 2 else (theirs, ours)
        found = {id(one): one.step() for one in order}
        rounds.append((*found[id(ours)], *found[id(theirs)]))
    timed = rounds[WARM:]
    result = {
        "ours_s": round(statistics.median(r[1] for r in timed), 4),
        "torchmil_s": round(statistics.median(r[3] for r in timed), 4),
        "times_as_fast": round(statistics.median(r[3] / r[1] for r in timed), 3),
    }
    if dropout == 0:
        result["first_losses"] = [round(r[0], 6) for r in rounds[:5]]
        result["largest_difference_in_5_steps"] = max(abs(r[0] - r[2]) for r in rounds[:5])
    return result


# --- memory ----------------------------------------------------------------------------------


def status(key: str) -> float:
    """A figure of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1000


def memory(name: str, dtype: str, hidden: str = "128") -> dict[str, float]:
    """Peak above the bag of one answer, and its distance from the plain formula."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    heads = [HEADS.load(name)(DIM, 2, int(hidden), 0.25) for _ in range(MEMBERS)]
    model = Ensemble(heads, torch.zeros(DIM) + 0.1, torch.ones(DIM) * 1.1).eval()
    source = np.random.default_rng(2)
    bag = np.empty((LARGE, DIM), dtype)
    for start in range(0, LARGE, 1000):
        bag[start : start + 1000] = source.standard_normal((1000, DIM), np.float32)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    start = time.process_time()
    outputs, attention = model.answer(bag)
    seconds = time.process_time() - start
    peak = status("VmHWM") - before
    with torch.inference_mode():
        x = torch.from_numpy(bag.astype(np.float32))[None]
        plain, weight = model(x, torch.ones(1, LARGE, dtype=torch.bool))
    return {
        "mb_above_bag": round(peak, 1),
        "cpu_s": round(seconds, 2),
        "outputs_differ": float((outputs - plain[0]).abs().max()),
        "attention_differs": float((attention - weight[0]).abs().max()),
        "attention_differs_relative": float((attention / weight[0] - 1).abs().nan_to_num().max()),
    }


def in_a_child(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "memory", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def measure() -> dict[str, Any]:
    """Everything, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = {f"{width} units": speed(width) for width in (128, 512)}
        steps["512 units, dropout 0.25"] = speed(512, 0.25)
    finally:
        torch.set_num_threads(threads)
    large = {name: in_a_child(name, "float16") for name in STREAMED}
    large["abmil, float32"] = in_a_child("abmil", "float32")
    large["abmil, 512 units"] = in_a_child("abmil", "float16", "512")
    return {
        "step": {"tiles": TILES, "dim": DIM, "rounds": ROUNDS, **steps},
        "answer": {"tiles": LARGE, "dim": DIM, "members": MEMBERS, "hidden": 128, "heads": large},
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(json.dumps(memory(*sys.argv[2:])))
    else:
        print(json.dumps(measure(), indent=1))
