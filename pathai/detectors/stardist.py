"""StarDist: star-convex polygons from a folder with its network as ONNX or TorchScript.

The folder is that of a StarDist model (``config.json``, ``thresholds.json``) with its network
exported beside them (``*.onnx`` or ``*.pt``; TensorFlow is not needed, ``docs/detectors.md`` says
how to export). The weaker one of two polygons that overlap too much is dropped by the exact
areas of their intersection.

References
----------
Schmidt U, Weigert M, Broaddus C, Myers G. Cell detection with star-convex polygons.
In: MICCAI 2018, LNCS 11071:265-273.
"""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.contract import Contract, read_contract
from pathai.detectors.files import require
from pathai.detectors.foreign import F32, ForeignDetector
from pathai.detectors.found import Found
from pathai.detectors.stars import paint, star_polygons, suppress
from pathai.errors import PathaiError
from pathai.units import Mpp

EDGE_PX = 2
"""Of the output: StarDist lets no polygon start so near to the border."""


class StarDist(ForeignDetector):
    """A StarDist model of two dimensions and one class."""

    @cached_property
    def contract(self) -> Contract:
        """What the model's own files say; ``pathai.json`` in the folder adds the µm/px."""
        config = _json(require(self.file, folder=True) / "config.json")
        limits = _json(self.file / "thresholds.json")
        try:
            grid = {int(g) for g in config["grid"]}
            stride = int(config["unet_pool"][0] ** config["unet_n_depth"]) * max(grid)
            found: dict[str, Any] = {
                "output": "stars",
                "layout": "nhwc" if self._is_onnx else "nchw",
                "grid": grid.pop() if len(grid) == 1 else 0,
                "step_px": stride,
                "threshold": float(limits["prob"]),
                "overlap": float(limits["nms"]),
                "percentiles": (1, 99.8),
            }
        except (KeyError, TypeError, ValueError, IndexError) as error:
            message = f"config.json or thresholds.json of {self.file.name}: {error!r}"
            raise PathaiError("E182", message, "copy the model's folder again") from None
        return read_contract(self.file, **found)

    @cached_property
    def network(self) -> Callable[[F32], list[NDArray[Any]]]:
        """Probability and distances for one input."""
        if self._is_onnx:
            from pathai.detectors.onnx import outputs_of, session_of

            return outputs_of(session_of(self._exported))
        from pathai.detectors.torchscript import module_of
        from pathai.detectors.torchscript import outputs_of as torch_outputs

        return torch_outputs(module_of(self._exported))

    @cached_property
    def _exported(self) -> Path:
        found = sorted(p for kind in ("*.onnx", "*.pt") for p in self.file.glob(kind))
        if len(found) != 1:
            message = f"{self.file.name} holds {len(found)} exported networks, not one"
            raise PathaiError("E183", message, "docs/detectors.md says how to export one")
        return found[0]

    @property
    def _is_onnx(self) -> bool:
        return self._exported.suffix == ".onnx"

    def found(self, outputs: list[F32], mpp: Mpp) -> Found:
        """Nuclei of probability ``float32[1, h, w]`` and distances ``float32[rays, h, w]``."""
        if len(outputs) != 2 or sorted(map(len, outputs))[0] != 1:
            raise ValueError(f"{len(outputs)} outputs, not probability and distances")
        prob, dist = sorted(outputs, key=len)
        edge = np.zeros(prob[0].shape, bool)
        edge[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX] = True
        y, x = np.nonzero((prob[0] > self.contract.threshold) & edge)
        grid = self.contract.grid
        # in StarDist's px, pixel i has its center at i
        at = np.stack([x, y], axis=1) * grid + 0.5
        polygons = star_polygons(at, dist[:, y, x].T)
        score = prob[0, y, x]
        kept = suppress(polygons, score, self.contract.overlap)
        area = polygon_area(polygons[kept])
        kept = kept[area >= self.contract.area_um2 / (mpp.x * mpp.y)]
        kept = kept[np.lexsort((at[kept, 0], at[kept, 1]))]
        count = len(kept)
        shape = (prob.shape[1] * grid, prob.shape[2] * grid)
        return Found(
            labels=paint(polygons[kept], score[kept], shape),
            centers=at[kept].astype(np.float32),
            anchors=at[kept].astype(np.float32),
            outlines=polygons[kept].astype(np.float32),
            score=np.clip(score[kept], 0, 1).astype(np.float32),
            support=np.ones((count, 1), np.float32),
        )


def polygon_area(polygons: NDArray[Any]) -> NDArray[np.float64]:
    """Area ``float64[M]`` of polygons [M, K, 2]."""
    x, y = polygons[..., 0], polygons[..., 1]
    cross = x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y
    area: NDArray[np.float64] = np.abs(cross.sum(axis=1)) / 2
    return area


def _json(file: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except OSError:
        message = f"{file.name} is missing in {file.parent.name}"
        raise PathaiError("E183", message, "copy the model's folder again") from None
    except ValueError as error:
        message = f"{file.name} of {file.parent.name}: {error}"
        raise PathaiError("E182", message, "copy the model's folder again") from None
    return said
