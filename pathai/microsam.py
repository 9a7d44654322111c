"""Outlines by micro-sam, where it is installed: a network that was trained for microscopy.

Nothing is downloaded: its weights are a file that the lab gives.

References
----------
Archit A, et al. Segment Anything for Microscopy. Nat Methods 2025;22:579-591.
Kirillov A, et al. Segment Anything. ICCV 2023.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.units import Box, Mpp

VARIABLE = "PATHAI_MICRO_SAM"
"""Names the file of weights; the name of its folder or file says which model it is."""
MODELS = ("vit_b_histopathology", "vit_l_histopathology", "vit_b_lm", "vit_l_lm", "vit_t_lm")
U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]


def installed() -> bool:
    """Whether micro-sam can be imported; nothing is imported."""
    return find_spec("micro_sam") is not None


class MicroSam:
    """Segments one picture at a time; its embedding is kept until another one comes.

    Parameters
    ----------
    weights : Path, optional
        Checkpoint; by default the file that `VARIABLE` names.
    model : str
        Type of the model, as micro-sam names it.

    Raises
    ------
    PathaiError
        E194 if micro-sam is not installed or its weights are not there.
    """

    def __init__(self, weights: Path | None = None, model: str = "") -> None:
        if not installed():
            raise PathaiError("E194", "micro-sam is not installed", "install it from conda-forge")
        given = weights or Path(os.environ.get(VARIABLE) or "")
        if not given.is_file():
            message = "the weights of micro-sam are not there"
            raise PathaiError("E194", message, f"name the file in variable {VARIABLE}")
        from micro_sam.util import get_sam_model

        self.model = model or next((m for m in MODELS if m in str(given)), MODELS[0])
        self._predictor = get_sam_model(model_type=self.model, checkpoint_path=str(given))
        self._picture: U8 | None = None
        self._embedding: Any = None

    def at(self, rgb: U8, x: float, y: float, mpp: Mpp) -> Bools:
        """The object that a point (px of the picture) lies in: bool[h, w]."""
        from micro_sam.prompt_based_segmentation import segment_from_points

        found = segment_from_points(
            self._predictor,
            points=np.array([[y - 0.5, x - 0.5]]),  # rows first, centers of pixels
            labels=np.array([1]),
            image_embeddings=self._embedded(rgb),
        )
        return _mask(found)

    def within(self, rgb: U8, box: Box) -> Bools:
        """The object that a box (px of the picture) was drawn around: bool[h, w]."""
        from micro_sam.prompt_based_segmentation import segment_from_box

        corners = np.array([box.y, box.x, box.bottom, box.right])  # rows first
        found = segment_from_box(self._predictor, corners, image_embeddings=self._embedded(rgb))
        return _mask(found)

    def _embedded(self, rgb: U8) -> Any:
        from micro_sam.util import precompute_image_embeddings

        if self._picture is None or not np.array_equal(self._picture, rgb):
            self._embedding = precompute_image_embeddings(self._predictor, rgb, ndim=2)
            self._picture = rgb
        return self._embedding


def _mask(found: Any) -> Bools:
    """Mask of the one object; micro-sam gives one per prompt."""
    mask: Bools = np.asarray(found).astype(bool)
    return mask[0] if mask.ndim == 3 else mask
