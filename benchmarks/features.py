"""What a slide costs beside its network: feed, engine and memory of the features stage.

    python benchmarks/features.py [--edge 6000] [--rounds 3] [--work DIR]
    python benchmarks/features.py --device cuda --precision bf16 --batch 128 --readers 8 \\
        --edge 24000 --models vit_large_patch16_224,vit_giant_patch14_dinov2

prints the figures and writes benchmarks/results/features.json (features_cuda.json on a GPU). The
networks have random weights from a seed: speed does not depend on their values. Every comparison
is made in interleaved rounds of one run and given as a median of ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from big_slide import MPP, BigSlide, write
from machine import machine
from safetensors.torch import save_file
from tiles_process import peak_mib

from pathai.config import FeaturesConfig
from pathai.encoders.fit import take
from pathai.encoders.load import read_state
from pathai.encoders.network import NetworkEncoder
from pathai.encoders.setup import Setup
from pathai.encoders.torchvision_shim import import_timm
from pathai.features import run
from pathai.feed import batches
from pathai.grid import Grid, grid
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, slug
from pathai.store.manifest import hash_file

ROOT = Path(__file__).resolve().parents[1]
SEED, EDGE_PX = 1, 224
CHEAP = "cheap"
Made = NetworkEncoder | Any


class Cheap:
    """A thousand numbers of many small tiles without any work: what remains is the engine."""

    name, tile_px, mpp, dim, names, digest = CHEAP, EDGE_PX // 2, MPP, 1024, (), "c" * 64

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        return 1 + tiles.reshape(len(tiles), -1)[:, :1024].astype(np.float32)


def slide_folder(work: Path, edge: int) -> SlideFolder:
    """A slide with known tissue after ingest and tile."""
    folder = SlideFolder(work / f"slide-{edge}")
    if not folder.tiles.exists():
        slide = write(work / f"slide-{edge}.svs", BigSlide(edge=edge))
        pathai = [str(Path(sys.executable).with_name("pathai"))]
        for verb in (["ingest", slide, "-o", folder.path], ["tile", folder.path, "--slide", slide]):
            subprocess.run([*pathai, *map(str, verb)], check=True, capture_output=True)
        slide.unlink()
    return folder


def network(work: Path, model: str, setup: Setup) -> NetworkEncoder:
    """A network of timm at 224 px that reads its weights from a file, as a lab's does."""
    timm = import_timm()
    sizes = {"img_size": EDGE_PX} if model.startswith(("vit", "eva")) else {}
    file = work / f"{model}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        made = timm.create_model(model, pretrained=False, num_classes=0, **sizes)
    if not file.exists():
        save_file(made.state_dict(), file)
    take(made, read_state(file), file.name, model)
    facts = timm.data.resolve_model_data_config(made)
    return NetworkEncoder(
        model, made, made, hash_file(file).sha256, tile_px=EDGE_PX, mpp=MPP, input_px=EDGE_PX,
        fit="none", mean=facts["mean"], std=facts["std"], dim=int(made.num_features), setup=setup,
    )  # fmt: skip


def stage(folder: SlideFolder, encoder: Made, batch: int, readers: int = 1) -> None:
    """The features of a slide, from the store to the store; the result is thrown away."""
    name = f"{slug(encoder.name)}.zarr"
    out = Commit(folder.path / "measured" / slug(encoder.name), (name,))
    run(folder, FeaturesConfig(batch=batch), out, encoder, workers=readers)
    out.abandon()


def tiles_of(folder: SlideFolder, edge: int) -> Grid:
    """The grid that the features stage lays."""
    return grid(folder.read_tissue(), folder.read_slide(), edge, MPP, FeaturesConfig().min_tissue)


def rounds_of(actions: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each action in interleaved rounds, after one that does not count."""
    seen: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            seconds = action()
            if number:
                seen[name].append(seconds)
    return seen


def ratio(above: list[float], below: list[float]) -> dict[str, float]:
    """Median over the rounds of one figure over another, with the extremes.

    ``best`` is of the least of each: what a busy machine disturbs least.
    """
    values = [a / b for a, b in zip(above, below, strict=True)]
    return {
        "median": round(statistics.median(values), 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
        "best": round(min(above) / min(below), 4),
    }


def cpu(action: Callable[[], Any]) -> float:
    """Processor seconds."""
    start = time.process_time()
    action()
    return time.process_time() - start


def wall(action: Callable[[], Any]) -> float:
    """Seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def feeding(
    folder: SlideFolder, encoder: NetworkEncoder, options: argparse.Namespace
) -> dict[str, Any]:
    """Processor time of the feed against decoding its chunks, and against the network's.

    A GPU's work is no processor time: there, the network's wall time stands in its place.
    """
    batch, rounds = options.batch, options.rounds
    clock = cpu if encoder.runs_on == "cpu" else wall
    tiles, pyramid = tiles_of(folder, encoder.tile_px), folder.open_tiles()
    level = pyramid.levels[0]
    edge = level.chunk.width
    needed: set[tuple[int, int]] = set()
    for x, y in tiles.xy_px0.tolist():
        right = min(x + encoder.tile_px, level.size.width) - 1
        bottom = min(y + encoder.tile_px, level.size.height) - 1
        rows, columns = range(y // edge, bottom // edge + 1), range(x // edge, right // edge + 1)
        needed |= {(row, column) for row in rows for column in columns}
    packed = [level.packed(*place) or b"" for place in sorted(needed & set(level.stored()))]
    buffer = np.empty((edge, edge, 3), np.uint8)
    some = next(batches(pyramid, tiles, batch))[0].copy()

    def decode() -> None:
        for data in packed:
            imagecodecs.jpeg8_decode(data, out=buffer)

    seconds = rounds_of(
        {
            "decode": lambda: cpu(decode),
            "feed": lambda: cpu(lambda: [len(p) for p, _ in batches(pyramid, tiles, batch)]),
            "forward": lambda: clock(lambda: encoder.encode(some)),
        },
        rounds,
    )
    per_tile = [s / len(tiles) for s in seconds["feed"]]
    forward = [s / len(some) for s in seconds["forward"]]
    return {
        "tiles": len(tiles),
        "chunks": len(packed),
        "decodes": ratio(seconds["feed"], seconds["decode"]),
        "share_of_forward": ratio(per_tile, forward),
        "ms_per_tile": round(statistics.median(per_tile) * 1000, 3),
    }


def whole(
    folder: SlideFolder, encoder: NetworkEncoder, options: argparse.Namespace
) -> dict[str, Any]:
    """Tiles per second of the stage over those of the network on tiles that lie in memory."""
    # many short rounds: what else the machine does changes little from one to the next
    batch, rounds, readers = options.batch, 2 * options.rounds + 1, options.readers
    tiles = tiles_of(folder, encoder.tile_px)
    # a handful of batches, used again: memory to memory, as fast as the network can be fed
    feed = batches(folder.open_tiles(), tiles, batch)
    held = [pixels.copy() for pixels, _ in islice(feed, max(min(4, len(tiles) // batch), 1))]
    feed.close()

    def pure() -> None:
        fetch = None
        for start in range(0, len(tiles), batch):
            some = held[start // batch % len(held)][: len(tiles) - start]
            begun = encoder.start(some)
            if fetch is not None:
                fetch()
            fetch = begun
        if fetch is not None:
            fetch()

    processor: dict[str, list[float]] = {"stage": [], "pure": []}

    def timed(name: str, action: Callable[[], Any]) -> float:
        start = time.perf_counter()
        processor[name].append(cpu(action))
        return time.perf_counter() - start

    seconds = rounds_of(
        {
            "stage": lambda: timed("stage", lambda: stage(folder, encoder, batch, readers)),
            "pure": lambda: timed("pure", pure),
        },
        rounds,
    )
    return {
        "processor_time_over_forward": ratio(processor["stage"][1:], processor["pure"][1:]),
        "tiles": len(tiles),
        "tiles_per_s": round(len(tiles) / statistics.median(seconds["stage"]), 2),
        "forward_tiles_per_s": round(len(tiles) / statistics.median(seconds["pure"]), 2),
        "share_of_forward_speed": ratio(seconds["pure"], seconds["stage"]),
    }


def peaks(work: Path, encoder: NetworkEncoder, options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory with the network, and with hardly any at one and at four times the tiles.

    Each is of a process of its own.
    """

    def peak(folder: SlideFolder, model: str) -> int:
        command = [sys.executable, __file__, "--work", work, "--peak-of", folder.path]
        command += ["--models", model, "--device", options.device, "--batch", options.batch]
        command += ["--readers", options.readers]
        command += ["--precision", options.precision, *["--compile"] * options.compile]
        return round(peak_mib([str(part) for part in command]))

    # large enough that the feed's own buffer is full on the smaller one
    small, large = (slide_folder(work, round(options.edge * k)) for k in (1.5, 3))
    few = slide_folder(work, 1536)  # a network's peak is that of one batch
    weights = sum(p.numel() * p.element_size() for p in encoder.network.parameters()) / 2**20
    found: dict[str, Any] = {"model_mib": round(weights), "network_mib": peak(few, encoder.name)}
    for key, folder in (("1x", small), ("4x", large)):
        found[f"cheap_{key}_tiles"] = len(tiles_of(folder, Cheap.tile_px))
        found[f"cheap_{key}_mib"] = peak(folder, CHEAP)
    found["network_beyond_model_mib"] = found["network_mib"] - found["model_mib"]
    found["4x_over_1x"] = round(found["cheap_4x_mib"] / found["cheap_1x_mib"], 3)
    return found


def peak_of(work: Path, folder: SlideFolder, options: argparse.Namespace) -> None:
    """What a process of its own does while its memory is watched."""
    cheap = options.models == CHEAP
    encoder = Cheap() if cheap else network(work, options.models, setup_of(options))
    stage(folder, encoder, options.batch, options.readers)


def setup_of(options: argparse.Namespace) -> Setup:
    """How the network is to run."""
    return Setup(device=options.device, precision=options.precision, compile=options.compile)


def device_peak_mib() -> float:
    """Peak of the GPU's memory in this process, MiB."""
    return round(torch.cuda.max_memory_allocated() / 2**20)


def measure(work: Path, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one network."""
    encoder = network(work, model, setup_of(options))
    found = {
        "model": model,
        "precision": encoder.precision,
        "feed": feeding(slide_folder(work, 3 * options.edge), encoder, options),
        "end_to_end": whole(slide_folder(work, options.edge // 2), encoder, options),
        "memory": peaks(work, encoder, options),
    }
    if encoder.runs_on == "cuda":
        found["device_mib"] = device_peak_mib()
    print(json.dumps(found, indent=1), flush=True)
    return found


def device_name(kind: str) -> str:
    """The GPU, where there is one."""
    return torch.cuda.get_device_name() if kind == "cuda" else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=6000, help="of the slide, px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--readers", type=int, default=1, help="processes that decode")
    parser.add_argument("--models", default="vit_small_patch16_224")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--work", type=Path, default=None, help="scratch folder to keep")
    parser.add_argument("--peak-of", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here")
    if options.peak_of is not None:
        peak_of(options.work, SlideFolder(options.peak_of), options)
        return
    began = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        result = {
            "device": options.device,
            "gpu": device_name(options.device),
            "batch": options.batch,
            "readers": options.readers,
            "slide_px": options.edge,
            "machine": machine(),
            "busy": round(began, 2),
            "models": [measure(work, model, options) for model in options.models.split(",")],
        }
    name = "features.json" if options.device == "cpu" else "features_cuda.json"
    out = ROOT / "benchmarks" / "results" / name
    out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
