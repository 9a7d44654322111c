"""Slides without labels: windows of their tissue, grounds without nuclei, labels by a teacher."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from pathai.detectors.nuclei_small.decode import decode
from pathai.detectors.nuclei_small.net import ALIGN_PX, MEAN, SPREAD, NucleusNet
from pathai.errors import PathaiError
from pathai.nuclei import find_nuclei
from pathai.readers import open_slide
from pathai.sheet import load_sheet
from pathai.train_detector.augment import density
from pathai.train_detector.fields import Field, rows_of
from pathai.train_detector.targets import UNKNOWN
from pathai.units import Box, Mpp

U8 = NDArray[np.uint8]
EDGE_PX, STEP_PX, MPP = 512, 384, 0.5
GROUND_PX = 160
SURE, PERHAPS = 0.45, 0.2
"""Heat from which the teacher's nucleus is believed; from the second on it is unknown."""


@dataclass(frozen=True)
class Window:
    """Pixels ``uint8[h, w, 3]`` of tissue at `MPP`, and ``bool[h, w]`` where no nucleus is."""

    slide_id: str
    stain: str
    rgb: U8
    barren: NDArray[np.bool_]


def barren_places(file: Path | None) -> dict[str, list[Box]]:
    """Rectangles without a nucleus, by slide, from a CSV ``slide_id,x,y,width,height``, px0.

    Raises
    ------
    PathaiError
        E191 if a column is missing.
    """
    found: dict[str, list[Box]] = {}
    for row in rows_of(file, {"slide_id", "x", "y", "width", "height"}) if file else ():
        box = Box(*(float(row[name]) for name in ("x", "y", "width", "height")))
        found.setdefault(row["slide_id"], []).append(box)
    return found


def windows(sheet: Path, barren: Path | None = None) -> Iterator[Window]:
    """Windows with tissue of every slide of a sheet.

    Parameters
    ----------
    sheet : Path
        As for a run.
    barren : Path, optional
        See `barren_places`.

    Raises
    ------
    PathaiError
        Of the sheet, or of a slide that cannot be read; E130 where a file has no µm/px.
    """
    places = barren_places(barren)
    for row in load_sheet(sheet).rows:
        slide = open_slide(sheet.parent / row.path)
        try:
            own, size = slide.facts.mpp, slide.facts.size
            if own is None:
                raise PathaiError("E130", f"{row.slide_id}: the file has no µm/px to learn at")
            edge, step = EDGE_PX * MPP / own.x, STEP_PX * MPP / own.x
            for y in np.arange(0, max(size.height - edge / 2, 1), step):
                for x in np.arange(0, max(size.width - edge / 2, 1), step):
                    box = Box(int(x), int(y), min(edge, size.width - x), min(edge, size.height - y))
                    rgb, _ = slide.read(box, MPP)
                    if (rgb.mean(axis=-1) < 220).mean() > 0.15:
                        none = np.zeros(rgb.shape[:2], bool)
                        for b in places.get(row.slide_id, ()):
                            left, top, right, bottom = (
                                max(round(v * own.x / MPP), 0)
                                for v in (b.x - x, b.y - y, b.right - x, b.bottom - y)
                            )
                            none[top:bottom, left:right] = True
                        yield Window(row.slide_id, row.stain, np.ascontiguousarray(rgb), none)
        finally:
            slide.close()


def grounds(found: Sequence[Window]) -> list[Tensor]:
    """Optical density ``float32[3, h, w]`` of places with few nuclei, those smoothed over."""
    out = []
    for one in found:
        if one.stain != "H&E":
            continue
        nuclei = find_nuclei(one.rgb, Mpp(MPP, MPP))
        hidden = ndimage.binary_dilation(nuclei.labels > 0, iterations=2)
        od = density(torch.from_numpy(one.rgb.copy()).permute(2, 0, 1).float() / 255).numpy()
        seen = ndimage.gaussian_filter((~hidden).astype(np.float32), 8) + 1e-3
        for channel in od:
            smooth = ndimage.gaussian_filter(np.where(hidden, 0, channel), 8) / seen
            channel[hidden] = smooth[hidden]
        for y in range(0, one.rgb.shape[0] - GROUND_PX + 1, GROUND_PX // 2):
            for x in range(0, one.rgb.shape[1] - GROUND_PX + 1, GROUND_PX // 2):
                part = np.s_[y : y + GROUND_PX, x : x + GROUND_PX]
                if hidden[part].mean() < 0.3 and one.rgb[part].mean() < 215:
                    out.append(torch.from_numpy(od[(slice(None), *part)].copy()))
    return out


@torch.no_grad()
def answer(network: NucleusNet, rgb: U8) -> tuple[Tensor, Tensor]:
    """Heat ``float32[h, w]``, 0 to 1, and rays of a picture at the network's µm/px."""
    height, width = rgb.shape[:2]
    more = ((0, -height % ALIGN_PX), (0, -width % ALIGN_PX), (0, 0))
    pixels = torch.from_numpy(np.pad(rgb, more, mode="edge")).permute(2, 0, 1)[None].float() / 255
    x = ((pixels - MEAN) / SPREAD).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heat, _, rays = network(x)
    return torch.sigmoid(heat[0, :height, :width].float()), rays[0].float()


def labeled_by(network: NucleusNet, found: Sequence[Window]) -> list[Field]:
    """Windows as fields: what the network is sure of is a nucleus, what it doubts is unknown."""
    from skimage.draw import polygon

    out = []
    for one in found:
        peaks = decode(*answer(network, one.rgb), PERHAPS)
        labels = np.zeros(one.rgb.shape[:2], np.int32)
        for i in np.argsort(peaks.score, kind="stable"):
            corners = peaks.outline[i] - 0.5
            inside = polygon(corners[:, 1], corners[:, 0], labels.shape)
            labels[inside] = i + 1 if peaks.score[i] >= SURE else UNKNOWN
        labels[one.barren] = 0
        xy = peaks.xy[peaks.score >= SURE]
        out.append(Field(one.slide_id, "slides", one.rgb, labels, xy, MPP))
    return out
