"""Train the encoder `tissue-small` from data that may be passed on.

    python benchmarks/train_encoder.py [--out build/tissue_small] [--data ../shared/data]

One thread, seeded, about a quarter of an hour. Writes weights.safetensors, card.json and log.json.
To ship new weights give ``--out pathai/encoders/tissue_small`` and raise VERSION there.

Two views of one place in other stains, blur and compression have to agree in every channel of a
projection and the channels to say different things (Barlow Twins); and a linear map of the vector
has to tell what is known of a synthetic picture. No evaluation data took part in any choice:
neither NuCLS nor fields of the test looks. A first trial with VICReg was left because its variance
term hardly moved within the steps that we can afford.

References
----------
Zbontar J, Jing L, Misra I, LeCun Y, Deny S. Barlow Twins: self-supervised learning via redundancy
reduction. ICML 2021, arXiv:2103.03230.
"""

import argparse
import json
import math
import os
import time
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoder_data import EDGE, TARGETS, Source, cmu1, dsb2018, pair, synthetic, view
from machine import machine
from safetensors.torch import save_file
from torch import Tensor, nn

from pathai.encoders.tissue_small.network import DIM, TissueNetwork, seeded

ROOT = Path(__file__).resolve().parents[1]
SEED = 20
FIELDS = range(10_000, 10_300)
HELD_OUT = range(19_000, 19_048)
PER_BATCH = {"synthetic": 36, "dsb2018": 10, "cmu1": 18}
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 2e-3, 0.02, 30
PROJECTED = 512
WEIGHTS = {"invariance": 4.0, "redundancy": 4.0 * 0.0051, "truth": 1.0}
"""The second by the first is Zbontar's; both beside the truths by judgement, not by search."""


class Training(nn.Module):
    """The network with what only training needs: a projector and a linear map to the truths."""

    def __init__(self, network: TissueNetwork) -> None:
        super().__init__()
        self.network = network
        self.projector = nn.Sequential(
            nn.Linear(DIM, PROJECTED, bias=False), nn.BatchNorm1d(PROJECTED), nn.ReLU(),
            nn.Linear(PROJECTED, PROJECTED, bias=False), nn.BatchNorm1d(PROJECTED, affine=False),
        )  # fmt: skip
        self.truths = nn.Sequential(nn.BatchNorm1d(DIM), nn.Linear(DIM, len(TARGETS)))

    def losses(self, pixels: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Losses of views ``uint8[2 B, 3, h, w]``, first B beside last B."""
        vectors = self.network(pixels)
        # each half normalized for itself: the correlation of views is then a matrix product
        one, two = (self.projector(half) for half in vectors.chunk(2))
        correlation = one.T @ two / len(one)
        same = correlation.diagonal()
        off = correlation.square().sum() - same.square().sum()
        known = ~torch.isnan(truth)
        error = torch.where(known, self.truths(vectors) - torch.nan_to_num(truth), 0.0)
        return {
            "invariance": (1 - same).square().mean(),
            "redundancy": off / PROJECTED,
            "truth": error.square().sum() / known.sum().clamp(min=1),
        }


def batch(sources: dict[str, list[Source]], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Views ``uint8[2 B, 3, h, w]`` and truths ``float32[2 B, T]``."""
    pairs = []
    for name, count in PER_BATCH.items():
        chosen = rng.integers(0, len(sources[name]), count)
        pairs += [pair(sources[name][i], rng) for i in chosen]
    views = [one for one, _ in pairs] + [two for _, two in pairs]
    return stacked(views)


def stacked(views: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(np.stack([p for p, _ in views])).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(np.stack([t for _, t in views]))


def scales(sources: dict[str, list[Source]]) -> tuple[Tensor, Tensor]:
    """Mean and sd of each truth over some synthetic views."""
    rng = np.random.default_rng(SEED)
    rows = [t for s in sources["synthetic"][:100] for _, t in pair(s, rng)]
    truth = np.stack(rows)
    mean, sd = np.nanmean(truth, axis=0), np.nanstd(truth, axis=0)
    return torch.from_numpy(mean), torch.from_numpy(sd)


def train(sources: dict[str, list[Source]], steps: int) -> tuple[Training, list[dict[str, float]]]:
    """Train; return the model and the mean losses of every 20 steps."""
    torch.manual_seed(SEED)
    model = Training(seeded(SEED)).to(memory_format=torch.channels_last)
    rng = np.random.default_rng(SEED)
    mean, sd = scales(sources)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min((k + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * k / steps)),
    )
    log, recent = [], []
    for step in range(steps):
        pixels, truth = batch(sources, rng)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        losses = model.losses(pixels, (truth - mean) / sd)
        optimizer.zero_grad()
        sum(WEIGHTS[name] * loss for name, loss in losses.items()).backward()
        optimizer.step()
        schedule.step()
        recent.append([float(loss.detach()) for loss in losses.values()])
        if (step + 1) % 20 == 0 or step + 1 == steps:
            means = np.mean(recent, axis=0).round(4).tolist()
            log.append({"step": step + 1, **dict(zip(losses, means, strict=True))})
            print(log[-1], round(time.process_time()), flush=True)
            recent = []
    return model.eval(), log


@torch.inference_mode()
def held_out(network: nn.Module, fields: list[Source]) -> dict[str, float]:
    """R² of a ridge regression from the vector, on fields of the training looks not trained on.

    The first half of the fields fits it, the second is judged; both with new stains.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(SEED + 1)
    views = [
        view(field, rng, top, left, EDGE)
        for field in fields
        for top in range(0, 512, EDGE)
        for left in range(0, 512, EDGE)
    ]
    pixels, truth = stacked(views)
    vectors = torch.cat([network.eval()(part) for part in pixels.split(64)]).numpy()
    half = np.arange(len(vectors)) < len(vectors) // 2
    found = {}
    for name, value in zip(TARGETS, truth.numpy().T, strict=True):
        known = ~np.isnan(value)
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
        model.fit(vectors[half & known], value[half & known])
        found[name] = round(float(model.score(vectors[~half & known], value[~half & known])), 4)
    return found


def card(weights: Path, network: nn.Module, facts: dict[str, Any]) -> dict[str, Any]:
    """What a person has to know of the weights."""
    return {
        "name": "tissue-small",
        "what": "residual network over optical density: 320 numbers per tile at 0.5 µm/px",
        "sha256": sha256(weights.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in network.parameters()),
        "licence": "Apache-2.0",
        "use": "research only; not a medical device",
        "data": [
            {
                "name": "synthetic H&E fields of pathai.testing, training looks A and B",
                "licence": "Apache-2.0, drawn by this project",
                "amount": f"{len(FIELDS)} fields of 512 x 512 px",
            },
            {
                "name": "DSB2018 (BBBC038v1), purple-stained tissue and cells",
                "licence": "CC0-1.0; Caicedo et al., Nature Methods 2019;16:1247-1253",
                "amount": f"{facts['dsb2018']} images",
            },
            {
                "name": "CMU-1-Small-Region, OpenSlide test data",
                "licence": "CC0-1.0",
                "amount": f"one slide, {facts['cmu1']} overlapping pieces of 512 x 512 px",
            },
        ],
        "method": "Barlow Twins over two views in other stains, blur, noise, scale and compression "
        "(Zbontar et al. 2021), and regression of known truths (count, area and class shares of "
        "nuclei)",
        "training": {
            "seed": SEED, "steps": facts["steps"], "views_per_step": 2 * sum(PER_BATCH.values()),
            "per_batch": PER_BATCH, "learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY,
            "loss_weights": WEIGHTS, "last_losses": facts["log"][-1],
            "cpu_s": facts["cpu_s"], "machine": machine(), "safetensors": version("safetensors"),
        },
        "held_out_r2": facts["held_out"],
        "held_out_r2_untrained": facts["untrained"],
        "limits": [
            "One real slide and 80 small real images took part: it has seen hardly any real "
            "tissue.",
            "H&E at 0.5 µm/px only; other stains and resolutions were not tried.",
            "Truths were synthetic; a lab must test it on its own tiles before use "
            "(benchmarks/encoders.py --tiles).",
            "Judged in benchmarks/results/encoders.json, also where it loses.",
        ],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "tissue_small")
    parser.add_argument("--steps", type=int, default=660)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    sources = {
        "synthetic": synthetic(FIELDS),
        "dsb2018": dsb2018(given.data / "nuclei" / "dsb2018_he"),
        "cmu1": cmu1(given.data / "slides" / "CMU-1-Small-Region.svs"),
    }
    print({name: len(found) for name, found in sources.items()}, round(time.process_time()))
    model, log = train(sources, given.steps)
    cpu_s = round(time.process_time())
    given.out.mkdir(parents=True, exist_ok=True)
    weights = given.out / "weights.safetensors"
    state = {k: v.contiguous() for k, v in model.network.state_dict().items()}
    save_file({k: v for k, v in state.items() if "num_batches" not in k}, weights)
    fields = synthetic(HELD_OUT)
    facts = {
        "steps": given.steps,
        "log": log,
        "cpu_s": cpu_s,
        "dsb2018": len(sources["dsb2018"]),
        "cmu1": len(sources["cmu1"]),
        "held_out": held_out(model.network, fields),
        "untrained": held_out(seeded(SEED), fields),
    }
    written = card(weights, model.network, facts)
    text = json.dumps(written, indent=1, ensure_ascii=False) + "\n"
    (given.out / "card.json").write_text(text, "utf-8")
    (given.out / "log.json").write_text(json.dumps(log, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
