"""How well and how fast the classical detector finds nuclei.

    python benchmarks/cells.py [--data ../shared/data]

prints the figures and writes benchmarks/results/cells.json.

How independent the figures are: the detector's parameters were chosen on every second image of
DSB2018 with the scale taken from its labels; its smallest radius also on synthetic fields of the
training looks. Estimated stain vectors were adopted, and their limits set, after a look at
synthetic fields of all looks, at NuCLS and at one real slide. Nothing was
chosen on the other half of DSB2018; NuCLS and the test looks of H&E are not fully blind.

The crops of real slides have no labels by hand. Beside our counts stand those of QuPath 0.3.2 from
the data's own description: a silver reference, whose two settings differ from each other as well.
"""

import argparse
import csv
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from skimage.io import imread
from tiffslide import TiffSlide

from pathai.detectors.classical import Classical
from pathai.encoders.morphology import Morphology
from pathai.nuclei import find_nuclei
from pathai.resample import area_reduce
from pathai.testing.looks import TEST_LOOKS, TRAIN_LOOKS
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

ROOT = Path(__file__).resolve().parents[1]
MATCH_UM = 3.3
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


def match(found: np.ndarray, truth: np.ndarray, radius: float) -> int:
    """Size of the largest one-to-one matching within ``radius``."""
    if len(found) == 0 or len(truth) == 0:
        return 0
    near = csr_array(cdist(found, truth) <= radius)
    return int((maximum_bipartite_matching(near) >= 0).sum())


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


def synthetic(stain: str, looks: Iterable[Any], seeds: range) -> dict[str, Any]:
    """Matches on synthetic fields of 512 px at 0.5 µm/px; with DAB also the positive share.

    Beside recall and precision stands the error of each field's count, in which missed and
    invented nuclei cancel.
    """
    detector = Classical(stain=stain)
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
    result: dict[str, Any] = scores(rows)
    each = np.array([100 * (found - true) / true for _, found, true in rows])
    result["count_error_percent"] = {
        "mean": round(float(each.mean()), 2),
        "mean_absolute": round(float(np.abs(each).mean()), 2),
        "largest": round(float(np.abs(each).max()), 2),
    }
    if errors:
        result["positive_share_error_points"] = {
            "mean": round(float(np.mean(errors)), 2),
            "mean_absolute": round(float(np.abs(errors).mean()), 2),
            "largest": round(float(np.abs(errors).max()), 2),
        }
    return result


def crops(folder: Path) -> dict[str, Any]:
    """Our count on each real crop beside QuPath's, with the positive share in percent."""
    found: dict[str, Any] = {}
    for name, stain, references in CROPS:
        with TiffSlide(folder / name) as slide:
            mpp = Mpp(*(float(slide.properties[f"tiffslide.mpp-{axis}"]) for axis in "xy"))
            image = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
        image = np.ascontiguousarray(image)
        classes = Classical(stain=stain).for_slide(image).detect(image, mpp).class_
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
    """Milliseconds per tile of 256 px at 0.5 µm/px, beside one plain Gaussian of the same tile."""
    from scipy.ndimage import gaussian_filter

    fine = np.repeat(np.repeat(tile, 2, axis=0), 2, axis=1)
    plain = tile[..., 0].astype(np.float32)
    half, quarter = Mpp(0.5, 0.5), Mpp(0.25, 0.25)
    encoder, detector = Morphology(), Classical()
    return {
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


def machine() -> dict[str, Any]:
    """Processor, cores and versions; no host name."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    packages = ("numpy", "scipy", "scikit-image")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    data = parser.parse_args().data
    nuclei = data / "nuclei"
    known = real(nuclei / "dsb2018_he", lambda r, _: min(USUAL_NUCLEUS_UM / (2 * r), 1.0))
    tile = synthetic_field(1, width=256, height=256)[0]
    results = {
        "machine": machine(),
        "detector_digest": Classical().digest,
        "real": {
            "nucls at 0.25 µm/px (assumed), 12 px": scores(
                real(nuclei / "nucls", lambda _, mpp: mpp)
            ),
            "dsb2018, scale from labels, images tuned on": scores(known[::2]),
            "dsb2018, scale from labels, other images": scores(known[1::2]),
            "dsb2018 at nominal 0.25 µm/px": scores(
                real(nuclei / "dsb2018_he", lambda _, mpp: mpp)
            ),
        },
        "real crops, silver reference": crops(data / "slides"),
        "synthetic": {
            f"{stain}, {side} looks": synthetic(stain, looks, range(40, 44))
            for stain in ("H&E", "Ki-67")
            for side, looks in (("training", TRAIN_LOOKS.values()), ("test", TEST_LOOKS.values()))
        },
        "milliseconds": speed(tile),
    }
    out = ROOT / "benchmarks" / "results" / "cells.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2, ensure_ascii=False)
    out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
