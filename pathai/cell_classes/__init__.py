"""Classes of nuclei on H&E: tumor, epithelial, lymphocyte, stromal, other.

A light network looks at the measures of a nucleus (`pathai.morphometry`) and at those of its
neighbors. ``docs/cell-classes.md`` says what that is worth, and how a lab trains it on its own
cells.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathai.cell_classes.context import BAND, Neighborhood
from pathai.cell_classes.model import CLASSES, ClassModel, load_model
from pathai.errors import PathaiError

__all__ = ["CLASSES", "SHIPPED", "ClassModel", "classify", "load_model", "model_file", "open_model"]

SHIPPED = "shipped"
"""Name of the model that comes with pathai."""
STAINS = ("H&E",)


def model_file(name: str, folder: Path | None = None) -> Path:
    """File of a model: ``shipped``, or a path relative to ``folder`` (E183 if there is none)."""
    if name == SHIPPED:
        return Path(__file__).parent / "shipped.safetensors"
    path = (folder or Path()) / name
    if not path.is_file():
        raise PathaiError(
            "E183", f"no model of cell classes at {name}", "name a file, or 'shipped'"
        )
    return path


def open_model(name: str, stain: str, folder: Path | None = None) -> ClassModel:
    """The model for slides of one stain.

    Raises
    ------
    PathaiError
        E142 for a stain other than H&E, whose nuclei this model never saw; E182 and E183 as
        `load_model` and `model_file`.
    """
    if stain not in STAINS:
        message = f"classes of nuclei are for {', '.join(STAINS)}, not for stain {stain!r}"
        raise PathaiError("E142", message, 'set cells.classifier: "", or correct column stain')
    return load_model(model_file(name, folder))


def classify(
    xy_um: NDArray[np.floating], measures: NDArray[np.float32], model: ClassModel
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Class and probabilities of every nucleus of a slide.

    Rows are treated in bands, so that memory beyond the arguments and the answer stays small.

    Parameters
    ----------
    xy_um : float[M, 2]
        Centers x, y in µm, of all nuclei of the slide: neighbors up to
        `pathai.cell_classes.context.RADIUS_UM` take part.
    measures : float32[M, F]
        From `pathai.morphometry.measure`.
    model : ClassModel

    Returns
    -------
    class_ : uint8[M]
        Index into ``model.classes`` of the largest probability.
    prob : float32[M, 5]
        Rows sum to 1.

    Raises
    ------
    PathaiError
        E181 if the columns of ``measures`` are not those that the model was trained on.
    """
    if measures.shape[1] != len(model.measures):
        message = f"{measures.shape[1]} measures of nuclei, the model wants {len(model.measures)}"
        raise PathaiError("E181", message, "run pathai cells again, or train the model again")
    class_ = np.empty(len(xy_um), np.uint8)
    prob = np.empty((len(xy_um), len(model.classes)), np.float32)
    around = Neighborhood(xy_um, measures)
    for rows in _bands(len(xy_um)):
        prob[rows] = model.probabilities(around.features(rows))
        class_[rows] = prob[rows].argmax(axis=1)
    return class_, prob


def _bands(count: int) -> Iterator[slice]:
    for first in range(0, count, BAND):
        yield slice(first, min(first + BAND, count))
