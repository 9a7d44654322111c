"""Fields of discs with known truth, and small networks that find them, for tests of detectors.

The networks add whole numbers only, so that float32 gives the same bits wherever a block starts.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from torch.nn import functional as F

from pathai.detectors.base import Detections
from pathai.stain import StainMatrix, compose
from pathai.store.records import TissueMap
from pathai.units import Mpp

HALF = Mpp(0.5, 0.5)
HE = StainMatrix("foreign", ("h", "e", "residual"), ((0.55, 0.76, 0.35), (0.11, 0.92, 0.38)))
DAB = StainMatrix("foreign", ("h", "dab", "residual"), ((0.58, 0.70, 0.42), (0.33, 0.55, 0.77)))


def all_tissue(width: int, height: int, downsample: float = 8.0) -> TissueMap:
    shape = (int(np.ceil(height / downsample)), int(np.ceil(width / downsample)))
    return TissueMap(np.ones(shape, np.uint8), downsample, Mpp(0.5 * downsample, 0.5 * downsample))


def discs(
    seed: int, stain: str, size: int = 512, count: int = 90
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Separated discs in foreign stain vectors; image, centers, which are brown."""
    rng = np.random.default_rng(seed)
    centers: list[np.ndarray] = []
    while len(centers) < count:
        place = rng.uniform(15, size - 15, 2)
        if all(np.hypot(*(place - c)) > 26 for c in centers):
            centers.append(place)
    xy = np.array(centers)
    brown = rng.random(count) < 0.4
    radius = rng.uniform(5.5, 9, count)
    y, x = np.mgrid[:size, :size] + 0.5
    density = np.zeros((3, size, size))
    pale = 0.10 * rng.random((size, size)) + 0.08
    density[1] = pale if stain == "H&E" else 0.1 * pale
    for (cx, cy), r, is_brown in zip(xy, radius, brown, strict=True):
        inside = np.clip(r - np.hypot(x - cx, y - cy) + 0.5, 0, 1)
        density[0] = np.maximum(density[0], inside * (0.3 if stain != "H&E" and is_brown else 0.5))
        if stain != "H&E" and is_brown:
            density[1] = np.maximum(density[1], 0.5 * inside)
    image = compose(density, HE if stain == "H&E" else DAB, (244, 240, 242))
    return image, xy, brown


def matched(found: np.ndarray, truth: np.ndarray, radius: float) -> np.ndarray:
    """Index of the truth that each detection is matched to, -1 for none."""
    near = csr_array(cdist(found, truth) <= radius)
    index: np.ndarray = maximum_bipartite_matching(near, perm_type="column")
    return index


def same(one: Detections, two: Detections) -> bool:
    """The same nuclei; a network in bfloat16 may move a corner by an eighth of a pixel."""
    exact = all(
        np.array_equal(getattr(one, field), getattr(two, field))
        for field in ("centers", "anchors", "class_", "outline_start")
    )
    near = {"score": 0.01, "prob": 0.02, "dab_od": 0.01, "outline": 0.26}
    return exact and all(
        np.allclose(getattr(one, field), getattr(two, field), rtol=0, atol=most)
        for field, most in near.items()
    )


def exactly_same(one: Detections, two: Detections) -> bool:
    return all(
        np.array_equal(getattr(one, field), getattr(two, field))
        for field in ("centers", "class_", "prob", "dab_od", "outline", "outline_start")
    )


def box(x: torch.Tensor, edge: int) -> torch.Tensor:
    """Sum over a square around each px; beyond the border stands its last px."""
    ones = torch.ones(1, 1, 1, edge)
    half = edge // 2
    x = F.conv2d(F.pad(x, (half, half, 0, 0), mode="replicate"), ones)
    return F.conv2d(F.pad(x, (0, 0, half, half), mode="replicate"), ones.transpose(2, 3))


REACH_UM = 56.0
"""Of `Pieces`: twice 24 px from the anchor, 24 px to what named a px, 22 px to what made it."""


class Blobs(torch.nn.Module):
    """float32[1, 3, h, w] of 0 to 255 to center and foreground, ``[1, 2, h, w]``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dark = 765 - x.sum(dim=1, keepdim=True)
        around = box(dark, 41) / 1681
        center = ((box(box(dark, 9), 9) / 6561 - around) / 150).clamp(0, 1)
        inside = ((box(dark, 3) / 9 - around) / 150).clamp(0, 1)
        return torch.cat([center, inside], dim=1)


class Pieces(torch.nn.Module):
    """The same to a label map ``[1, 1, h, w]``: pieces of the foreground, grown 24 times."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dark = 765 - x.sum(dim=1, keepdim=True)
        inside = (box(dark, 5) / 25 - box(dark, 41) / 1681 > 60).float()
        number = torch.ones_like(inside).flatten().cumsum(0).reshape(inside.shape) * inside
        for _ in range(24):
            number = F.max_pool2d(number, 3, 1, 1) * inside
        return number


class InstanSegLike(torch.nn.Module):
    """`Pieces` behind the signature of InstanSeg's files, with nuclei and cells."""

    pixel_size: float
    cells_and_nuclei: bool

    def __init__(self) -> None:
        super().__init__()
        self.pixel_size, self.cells_and_nuclei = 0.5, True
        self.pieces = torch.jit.trace(Pieces(), torch.zeros(1, 3, 64, 80))

    def forward(self, x: torch.Tensor, target_segmentation: torch.Tensor) -> torch.Tensor:
        """Labels ``[1, 1 or 2, h, w]``; whole numbers again, as the percentiles left 0 to 1."""
        nuclei = self.pieces(torch.round(x * 255))
        both = torch.cat([nuclei, (nuclei > 0).float()], dim=1)
        return both[:, target_segmentation > 0]


def save_instanseg(file: Path) -> Path:
    """A file like InstanSeg's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(InstanSegLike()), str(file))
    state(file, halo_um=REACH_UM)
    return file


class CellposeModel:
    """Stands for the class of that name in the package: a label map by `Pieces`."""

    def __init__(self, gpu: bool, pretrained_model: str) -> None:
        torch.load(pretrained_model, map_location="cpu", weights_only=True)

    def eval(self, x: np.ndarray, normalize: bool, channel_axis: int) -> tuple[np.ndarray, ...]:
        """Labels, flows, style."""
        assert not normalize
        assert channel_axis == -1
        pixels = torch.from_numpy(np.rint(x * 255).transpose(2, 0, 1)[None])
        return Pieces()(pixels)[0, 0].numpy().astype(np.uint32), (), ()


def save_cellpose(file: Path) -> Path:
    """A file of weights."""
    torch.save({"W2": torch.zeros(3)}, file)
    file.with_suffix(".json").write_text(json.dumps({"halo_um": REACH_UM}))
    return file


class Stars(torch.nn.Module):
    """Every second px as the center of an ellipse, 14 px wide and 17 px high; 16 rays."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = Blobs()(torch.round(x * 80))[:, :1, ::2, ::2]
        angle = torch.arange(16) * (2 * torch.pi / 16)
        radius = 59.5 / torch.sqrt((8.5 * torch.cos(angle)) ** 2 + (7 * torch.sin(angle)) ** 2)
        return maps, radius[None, :, None, None] + 0 * maps


def save_stardist(folder: Path) -> Path:
    """A folder like StarDist's, its network in TorchScript."""
    folder.mkdir()
    says = {"n_rays": 16, "grid": [2, 2], "unet_n_depth": 3, "unet_pool": [2, 2]}
    (folder / "config.json").write_text(json.dumps(says))
    (folder / "thresholds.json").write_text(json.dumps({"prob": 0.45, "nms": 0.05}))
    save_torchscript(folder / "network.pt", Stars())
    (folder / "network.json").rename(folder / "pathai.json")
    (folder / "pathai.json").write_text(json.dumps({"mpp": 0.5}))
    return folder


def save_torchscript(file: Path, network: torch.nn.Module, **contract: Any) -> Path:
    """A TorchScript file with its contract beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 64, 80)), str(file))
    state(file, **contract)
    return file


def save_onnx(file: Path, *, stated: dict[str, Any] | None = None, **contract: Any) -> Path:
    """`Blobs` as an ONNX file, with its contract beside it, or in it if ``stated``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights = [], {}

    def add(kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(value: Any) -> str:
        name = f"w{len(weights)}"
        array = np.asarray(value)
        weights[name] = array if array.dtype == np.int64 else array.astype(np.float32)
        return name

    def sums(x: str, edge: int) -> str:
        half = edge // 2
        for y_edge, x_edge in ((1, edge), (edge, 1)):
            dy, dx = half * (y_edge > 1), half * (x_edge > 1)
            pads = constant(np.array([0, 0, dy, dx, 0, 0, dy, dx]))
            x = add("Pad", x, pads, mode="edge")
            x = add("Conv", x, constant(np.ones((1, 1, y_edge, x_edge))))
        return x

    def share(value: str, around: str) -> str:
        lifted = add("Div", add("Sub", value, around), constant(150.0))
        return add("Clip", lifted, constant(0.0), constant(1.0))

    total = add("Conv", "x", constant(np.ones((1, 3, 1, 1))))
    dark = add("Sub", constant(765.0), total)
    around = add("Div", sums(dark, 41), constant(1681.0))
    center = share(add("Div", sums(sums(dark, 9), 9), constant(6561.0)), around)
    inside = share(add("Div", sums(dark, 3), constant(9.0)), around)
    nodes.append(helper.make_node("Concat", [center, inside], ["maps"], axis=1))
    graph = helper.make_graph(
        nodes,
        "blobs",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 2, "h", "w"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if stated is not None:
        helper.set_model_props(model, {"pathai": json.dumps(stated)})
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    if contract:
        state(file, **contract)
    return file


def state(file: Path, **contract: Any) -> None:
    """Write the contract beside a file."""
    file.with_suffix(".json").write_text(json.dumps(contract))


MAPS = {
    "output": "maps",
    "mpp": 0.5,
    "scale": 1.0,
    "step_px": 1,
    "threshold": 0.3,
    "foreground": 0.3,
    "maps": {"center": 0, "foreground": 1},
    "area_um2": 10,
}
"""Contract of `Blobs`."""
LABELS = {
    "output": "labels",
    "mpp": 0.5,
    "halo_um": REACH_UM,
    "scale": 1.0,
    "step_px": 1,
    "area_um2": 10,
}
"""Contract of `Pieces`."""
