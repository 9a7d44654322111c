"""Output of a foreign network as nuclei: label maps, maps to split, star-convex polygons."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.contract import Contract
from pathai.label_map import from_labels, split
from pathai.units import Mpp

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """Nuclei of one image, in its px, sorted by y, then x.

    Attributes
    ----------
    labels : int32[h, w]
        Row *i* is label ``i + 1``; a nucleus may be hidden by others.
    centers, anchors : float32[M, 2]
        As of `pathai.detectors.base.Detections`.
    outlines : float32[M, K, 2]
        Polygons of K corners.
    score : float32[M]
        Chance that a nucleus is there, not calibrated.
    support : float32[M, C]
        For each class, rows sum to 1.
    """

    labels: NDArray[np.int32]
    centers: F32
    anchors: F32
    outlines: F32
    score: F32
    support: F32

    def mean(self, values: F32) -> F32:
        """Mean of ``values`` [h, w] over each nucleus; of a hidden one, the value at its center."""
        # a coarse grid may reach a pixel beyond the image
        labels = self.labels[: values.shape[0], : values.shape[1]]
        flat = np.flatnonzero(labels)
        owner = labels.ravel()[flat] - 1
        count = len(self.centers)
        area = np.bincount(owner, minlength=count)
        total = np.bincount(owner, values.ravel()[flat], minlength=count)
        top = np.array(values.shape[::-1]) - 1
        x, y = np.floor(self.centers).astype(int).clip(0, top).T
        return np.where(area > 0, total / np.maximum(area, 1), values[y, x]).astype(np.float32)


def channels(output: Any, contract: Contract, shape: tuple[int, int]) -> F32:
    """One output as ``float32[K, h, w]``.

    Raises
    ------
    ValueError
        If its axes are others, or a value is not finite.
    """
    array = np.asarray(output)
    given = "x".join(map(str, array.shape))
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
        if contract.layout == "nhwc":
            array = np.moveaxis(array, -1, 0)
    if array.ndim == 3 and array.shape[0] == 1 and array.shape[1:] != shape:
        array = array[0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != shape:
        raise ValueError(f"output {given}, for an image of {shape[0]}x{shape[1]}")
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise ValueError(f"output of {array.dtype} with values that are not finite")
    return array


def from_label_output(outputs: list[Any], contract: Contract, mpp: Mpp) -> Found:
    """Nuclei of a label map; a second output supports the classes.

    Raises
    ------
    ValueError
        If the map does not hold whole numbers from 0.
    """
    array = outputs[0][0]
    names = np.rint(array).astype(np.int64)
    if array.dtype.kind == "f" and not (names == array).all():
        raise ValueError("a label map with values that are not whole")
    shapes = from_labels(names, max(1, _pixels(contract.area_um2, mpp)))
    count, width = len(shapes), len(contract.classes)
    support = np.ones((count, 1), np.float32)
    if width > 1:
        if len(outputs) < 2 or len(outputs[1]) != width:
            raise ValueError(f"no second output of {width} channels for {width} classes")
        support = _shares(np.stack([shapes.mean(channel) for channel in outputs[1]], axis=1))
    return Found(
        labels=shapes.labels,
        centers=shapes.centers,
        anchors=shapes.centers,
        outlines=shapes.outlines,
        score=np.ones(count, np.float32),
        support=support,
    )


def from_maps(outputs: list[Any], contract: Contract, mpp: Mpp) -> Found:
    """Nuclei of center, foreground and distance maps.

    Raises
    ------
    ValueError
        If a channel that the contract names is not there.
    """
    maps, stack = contract.maps, np.concatenate(outputs)
    named = [maps.center, maps.foreground or 0, maps.distance or 0, *maps.classes]
    if max(named) >= len(stack):
        raise ValueError(f"channel {max(named)} is named, and there are {len(stack)}")
    center = stack[maps.center]
    inside = center if maps.foreground is None else stack[maps.foreground]
    slope = center if maps.distance is None else stack[maps.distance]
    labels, anchors, height = split(
        center,
        np.rint(inside * 1024) >= contract.foreground * 1024,
        slope,
        threshold=contract.threshold,
        apart_px=contract.apart_um / mpp.mean,
        reach_px=contract.reach_um / mpp.mean,
    )
    shapes = from_labels(labels, max(1, _pixels(contract.area_um2, mpp)))
    row = shapes.number - 1
    support = np.ones((len(row), 1), np.float32)
    if len(contract.classes) > 1:
        support = _shares(np.stack([shapes.mean(stack[c]) for c in maps.classes], axis=1))
    return Found(
        labels=shapes.labels,
        centers=shapes.centers,
        anchors=anchors[row],
        outlines=shapes.outlines,
        score=height[row].clip(0, 1),
        support=support,
    )


def _pixels(area_um2: float, mpp: Mpp) -> int:
    return round(area_um2 / (mpp.x * mpp.y))


def _shares(support: NDArray[Any]) -> F32:
    """Rows that sum to 1; a row without any support is even."""
    kept = np.clip(support, 0, None) + 1e-6
    shares: F32 = np.rint(1024 * kept / kept.sum(axis=1, keepdims=True)).astype(np.float32)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
    return shares
