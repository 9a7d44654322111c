"""Cellpose 4: the network and its flows by the package ``cellpose``, weights from a local file.

The network looks at squares of 256 px that are laid over each block, and a nucleus depends on
where it lies in its square: blocks agree with the whole slide nearly, not exactly.

References
----------
Pachitariu M, Rariden M, Stringer C. Cellpose-SAM: superhuman generalization for cellular
segmentation. bioRxiv 2025.04.28.651001.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.cards import CARDS
from pathai.detectors.contract import Contract, read_contract
from pathai.detectors.files import identity as file_identity
from pathai.detectors.files import require as require_file
from pathai.detectors.foreign import F32, ForeignDetector
from pathai.errors import PathaiError


class Cellpose(ForeignDetector):
    """A Cellpose model in a file of weights."""

    smallest_px = 64

    @cached_property
    def contract(self) -> Contract:
        """What Cellpose is known to want; the JSON beside the file may say otherwise."""
        require_file(self.file)
        return read_contract(
            self.file, mpp=0.5, layout="nhwc", percentiles=(1, 99), halo_um=64.0, step_px=8
        )

    @cached_property
    def network(self) -> Callable[[F32], list[NDArray[Any]]]:
        """The label map for one input, whose intensities are normalized already."""
        model = _model(self.file.absolute(), file_identity(self.file))

        def run(x: F32) -> list[NDArray[Any]]:
            labels = model.eval(x[0], normalize=False, channel_axis=-1)[0]
            return [np.asarray(labels, np.int64)]

        return run


@lru_cache(maxsize=1)
def _model(file: Path, identity: str) -> Any:
    """Loaded once per process for all slides; its weights are read without their pickled code."""
    CARDS["cellpose"].require()
    try:
        from cellpose.models import CellposeModel

        # a file that is not there would be downloaded; it was looked for above
        return CellposeModel(gpu=_has_gpu(), pretrained_model=str(file))
    # the boundary to code that is not ours: it may raise anything
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise PathaiError(
            "E182", f"{file.name} cannot be loaded: {said}", "copy it again"
        ) from error


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
