"""Outlines from a point or a box: proposed first, kept as a nucleus or a region by a second key."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from pathai import microsam, segment
from pathai.errors import PathaiError
from pathai.segment import Outline
from pathai.units import Box
from pathai.viewer import layers, palette

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

PROPOSAL, ADDED = "outline", "nuclei, added"
EDGE_PX = 3.0
CLASSICAL, MICRO_SAM = "classical", "micro-sam"


class Segmenting:
    """Proposes outlines and keeps them.

    Parameters
    ----------
    review : Review
        Whose slide it is.
    """

    changed = Signal()

    def __init__(self, review: "Review") -> None:
        self.review = review
        self.proposal: Outline | None = None
        self.kind = ""
        """Class of a nucleus that is kept."""
        self.boxing = False
        self.method = CLASSICAL
        self._by: segment.Outliner = segment.Classical()
        review.slide_shown.connect(self._on_slide)
        review.slide_cleared.connect(self._forget)
        review.changed.connect(self._show_added)
        self._on_slide()

    # --- who finds them -------------------------------------------------------------------

    @property
    def methods(self) -> tuple[str, ...]:
        """What can find an outline on this machine."""
        return (CLASSICAL, MICRO_SAM) if microsam.installed() else (CLASSICAL,)

    def choose_method(self, name: str) -> None:
        """Choose who finds outlines; what is not there is told."""
        try:
            self._by = microsam.MicroSam() if name == MICRO_SAM else segment.Classical()
            self.method = name
        except PathaiError as error:
            self.review.told.emit(str(error))
        self.changed.emit()

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of nuclei on the slide that is shown."""
        slide = self.review.slide
        return slide.cells.attrs.classes if slide and slide.cells else ()

    @property
    def class_name(self) -> str:
        """Class of the next nucleus that is kept."""
        return self.kind if self.kind in self.classes else next(iter(self.classes), "nucleus")

    def choose_class(self, name: str) -> None:
        """Choose the class of the next nucleus that is kept."""
        self.kind = name
        self.changed.emit()

    # --- proposing ------------------------------------------------------------------------

    def at_cursor(self) -> None:
        """Outline what lies under the mouse."""
        slide = self.review.slide
        if slide is not None:
            y, x = (float(v) for v in self.review.viewer.cursor.position[-2:])
            self.at(x / slide.mpp.x, y / slide.mpp.y)

    def at(self, x_px0: float, y_px0: float) -> None:
        """Outline the nucleus at a point, level-0 px."""
        slide = self.review.slide
        if slide is not None:
            self._propose(lambda: segment.outline_at(slide.pixels, x_px0, y_px0, self._by))

    def within(self, box: Box) -> None:
        """Outline the object in a box, level-0 px."""
        slide = self.review.slide
        if slide is not None:
            self._propose(lambda: segment.outline_in(slide.pixels, box, self._by))

    def _propose(self, find: Any) -> None:
        try:
            self.proposal = find()
        except PathaiError as error:
            self.proposal = None
            self.review.told.emit(str(error))
        self._show()
        self.changed.emit()

    def toggle_box(self) -> None:
        """The next drag draws a box around an object instead of moving the slide."""
        callbacks = self.review.viewer.mouse_drag_callbacks
        self.boxing = not self.boxing
        if self.boxing:
            self.review.viewer.layers.selection.active = self.review.layer("slide")
            callbacks.append(self._drag)
        elif self._drag in callbacks:
            callbacks.remove(self._drag)
        self.review.viewer.scene.camera.mouse_pan = not self.boxing
        self.changed.emit()

    def _drag(self, _viewer: Any, event: Any) -> Iterator[None]:
        slide, start = self.review.slide, np.array(event.position[-2:], float)
        yield
        while event.type == "mouse_move":
            self._rubber(start, np.array(event.position[-2:], float))
            yield
        end = np.array(event.position[-2:], float)
        self.toggle_box()
        if slide is None:
            return
        (top, left), (bottom, right) = np.minimum(start, end), np.maximum(start, end)
        mpp = slide.mpp
        width, height = (right - left) / mpp.x, (bottom - top) / mpp.y
        self.within(Box(left / mpp.x, top / mpp.y, width, height))

    def _rubber(self, start: Any, end: Any) -> None:
        layer = self.review.layer(PROPOSAL)
        if layer is not None:
            corners = [start, (start[0], end[1]), end, (end[0], start[1])]
            self._lines(layer, [np.array(corners, float)], palette.BLUE)

    # --- keeping --------------------------------------------------------------------------

    def keep_nucleus(self) -> None:
        """The proposal is a nucleus of the chosen class."""
        slide, found = self.review.slide, self.proposal
        if slide is None or found is None:
            self.review.told.emit("No outline is proposed: point at a nucleus first.")
            return
        try:
            self.review.session.add_cell(
                slide.slide_id, self.review.run.detector, found.ring_px0, self.class_name
            )
        except PathaiError as error:
            self.review.told.emit(str(error))
            return
        self.discard()
        self.review.changed.emit()

    def keep_region(self) -> None:
        """The proposal is a region, with the name chosen for drawing."""
        if self.proposal is None:
            self.review.told.emit("No outline is proposed: drag a box around the object first.")
            return
        drawing = self.review.part("drawing")
        if drawing.add(drawing.name, self.proposal.ring_px0):
            self.discard()

    def discard(self) -> None:
        """Forget the proposal."""
        self.proposal = None
        self._show()
        self.changed.emit()

    # --- showing --------------------------------------------------------------------------

    def _on_slide(self) -> None:
        self._forget()
        if self.review.slide is None:
            return
        for name in (ADDED, PROPOSAL):
            options = {"name": name, "ndim": 2, "units": layers.UNITS}
            layer = self.review.put(None, options, "shapes")
            layer.metadata.update(solid=True, own=True)
        self._show_added()

    def _forget(self) -> None:
        self.proposal = None
        if self.boxing:
            self.toggle_box()

    def _show(self) -> None:
        layer, slide = self.review.layer(PROPOSAL), self.review.slide
        if layer is None or slide is None:
            return
        rings = [self.proposal.ring_px0] if self.proposal else []
        lines = [layers.points_um(np.array(ring), slide.mpp) for ring in rings]
        self._lines(layer, lines, palette.PROPOSED)

    def _show_added(self) -> None:
        """Nuclei that the reader added; few enough for shapes."""
        layer, slide = self.review.layer(ADDED), self.review.slide
        if layer is None or slide is None:
            return
        added = self.review.session.state.added_cells.get(slide.slide_id, {})
        if layer.metadata.get("shown") == added:
            return
        layer.metadata["shown"] = dict(added)
        colors = palette.cell_colors(self.classes)
        lines = [layers.points_um(np.array(c.outline_px0), slide.mpp) for c in added.values()]
        names = [colors.get(c.class_name, palette.BLACK) for c in added.values()]
        self._lines(layer, lines, names)

    def _lines(self, layer: Any, lines: list[Any], colors: Any) -> None:
        layer.data = []
        if lines:
            layer.add(
                lines,
                shape_type="polygon",
                edge_color=colors,
                face_color="transparent",
                edge_width=EDGE_PX / self.review.viewer.scene.camera.zoom,
            )
        layer.selected_data = set()
