"""Regions that a reader draws or drops, what they hold, and a ruler.

Regions are saved by the session with every change, in level-0 px; the layer ``regions`` shows them
in µm. A hole of a region counts as outside; the layer shows outer lines alone.
"""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from napari.layers.base import ActionType
from numpy.typing import NDArray
from psygnal import Signal

from pathai.edits import Drawn
from pathai.errors import PathaiError
from pathai.quantities.hotspots import Circle, Square
from pathai.region_counts import Counts, RegionIndex, circle, square
from pathai.units import Box, Mpp, Ring
from pathai.viewer import layers, palette
from pathai.viewer.drawing import of_tissue

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

LINE_PX = 2.0
NAME = "region"
"""Of a region that the reader gave no name."""
SLIDE = ""
"""Stands for the whole slide where a region is asked for."""


class CountingPart:
    """Regions and ruler on the slide in view.

    Parameters
    ----------
    review : Review
        Of the window.
    """

    changed = Signal()
    """Regions, the chosen one, or what it holds has changed."""

    def __init__(self, review: "Review") -> None:
        self.review = review
        self.area_mm2 = 1.0
        self.round = True
        self.name = NAME
        self.chosen = SLIDE
        self.length_um: float | None = None
        self._ids: list[str] = []
        self._shown: dict[str, Drawn] = {}
        self._own = False
        review.slide_shown.connect(self._enter)
        review.slide_cleared.connect(self._leave)
        review.changed.connect(self.sync)
        review.part("cells").changed.connect(self.changed.emit)
        review.viewer.scene.camera.events.zoom.connect(self._thicken)
        if review.slide is not None:
            self._enter()

    # --- layers ---------------------------------------------------------------------------

    def _enter(self) -> None:
        if self.review.slide is None:
            return
        self.chosen, self.length_um, self._ids, self._shown = SLIDE, None, [], {}
        for name, color in (("regions", palette.REGION), ("ruler", palette.SELECTED)):
            options = {
                "name": name, "ndim": 2, "edge_color": color, "face_color": "transparent",
                "units": layers.UNITS, "metadata": {"own": True},
            }  # fmt: skip
            layer = self.review.put(None, options, "shapes")
            layer.editable = True
            layer.current_edge_color, layer.current_face_color = color, "transparent"
            layer.text = {"string": "{label}", "color": color, "size": 11, "anchor": "upper_left"}
            layer.features = {"label": np.array([], object)}
        self._thicken()
        regions, ruler = self.review.layer("regions"), self.review.layer("ruler")
        regions.events.data.connect(self._edited)  # type: ignore[union-attr]
        regions.events.highlight.connect(self._picked)  # type: ignore[union-attr]
        ruler.events.data.connect(self._measured)  # type: ignore[union-attr]
        self.review.viewer.layers.selection.active = self.review.layer("slide")
        self.sync()

    def _leave(self) -> None:
        self.chosen, self.length_um, self._ids, self._shown = SLIDE, None, [], {}

    def _thicken(self) -> None:
        width = LINE_PX / self.review.viewer.scene.camera.zoom
        for name in ("regions", "ruler"):
            layer = self.review.layer(name)
            if layer is not None:
                layer.current_edge_width = width
                if len(layer.data):
                    layer.edge_width = width

    @contextmanager
    def _quietly(self) -> Any:
        """What we change in the layers ourselves is no edit of the reader's."""
        self._own, before = True, self._own
        try:
            yield
        finally:
            self._own = before

    @property
    def _slide_id(self) -> str:
        return self.review.slide.slide_id if self.review.slide else ""

    # --- drawing --------------------------------------------------------------------------

    def draw(self) -> None:
        """Let the reader draw a region with the mouse."""
        self._tool("regions", "add_polygon_lasso")

    def reshape(self) -> None:
        """Let the reader move corners of regions."""
        self._tool("regions", "direct")

    def measure(self) -> None:
        """Let the reader measure a length; the one before goes."""
        ruler = self.review.layer("ruler")
        self.length_um = None
        if ruler is not None and len(ruler.data):
            with self._quietly():
                ruler.data = []
        self._tool("ruler", "add_line")
        self.changed.emit()

    def rest(self) -> None:
        """Put the tool away: the mouse moves the view again."""
        for name in ("regions", "ruler"):
            layer = self.review.layer(name)
            if layer is not None and str(layer.mode) != "pan_zoom":
                layer.mode = "pan_zoom"
        self.review.viewer.layers.selection.active = self.review.layer("slide")

    def _tool(self, name: str, mode: str) -> None:
        layer = self.review.layer(name)
        if layer is None:
            self.review.told.emit("Open a slide first.")
            return
        layer.visible = True
        self.review.viewer.layers.selection.active = layer
        layer.mode = mode

    def drop(self, xy_px0: tuple[float, float] | None = None) -> None:
        """Drop a region of the chosen area and form; by default in the middle of the view."""
        slide = self.review.slide
        if slide is None:
            return
        field = self.review.field()
        if xy_px0 is None:
            xy_px0 = (field.x + field.width / 2, field.y + field.height / 2)
        form = circle if self.round else square
        shape = form(*xy_px0, self.area_mm2, slide.mpp)
        name = f"{self.area_mm2:g} mm²" if self.name == NAME else self.name
        self._save("", name, (_ring(shape),))

    def drop_window(self, found: Circle | Square, of: str) -> None:
        """Keep the hottest window as a region, and go there."""
        slide = self.review.slide
        if slide is None:
            return
        form = circle if isinstance(found, Circle) else square
        x, y = found.x_um / slide.mpp.x, found.y_um / slide.mpp.y
        shape = form(x, y, self.area_mm2, slide.mpp)
        self._save("", f"hottest {self.area_mm2:g} mm², {of}", (_ring(shape),))
        left, top, right, bottom = shape.bounds
        self.review.fly(Box(left, top, right - left, bottom - top))

    def hottest(self, of: str) -> Callable[[], Circle | Square | None] | None:
        """A search for the window with the most nuclei of a class, to run beside the window.

        Parameters
        ----------
        of : str
            The class; empty: nuclei of any.
        """
        cells = self.review.part("cells")
        if cells.index is None:
            return None
        index, mpp = cells.index, cells.index.mpp
        wanted = [cells.classes.index(of)] if of else list(range(len(cells.classes)))
        own = RegionIndex(
            index.xy_px0[:0], index.class_[:0], mpp
        )  # the reader may go on correcting
        own.set_added(
            np.concatenate([index.xy_px0, index.added_xy_px0]),
            np.concatenate([index.class_, index.added_class]),  # type: ignore[arg-type]
        )
        area, search = self.area_mm2, own.hottest_circle if self.round else own.hottest_square
        return lambda: search(wanted, area)

    def remove(self) -> None:
        """Take the chosen region away."""
        if self.chosen != SLIDE:
            one, self.chosen = self.chosen, SLIDE
            self._do(lambda: self.review.session.remove_region(self._slide_id, one))

    def rename(self, name: str) -> None:
        """Give the chosen region another name."""
        drawn = self.regions.get(self.chosen)
        if drawn is not None:
            self._save(self.chosen, name, drawn.rings_px0)

    def choose(self, region_id: str) -> None:
        """Choose a region by its id, or the whole slide."""
        if region_id != self.chosen:
            self.chosen = region_id
            self.changed.emit()

    def fly(self) -> None:
        """Bring the chosen region into view."""
        if self.chosen == SLIDE:
            self.review.fit()
        else:
            left, top, right, bottom = self.shape().bounds
            self.review.fly(Box(left, top, right - left, bottom - top))

    # --- what there is --------------------------------------------------------------------

    @property
    def regions(self) -> dict[str, Drawn]:
        """Regions of the slide in view, by id."""
        return self._shown

    def shape(self) -> shapely.Geometry:
        """The chosen region in level-0 px; the whole slide if none is."""
        drawn, slide = self.regions.get(self.chosen), self.review.slide
        if drawn is None:
            size = slide.pixels.levels[0].size if slide else None
            return shapely.box(0, 0, size.width, size.height) if size else shapely.Polygon()
        return shape_of(drawn)

    def counts(self) -> Counts | None:
        """What the chosen region holds now; None without nuclei."""
        cells, slide = self.review.part("cells"), self.review.slide
        if cells.index is None or slide is None:
            return None
        found: Counts = cells.index.count(self.shape(), cells.classes, slide.tissue, slide.known)
        return found

    # --- the reader's edits ---------------------------------------------------------------

    def _edited(self, event: Any) -> None:
        """A shape was drawn, moved or removed by mouse."""
        layer, slide = self.review.layer("regions"), self.review.slide
        if self._own or layer is None or slide is None:
            return
        if event.action == ActionType.ADDED:
            self.rest()
            self._save("", self.name, (ring_of(layer.data[-1], slide.mpp),))
        elif event.action == ActionType.CHANGED:
            for region_id, line in zip(self._ids, layer.data, strict=False):
                drawn = self.regions[region_id]
                moved = ring_of(line, slide.mpp)
                if moved != drawn.rings_px0[0]:
                    self._save(region_id, drawn.name, (moved, *drawn.rings_px0[1:]))
        elif event.action == ActionType.REMOVED:
            places = {i % len(self._ids) for i in event.data_indices} if self._ids else set()
            for region_id in [self._ids[i] for i in places]:
                self._do(partial(self.review.session.remove_region, self._slide_id, region_id))

    def _picked(self) -> None:
        layer = self.review.layer("regions")
        if self._own or layer is None or not layer.selected_data:
            return
        place = min(layer.selected_data)
        if place < len(self._ids):
            self.choose(self._ids[place])

    def _measured(self, event: Any) -> None:
        """Napari tells of a line twice: where the mouse is pressed and where it is let go."""
        layer = self.review.layer("ruler")
        if self._own or layer is None or event.action != ActionType.ADDED:
            return
        line = np.asarray(layer.data[-1], float)[:, -2:]
        self.length_um = float(np.hypot(*(line[-1] - line[0])))
        with self._quietly():
            layer.features = {"label": [length_words(self.length_um)]}
            layer.refresh_text()
            self.rest()
            self._thicken()
        self.changed.emit()

    def _save(self, region_id: str, name: str, rings: tuple[Ring, ...]) -> None:
        def act() -> None:
            self.chosen = self.review.session.set_region(self._slide_id, region_id, name, rings)

        self._do(act)

    def _do(self, act: Callable[[], object]) -> None:
        try:
            act()
        except PathaiError as error:
            self.review.told.emit(str(error))
            self._shown = {}  # what was drawn and refused goes
        self.review.changed.emit()

    # --- following the log ----------------------------------------------------------------

    def sync(self) -> None:
        """Show the regions that the log holds."""
        layer, slide = self.review.layer("regions"), self.review.slide
        if layer is None or slide is None:
            return
        held = self.review.session.state.regions.get(slide.slide_id, {})
        found = {key: one for key, one in held.items() if not of_tissue(one.name)}
        if found == self._shown and len(layer.data) == len(found):
            return
        self._shown, self._ids = found, list(found)
        if self.chosen not in found:
            self.chosen = SLIDE
        lines = [layers.points_um(np.array(d.rings_px0[0]), slide.mpp) for d in found.values()]
        with self._quietly():
            layer.data = []
            if lines:
                layer.add_polygons(
                    lines,
                    edge_width=LINE_PX / self.review.viewer.scene.camera.zoom,
                    edge_color=palette.REGION,
                    face_color="transparent",
                )
                layer.features = {"label": [d.name for d in found.values()]}
                layer.refresh_text()
            layer.selected_data = set()
        self.changed.emit()


def shape_of(drawn: Drawn) -> shapely.Geometry:
    """A region as a shape of level-0 px; a line that crosses itself is mended."""
    return shapely.make_valid(shapely.Polygon(drawn.rings_px0[0], drawn.rings_px0[1:]))


def ring_of(line_um: NDArray[Any], mpp: Mpp) -> Ring:
    """Corners (y, x) in µm as a ring of level-0 px with one decimal."""
    corners = np.asarray(line_um, np.float64)[:, -2:]
    points = [(round(x / mpp.x, 1), round(y / mpp.y, 1)) for y, x in corners.tolist()]
    return tuple(points[:-1] if len(points) > 1 and points[0] == points[-1] else points)


def _ring(shape: shapely.Polygon) -> Ring:
    return tuple((float(x), float(y)) for x, y in shape.exterior.coords[:-1])


def length_words(length_um: float) -> str:
    """A length as a reader says it: ``84.2 µm``, ``1.25 mm``."""
    return f"{length_um / 1000:.2f} mm" if length_um >= 1000 else f"{length_um:.1f} µm"
