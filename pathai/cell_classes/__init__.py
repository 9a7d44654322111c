"""Classes of nuclei on H&E: tumor, epithelial, lymphocyte, stromal, other.

A light network looks at the measures of a nucleus (`pathai.morphometry`) and at those of its
neighbors. ``docs/cell-classes.md`` says what that is worth, and how a lab trains it on its own
cells.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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

    The same as calling the model. Rows are treated in bands, so that memory beyond the arguments
    and the answer stays small.

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
    return model(xy_um, measures)
