"""The curtain before the AI's results: no overlay is seen while the first impression is missing.

It watches the layers rather than whoever makes them, so that a part which knows nothing of blind
reading cannot show a result by mistake. Knows napari's model but no Qt.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.layers import Layer

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

OWN = "own"
"""Key of a layer's metadata: what the reader made (a drawn region, a ruler) is no AI result."""


class Curtain:
    """Keeps every overlay invisible while a review is blind.

    Parameters
    ----------
    review : Review
        Of the open case.
    """

    def __init__(self, review: "Review") -> None:
        self.review = review
        self._watched: list[Layer] = []
        review.viewer.layers.events.inserted.connect(self._inserted)
        review.viewer.layers.events.removed.connect(self._removed)
        review.changed.connect(self.draw)

    def covers(self, layer: Layer) -> bool:
        """Whether a layer is an overlay of ours that the reader did not make."""
        ours = layer.metadata.get("pathai") and not layer.metadata.get(OWN)
        return bool(ours) and layer.name != "slide"

    def draw(self) -> None:
        """Hide what must not be seen yet."""
        if self.review.blind:
            for layer in self.review.viewer.layers:
                if layer.visible and self.covers(layer):
                    layer.visible = False

    def close(self) -> None:
        """Let go of the viewer."""
        self.review.viewer.layers.events.inserted.disconnect(self._inserted)
        self.review.viewer.layers.events.removed.disconnect(self._removed)
        self.review.changed.disconnect(self.draw)
        for layer in self._watched:
            layer.events.visible.disconnect(self._made_visible)
        self._watched = []

    def _inserted(self, event: Any) -> None:
        self._watched.append(event.value)
        event.value.events.visible.connect(self._made_visible)

    def _removed(self, event: Any) -> None:
        with suppress(ValueError):
            self._watched.remove(event.value)
        event.value.events.visible.disconnect(self._made_visible)

    def _made_visible(self, event: Any) -> None:
        layer = event.source
        if self.review.blind and layer.visible and self.covers(layer):
            layer.visible = False
            self.review.refuse_blind()
