"""The layers of the nuclei: raster when far, centers in the field of view, outlines when near."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers.base import ActionType
from numpy.typing import NDArray

from pathai.units import Box
from pathai.viewer import layers

if TYPE_CHECKING:
    from pathai.viewer.cells import CellsPart

CLOSE = 1.0
"""Screen pixels per µm (10x) from which the nuclei of the field are drawn one by one."""
AROUND = 1.2
"""They are drawn for this much more than the view, so that a small move shows no gap."""
MARK_PX = 3.0


class CellsView:
    """What napari shows of a `CellsPart`.

    Parameters
    ----------
    part : CellsPart
        Whose nuclei.
    """

    def __init__(self, part: "CellsPart") -> None:
        self._part = part
        self.near = False
        """Whether the nuclei in view are drawn one by one."""
        self._drawn: object = None

    def layers(self) -> list[layers.LayerData]:
        """Layer data of a slide just opened, to lie over its raster."""
        index = self._part.there[1]
        self.near, self._drawn = False, None
        self.recolor()
        none, places = np.zeros((0, 4), np.uint8), np.zeros((0, 2))
        begin = np.zeros(1, np.int64)
        return [
            layers.outlines_layer(places, begin, none, index.mpp, Box(0, 0, 1, 1)),
            layers.centers_layer(places, none),
            layers.selected_layer(),
        ]

    def draw(self) -> None:
        """Draw what depends on the view; to be called when the camera has come to rest."""
        part, review = self._part, self._part.review
        raster, lines = review.layer("nuclei"), review.layer("nuclei, outlines")
        points, slide = review.layer("nuclei, centers"), review.slide
        if slide is None or part.index is None or not (raster and lines and points):
            return
        wanted = review.overlays.get("nuclei", True) and not (review.hidden or review.blind)
        field = larger(review.field(), AROUND)
        self.near = wanted and review.viewer.scene.camera.zoom >= CLOSE
        rows = part.index.in_box(field) if self.near else np.zeros(0, np.int64)
        self.near &= len(rows) <= layers.TOO_MANY
        outlined = self.near and len(rows) <= layers.MOST_OUTLINES
        for layer, shown in ((raster, wanted and not outlined), (lines, outlined)):
            if layer.visible != shown:  # napari reads and lays out anew even what is as it was
                layer.visible = shown
        if not self.near:
            self._drawn = None
            if len(points.data):
                layers.show_centers(points, np.zeros((0, 2)), layers.rgba([]))
            return
        now = (field, frozenset(part.hidden), part.version)
        if now == self._drawn:  # the camera comes to rest where it was
            return
        self._drawn = now
        rows = rows[part.shows()[part.index.class_[rows]]]
        seen = part.shows()[part.index.added_class]
        colors = layers.rgba([part.colors[name] for name in part.classes])
        if outlined:
            self._outline(lines, rows, seen, colors, field)
        xy = np.concatenate([part.index.xy_px0[rows], part.index.added_xy_px0[seen]])
        kinds = np.concatenate([part.index.class_[rows], part.index.added_class[seen]])
        layers.show_centers(points, layers.points_um(xy, slide.mpp), colors[kinds])
        self.mark()

    def _outline(
        self, lines: Any, rows: Any, seen: NDArray[np.bool_], colors: NDArray[np.uint8], field: Box
    ) -> None:
        part, (nuclei, index) = self._part, self._part.there
        canvas = part.review.viewer.canvas.size
        longest = min(round(max(canvas) * AROUND), layers.OUTLINE_PX)  # sharp, and no more
        points, start = nuclei.outlines(rows)
        more = [
            np.array(c.outline_px0) for c, use in zip(part.added.values(), seen, strict=True) if use
        ]
        every = np.concatenate([points, *more])
        begin = np.concatenate([start, start[-1] + np.cumsum([len(one) for one in more])])
        kinds = np.concatenate([index.class_[rows], index.added_class[seen]])
        picture, options, _ = layers.outlines_layer(
            every, begin.astype(np.int64), colors[kinds], index.mpp, field, longest
        )
        layers.show_picture(lines, picture, options)

    def recolor(self) -> None:
        """Bring the colors of the raster to the classes that are shown."""
        part, raster = self._part, self._part.review.layer("nuclei")
        if raster is not None and part.nuclei is not None:
            raster.colormap = layers.class_colormap(part.classes, part.colors, part.hidden)

    def refresh_raster(self) -> None:
        """Show the raster as it is now."""
        raster = self._part.review.layer("nuclei")
        if raster is not None:
            raster.refresh()

    def mark(self) -> None:
        """Mark the selected nucleus."""
        part, shapes = self._part, self._part.review.layer("nuclei, selected")
        slide = part.review.slide
        if shapes is None or slide is None:
            return
        line = None if part.selected is None else part.outline_px0(part.selected)
        if line is None or len(line) < 3:
            if len(shapes.data):
                shapes.data = []
            return
        shapes.data = []
        width = MARK_PX / part.review.viewer.scene.camera.zoom
        look = layers.selected_layer()[1]
        shapes.add_polygons(
            [layers.points_um(line, slide.mpp)],
            edge_width=width, edge_color=look["edge_color"], face_color=look["face_color"],
        )  # fmt: skip
        shapes.selected_data = set()

    # --- drawing a nucleus ----------------------------------------------------------------

    def start_drawing(self, done: Callable[[NDArray[np.float64]], None]) -> None:
        """Let the reader draw one outline; ``done`` gets it, float64[k, 2] x, y in level-0 px."""
        shapes, viewer = self._part.review.layer("nuclei, selected"), self._part.review.viewer
        if shapes is None:
            return
        self._part.select(None)
        shapes.editable = True
        viewer.layers.selection.active = shapes
        shapes.mode = "add_polygon_lasso"

        def drawn(event: Any) -> None:
            if event.action != ActionType.ADDED:
                return
            shapes.events.data.disconnect(drawn)
            slide = self._part.review.slide
            line = np.asarray(shapes.data[-1], np.float64)[:, -2:]
            self._leave_drawing()
            if slide is not None:
                done(line[:, ::-1] / (slide.mpp.x, slide.mpp.y))

        shapes.events.data.connect(drawn)

    def _leave_drawing(self) -> None:
        review = self._part.review
        shapes = review.layer("nuclei, selected")
        if shapes is not None:
            shapes.mode, shapes.data = "pan_zoom", []
            shapes.editable = False
        review.viewer.layers.selection.active = review.layer("slide")


def larger(box: Box, factor: float) -> Box:
    """A box about the same center."""
    width, height = box.width * factor, box.height * factor
    left, top = box.x - (width - box.width) / 2, box.y - (height - box.height) / 2
    return Box(left, top, width, height)
