"""How fast a slide becomes a store of tiles, and a store batches, in decodes of the same tiles.

    python benchmarks/tiles.py [--edge 30000] [--rounds 3] [--work DIR]

prints the figures and writes benchmarks/results/tiles.json. The unit is one decode: libjpeg-turbo
decoding the very same tissue tiles into a reused buffer, measured in the same round, processor time
of one core. Beside every speed stands how much of the known tissue is covered. Memory and start-up
are measured in processes of their own (benchmarks/tiles_process.py).
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
from big_slide import MPP, BigSlide, write
from machine import machine
from PIL import Image

from pathai.config import TileConfig
from pathai.feed import batches
from pathai.grid import Grid, grid
from pathai.store.manifest import list_files
from pathai.store.pyramid import Pyramid, write_metadata, write_tissue
from pathai.store.records import TISSUE, Qc, SlideInfo, TissueMap
from pathai.store.tile_copy import CompressedTiles
from pathai.tiling import Stored, copy, survey
from pathai.units import Mpp

ROOT = Path(__file__).resolve().parents[1]
SQUARE = Mpp(MPP, MPP)
PEERS_TILES = 400
"""Tiles on which slow peers are measured; their figure is scaled to all."""
SEED = 1


class Bench:
    """One slide, its store, and what is measured on them.

    Parameters
    ----------
    work : Path
        Scratch folder.
    slide : BigSlide
        What to draw.
    """

    def __init__(self, work: Path, slide: BigSlide) -> None:
        self.slide, self.work = slide, work
        self.path = work / f"big-{slide.tile}-{slide.edge}.svs"
        if not self.path.exists():
            write(self.path, slide)
        self.info = SlideInfo(
            slide_id="big", sha256="0" * 64, width=slide.edge, height=slide.edge, mpp_x=MPP,
            mpp_y=MPP, mpp_source="file", reader="openslide", level_downsamples=(1.0, 4.0, 16.0),
            stain="H&E",
        )  # fmt: skip
        self.store = work / f"store-{slide.tile}"
        shutil.rmtree(self.store, ignore_errors=True)
        self.tissue, _ = self.fresh()
        self.pyramid = Pyramid(self.store / "tiles.zarr")
        level = self.pyramid.levels[0]
        self.packed = {place: level.packed(*place) or b"" for place in level.stored()}
        self.buffer = np.empty((slide.tile, slide.tile, 3), np.uint8)

    def examined(self) -> tuple[TissueMap, Qc]:
        """Tissue, artefacts and quality of the slide file."""
        _, tissue, qc = survey(self.path, "openslide", SQUARE, TileConfig(), "H&E")
        assert tissue is not None
        assert qc is not None
        return tissue, qc

    def segment(self) -> TissueMap:
        """Tissue and artefacts of the slide file."""
        return self.examined()[0]

    def fresh(self) -> tuple[TissueMap, Stored]:
        """Segment and store, as the tile stage does."""
        tissue, qc = self.examined()
        tiles = self.store / "tiles.zarr"
        stored, why = copy(self.path, "openslide", tiles, tissue, 0.001)
        assert stored is not None, why
        write_metadata(tiles, SQUARE, stored.levels, {"source": stored.source})
        write_tissue(self.store / "tissue.zarr", tissue, qc)
        return tissue, stored

    def stored_anew(self) -> float:
        """Processor time of `fresh`; removing the store before it is not part of it."""
        shutil.rmtree(self.store, ignore_errors=True)
        return cpu(self.fresh)

    def hashed(self) -> int:
        """The manifest's SHA-256 of every file."""
        return len(list_files(self.store, [self.store / "tiles.zarr", self.store / "tissue.zarr"]))

    def decode(self, places: list[tuple[int, int]] | None = None) -> None:
        """The unit: decode chunks into one buffer; their bytes are in memory."""
        decode, buffer = imagecodecs.jpeg8_decode, self.buffer
        for data in self.packed.values() if places is None else (self.packed[p] for p in places):
            decode(data, out=buffer)

    def tiles(self, tile_px: int, mpp: float = MPP) -> Grid:
        """Grid at half tissue or more."""
        return grid(self.tissue, self.info, tile_px, mpp, 0.5)

    def needed(self, tiles: Grid) -> list[tuple[int, int]]:
        """Chunks that a grid touches: its decode-once set."""
        edge, level = self.slide.tile, self.pyramid.levels[0]
        found: set[tuple[int, int]] = set()
        for x, y in tiles.xy_px0.tolist():
            right = min(x + float(tiles.size_px0[0]), level.size.width)
            bottom = min(y + float(tiles.size_px0[1]), level.size.height)
            for row in range(y // edge, int(bottom - 1) // edge + 1):
                for column in range(x // edge, int(right - 1) // edge + 1):
                    found.add((row, column))
        return sorted(found & set(self.packed))

    def feed(self, tiles: Grid, workers: int = 1) -> int:
        """Deliver every tile of a grid in batches."""
        return sum(len(pixels) for pixels, _ in batches(self.pyramid, tiles, 32, workers=workers))

    def reduce(self, tiles: Grid) -> None:
        """Area resize by two of as many pictures as the grid has tiles."""
        edge = tiles.tile_px * 2
        image = np.random.default_rng(SEED).integers(0, 255, (edge, edge, 3), dtype=np.uint8)
        for _ in range(len(tiles)):
            np.asarray(Image.fromarray(image).reduce(2))


def cpu(action: Callable[[], Any]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def same_as_openslide(bench: Bench, tiles: Grid, count: int = 60) -> int:
    """Tiles, of a sample, that differ from OpenSlide (resized by area where the mpp asks)."""
    rng = np.random.default_rng(SEED)
    chosen = set(rng.choice(len(tiles), min(count, len(tiles)), replace=False).tolist())
    factor = round(tiles.mpp / MPP)
    wrong = start = 0
    with openslide.OpenSlide(str(bench.path)) as handle:
        for pixels, _ in batches(bench.pyramid, tiles, 32):
            for i in range(len(pixels)):
                if start + i not in chosen:
                    continue
                x, y = tiles.xy_px0[start + i].tolist()
                edge = tiles.tile_px * factor
                image = handle.read_region((x, y), 0, (edge, edge))
                white = Image.new("RGB", image.size, (255, 255, 255))
                white.paste(image, mask=image.getchannel("A"))
                wanted = np.asarray(white.reduce(factor) if factor > 1 else white)
                stored = _stored_pixels(bench, x, y, edge)[::factor, ::factor]
                wrong += int((pixels[i][stored] != wanted[stored]).any())
            start += len(pixels)
    return wrong


def _stored_pixels(bench: Bench, x: int, y: int, edge: int) -> np.ndarray:
    """Where the store holds tissue: background reads as white there, not as glass."""
    rows, columns = ((np.arange(v, v + edge) // bench.slide.tile).tolist() for v in (y, x))
    return np.array([[(r, c) in bench.packed for c in columns] for r in rows])


def byte_identical(bench: Bench) -> int:
    """Tiles of the store that are not the slide's own bytes."""
    from pathai.readers import reopen
    from pathai.source import read_at

    direct = reopen(bench.path, "tiled-tiff")
    source: CompressedTiles = direct.compressed()[0]  # type: ignore[attr-defined]
    direct.close()
    with read_at(bench.path) as read:
        return sum(
            data != source.complete(source.fetch(read, *place))
            for place, data in bench.packed.items()
        )


def store_size(bench: Bench) -> float:
    """Bytes of the store for each byte of the slide's tiles that it holds."""
    from pathai.readers import reopen

    direct = reopen(bench.path, "tiled-tiff")
    levels: list[CompressedTiles] = direct.compressed()  # type: ignore[attr-defined]
    direct.close()
    held = 0
    copied = [level for level in bench.pyramid.levels if level.info.made == "copied"]
    for level, source in zip(copied, levels, strict=True):
        held += sum(int(source.counts[place]) for place in level.stored())
    files = [p for p in (bench.store / "tiles.zarr").rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / held


def zarr_defaults(bench: Bench) -> float:
    """OpenSlide to zarr-python with its defaults, seconds for all tissue tiles."""
    import zarr

    places = list(bench.packed)[:: max(len(bench.packed) // PEERS_TILES, 1)]
    edge = bench.slide.tile
    root = bench.work / "zarr-defaults"
    shutil.rmtree(root, ignore_errors=True)

    def write_all() -> None:
        array = zarr.create_array(
            root, shape=(len(places), edge, edge, 3), chunks=(1, edge, edge, 3), dtype="uint8"
        )
        with openslide.OpenSlide(str(bench.path)) as handle:
            for i, (row, column) in enumerate(places):
                region = handle.read_region((column * edge, row * edge), 0, (edge, edge))
                array[i] = np.asarray(region.convert("RGB"))

    return cpu(write_all) / len(places) * len(bench.packed)


def naive_loader(bench: Bench, tiles: Grid) -> float:
    """OpenSlide in a torch DataLoader with ToTensor and Normalize, seconds for all tiles."""
    import torch

    some = tiles.xy_px0[:: max(len(tiles) // PEERS_TILES, 1)]
    mean, sd = (
        torch.tensor(v).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )

    class Tiles(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.handle = openslide.OpenSlide(str(bench.path))

        def __len__(self) -> int:
            return len(some)

        def __getitem__(self, i: int) -> Any:
            size = (tiles.tile_px, tiles.tile_px)
            image = self.handle.read_region(some[i].tolist(), 0, size).convert("RGB")
            tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()
            return (tensor.to(torch.float32).div(255) - mean) / sd

    data = Tiles()
    loader = torch.utils.data.DataLoader(data, batch_size=32)
    torch.set_num_threads(1)
    seconds = cpu(lambda: sum(len(batch) for batch in loader))
    data.handle.close()
    return seconds / len(some) * len(tiles)


def openslide_reads(bench: Bench, tiles: Grid) -> float:
    """OpenSlide to RGB arrays, seconds for all tiles."""
    some = tiles.xy_px0[:: max(len(tiles) // PEERS_TILES, 1)]
    with openslide.OpenSlide(str(bench.path)) as handle:

        def read() -> None:
            for x, y in some.tolist():
                region = handle.read_region((x, y), 0, (tiles.tile_px, tiles.tile_px))
                np.asarray(region.convert("RGB"))

        return cpu(read) / len(some) * len(tiles)


def rounds_of(actions: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median of each figure over interleaved rounds."""
    seen: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            seen[name].append(action())
    return {name: statistics.median(values) for name, values in seen.items()}


def storing(bench: Bench, rounds: int) -> dict[str, Any]:
    """Segment and store, against the decode."""
    seconds = rounds_of(
        {
            "decode": lambda: cpu(bench.decode),
            "segment": lambda: cpu(bench.segment),
            "grid": lambda: cpu(lambda: bench.tiles(bench.slide.tile)),
            "segment_store": bench.stored_anew,
            "sha256": lambda: cpu(bench.hashed),
            "openslide_zarr": lambda: zarr_defaults(bench),
        },
        rounds,
    )
    one = seconds["decode"]
    recall, spill = bench.slide.coverage(bench.tissue.classes == TISSUE, bench.tissue.downsample)
    return {
        "tiles": len(bench.packed),
        "bytes_per_tile": round(statistics.mean(map(len, bench.packed.values()))),
        "decode_s": round(one, 3),
        "coverage": round(recall, 4),
        "background": round(spill, 4),
        "segment_and_grid": round((seconds["segment"] + seconds["grid"]) / one, 3),
        "segment_store": round(seconds["segment_store"] / one, 3),
        "segment_store_sha256": round((seconds["segment_store"] + seconds["sha256"]) / one, 3),
        "openslide_zarr_defaults": round(seconds["openslide_zarr"] / one, 1),
        "times_less_than_openslide_zarr": round(
            seconds["openslide_zarr"] / seconds["segment_store"], 1
        ),
        "tiles_not_byte_identical": byte_identical(bench),
        "store_per_source_byte": round(store_size(bench), 4),
    }


def feeding(bench: Bench, rounds: int, cases: list[tuple[int, float]]) -> list[dict[str, Any]]:
    """Batches of several grids, each against decoding its own chunks once."""
    found = []
    for tile_px, mpp in cases:
        tiles = bench.tiles(tile_px, mpp)
        places = bench.needed(tiles)
        halved = mpp != MPP
        actions: dict[str, Callable[[], float]] = {
            "decode": lambda p=places: cpu(lambda: bench.decode(p)),  # type: ignore[misc]
            "feed": lambda t=tiles: cpu(lambda: bench.feed(t)),  # type: ignore[misc]
        }
        if halved:
            actions["reduce"] = lambda t=tiles: cpu(lambda: bench.reduce(t))  # type: ignore[misc]
        else:
            actions["openslide"] = lambda t=tiles: openslide_reads(bench, t)  # type: ignore[misc]
            actions["loader"] = lambda t=tiles: naive_loader(bench, t)  # type: ignore[misc]
        seconds = rounds_of(actions, rounds)
        one = seconds["decode"] + seconds.get("reduce", 0.0)
        row = {
            "tile_px": tile_px, "source_tile_px": bench.slide.tile, "mpp": mpp,
            "tiles": len(tiles), "chunks": len(places), "ratio": round(seconds["feed"] / one, 3),
            "reference": "decode + area resize" if halved else "decode once",
            "tiles_not_equal_to_openslide": same_as_openslide(bench, tiles),
        }  # fmt: skip
        for name in ("openslide", "loader"):
            if name in seconds:
                row[f"{name}_ratio"] = round(seconds[name] / one, 2)
        print(row)
        found.append(row)
    return found


def to_arrays(bench: Bench, rounds: int) -> dict[str, Any]:
    """Slide file to all tissue tiles as arrays, nothing kept on disk."""
    from pathai.readers import reopen
    from pathai.readers.direct import SlidePyramid

    def run() -> None:
        tissue = bench.segment()
        tiles = grid(tissue, bench.info, bench.slide.tile, MPP, 0.5)
        direct = reopen(bench.path, "tiled-tiff")
        with SlidePyramid(direct) as pyramid:  # type: ignore[arg-type]
            for _ in batches(pyramid, tiles, 32):
                pass

    places = bench.needed(bench.tiles(bench.slide.tile))
    seconds = rounds_of(
        {"decode": lambda: cpu(lambda: bench.decode(places)), "all": lambda: cpu(run)}, rounds
    )
    return {"ratio": round(seconds["all"] / seconds["decode"], 3), "tiles": len(places)}


def two_processes(bench: Bench, rounds: int) -> dict[str, float]:
    """Wall time of the feed on one process and on two, start-up of the processes left out."""
    tiles = bench.tiles(224)

    def wall(workers: int) -> float:
        stream = batches(bench.pyramid, tiles, 32, workers=workers)
        next(stream)
        start = time.perf_counter()
        for _ in stream:
            pass
        return time.perf_counter() - start

    seconds = rounds_of({"one": lambda: wall(1), "two": lambda: wall(2)}, rounds)
    return {"speedup": round(seconds["one"] / seconds["two"], 2)}


def processes() -> dict[str, Any]:
    """Memory and start-up, each in a process of its own."""
    script = ROOT / "benchmarks" / "tiles_process.py"
    found: dict[str, Any] = json.loads(subprocess.check_output([sys.executable, str(script)]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        matched = Bench(work, BigSlide(edge=options.edge))
        odd = Bench(work, BigSlide(edge=options.edge // 2 // 240 * 240, tile=240))
        result: dict[str, Any] = {
            "unit": "decodes of the same tiles (libjpeg-turbo, reused buffer), processor time",
            "slide_px": options.edge,
            "machine": machine(),
        }
        result["store"] = storing(matched, options.rounds)
        print(result["store"])
        result["store_240"] = storing(odd, options.rounds)
        cases = [(256, MPP), (224, MPP), (256, 2 * MPP)]
        result["feed"] = feeding(matched, options.rounds, cases)
        result["feed"] += feeding(odd, options.rounds, [(240, MPP), (224, MPP), (256, MPP)])
        result["slide_to_arrays"] = to_arrays(matched, options.rounds)
        result["two_processes"] = two_processes(matched, options.rounds)
        result["process"] = processes()
    out = ROOT / "benchmarks" / "results" / "tiles.json"
    out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
