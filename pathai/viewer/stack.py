"""Our layers in a viewer, from the slide up; kept from slide to slide.

To add and to remove a layer costs napari 0.1 to 0.2 s of work each (a node of the scene, a page of
controls, hundreds of callbacks), and a slide has some fifteen. So a layer that the next slide has
too gets other data instead. Knows napari's model but no Qt.
"""

from contextlib import ExitStack
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes

PIXELS = "slide"
"""Name of the layer that every slide has: it stays in sight."""
OURS = "pathai"
"""Key of a layer's metadata: the layer is ours and goes with the slide."""
KINDS: dict[str, type[Layer]] = {
    "image": Image, "labels": Labels, "points": Points, "shapes": Shapes,
}  # fmt: skip
PLACE = ("scale", "translate")
LOOK = ("colormap", "contrast_limits")
"""Options of pictures that may differ from slide to slide."""
OPACITY = {"labels": 0.7, "shapes": 0.7}
"""What napari gives a layer for which none is asked; others are opaque."""


class Stack:
    """Our layers in one viewer.

    Parameters
    ----------
    viewer : ViewerModel
        Shows them; layers of others in it are left alone.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self._own: list[Layer] = []
        """Made here; one that another review has left may still be listened to by its parts."""
        self._idle: list[Layer] = []
        """Layers of the slide before: out of sight, and taken up again or removed."""
        self._top: Layer | None = None
        """What was put last on top of the others."""

    def idle(self, layer: Layer) -> bool:
        """Whether a layer is of the slide before and waits to be taken up."""
        return layer in self._idle

    def rest(self) -> None:
        """Empty layers of shapes, hide pictures; to be followed by `put` and `drop`."""
        self._idle = [one for one in self.viewer.layers if one.metadata.get(OURS)]
        self._top = None
        for layer in self._idle:
            with ExitStack() as quiet:
                # What is under way in a layer is no edit of the next slide.
                for name in ("data", "highlight"):
                    if name in layer.events.emitters:
                        quiet.enter_context(getattr(layer.events, name).blocker())
                layer.mode = "pan_zoom"
                if isinstance(layer, (Shapes, Points)):
                    layer.selected_data = set()
                    if len(layer.data):
                        layer.data = []
                        layer.set_view_slice()  # hidden, it would look for what was there
            if layer.visible and layer.name != PIXELS and not isinstance(layer, (Shapes, Points)):
                layer.visible = False

    def drop(self) -> None:
        """Remove the layers that were not taken up."""
        gone, self._idle = self._idle, []
        if not gone:
            return
        with self.viewer.layers.batched_update():  # else napari collects garbage for each of them
            for layer in gone:
                self._forget(layer)

    def put(self, data: Any, options: dict[str, Any], kind: str, above: str = "") -> Layer:
        """Put a layer on top of ours, or right above the named one; the caller sees to visibility.

        Parameters
        ----------
        data, options, kind
            As napari's readers give layers; ``options`` hold a name.
        above : str
            Name of one of our layers.
        """
        old = next((one for one in self._idle if one.name == options["name"]), None)
        kept = old if old in self._own and fits(old, data, options, kind) else None
        if old is not None:
            self._idle.remove(old)
            if kept is None:  # of another make: its name must be free
                self._forget(old)
        below = self.find(above) if above else None
        beside = below if below is not None else self._top
        layers = self.viewer.layers
        place = layers.index(beside) + 1 if beside in layers else len(layers)
        if kept is None:
            layer = Layer.create(data, {**options, "visible": False}, kind)
            layer.metadata[OURS] = True
            self._own.append(layer)
            layers.insert(place, layer)
        else:
            layer = kept
            renew(layer, data, options, kind)
            if beside is not None and layers.index(layer) < place:
                layers.move(layers.index(layer), place)
        layer.metadata = {**options.get("metadata", {}), OURS: True}
        if below is None:
            self._top = layer
        return layer

    def _forget(self, layer: Layer) -> None:
        if layer in self._own:
            self._own.remove(layer)
        if layer in self.viewer.layers:
            self.viewer.layers.remove(layer)

    def find(self, name: str) -> Layer | None:
        """The layer of this name, ours or another, if it is of the slide in view."""
        found = (one for one in self.viewer.layers if one.name == name)
        return next((one for one in found if not self.idle(one)), None)


def fits(layer: Layer, data: Any, options: dict[str, Any], kind: str) -> bool:
    """Whether a layer can take other data: its kind and make cannot be changed."""
    if type(layer) is not KINDS[kind]:
        return False
    if not isinstance(layer, (Image, Labels)):
        return data is None or not len(data)
    rgb = getattr(layer, "rgb", False) == options.get("rgb", False)
    return bool(rgb and layer.multiscale == options.get("multiscale", False))


def renew(layer: Layer, data: Any, options: dict[str, Any], kind: str) -> None:
    """Bring a layer to what a new one of these options would be."""
    if isinstance(layer, (Image, Labels)):
        before = layer.level_shapes[0].tolist()
        layer.data = data
        moved = before != layer.level_shapes[0].tolist()  # then its extent is to be told
        for name in PLACE:
            now = getattr(layer, name)
            if moved or not np.array_equal(now, options.get(name, now)):
                setattr(layer, name, options.get(name, now))
        for name in LOOK:
            if name in options:
                setattr(layer, name, options[name])
    opacity = options.get("opacity", OPACITY.get(kind, 1.0))
    if layer.opacity != opacity:
        layer.opacity = opacity
