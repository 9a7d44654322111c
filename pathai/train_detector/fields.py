"""Where a detector learns from: labeled pictures, synthetic fields, and slides without labels."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from pathai.errors import PathaiError
from pathai.resample import area_reduce
from pathai.testing.crowd import crowded_field
from pathai.testing.looks import TRAIN_LOOKS, Look
from pathai.testing.picture import synthetic_field
from pathai.train_detector.targets import UNKNOWN

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
KEPT_MPP = 0.4
"""µm/px at which finer pictures are kept: a little finer than the network's, for shrinking."""
USUAL_NUCLEUS_UM = 8.0
DISC_UM = 3.0
"""Radius of the disc that stands for a nucleus of which only the center is known."""


@dataclass(frozen=True)
class Field:
    """A picture and its nuclei.

    Attributes
    ----------
    name : str
        Of the picture.
    group : str
        Of its source; batches are mixed by it.
    rgb : uint8[h, w, 3]
    labels : int32[h, w]
        Nucleus i is i, 0 is background, -1 is unknown.
    xy : float32[M, 2]
        Centers, px of ``rgb``; pixel i covers i to i + 1.
    mpp : float
        µm/px.
    """

    name: str
    group: str
    rgb: U8
    labels: I32
    xy: NDArray[np.float32]
    mpp: float


def labeled(folder: Path, *, scale_by_size: bool = False) -> Iterator[Field]:
    """Labeled pictures of a folder, as in ``docs/detector-training.md``.

    Parameters
    ----------
    folder : Path
        Holds ``images.csv`` (image, file, mpp and, for ``scale_by_size``, r_px), label maps
        ``labels/<image>.png``, and perhaps ``gt_points.csv`` (image, x, y): where it is there, it
        is the truth, and label maps only give its outlines.
    scale_by_size : bool
        Take µm/px from the size of the labels, for sets that do not state it.

    Raises
    ------
    PathaiError
        E191 if a file is missing or a column is: the message says which.
    """
    points = _points(folder / "gt_points.csv")
    rows = rows_of(folder / "images.csv", {"image", "file", "mpp"})
    maps = next((folder / n for n in ("labels", "instances") if (folder / n).is_dir()), None)
    if maps is None:
        raise PathaiError("E191", f"{folder.name} has no folder labels", "add the label maps")
    for row in rows:
        file = maps / f"{row['image']}.png"
        if not file.exists():
            raise PathaiError("E191", f"{file.name} is missing in {maps.name}", "add it")
        rgb = np.ascontiguousarray(picture(folder / row["file"])[..., :3])
        labels = picture(file).astype(np.int32)
        if labels.shape != rgb.shape[:2]:
            raise PathaiError("E191", f"{file.name} is not as large as its picture", "export anew")
        mpp = float(row["mpp"])
        if scale_by_size:
            mpp = min(USUAL_NUCLEUS_UM / (2 * float(row["r_px"])), 1.0)
        known = points.get(row["image"])
        if known is None:
            truth = Field(row["image"], folder.name, rgb, labels, centers(labels), mpp)
        else:
            truth = Field(row["image"], folder.name, rgb, _outlined(labels, known, mpp), known, mpp)
        yield reduced(truth)


def picture(file: Path) -> NDArray[Any]:
    """A picture or label map; one that declares more than Pillow's limit is never unpacked.

    Raises
    ------
    PathaiError
        E184 naming the file.
    """
    from PIL import Image
    from skimage.io import imread

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        return np.asarray(imread(file))
    except (OSError, ValueError, SyntaxError, *bombs) as error:
        reason = str(error).replace(str(file.parent), "").strip()[:200]
        message = f"{file.name} cannot be read: {reason}"
        raise PathaiError("E184", message, "export it anew, as PNG") from None


def rows_of(file: Path, needed: set[str]) -> list[dict[str, str]]:
    """Rows of a CSV that has the needed columns; E191 where not."""
    if not file.exists():
        raise PathaiError("E191", f"{file.name} is missing in {file.parent.name}", "write it")
    with file.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    missing = needed - set(rows[0] if rows else ())
    if missing:
        raise PathaiError("E191", f"{file.name} has no {', '.join(sorted(missing))}", "add them")
    return rows


def _points(file: Path) -> dict[str, NDArray[np.float32]]:
    """Points by image; files count from the center of the first pixel, we from its corner."""
    if not file.exists():
        return {}
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows_of(file, {"image", "x", "y"}):
        found.setdefault(row["image"], []).append((float(row["x"]) + 0.5, float(row["y"]) + 0.5))
    return {name: np.array(xy, np.float32) for name, xy in found.items()}


def centers(labels: I32) -> NDArray[np.float32]:
    """Centroids ``float32[M, 2]`` of a label map, x before y."""
    names = np.unique(labels[labels > 0])
    if len(names) == 0:
        return np.empty((0, 2), np.float32)
    yx = np.array(ndimage.center_of_mass(labels > 0, labels, names), np.float32)
    found: NDArray[np.float32] = yx[:, ::-1] + np.float32(0.5)
    return found


def _outlined(labels: I32, points: NDArray[np.float32], mpp: float) -> I32:
    """Outlines of the points: the nearest label within a nucleus' size, else a disc.

    Labels without a point are unknown: whoever drew the points may have had a reason.
    """
    middle = centers(labels)
    names = np.unique(labels[labels > 0])
    out = np.where(labels > 0, UNKNOWN, 0).astype(np.int32)
    gap, at = np.full(len(points), np.inf), np.zeros(len(points), int)
    if len(names):
        gap, at = cKDTree(middle).query(points)
    taken: set[int] = set()
    loose = []
    for i in np.argsort(gap):
        if gap[i] <= DISC_UM / mpp and int(at[i]) not in taken:
            taken.add(int(at[i]))
            out[labels == names[at[i]]] = i + 1
        else:
            loose.append(i)
    rows, columns = np.indices(labels.shape)
    for i in loose:
        disc = np.hypot(columns + 0.5 - points[i, 0], rows + 0.5 - points[i, 1]) <= DISC_UM / mpp
        out[disc & (out <= 0)] = i + 1
    return out


def reduced(field: Field, mpp: float = KEPT_MPP) -> Field:
    """The field at ``mpp`` where it is finer."""
    factor = mpp / field.mpp
    if factor <= 1.1:
        return field
    height, width = (int(n / factor) for n in field.labels.shape)
    rgb = area_reduce(field.rgb, (factor, factor), (0, 0), (0, 0), (width, height))
    rows = ((np.arange(height) + 0.5) * factor).astype(int)
    columns = ((np.arange(width) + 0.5) * factor).astype(int)
    labels = np.ascontiguousarray(field.labels[rows[:, None], columns])
    xy = (field.xy / factor).astype(np.float32)
    return replace(field, rgb=rgb, labels=labels, xy=xy, mpp=mpp)


def wide_look(rng: np.random.Generator) -> Look:
    """Stains, textures and scanners from a range wider than any two laboratories."""

    def turned(vector: tuple[float, float, float], most: float) -> tuple[float, float, float]:
        red, green, blue = (max(v + float(rng.uniform(-most, most)), 0.0) for v in vector)
        return red, green, blue

    base = TRAIN_LOOKS[str(rng.choice(list(TRAIN_LOOKS)))]
    glass = float(rng.uniform(222, 250))
    light = (glass, glass + float(rng.uniform(-6, 3)), glass + float(rng.uniform(-8, 4)))
    return replace(
        base,
        name="wide",
        hematoxylin=turned(base.hematoxylin, 0.08),
        eosin=turned(base.eosin, 0.08),
        dab=turned(base.dab, 0.08),
        nuclear=float(rng.uniform(0.6, 1.4)),
        cytoplasmic=float(rng.uniform(0.5, 1.6)),
        glass=light,
        gamma=float(rng.uniform(0.85, 1.15)),
        focus_um=float(rng.uniform(0.2, 0.7)),
        noise=float(rng.uniform(0.4, 3.0)),
        chromatin_um=float(rng.uniform(0.4, 0.9)),
        chromatin=float(rng.uniform(0.6, 1.6)),
        fiber_um=float(rng.uniform(0.9, 2.4)),
        fiber_length_um=float(rng.uniform(9, 34)),
        fiber_contrast=float(rng.uniform(0.4, 1.0)),
    )


def synthetic(count: int, seed: int, edge_px: int = 448) -> Iterator[Field]:
    """Fields of drawn tissue, every nucleus known: H&E and Ki-67, whole tissue and plain crowds."""
    from skimage.draw import polygon

    rng = np.random.default_rng([seed, 7])
    for i in range(count):
        look, number = wide_look(rng), int(rng.integers(1 << 31))
        mpp = float(rng.choice([0.4, 0.45, 0.5]))
        if i % 5 == 4:
            layout = ("separated", "touching", "overlapping")[(i // 5) % 3]
            share = float(rng.uniform(0.05, 0.6)) if (i // 15) % 2 else None
            crowd = crowded_field(
                number, layout, float(rng.uniform(1500, 7000)), look,  # type: ignore[arg-type]
                edge_px=edge_px, mpp=mpp, positive_share=share,
            )  # fmt: skip
            yield Field(f"crowd-{number}", "crowds", crowd.picture, crowd.labels, crowd.xy_px0, mpp)
            continue
        artefacts = ("fold",) if rng.uniform() < 0.15 else ()
        picture, truth = synthetic_field(
            number, look, width=edge_px, height=edge_px, mpp=mpp,
            stain="H&E" if i % 3 else "Ki-67", tumor=bool(rng.uniform() < 0.7), artefacts=artefacts,
        )  # fmt: skip
        labels = np.zeros(picture.shape[:2], np.int32)
        start = truth.outline_start
        for k in range(len(start) - 1):
            points = truth.outline_px0[start[k] : start[k + 1]] - 0.5
            labels[polygon(points[:, 1], points[:, 0], labels.shape)] = k + 1
        yield Field(f"tissue-{number}", "tissue", picture, labels, truth.xy_px0, mpp)
