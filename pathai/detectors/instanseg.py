"""InstanSeg: the TorchScript file that its authors publish, or that its package exports.

The file does everything from pixels to a label map of nuclei. Its intensities are normalized by
percentiles of the slide, where its own program takes those of each image. One step inside spreads
coordinates over the width of the image, so blocks of unequal size differ in the last digits.

References
----------
Goldsborough T, Philps B, O'Callaghan A, et al. InstanSeg: an embedding-based instance segmentation
algorithm optimized for accurate, efficient and portable cell segmentation. arXiv:2408.15954, 2024.
"""

from collections.abc import Callable
from functools import cached_property
from math import isfinite
from typing import Any

from numpy.typing import NDArray

from pathai.detectors.contract import Contract, read_contract
from pathai.detectors.files import require
from pathai.detectors.foreign import F32, ForeignDetector
from pathai.detectors.torchscript import module_of, outputs_of

PERCENTILES = (0.1, 99.9)
STEP_PX = 16
"""It pads images to multiples of it."""


class InstanSeg(ForeignDetector):
    """A published InstanSeg model; nuclei only, where a model finds cells, too."""

    smallest_px = 64

    @cached_property
    def contract(self) -> Contract:
        """What InstanSeg is known to want; the JSON beside the file may say otherwise."""
        trained = float(getattr(module_of(require(self.file)), "pixel_size", 0) or 0)
        return read_contract(
            self.file,
            mpp=trained if isfinite(trained) and trained > 0 else 0.5,
            percentiles=PERCENTILES,
            step_px=STEP_PX,
        )

    @cached_property
    def network(self) -> Callable[[F32], list[NDArray[Any]]]:
        """The label map of nuclei for one input."""
        import torch

        run = outputs_of(module_of(self.file), target_segmentation=torch.tensor([1, 0]))
        return lambda x: [run(x)[0][:, :1]]
