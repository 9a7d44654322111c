"""Screening: the tissue field by field, and a map of what was seen."""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from pathai.errors import PathaiError
from pathai.fields import Field, Seen, first_unseen, nearest, walk
from pathai.units import Box
from pathai.viewer import layers, palette

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

MAGNIFICATIONS = (5, 10, 20, 40)
OVERLAP = 0.1
MOMENT_S = 0.4
"""A field counts as seen when it stood still for this long."""
NEW_SHARE = 0.01
"""A view that shows less new tissue than this share of itself is not written down."""
LAYER = "seen"
SEEN_OPACITY = 0.35
"""Of the map, from further away than the walk; it must not lie on what is being read."""


class Screening:
    """The walk over the slide that is shown.

    Parameters
    ----------
    review : Review
        Whose slide it is.
    clock : callable
        Seconds that only grow.
    """

    changed = Signal()

    def __init__(self, review: "Review", clock: Callable[[], float] = monotonic) -> None:
        self.review, self.clock = review, clock
        self.magnification = 10
        self.overlap = OVERLAP
        self.on = False
        self.at: int | None = None
        """Number of the field in view."""
        self.seen: Seen | None = None
        self._walk: tuple[Field, ...] = ()
        self._laid: tuple[object, ...] = ()
        self._view: tuple[Box, float] | None = None
        review.slide_shown.connect(self._on_slide)
        review.slide_cleared.connect(self._forget)
        review.at_rest.connect(self.look)
        self._on_slide()

    # --- the walk -------------------------------------------------------------------------

    @property
    def fields(self) -> tuple[Field, ...]:
        """Fields of the slide at the chosen magnification, as large as the canvas."""
        review = self.review
        if review.slide is None or review.slide.tissue is None:
            return ()
        height, width = (float(v) for v in review.viewer.canvas.size)
        laid = (review.slide.slide_id, width, height, self.magnification, self.overlap)
        if laid != self._laid:
            um = 10.0 / self.magnification  # per px of the screen
            self._walk = walk(review.slide.tissue, width * um, height * um, self.overlap)
            self._laid, self.at = laid, None
        return self._walk

    def set_magnification(self, value: int) -> None:
        """Walk at another magnification."""
        self.magnification = value
        self.changed.emit()

    def set_overlap(self, value: float) -> None:
        """Share of a field that the next one shows again, 0 to 0.5."""
        self.overlap = float(np.clip(value, 0, 0.5))
        self.changed.emit()

    def next_field(self) -> None:
        """Go to the next field; the first time to where the reader stopped."""
        self._step(1)

    def previous_field(self) -> None:
        """Go back by one field."""
        self._step(-1)

    def _step(self, step: int) -> None:
        self.settle()
        try:
            found = self.fields
        except PathaiError as error:
            self.review.told.emit(str(error))
            return
        if not found or self.seen is None:
            self.review.told.emit("No tissue to walk over on this slide.")
            return
        if not self.on or self.at is None:
            self.on = True
            self._go(self._resumed(found))
        elif 0 <= self.at + step < len(found):
            self._go(self.at + step)
        else:
            self._at_the_end(found, step)
        self.changed.emit()

    def _resumed(self, found: tuple[Field, ...]) -> int:
        """The first unseen field after the one that was seen last."""
        slide = self.review.slide
        seen = self.review.session.state.seen.get(slide.slide_id, []) if slide else []
        start = nearest(found, seen[-1]) if seen else 0
        at = first_unseen(found, self.seen, start or 0) if self.seen else None
        return (start or 0) if at is None else at

    def _at_the_end(self, found: tuple[Field, ...], step: int) -> None:
        left = first_unseen(found, self.seen) if self.seen else None
        if step < 0:
            self.review.told.emit("This is the first field.")
        elif left is None:
            self.review.told.emit("The last field: all tissue of this slide was seen.")
        else:
            self.review.told.emit("The last field; on to what was not seen yet.")
            self._go(left)

    def _go(self, at: int) -> None:
        self.at = at
        box, slide = self.fields[at].box, self.review.slide
        if slide is None:
            return
        camera = self.review.viewer.scene.camera
        camera.zoom = self.magnification / 10.0
        middle = np.array([[box.x + box.width / 2, box.y + box.height / 2]])
        camera.center = tuple(layers.points_um(middle, slide.mpp)[0])
        self.review.refresh_view()

    def stop(self) -> None:
        """End screening; what was seen stays."""
        self.settle()
        self.on, self.at = False, None
        self.changed.emit()

    # --- what was seen --------------------------------------------------------------------

    def look(self) -> None:
        """The camera has come to rest: the moment begins that a view needs to count as seen."""
        view = self.review.field()
        self._fade()
        if self._view is not None and _same(self._view[0], view):
            return
        self.settle()
        self._view = (view, self.clock())

    def _fade(self) -> None:
        layer = self.review.layer(LAYER)
        if layer is not None:
            far = self.review.magnification < 0.9 * self.magnification
            opacity = SEEN_OPACITY if far else 0.0
            if layer.opacity != opacity:
                layer.opacity = opacity
            layer.metadata["left out"] = not far  # a clear picture takes as long to draw
            self.review.see_to(layer)

    def settle(self) -> None:
        """Write the view down if it stood long enough, close enough, and shows something new."""
        if self._view is None or self.seen is None or not self.on:
            return
        box, since = self._view
        slide = self.review.slide
        if slide is None or slide.tissue is None or self.clock() - since < MOMENT_S:
            return
        canvas = float(self.review.viewer.canvas.size[1])
        near = 10.0 * canvas / (box.width * slide.mpp.x)
        if near < 0.99 * self.magnification:
            return
        shown = Seen(slide.tissue, self.review.session.state.seen.get(slide.slide_id, ()))
        step = slide.tissue.downsample**2
        if shown.add(box) * step < max(NEW_SHARE * box.width * box.height, 1e-9):
            return
        try:
            self.review.session.seen(slide.slide_id, box)
        except PathaiError as error:
            self.review.told.emit(str(error))
            return
        self.seen = shown
        self._draw()
        self.changed.emit()

    @property
    def share(self) -> float:
        """Seen part of the slide's analyzed tissue, 0 to 1."""
        return self.seen.share if self.seen is not None else 0.0

    def _on_slide(self) -> None:
        slide = self.review.slide
        self._forget()
        if slide is None or slide.tissue is None:
            return
        self.seen = Seen(slide.tissue, self.review.session.state.seen.get(slide.slide_id, ()))
        colors: dict[int | None, str] = {None: "transparent", 0: "transparent", 1: palette.BLUE}
        options = {
            "name": LAYER,
            "colormap": DirectLabelColormap(color_dict=colors),
            **layers.place(slide.tissue.mpp),
        }
        layer = self.review.put(self._map(), options, "labels", above="tissue")
        layer.metadata.update(solid=True, own=True)
        self._fade()
        self.changed.emit()

    def _map(self) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
        if self.seen is None:
            return np.zeros((1, 1), np.uint8)
        return (self.seen.mask & self.seen.wanted).astype(np.uint8)

    def _draw(self) -> None:
        layer = self.review.layer(LAYER)
        if layer is not None:
            layer.data = self._map()

    def _forget(self) -> None:
        self.seen, self.at, self._walk, self._laid, self._view = None, None, (), (), None


def _same(one: Box, other: Box) -> bool:
    """Whether two views are the same but for rounding."""
    return np.allclose(
        (one.x, one.y, one.width, one.height), (other.x, other.y, other.width, other.height)
    )
