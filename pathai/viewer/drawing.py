"""Drawing regions: tumor, what to leave out, necrosis; the drawn ones of the run are the start."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from napari.layers import Shapes
from numpy.typing import NDArray
from psygnal import Signal

from pathai.errors import PathaiError
from pathai.quantities.regions import read_drawn
from pathai.units import Ring
from pathai.viewer import layers, palette

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

LAYER = "regions"
NAMES = ("tumor", "exclude", "necrosis")
EDGE_PX = 3.0
NEAR_PX0 = 0.06
"""A point that moved by less than this, half a decimal of the log, has not moved."""


@dataclass(frozen=True)
class Region:
    """A region on the slide that is shown.

    Attributes
    ----------
    id : str
        As the log knows it; empty for one of the run's folder, which nobody has changed yet.
    name : str
        Such as tumor.
    rings : tuple of Ring
        Outer ring, then its holes, level-0 px.
    """

    id: str
    name: str
    rings: tuple[Ring, ...]

    @property
    def shape(self) -> shapely.Geometry:
        """As a valid shapely geometry, level-0 px."""
        return shapely.make_valid(shapely.Polygon(self.rings[0], self.rings[1:]))


class Drawing:
    """Regions of the slide that is shown, as an editable layer.

    Parameters
    ----------
    review : Review
        Whose slide it is.
    """

    changed = Signal()
    """Regions, or what is being drawn, have changed."""
    corrected = Signal(str)
    """The regions of this slide are other ones now: what is counted in them is, too."""

    def __init__(self, review: "Review") -> None:
        self.review = review
        self.name = NAMES[0]
        self.drawing = False
        self._held: list[Region] = []
        self._busy = False
        review.slide_shown.connect(self._on_slide)
        review.slide_cleared.connect(self._forget)
        review.changed.connect(self._follow)
        review.at_rest.connect(self._thin)
        self._on_slide()

    # --- what there is --------------------------------------------------------------------

    def regions(self) -> tuple[Region, ...]:
        """The reader's regions of the slide; those of the run's folder until they are changed."""
        slide = self.review.slide
        if slide is None:
            return ()
        if self._own(slide.slide_id):
            own = self.review.session.state.regions.get(slide.slide_id, {})
            found = [Region(key, one.name, one.rings_px0) for key, one in own.items()]
            return tuple(sorted(found, key=lambda one: int(one.id[1:])))
        return self._of_the_run(slide.slide_id)

    def _own(self, slide_id: str) -> bool:
        """Whether the reader has regions of one's own here, be it none at all."""
        state, what = self.review.session.state, f"region:{slide_id}:"
        if not state.numbers.get(f"region:{slide_id}", 0):
            return False
        held = any(event.what.startswith(what) for event in state.undoable)
        return held or bool(state.regions.get(slide_id))

    def _of_the_run(self, slide_id: str) -> tuple[Region, ...]:
        plan = self.review.run.plan
        path = plan.root / plan.config.regions / f"{slide_id}.geojson"
        if not path.is_file():
            return ()
        try:
            drawn = read_drawn(path)
        except PathaiError as error:
            self.review.told.emit(str(error))
            return ()
        return tuple(
            Region("", one.name, _rings(part))
            for one in drawn
            for part in shapely.get_parts(one.shape)
            if part.geom_type == "Polygon"
        )

    def area_mm2(self, region: Region) -> float:
        """Area of a region, mm²."""
        slide = self.review.slide
        return region.shape.area * slide.mpp.x * slide.mpp.y / 1e6 if slide else 0.0

    # --- what a reader does ---------------------------------------------------------------

    def choose(self, name: str) -> None:
        """What the next region is."""
        self.name = name
        if self.drawing:
            self._mode(str(self._layer().mode))  # type: ignore[union-attr]
        self.changed.emit()

    def draw(self) -> None:
        """Begin a polygon: each click a corner, double click or Enter ends it."""
        self._mode("add_polygon")

    def edit(self) -> None:
        """Move corners."""
        self._mode("direct")

    def done(self) -> None:
        """Give the mouse back to the slide."""
        self._mode("pan_zoom")

    def _mode(self, mode: str) -> None:
        layer = self._layer()
        if layer is None:
            return
        self.drawing = mode != "pan_zoom"
        layer.mode = mode
        color = palette.region_color(self.name)
        layer.current_edge_color, layer.current_face_color = color, f"{color}18"
        layer.current_edge_width = EDGE_PX / self.review.viewer.scene.camera.zoom
        self._follow()
        self.review.viewer.layers.selection.active = (
            layer if self.drawing else self.review.layer("slide")
        )
        self.changed.emit()

    def toggle(self) -> None:
        """Begin to draw, or end it."""
        if self.drawing:
            self.done()
        else:
            self.draw()

    def add(self, name: str, ring: Ring) -> str:
        """Keep a ring as a region; returns its id, empty if it was refused."""
        slide = self.review.slide
        if slide is None:
            return ""
        found = ""
        try:
            self._adopt()
            found = self.review.session.set_region(slide.slide_id, "", name, (ring,))
        except PathaiError as error:
            self.review.told.emit(str(error))
        self._after()
        return found

    def remove(self, number: int) -> None:
        """Take the region of this number away."""
        slide = self.review.slide
        if slide is None or not 0 <= number < len(self.regions()):
            return
        self._adopt()
        self.review.session.remove_region(slide.slide_id, self.regions()[number].id)
        self._after()

    def rename(self, number: int, name: str) -> None:
        """Say that the region of this number is another thing."""
        slide = self.review.slide
        if slide is None or not 0 <= number < len(self.regions()):
            return
        self._adopt()
        one = self.regions()[number]
        self.review.session.set_region(slide.slide_id, one.id, name, one.rings)
        self._after()

    def _adopt(self) -> None:
        """Make the run's regions the reader's own: from here on these alone hold."""
        slide = self.review.slide
        if slide is None or self._own(slide.slide_id):
            return
        for one in self._of_the_run(slide.slide_id):
            self.review.session.set_region(slide.slide_id, "", one.name, one.rings)

    def _after(self) -> None:
        self._show()
        slide = self.review.slide
        if slide is not None:
            self.corrected.emit(slide.slide_id)
        self.review.changed.emit()
        self.changed.emit()

    # --- the layer ------------------------------------------------------------------------

    def _layer(self) -> Shapes | None:
        found = self.review.layer(LAYER)
        return found if isinstance(found, Shapes) else None

    def _on_slide(self) -> None:
        self._forget()
        if self.review.slide is None:
            return
        options = {"name": LAYER, "ndim": 2, "units": layers.UNITS}
        layer = self.review.put(None, options, "shapes")
        layer.editable = True
        layer.metadata["solid"] = True
        layer.events.data.connect(self._on_data)
        self._show()
        self.changed.emit()

    def _forget(self) -> None:
        self._held, self.drawing = [], False

    def _follow(self) -> None:
        """After an undo, or what was refused, the picture follows the log."""
        layer = self._layer()
        if self._busy or layer is None:
            return
        if self.drawing and len(layer.data) > len(self._held):
            return  # a polygon is under way
        if self._held != list(self.regions()) or len(layer.data) != len(self._held):
            self._show()
            self.changed.emit()

    def _show(self) -> None:
        layer, slide = self._layer(), self.review.slide
        if layer is None or slide is None:
            return
        self._busy = True
        self._held = list(self.regions())
        layer.selected_data = set()
        layer.data = []
        if self._held:
            colors = [palette.region_color(one.name) for one in self._held]
            layer.add(
                [layers.points_um(np.array(one.rings[0]), slide.mpp) for one in self._held],
                shape_type="polygon",
                edge_color=colors,
                face_color=[f"{color}18" for color in colors],
                edge_width=EDGE_PX / self.review.viewer.scene.camera.zoom,
            )
            layer.selected_data = set()
        self._busy = False

    def _thin(self) -> None:
        """Lines are as wide on the screen at any zoom."""
        layer = self._layer()
        if layer is not None and len(layer.data) and not self.drawing:
            self._busy = True
            layer.edge_width = [EDGE_PX / self.review.viewer.scene.camera.zoom] * len(layer.data)
            self._busy = False

    def _on_data(self, event: Any) -> None:
        """A polygon was finished, moved or removed by hand: the log hears of it first."""
        action = getattr(event, "action", "")
        kind_of = str(getattr(action, "value", action))
        if self._busy or kind_of not in ("added", "changed", "removed"):
            return
        layer, slide = self._layer(), self.review.slide
        if layer is None or slide is None:
            return
        shapes = zip(layer.data, layer.shape_type, strict=True)
        rings = [_ring(one, kind, slide.mpp) for one, kind in shapes]
        self._busy = True
        try:
            if self._write(slide.slide_id, rings, event, finished=kind_of == "added"):
                # napari is still at work on the shape: it stays as it was drawn
                self._held = list(self.regions())
                self.corrected.emit(slide.slide_id)
                self.review.changed.emit()
                self.changed.emit()
        except PathaiError as error:
            self.review.told.emit(str(error))
        finally:
            self._busy = False

    def _write(self, slide_id: str, rings: list[Ring], event: Any, *, finished: bool) -> bool:
        session, held = self.review.session, list(self._held)
        gone = len(held) - len(rings)
        if gone > 0:
            self._adopt()
            regions = self.regions()
            for i in sorted({int(i) % len(held) for i in event.data_indices}, reverse=True):
                session.remove_region(slide_id, regions[i].id)
            return True
        moved = [i for i, one in enumerate(held) if not _same(one.rings[0], rings[i])]
        # What is not finished is still being drawn.
        new = [ring for ring in rings[len(held) :] if finished and len(set(ring)) >= 3]
        if not moved and not new:
            return False
        self._adopt()
        regions = self.regions()
        for i in moved:
            line = (rings[i], *regions[i].rings[1:])
            session.set_region(slide_id, regions[i].id, regions[i].name, line)
        for ring in new:
            session.set_region(slide_id, "", self.name, (ring,))
        return True


def _ring(corners: NDArray[np.floating[Any]], kind: str, mpp: Any) -> Ring:
    """Corners of a shape (y, x) in µm as a ring in level-0 px; ellipses become polygons."""
    points = np.asarray(corners, np.float64)
    if kind in ("path", "line"):
        return ()
    if kind == "ellipse":
        middle, a, b = points.mean(axis=0), (points[1] - points[0]) / 2, (points[3] - points[0]) / 2
        turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
        points = middle + np.cos(turn) * a + np.sin(turn) * b
    xy = np.round(points[:, ::-1] / (mpp.x, mpp.y), 1)
    ring = [tuple(point) for point in xy.tolist()]
    kept = [p for i, p in enumerate(ring) if p != ring[i - 1]]
    return tuple((float(x), float(y)) for x, y in kept)


def _same(one: Ring, other: Ring) -> bool:
    return len(one) == len(other) and bool(np.allclose(one, other, atol=NEAR_PX0))


def _rings(polygon: shapely.Geometry) -> tuple[Ring, ...]:
    return tuple(
        tuple((round(x, 1), round(y, 1)) for x, y in line.coords[:-1])
        for line in (polygon.exterior, *polygon.interiors)
    )
