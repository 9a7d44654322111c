"""The model of cell classes: a small network, its calibration and its card, in one file."""

import json
import struct
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.calibration import softmax
from pathai.cell_classes.context import BAND, FEATURES, Neighborhood
from pathai.errors import PathaiError
from pathai.morphometry import MEASURES
from pathai.store.bundle import read_weights
from pathai.store.manifest import canonical, write_atomic

F64 = NDArray[np.float64]
CLASSES = ("tumor", "epithelial", "lymphocyte", "stromal", "other")
"""In the order of every array. ``epithelial`` is epithelium that is not tumor; ``other`` is none of
them, objects that are no nuclei included."""
VERSION = 1
NORMAL_95 = 1.96
LIMIT = 5.0
"""Standardized features are held within this: what was never seen must not weigh without end."""


@dataclass(frozen=True)
class Network:
    """One hidden layer beside a direct path.

    Attributes
    ----------
    mean, scale : float64[D]
        Of the features in training.
    direct : float64[D + 1, C]
        Weights from features to classes; the last row is the bias.
    inward : float64[D + 1, H]
        Weights to the hidden units.
    outward : float64[H, C]
        Weights from the hidden units.
    """

    mean: F64
    scale: F64
    direct: F64
    inward: F64
    outward: F64

    def standard(self, features: NDArray[Any]) -> F64:
        """Standardized features with a last column of 1, ``float64[n, D + 1]``."""
        z = np.clip((features - self.mean) / self.scale, -LIMIT, LIMIT)
        return np.concatenate([z, np.ones((len(z), 1))], axis=1)

    def logits(self, features: NDArray[Any]) -> F64:
        """Logits ``float64[n, C]`` of features ``float[n, D]``."""
        z = self.standard(features)
        out: F64 = z @ self.direct + np.tanh(z @ self.inward) @ self.outward
        return out


@dataclass(frozen=True)
class ClassModel:
    """A classifier of nuclei.

    Attributes
    ----------
    network : Network
    temperature : float
        Logits are divided by it; fitted on cells of slides that training left out.
    confusion : int64[5, 5]
        Cells of held-back slides: rows are the truth, columns what the model said. A row of zeros
        means that nobody has checked this class on real tissue: its count has no error band.
    card : dict
        What the model was trained on and what it is worth, as plain values.
    measures : tuple of str
        Columns that `classify` wants.
    """

    network: Network
    temperature: float
    confusion: NDArray[np.int64]
    card: dict[str, Any]
    measures: tuple[str, ...] = MEASURES

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of every array."""
        return CLASSES

    @property
    def experimental(self) -> bool:
        """Whether its classes are not to be relied on."""
        return bool(self.card.get("experimental", True))

    @property
    def design_effect(self) -> float:
        """How many held-back cells tell as much as one that is independent; at least 1.

        Cells of one slide are alike, so the accuracy's interval over slides is wider than that of
        so many single cells (Kish L. Survey Sampling, Wiley 1965). 1 where there is no interval.
        """
        told = self.card.get("held_out", {})
        figure = told.get("accuracy", {})
        value, low, high = (figure.get(name) for name in ("value", "low", "high"))
        if value is None or low is None or high is None or not 0 < value < 1:
            return 1.0
        single = value * (1 - value) / told["cells"]
        return max(1.0, float(((high - low) / (2 * NORMAL_95)) ** 2 / single))

    def __call__(
        self, xy_um: NDArray[Any], measures: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Class and probabilities of every nucleus of a slide; see `pathai.cell_classes.classify`.

        Raises
        ------
        PathaiError
            E181 if the columns of ``measures`` are not those that the model was trained on.
        """
        if measures.shape[1] != len(self.measures):
            message = (
                f"{measures.shape[1]} measures of nuclei, the model wants {len(self.measures)}"
            )
            raise PathaiError("E181", message, "run pathai cells again, or train the model again")
        class_ = np.empty(len(xy_um), np.uint8)
        prob = np.empty((len(xy_um), len(self.classes)), np.float32)
        around = Neighborhood(xy_um, measures)
        for first in range(0, len(xy_um), BAND):
            rows = slice(first, min(first + BAND, len(xy_um)))
            prob[rows] = self.probabilities(around.features(rows))
            class_[rows] = prob[rows].argmax(axis=1)
        return class_, prob

    def probabilities(self, features: NDArray[Any]) -> F64:
        """Probabilities ``float64[n, 5]`` of features ``float[n, D]``."""
        return softmax(self.network.logits(features) / self.temperature)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides a class."""
        whole = sha256(canonical([VERSION, CLASSES, FEATURES, self.measures, self.temperature]))
        for name, array in sorted(self._arrays.items()):
            whole.update(name.encode())
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()

    @property
    def _arrays(self) -> dict[str, F64]:
        names = ("mean", "scale", "direct", "inward", "outward")
        return {name: getattr(self.network, name) for name in names}

    def save(self, path: Path) -> None:
        """Write one safetensors file; the card is JSON in its header.

        Raises
        ------
        PathaiError
            E160 or E161 when it cannot be written.
        """
        from safetensors.numpy import save

        body = {
            "version": VERSION,
            "classes": CLASSES,
            "features": FEATURES,
            "measures": self.measures,
            "temperature": self.temperature,
            "confusion": self.confusion.tolist(),
            "card": self.card,
        }
        arrays = {name: np.ascontiguousarray(a) for name, a in self._arrays.items()}
        write_atomic(path, save(arrays, metadata={"pathai": canonical(body).decode()}))


def load_model(path: Path) -> ClassModel:
    """Read a model.

    Raises
    ------
    PathaiError
        E182 when it is damaged, a pickle or no model of cell classes; E165 when its
        features are of another pathai.
    """
    try:
        arrays = read_weights(path)
    except OSError as error:
        raise PathaiError("E183", f"{path.name}: {error.strerror}") from None
    try:
        body = json.loads(_header(path)["__metadata__"]["pathai"])
        if body["version"] != VERSION or tuple(body["features"]) != FEATURES:
            message = f"{path.name}: its features are of another pathai"
            raise PathaiError("E165", message, "train it again: pathai train-detector --classes")
        network = Network(**{name: array.astype(np.float64) for name, array in arrays.items()})
        confusion = np.array(body["confusion"], np.int64)
        made = ClassModel(
            network, float(body["temperature"]), confusion, body["card"], tuple(body["measures"])
        )
        fits = made.temperature > 0 and confusion.shape == (len(CLASSES), len(CLASSES))
        fits = fits and tuple(body["classes"]) == CLASSES and _fits(network)
    except (KeyError, TypeError, ValueError) as error:
        raise PathaiError("E182", f"{path.name} is no model of cell classes: {error}") from None
    if not fits:
        raise PathaiError("E182", f"{path.name}: its arrays do not fit together")
    return made


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    return header


def _fits(network: Network) -> bool:
    """Whether the arrays have the shapes that the classes and features ask for."""
    features, hidden = len(FEATURES), network.inward.shape[-1]
    return (
        network.mean.shape == network.scale.shape == (features,)
        and network.direct.shape == (features + 1, len(CLASSES))
        and network.inward.shape == (features + 1, hidden)
        and network.outward.shape == (hidden, len(CLASSES))
        and bool((network.scale > 0).all())
    )
