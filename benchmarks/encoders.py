"""What a linear probe can read from the encoders that need no download, beside plain baselines.

    python benchmarks/encoders.py [--data ../shared/data] [--timm resnet50@weights.safetensors]

prints the figures and writes benchmarks/results/encoders.json.

(a) NuCLS: patches of 32 µm around labeled nuclei of 10 breast tiles, folds by image. No encoder
and no setting has seen them. (b) Synthetic fields: probes fitted on the training looks A and B and
judged on the test looks A and B, whose stain vectors, strengths, glass, color shift, focus,
chromatin and fibers took no part in training; the tissue model is the same, and the random stains
of training may come near the test's. The strength of the probes is chosen per encoder on synthetic
nuclei of the training looks.

    python benchmarks/encoders.py --tiles DIR [--out FILE]

repeats the probe on a lab's own tiles: ``DIR/<class>/<patient>/*.png`` at 0.5 µm/px (PNG, JPEG or
TIFF, one size, at least 64 px). Folds and intervals are over patients. Without folders of patients
each tile counts as its own patient, and the figures flatter.
"""

import argparse
import csv
import json
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from PIL import Image
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pathai.encoders.morphology import Morphology
from pathai.encoders.tissue_small import TissueSmall
from pathai.encoders.tissue_small.network import seeded
from pathai.nuclei import find_nuclei
from pathai.resample import area_reduce
from pathai.stats import auroc, bootstrap_interval
from pathai.testing.looks import TEST_LOOKS, TRAIN_LOOKS, vary
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

ROOT = Path(__file__).resolve().parents[1]
PATCH = 64
"""Edge in px of 0.5 µm of the patch around a nucleus."""
SEEDS = {
    "untrained network": 7, "bootstrap": 0, "probe strength": [50_000, 50_040],
    "synthetic probe": [60_000, 60_120], "synthetic test": [70_000, 70_080],
}  # fmt: skip
STRENGTHS = (0.0003, 0.003, 0.03, 0.3)
DRAWS = 1000
Encode = Callable[[np.ndarray], np.ndarray]


def color_histograms(tiles: np.ndarray) -> np.ndarray:
    """Shares of 16 intensities of each channel, ``float32[B, 48]``."""
    return np.stack([
        np.concatenate([np.bincount(t[..., c].ravel() >> 4, minlength=16) for c in range(3)])
        / t[..., 0].size for t in tiles]).astype(np.float32)  # fmt: skip


def nuclei_count(tiles: np.ndarray) -> np.ndarray:
    """Log of one more than the nuclei that the classical finder sees, ``float32[B, 1]``."""
    counts = [len(find_nuclei(tile, Mpp(0.5, 0.5))) for tile in tiles]
    return np.log1p(np.array(counts, np.float32))[:, None]


def batched(encode: Encode) -> Encode:
    """The same in batches of 32 tiles."""
    return lambda tiles: np.concatenate(
        [encode(tiles[i : i + 32]) for i in range(0, len(tiles), 32)]
    )


def timm_network(name: str) -> Encode:
    """A timm network with the user's weights; tiles are brought to the size that it expects."""
    from pathai.encoders.timm_encoder import TimmEncoder

    encoder = TimmEncoder.from_name(f"timm:{name}")
    size = (encoder.tile_px, encoder.tile_px)

    def encode(tiles: np.ndarray) -> np.ndarray:
        resized = [Image.fromarray(t).resize(size, Image.Resampling.BICUBIC) for t in tiles]
        return encoder.encode(np.stack([np.asarray(r) for r in resized]))

    return encode


def compared(timm: str) -> dict[str, Encode]:
    """Every encoder by the name that the tables show."""
    untrained = TissueSmall(seeded(SEEDS["untrained network"]))
    found: dict[str, Encode] = {
        "morphology": Morphology().encode,
        "tissue-small": batched(TissueSmall().encode),
        "tissue-small, untrained": batched(untrained.encode),
        "color histograms": color_histograms,
        "nuclei count": nuclei_count,
    }
    if timm:
        found[f"timm {timm.partition('@')[0]}"] = batched(timm_network(timm))
    return found


# --- data ------------------------------------------------------------------------------------


def patches(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Patches ``uint8[M, 64, 64, 3]`` around points in px; beyond the picture it is mirrored."""
    wide = np.pad(image, ((PATCH, PATCH), (PATCH, PATCH), (0, 0)), mode="reflect")
    corner = np.rint(xy).astype(int) + PATCH - PATCH // 2
    return np.stack([wide[y : y + PATCH, x : x + PATCH] for x, y in corner])


def nucls(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches at 0.5 µm/px, their classes, their images."""
    with (folder / "gt_points.csv").open() as file:
        points = list(csv.DictReader(file))
    with (folder / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    tiles, labels, groups = [], [], []
    for row in rows:
        image = np.ascontiguousarray(np.asarray(Image.open(folder / row["file"]))[..., :3])
        factor = 0.5 / float(row["mpp"])
        size = (int(image.shape[1] / factor), int(image.shape[0] / factor))
        image = area_reduce(image, (factor, factor), (0, 0), (0, 0), size)
        own = [p for p in points if p["image"] == row["image"]]
        # the file counts from the center of the first pixel
        xy = (np.array([(float(p["x"]), float(p["y"])) for p in own]) + 0.5) / factor
        tiles.append(patches(image, xy))
        labels += [p["class"] for p in own]
        groups += [row["image"]] * len(own)
    return np.concatenate(tiles), np.array(labels), np.array(groups)


def drawn(seed: int, looks: dict[str, Any]) -> tuple[np.ndarray, Any]:
    """A field of 512 px: looks in turn, each varied; two of three with tumor."""
    look = vary(tuple(looks.values())[seed % 2], np.random.default_rng(seed))
    return synthetic_field(seed, look, tumor=bool(seed % 3))


def synthetic_nuclei() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches around 20 nuclei of each field of the training looks, their classes, their fields."""
    tiles, labels, groups = [], [], []
    for seed in range(*SEEDS["probe strength"]):
        image, truth = drawn(seed, TRAIN_LOOKS)
        chosen = np.random.default_rng(seed).permutation(len(truth))[:20]
        tiles.append(patches(image, truth.xy_px0[chosen]))
        labels.append(truth.class_[chosen])
        groups += [seed] * len(chosen)
    return np.concatenate(tiles), np.concatenate(labels), np.array(groups)


def synthetic_tiles(span: list[int], looks: dict[str, Any]) -> dict[str, np.ndarray]:
    """Four tiles of 256 px per field with nuclei per mm², share of tumor nuclei, field, look."""
    rows: dict[str, list[Any]] = {k: [] for k in ("tile", "per_mm2", "tumor", "field", "look")}
    for seed in range(*span):
        image, truth = drawn(seed, looks)
        column, row = (truth.xy_px0 // 256).astype(int).T
        for y in (0, 1):
            for x in (0, 1):
                class_ = truth.class_[(column == x) & (row == y)]
                rows["tile"].append(image[256 * y :, 256 * x :][:256, :256])
                rows["per_mm2"].append(len(class_) / 0.128**2)
                rows["tumor"].append((class_ == 1).mean() if len(class_) else 0.0)
                rows["field"].append(seed)
                rows["look"].append(seed % 2)
    return {k: np.array(v) for k, v in rows.items()}


def own_tiles(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tiles of ``folder/<class>/[<patient>/]*``, their classes, their patients."""
    endings = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
    paths = [p for p in sorted(folder.glob("*/**/*")) if p.suffix.lower() in endings]
    if not paths:
        raise SystemExit(f"{folder.name}: no tiles; lay them out as <class>/<patient>/tile.png")
    places = [p.relative_to(folder).parts for p in paths]
    tiles = [np.asarray(Image.open(p).convert("RGB")) for p in paths]
    if len({t.shape for t in tiles}) > 1:
        raise SystemExit(f"{folder.name}: tiles differ in size; cut them all alike")
    groups = [p[1] if len(p) > 2 else "/".join(p) for p in places]
    return np.stack(tiles), np.array([p[0] for p in places]), np.array(groups)


# --- probes ----------------------------------------------------------------------------------


def probe(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, strength: float, folds: int = 10
) -> np.ndarray:
    """Out-of-fold probabilities ``float64[N, C]`` of logistic regression, folds by group."""
    classes = np.unique(y)
    out = np.zeros((len(x), len(classes)))
    splits = GroupKFold(min(folds, len(np.unique(groups)))).split(x, y, groups)
    for inside, outside in splits:
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=strength, class_weight="balanced", max_iter=5000),
        )
        model.fit(x[inside], y[inside])
        # a class may be missing from a fold's training part
        known = np.searchsorted(classes, model[-1].classes_)
        out[outside[:, None], known] = model.predict_proba(x[outside])
    return out


def chosen_strength(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """The strength with the best balanced accuracy on synthetic nuclei of the training looks."""
    classes = np.unique(y)
    return max(
        STRENGTHS,
        key=lambda c: balanced_accuracy_score(y, classes[probe(x, y, groups, c, 5).argmax(axis=1)]),
    )


def interval(groups: np.ndarray, score: Callable[[np.ndarray], float]) -> dict[str, Any]:
    """A score of row numbers with its 95 % interval over resampled groups."""
    found = bootstrap_interval(
        score, [str(g) for g in groups], n_resamples=DRAWS, seed=SEEDS["bootstrap"]
    )
    values = {k: float(getattr(found, k)) for k in ("value", "low", "high")}
    return {k: round(v, 4) if np.isfinite(v) else None for k, v in values.items()}


def class_scores(y: np.ndarray, probability: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Balanced accuracy, and the mean of the AUROC of each class against the rest."""
    classes = np.unique(y)
    said = classes[probability.argmax(axis=1)]

    def accuracy(rows: np.ndarray) -> float:
        # over the classes that are present in a resampled set
        return float(np.mean([(said[rows] == c)[y[rows] == c].mean() for c in np.unique(y[rows])]))

    def mean_area(rows: np.ndarray) -> float:
        each = [auroc(y[rows] == c, probability[rows, k]) for k, c in enumerate(classes)]
        return float(np.mean(each))

    return {
        "balanced_accuracy": interval(groups, accuracy),
        "mean_auroc": interval(groups, mean_area),
    }


def on_nucls(x: np.ndarray, y: np.ndarray, groups: np.ndarray, strength: float) -> dict[str, Any]:
    tumor = y == "tumor_any"
    found = class_scores(y, probe(x, y, groups, strength), groups)
    one = probe(x, tumor, groups, strength)[:, 1]
    found["tumor_auroc"] = interval(groups, lambda rows: auroc(tumor[rows], one[rows]))
    return found


def on_synthetic(
    x: np.ndarray, fitted: dict[str, np.ndarray], z: np.ndarray, judged: dict[str, np.ndarray]
) -> dict[str, Any]:
    """R² of density and tumor share on unseen looks; AUROC of tiles with any tumor nucleus."""
    found: dict[str, Any] = {}
    groups = judged["field"]
    for name in ("per_mm2", "tumor"):
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
        model.fit(x, fitted[name])
        truth, said = judged[name], model.predict(z)
        found[f"{name}_r2"] = interval(
            groups, lambda rows, t=truth, s=said: r2_score(t[rows], s[rows])
        )
        for k, look in enumerate(TEST_LOOKS):
            own = judged["look"] == k
            found[f"{name}_r2"][f"look {look}"] = round(float(r2_score(truth[own], said[own])), 4)
        if name == "tumor":
            some = truth > 0
            found["tumor_auroc"] = interval(
                groups, lambda rows, t=some, s=said: auroc(t[rows], s[rows])
            )
    return found


def milliseconds(encode: Encode, tile: np.ndarray, times: int = 25) -> float:
    """Processor time of one tile: the median of several."""
    taken = []
    for _ in range(times + 3):
        start = time.process_time()
        encode(tile[None])
        taken.append(1e3 * (time.process_time() - start))
    return round(float(np.median(taken[3:])), 2)


def facts(encoders: dict[str, Encode], timm: str) -> dict[str, Any]:
    """What a reader needs to repeat the figures."""
    blank = np.zeros((1, 64, 64, 3), np.uint8)
    return {
        "machine": machine(),
        "versions": {n: version(n) for n in ("scikit-learn", "scipy", "pillow", "timm")},
        "seeds": SEEDS,
        "bootstrap_draws": DRAWS,
        "digests": {"morphology": Morphology().digest, "tissue-small": TissueSmall().digest},
        "imagenet": timm.partition("@")[0] if timm else "not at hand",
        "dims": {n: e(blank).shape[1] for n, e in encoders.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--tiles", type=Path, help="own tiles: DIR/<class>/<patient>/*.png")
    parser.add_argument("--timm", default=os.environ.get("PATHAI_TIMM", ""))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    encoders = compared(given.timm)
    results: dict[str, Any] = facts(encoders, given.timm)
    practice = synthetic_nuclei()
    strength = {n: chosen_strength(e(practice[0]), *practice[1:]) for n, e in encoders.items()}
    results["probe_strength"] = strength
    if given.tiles:
        tiles, y, groups = own_tiles(given.tiles)
        results["tiles"] = {"tiles": len(y), "patients": len(np.unique(groups))}
        for name, encode in encoders.items():
            probability = probe(encode(tiles), y, groups, strength[name], 5)
            results["tiles"][name] = class_scores(y, probability, groups)
    else:
        tiles, y, groups = nucls(given.data / "nuclei" / "nucls")
        names, counts = np.unique(y, return_counts=True)
        results["nucls_points"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
        fitted = synthetic_tiles(SEEDS["synthetic probe"], TRAIN_LOOKS)
        judged = synthetic_tiles(SEEDS["synthetic test"], TEST_LOOKS)
        tile = synthetic_field(1, width=256, height=256)[0]
        results |= {"nucls": {}, "synthetic": {}, "cpu_ms_per_tile": {}}
        for name, encode in encoders.items():
            results["nucls"][name] = on_nucls(encode(tiles), y, groups, strength[name])
            results["synthetic"][name] = on_synthetic(
                encode(fitted["tile"]), fitted, encode(judged["tile"]), judged
            )
            results["cpu_ms_per_tile"][name] = milliseconds(encode, tile)
            print(name, json.dumps({k: results[k][name] for k in ("nucls", "synthetic")}))
    own = "own_tiles" if given.tiles else "encoders"
    out = given.out or ROOT / "benchmarks" / "results" / f"{own}.json"
    out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
