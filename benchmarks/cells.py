"""How well and how fast the detectors find nuclei: the network and the classical one.

    python benchmarks/cells.py [--data ../shared/data] [--parts real,crowds,...]

prints the figures and writes benchmarks/results/cells.json; parts that are not asked for stay.

How independent the figures are. The network, on labeled sets (part ``real``): those networks of
``pathai train-detector`` that never saw the set, at the threshold of the *other* sets, as they
stand in the card of the shipped weights; the shipped network itself has seen all of them. On
drawn fields (``crowds``, ``synthetic``): looks, stain vectors and seeds of the test side; both
sides come from one generator. The classical detector's parameters were chosen on every second
image of DSB2018 with the scale taken from its labels; its smallest radius also on synthetic fields
of the training looks.

The crops of real slides have no labels by hand. Beside our counts stand those of QuPath 0.3.2 from
the data's own description: a silver reference, whose two settings differ from each other as well.
The network saw these crops without labels.
"""

import argparse
import csv
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from scipy.ndimage import gaussian_filter
from skimage.io import imread
from tiffslide import TiffSlide

from pathai.detectors import DETECTORS
from pathai.detectors.classical import Classical
from pathai.detectors.nuclei_small import shipped
from pathai.encoders.morphology import Morphology
from pathai.nuclei import find_nuclei
from pathai.resample import area_reduce
from pathai.testing.crowd import crowded_field
from pathai.testing.looks import TEST_LOOKS, TRAIN_LOOKS, Look
from pathai.testing.picture import synthetic_field
from pathai.train_detector.judge import match
from pathai.units import Mpp

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("nuclei-small", "classical")
MATCH_UM = 3.3
CROWD_PER_MM2 = 4600
WANTED = {"separated": (0.99, 2), "touching": (0.97, 4), "overlapping": (0.93, 8)}
"""F1 at least, error of the count in percent at most."""
USUAL_NUCLEUS_UM = 8.0
CROPS: tuple[tuple[str, str, dict[str, dict[str, Any]]], ...] = (
    (
        "OS-1-detail_HE.ome.tif",
        "H&E",
        {"qupath classical": {"nuclei": 319}, "qupath stardist": {"nuclei": 331}},
    ),
    (
        "OS-2-ndpi_Ki67.ome.tif",
        "Ki-67",
        {
            "qupath threshold 0.2": {"nuclei": 1323, "positive_percent": [16.6, 11.9]},
            "qupath threshold 0.4": {"nuclei": 1066, "positive_percent": [20.5, 14.7]},
        },
    ),
)
"""File, stain, and what QuPath 0.3.2 found; the two shares are from two stain settings."""
Row = tuple[int, int, int]  # matched, found, true


def scores(rows: list[Row], seed: int = 0) -> dict[str, float | list[float]]:
    """F1 and count ratio over all images, with percentile intervals over resampled images."""
    table = np.array(rows, float)

    def f1(part: np.ndarray) -> float:
        return float(2 * part[..., 0].sum(-1) / (part[..., 1] + part[..., 2]).sum(-1))

    rng = np.random.default_rng(seed)
    draws = [table[rng.integers(0, len(table), len(table))] for _ in range(1000)]
    ratios = [float(d[:, 1].sum() / d[:, 2].sum()) for d in draws]
    hit, found, true = table.sum(axis=0)
    return {
        "images": len(rows),
        "nuclei": int(true),
        "f1": round(f1(table), 4),
        "f1_95": [round(float(v), 4) for v in np.percentile([f1(d) for d in draws], [2.5, 97.5])],
        "precision": round(hit / max(found, 1), 4),
        "recall": round(hit / max(true, 1), 4),
        "found_per_true": round(found / max(true, 1), 4),
        "found_per_true_95": [round(float(v), 4) for v in np.percentile(ratios, [2.5, 97.5])],
    }


def labeled(folder: Path) -> Iterable[tuple[np.ndarray, np.ndarray, float, float]]:
    """Image, points (pixel i covers i to i + 1), matching radius in px, stated mpp."""
    points: dict[str, list[tuple[float, float]]] = {}
    with (folder / "gt_points.csv").open() as file:
        for row in csv.DictReader(file):
            # the files count from the center of the first pixel
            points.setdefault(row["image"], []).append(
                (float(row["x"]) + 0.5, float(row["y"]) + 0.5)
            )
    with (folder / "images.csv").open() as file:
        images = list(csv.DictReader(file))
    for row in images:
        truth = np.array(points.get(row["image"], []), float).reshape(-1, 2)
        image = np.ascontiguousarray(imread(folder / row["file"])[..., :3])
        yield image, truth, float(row["r_px"]), float(row["mpp"])


def real(folder: Path, mpp_of: Callable[[float, float], float]) -> list[Row]:
    """Matches on a labeled set, each image taken for itself."""
    rows = []
    for image, truth, radius, mpp in labeled(folder):
        used = mpp_of(radius, mpp)
        found = Classical().detect(image, Mpp(used, used)).centers
        rows.append((match(found, truth, radius), len(found), len(truth)))
    return rows


def by_set(nuclei: Path) -> dict[str, Any]:
    """Labeled sets: the classical detector, the network that never saw the set, the difference."""
    known = real(nuclei / "dsb2018_he", lambda r, _: min(USUAL_NUCLEUS_UM / (2 * r), 1.0))
    rows = {
        "nucls": real(nuclei / "nucls", lambda _, mpp: mpp),
        "dsb2018_he": known,
    }
    judged = shipped().card["judged"]
    result: dict[str, Any] = {
        "dsb2018_he, classical, images tuned on": scores(known[::2]),
        "dsb2018_he, classical, other images": scores(known[1::2]),
    }
    for name, plain in rows.items():
        unseen = [tuple(r) for r in judged[name]["pictures"]]
        result[name] = {
            "classical": scores(plain),
            "network that never saw it": scores(unseen),
            "f1_by_threshold": judged[name]["f1_by_threshold"],
            "difference_of_f1_95": difference(unseen, plain),
        }
    return result


def difference(one: list[Row], other: list[Row], seed: int = 0) -> list[float]:
    """Percentile interval of the difference of two F1 over the same resampled images."""
    first, second = np.array(one, float), np.array(other, float)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(first), (2000, len(first)))

    def f1(part: np.ndarray) -> np.ndarray:
        both = part.sum(axis=1)
        return 2 * both[:, 0] / (both[:, 1] + both[:, 2])

    drawn = f1(first[rows]) - f1(second[rows])
    return [round(float(v), 4) for v in np.percentile(drawn, [2.5, 97.5])]


def counted(rows: list[Row], index: list[float]) -> dict[str, Any]:
    """Scores, error of each field's count, and error of its positive share where it has one."""
    result: dict[str, Any] = scores(rows)
    each = np.array([100 * (found - true) / true for _, found, true in rows])
    result["count_error_percent"] = spread(each)
    if index:
        result["positive_share_error_points"] = spread(np.array(index))
    return result


def spread(errors: np.ndarray) -> dict[str, float]:
    """Mean, mean of the absolute, and largest error."""
    return {
        "mean": round(float(errors.mean()), 2),
        "mean_absolute": round(float(np.abs(errors).mean()), 2),
        "largest": round(float(np.abs(errors).max()), 2),
    }


def synthetic(name: str, stain: str, looks: Iterable[Look], seeds: range) -> dict[str, Any]:
    """Matches on drawn tissue of 512 px at 0.5 µm/px; with DAB also the positive share."""
    detector = DETECTORS.load(name)(stain=stain)
    rows: list[Row] = []
    errors: list[float] = []
    for look in looks:
        for seed in seeds:
            image, truth = synthetic_field(seed, look, stain=stain)
            inside = ((truth.xy_px0 >= 0) & (truth.xy_px0 < 512)).all(axis=1)
            found = detector.detect(image, Mpp(0.5, 0.5))
            hit = match(found.centers, truth.xy_px0[inside], MATCH_UM / 0.5)
            rows.append((hit, len(found), int(inside.sum())))
            if stain != "H&E":
                errors.append(100 * (found.class_.mean() - truth.positive[inside].mean()))
    return counted(rows, errors)


def crowds(name: str, seeds: range) -> dict[str, Any]:
    """Plain fields at `CROWD_PER_MM2`, H&E and Ki-67, in looks of the test side."""
    result: dict[str, Any] = {}
    for layout in WANTED:
        rows: list[Row] = []
        errors: list[float] = []
        for seed in seeds:
            for look in TEST_LOOKS.values():
                for share in (None, 0.3):
                    one, error = crowd(name, layout, seed, look, 0.5, share)
                    rows.append(one)
                    errors += error
        result[layout] = {"wanted": WANTED[layout], **counted(rows, errors)}
    result["other looks, scanners and µm/px"] = changed(name, seeds)
    return result


def crowd(
    name: str, layout: Any, seed: int, look: Look, mpp: float, share: float | None
) -> tuple[Row, list[float]]:
    """Matches on one plain field, and the error of its positive share in points."""
    edge = round(512 * 0.5 / mpp)
    field = crowded_field(
        seed, layout, CROWD_PER_MM2, look, mpp=mpp, edge_px=edge, positive_share=share
    )
    detector = DETECTORS.load(name)(stain="H&E" if share is None else "Ki-67")
    found = detector.detect(field.picture, Mpp(mpp, mpp))
    hit = match(found.centers, field.xy_px0, MATCH_UM / mpp)
    error = [] if share is None else [100 * (found.class_.mean() - field.positive.mean())]
    return (hit, len(found), len(field.xy_px0)), error


def changed(name: str, seeds: range) -> dict[str, Any]:
    """F1 and error of the Ki-67 share of touching nuclei, by look and µm/px."""
    looks = {"train-A": TRAIN_LOOKS["A"], **{f"test-{k}": v for k, v in TEST_LOOKS.items()}}
    result: dict[str, Any] = {}
    for label, look in looks.items():
        for mpp in (0.25, 0.4, 0.5, 0.6):
            both = [crowd(name, "touching", seed, look, mpp, 0.3) for seed in seeds]
            result[f"{label}, {mpp} µm/px"] = {
                "f1": scores([row for row, _ in both])["f1"],
                "positive_share_error_points": round(
                    float(np.mean([e for _, error in both for e in error])), 2
                ),
            }
    f1s = [v["f1"] for v in result.values()]
    shares = [v["positive_share_error_points"] for v in result.values()]
    result["largest difference, points"] = {
        "f1": round(100 * (max(f1s) - min(f1s)), 2),
        "positive_share": round(max(shares) - min(shares), 2),
    }
    return result


def crops(name_of: str, folder: Path) -> dict[str, Any]:
    """Our count on each real crop beside QuPath's, with the positive share in percent."""
    found: dict[str, Any] = {}
    for name, stain, references in CROPS:
        with TiffSlide(folder / name) as slide:
            mpp = Mpp(*(float(slide.properties[f"tiffslide.mpp-{axis}"]) for axis in "xy"))
            image = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
        image = np.ascontiguousarray(image)
        detector = DETECTORS.load(name_of)(stain=stain).for_slide(image)
        classes = detector.detect(image, mpp).class_
        counts = [reference["nuclei"] for reference in references.values()]
        ours: dict[str, Any] = {"nuclei": len(classes)}
        if stain != "H&E":
            ours["positive_percent"] = round(100 * float(classes.mean()), 1)
        found[name] = {
            "stain": stain,
            "pathai": ours,
            **references,
            "found_per_silver": [round(len(classes) / count, 3) for count in counts],
        }
    return found


def milliseconds(work: Callable[[], object], times: int = 15) -> float:
    """Processor time of one call: the median of several."""
    work()
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(1e3 * (time.process_time() - start))
    return round(float(np.median(taken)), 2)


def speed(tile: np.ndarray) -> dict[str, Any]:
    """Processor milliseconds: small tiles by the classical detector, tiles of 512 px by both."""
    import torch

    from pathai.detectors.nuclei_small import NucleiSmall, run

    torch.set_num_threads(1)
    fine = np.repeat(np.repeat(tile, 2, axis=0), 2, axis=1)
    plain = tile[..., 0].astype(np.float32)
    half, quarter = Mpp(0.5, 0.5), Mpp(0.25, 0.25)
    encoder, detector = Morphology(), Classical()
    large = synthetic_field(1, width=512, height=512)[0]
    network = NucleiSmall()
    kind = run.fastest("cpu")
    forward = milliseconds(lambda: run.maps(network.weights, large, kind))
    whole = milliseconds(lambda: network.detect(large, half))
    return {
        "512 px at 0.5 µm/px": {
            "wanted": 80,
            "nuclei": len(network.detect(large, half)),
            "numbers": str(kind),
            "network, forward": forward,
            "network, with peaks and outlines": whole,
            "after the forward pass, share": round(1 - forward / whole, 4),
            "network, float32": milliseconds(lambda: NucleiSmall(precise=True).detect(large, half)),
            "classical": milliseconds(lambda: detector.detect(large, half)),
        },
        "nuclei_in_tile": len(find_nuclei(tile, half)),
        "reference_gaussian_sigma_8": milliseconds(lambda: gaussian_filter(plain, 8)),
        "find_nuclei": milliseconds(lambda: find_nuclei(tile, half)),
        "find_nuclei_from_0.25_um": milliseconds(lambda: find_nuclei(fine, quarter)),
        "detect_with_outlines": milliseconds(lambda: detector.detect(tile, half)),
        "reduce_by_two": milliseconds(
            lambda: area_reduce(fine, (2.0, 2.0), (0, 0), (0, 0), (256, 256))
        ),
        "morphology": milliseconds(lambda: encoder.encode(tile[None])),
    }


def slide(edge: int = 4096, block_px: int = 2048) -> dict[str, Any]:
    """A whole search by the network: share of the forward pass, and what a second worker gives."""
    import torch

    from pathai.cells.blocks import detect_slide
    from pathai.cells.frame import blocks, frame
    from pathai.detectors.nuclei_small import NucleiSmall, run
    from pathai.store.records import TissueMap

    torch.set_num_threads(1)
    part, _ = synthetic_field(5, width=1024, height=1024)
    image = np.tile(part, (edge // 1024, edge // 1024, 1))
    half = Mpp(0.5, 0.5)
    tissue = TissueMap(np.ones((edge // 16, edge // 16), np.uint8), 16.0, Mpp(8, 8))
    network = NucleiSmall().for_slide(part)
    grid = frame(image.shape, half, 1.0, network)
    cut = list(blocks(grid, image.shape, tissue, grid.halo_px(network), block_px))
    kind = run.fastest("cpu")

    def forward() -> None:
        for block in cut:
            left, top, right, bottom = block.window
            run.maps(network.weights, image[top:bottom, left:right], kind)

    def wall(workers: int) -> float:
        start = time.perf_counter()
        detect_slide(image, half, tissue, network, block_px, workers=workers)
        return time.perf_counter() - start

    plain = milliseconds(forward, 3) / 1e3
    whole = milliseconds(lambda: detect_slide(image, half, tissue, network, block_px), 3) / 1e3
    one, two = (min(wall(n) for _ in range(3)) for n in (1, 2))
    return {
        "mm2": round((edge * 0.0005) ** 2, 2),
        "block_px": block_px,
        "cpu_s": round(whole, 2),
        "forward_share": round(plain / whole, 3),
        "tiles_per_s": round((edge / 512) ** 2 / whole, 1),
        "two_workers": round(one / two, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--parts", default="real,crowds,synthetic,crops,speed,slide")
    asked = parser.parse_args()
    looks = {"training": TRAIN_LOOKS, "test": TEST_LOOKS}
    parts: dict[str, Callable[[], Any]] = {
        "real": lambda: by_set(asked.data / "nuclei"),
        "crowds": lambda: {n: crowds(n, range(50, 54)) for n in NAMES},
        "synthetic": lambda: {
            f"{name}, {stain}, {side} looks": synthetic(
                name, stain, looks[side].values(), range(40, 44)
            )
            for name in NAMES
            for stain in ("H&E", "Ki-67")
            for side in looks
        },
        "crops": lambda: {n: crops(n, asked.data / "slides") for n in NAMES},
        "slide": slide,
        "speed": lambda: speed(synthetic_field(1, width=256, height=256)[0]),
    }
    out = ROOT / "benchmarks" / "results" / "cells.json"
    results = json.loads(out.read_text()) if out.exists() else {}
    results = {k: v for k, v in results.items() if k in parts}
    for name in asked.parts.split(","):
        results[name] = parts[name]()
    results["machine"] = machine()
    results["digests"] = {n: DETECTORS.load(n)().digest for n in NAMES}
    text = json.dumps(results, indent=1, ensure_ascii=False, sort_keys=True)
    out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
