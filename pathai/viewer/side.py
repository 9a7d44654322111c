"""Another slide of the case beside the one that is read, e.g. an IHC: both move together.

With three pairs of points or more the slide beside is turned, moved and stretched by the affine
map that they give, so that both canvases show the same place the same way up.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from numpy.typing import NDArray
from psygnal import Signal

from pathai.errors import PathaiError
from pathai.pairs import FEWEST, IDENTITY, Fit, Point, fit_pairs
from pathai.store.manifest import canonical, write_atomic
from pathai.viewer import layers, palette
from pathai.viewer.slide import open_slide

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

PAIRS = "pairs"
POINT_PX = 12.0


class Side:
    """A second viewer whose camera follows the first one, and leads it.

    Parameters
    ----------
    review : Review
        Whose case it is.
    """

    changed = Signal()

    def __init__(self, review: "Review") -> None:
        self.review = review
        self.viewer: ViewerModel | None = None
        self.slide_id = ""
        self.linked = True
        self.picking = False
        self.pairs: list[tuple[Point, Point]] = []
        """Places on the slide that is read and on the one beside it, (x, y) in µm."""
        self.fit: Fit = IDENTITY
        self._half: Point | None = None
        self._moving = False
        review.slide_shown.connect(self._on_slide)
        review.slide_cleared.connect(self._on_cleared)

    # --- what is beside -------------------------------------------------------------------

    @property
    def slides(self) -> tuple[str, ...]:
        """Other slides of the case that have pixels."""
        review = self.review
        shown = review.slide.slide_id if review.slide else ""
        rows = review.case.rows if review.case else ()
        return tuple(
            row.slide_id
            for row in rows
            if row.slide_id != shown and review.run.has_pixels(row.slide_id)
        )

    def toggle(self) -> None:
        """Show the next slide of the case beside this one, or close it."""
        if self.viewer is not None:
            self.close()
        elif self.slides:
            self.open(self.slides[0])
        else:
            self.review.told.emit("This case has no other slide to put beside.")

    def open(self, slide_id: str) -> None:
        """Show a slide of the case beside the one that is read."""
        self.close()
        try:
            slide = open_slide(self.review.run.slide(slide_id), pixels_only=True)
        except PathaiError as error:
            self.review.told.emit(str(error.about(slide_id)))
            return
        self.viewer, self.slide_id = ViewerModel(), slide_id
        self.viewer.theme = "light"
        for data, options, kind in slide.layers():
            self.viewer.add_layer(Layer.create(data, options, kind)).editable = False
        bar = self.viewer.canvas.overlays.scale_bar
        bar.visible, bar.colored, bar.box = True, False, True
        for events, act in self._links():
            events.zoom.connect(act)
            events.center.connect(act)
        self._load()
        self.changed.emit()
        self._follow()

    def close(self) -> None:
        """Put the other slide away; pairs stay on the disk."""
        if self.viewer is None:
            return
        if self.picking:
            self.pick()
        for events, act in self._links():
            events.zoom.disconnect(act)
            events.center.disconnect(act)
        self.viewer, self.slide_id, self.pairs, self.fit = None, "", [], IDENTITY
        self.changed.emit()

    def _links(self) -> tuple[tuple[Any, Any], ...]:
        other = self.viewer.scene.camera.events if self.viewer else None
        own = self.review.viewer.scene.camera.events
        return ((own, self._follow), (other, self._lead)) if other is not None else ()

    def _on_slide(self) -> None:
        if self.viewer is not None and self.slide_id not in self.slides:
            self.close()
        elif self.viewer is not None:
            self._load()
            self._follow()
        self.changed.emit()

    def _on_cleared(self) -> None:
        if self.picking:
            self.pick()

    # --- moving together ------------------------------------------------------------------

    def link(self, linked: bool) -> None:
        """Move both together, or each alone."""
        self.linked = linked
        self._follow()
        self.changed.emit()

    def _follow(self) -> None:
        """The slide beside goes where the one that is read is."""
        if self.viewer is not None:
            self._carry(self.review.viewer, self.viewer)

    def _lead(self) -> None:
        """The slide that is read goes where the one beside is."""
        if self.viewer is not None:
            self._carry(self.viewer, self.review.viewer)

    def _carry(self, source: ViewerModel, target: ViewerModel) -> None:
        if self._moving or not self.linked:
            return
        self._moving = True
        target.scene.camera.center = source.scene.camera.center
        target.scene.camera.zoom = source.scene.camera.zoom
        self._moving = False

    # --- pairs of points ------------------------------------------------------------------

    def pick(self) -> None:
        """Begin to pick the same place on both slides in turn, or end it."""
        if self.viewer is None:
            return
        self.picking, self._half = not self.picking, None
        for viewer, act in ((self.review.viewer, self._first), (self.viewer, self._second)):
            if self.picking:
                viewer.mouse_drag_callbacks.append(act)
            elif act in viewer.mouse_drag_callbacks:
                viewer.mouse_drag_callbacks.remove(act)
        self.changed.emit()

    def _first(self, _viewer: Any, event: Any) -> Iterator[None]:
        yield from self._clicked(event, first=True)

    def _second(self, _viewer: Any, event: Any) -> Iterator[None]:
        yield from self._clicked(event, first=False)

    def _clicked(self, event: Any, *, first: bool) -> Iterator[None]:
        y, x = (float(v) for v in event.position[-2:])
        yield
        while event.type == "mouse_move":
            if np.hypot(event.position[-2] - y, event.position[-1] - x) > 0:
                return  # a drag moves the slide
            yield
        if first:
            self._half = (x, y)
            self.changed.emit()
        elif self._half is not None:
            ((x, y),) = self.fit.apply(np.array([[x, y]])).tolist()  # from the aligned picture
            self.add_pair(self._half, (x, y))

    def add_pair(self, first: Point, second: Point) -> None:
        """The same place on both slides, (x, y) in µm."""
        self._half = None
        self.pairs.append((first, second))
        self._changed_pairs()

    def drop_pair(self) -> None:
        """Forget the last pair."""
        if self.pairs:
            self.pairs.pop()
            self._changed_pairs()

    def _changed_pairs(self) -> None:
        self._align()
        try:
            self._save()
        except PathaiError as error:
            self.review.told.emit(str(error))
        self._follow()
        self.changed.emit()

    def _align(self) -> None:
        self.fit = IDENTITY
        if len(self.pairs) >= FEWEST:
            first, second = zip(*self.pairs, strict=True)
            try:
                self.fit = fit_pairs(first, second)
            except PathaiError as error:
                self.review.told.emit(str(error))
        self._show()
        for layer in self.viewer.layers if self.viewer is not None else ():
            layer.affine = placement(self.fit)

    def _show(self) -> None:
        for viewer, side in ((self.review.viewer, 0), (self.viewer, 1)):
            if viewer is None:
                continue
            own = [one for one in viewer.layers if one.name == PAIRS]
            for layer in own:
                viewer.layers.remove(layer)
            if not self.pairs:
                continue
            points = [pair[side][::-1] for pair in self.pairs]
            layer = viewer.add_points(
                points,
                name=PAIRS,
                size=POINT_PX / viewer.scene.camera.zoom,
                face_color=palette.EVIDENCE,
                border_color="white",
                units=layers.UNITS,
            )
            layer.metadata["pathai"], layer.editable = True, False
            viewer.layers.selection.active = viewer.layers[0]

    # --- the file -------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Where the reader's pairs of this case lie."""
        session = self.review.session
        case = session.case.case_id if session.case else ""
        return session.reviews / case / f"{session.reader}.pairs.json"

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            self.review.told.emit(f"{self.path.name} cannot be read; pick the pairs again")
            return {}
        return found if isinstance(found, dict) else {}

    def _name(self) -> str:
        return f"{self.review.slide.slide_id if self.review.slide else ''} {self.slide_id}"

    def _load(self) -> None:
        found = self._read().get(self._name(), [])
        self.pairs = [((a, b), (c, d)) for a, b, c, d in found]
        self._align()

    def _save(self) -> None:
        everything = self._read()
        everything[self._name()] = [[*a, *b] for a, b in self.pairs]
        write_atomic(self.path, canonical(everything))


def placement(fit: Fit) -> NDArray[np.float64]:
    """How the slide beside lies in the world of the one that is read: float64[3, 3], (y, x, 1)."""
    back = fit.inverse().matrix
    found = np.eye(3)
    found[:2, :2] = back[::-1, 1::-1]
    found[:2, 2] = back[::-1, 2]
    return found
