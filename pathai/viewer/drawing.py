"""Drawing tissue regions: tumor, what to leave out, necrosis; those of the run are the start.

A region of the run counts until the reader has one of the same name. Regions that are drawn only
to count in are those of `pathai.viewer.counting`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from napari.layers import Shapes
from numpy.typing import NDArray
from psygnal import Signal

from pathai.corrected.given import EXCLUDE
from pathai.errors import PathaiError
from pathai.quantities.regions import REVIEWED, read_drawn
from pathai.quantities.tumor import TUMOR_NAMES
from pathai.units import Ring
from pathai.viewer import layers, palette

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

LAYER = "tissue regions"
NAMES = ("tumor", "exclude", "necrosis", "reviewed")
KINDS = {*NAMES, *TUMOR_NAMES, *EXCLUDE, *REVIEWED}
EDGE_PX = 3.0
OF_THE_RUN = "A region of the run stands until you draw one of the same name."
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
        found = self.review.session.state.regions.get(slide.slide_id, {})
        kept = {key: one for key, one in found.items() if of_tissue(one.name)}
        own = [Region(key, one.name, one.rings_px0) for key, one in kept.items()]
        taken = {_word(one.name) for one in own}
        run = [one for one in self._of_the_run(slide.slide_id) if _word(one.name) not in taken]
        return (*run, *sorted(own, key=lambda one: int(one.id[1:])))

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
            found = self.review.session.set_region(slide.slide_id, "", name, (ring,))
        except PathaiError as error:
            self.review.told.emit(str(error))
        self._after()
        return found

    def remove(self, number: int) -> None:
        """Take the region of this number away."""
        one = self._chosen(number)
        if one is not None:
            self.review.session.remove_region(self._slide_id, one.id)
            self._after()

    def rename(self, number: int, name: str) -> None:
        """Say that the region of this number is another thing."""
        one = self._chosen(number)
        if one is not None:
            self.review.session.set_region(self._slide_id, one.id, name, one.rings)
            self._after()

    def _chosen(self, number: int) -> Region | None:
        """A region of the reader's; one of the run is only replaced, and that is told."""
        regions = self.regions()
        if not 0 <= number < len(regions):
            return None
        if not regions[number].id:
            self.review.told.emit(OF_THE_RUN)
            return None
        return regions[number]

    @property
    def _slide_id(self) -> str:
        return self.review.slide.slide_id if self.review.slide else ""

    def _adopted(self, one: Region) -> str:
        """Make the run's regions of one name the reader's own; the id that this one got."""
        given = ""
        for other in self._of_the_run(self._slide_id):
            if _word(other.name) == _word(one.name):
                made = self.review.session.set_region(self._slide_id, "", other.name, other.rings)
                given = made if other == one else given
        return given

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
        layer.metadata.update(solid=True, own=True)
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
                self._held = self._in_order(rings)
                self.corrected.emit(slide.slide_id)
                self.review.changed.emit()
                self.changed.emit()
        except PathaiError as error:
            self.review.told.emit(str(error))
        finally:
            self._busy = False

    def _in_order(self, rings: list[Ring]) -> list[Region]:
        """The regions in the order of the layer, which is another one after some were adopted."""
        left = list(self.regions())
        found = []
        for ring in rings:
            same = next((one for one in left if _same(one.rings[0], ring)), None)
            if same is not None:
                left.remove(same)
                found.append(same)
        return [*found, *left]

    def _write(self, slide_id: str, rings: list[Ring], event: Any, *, finished: bool) -> bool:
        session, held = self.review.session, list(self._held)
        gone = len(held) - len(rings)
        if gone > 0:
            for i in sorted({int(i) % len(held) for i in event.data_indices}):
                if held[i].id:
                    session.remove_region(slide_id, held[i].id)
                else:
                    self.review.told.emit(OF_THE_RUN)
            return True
        moved = [i for i, one in enumerate(held) if not _same(one.rings[0], rings[i])]
        # What is not finished is still being drawn.
        new = [ring for ring in rings[len(held) :] if finished and len(set(ring)) >= 3]
        for i in moved:
            line = (rings[i], *held[i].rings[1:])
            session.set_region(slide_id, held[i].id or self._adopted(held[i]), held[i].name, line)
        for ring in new:
            session.set_region(slide_id, "", self.name, (ring,))
        return bool(moved or new)


def of_tissue(name: str) -> bool:
    """Whether a region of this name says what the tissue is, or what to do with it."""
    return _word(name) in KINDS


def _word(name: str) -> str:
    return name.strip().casefold()


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
