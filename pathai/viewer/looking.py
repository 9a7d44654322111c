"""Looking at one slide: the camera as a microscope. Knows napari's model but no Qt."""

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from psygnal import Signal

MICRONS_AT_1X = 10.0
"""A microscope's 40x is 0.25 µm per pixel, 20x is 0.5: magnification times µm per pixel."""
SLIDE = "slide"
"""Name of the layer with the pixels."""


class Looking:
    """A viewer on one slide.

    Parameters
    ----------
    viewer : ViewerModel
        Shows the slide.
    """

    told = Signal(str)
    """A message for the reader."""
    asked = Signal(str)
    """The reader asks for a part of the window: ``worklist``, ``help``."""

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer

    @property
    def blind(self) -> bool:
        """Whether AI results must stay out of sight; never, for whoever only looks."""
        return False

    def layer(self, kind: str) -> Layer | None:
        """Our layer of this name, if it is shown."""
        return next((one for one in self.viewer.layers if one.name == kind), None)

    def fit(self) -> None:
        """Show the whole slide."""
        shown = self.layer(SLIDE)
        if shown is not None:
            self.viewer.fit_to_view(layers=[shown])

    def magnify(self, magnification: float) -> None:
        """Zoom as a microscope would: 20x shows 0.5 µm per screen pixel."""
        shown = self.layer(SLIDE)
        if shown is not None and not in_microns(shown):
            self.told.emit("The slide has no µm per pixel, so there is no magnification.")
            return
        self.viewer.scene.camera.zoom = magnification / MICRONS_AT_1X

    @property
    def magnification(self) -> float:
        """What the zoom is on a microscope."""
        return float(self.viewer.scene.camera.zoom) * MICRONS_AT_1X

    def center_on(self, y: float, x: float) -> None:
        """Bring a place of the world into the middle of the view."""
        self.viewer.scene.camera.center = (y, x)

    def refuse_blind(self) -> None:
        """Nothing is hidden from whoever only looks."""


def in_microns(layer: Layer) -> bool:
    """Whether a layer lies in µm rather than in pixels."""
    return str(layer.units[-1]) in ("micrometer", "um", "µm")


def corners(layer: Layer) -> np.ndarray:
    """Top-left and bottom-right corner of an image in the world, float64[2, 2] (y, x)."""
    low, high = np.asarray(layer.extent.world, np.float64)[:, -2:]
    half = np.asarray(layer.scale, np.float64)[-2:] / 2
    return np.stack([low - half, high + half])
