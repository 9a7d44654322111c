"""The layers of the nuclei: raster when far, centers in the field of view, outlines when near."""

from typing import TYPE_CHECKING, Any

import numpy as np
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

    def layers(self) -> list[layers.LayerData]:
        """Layer data of a slide just opened, from the bottom to the top."""
        part, slide = self._part, self._part.review.slide
        assert slide is not None and part.nuclei is not None
        self.near = False
        none, places = np.zeros((0, 4), np.uint8), np.zeros((0, 2))
        begin = np.zeros(1, np.int64)
        return [
            layers.cells_layer(part.nuclei, slide.mpp, part.classes, part.colors, part.hidden),
            layers.outlines_layer(places, begin, none, slide.mpp, Box(0, 0, 1, 1)),
            layers.centers_layer(places, none, slide.mpp),
            layers.selected_layer(),
        ]

    def draw(self) -> None:
        """Draw what depends on the view; to be called when the camera has come to rest."""
        part, review = self._part, self._part.review
        raster, lines = review.layer("nuclei"), review.layer("nuclei, outlines")
        points, slide = review.layer("nuclei, centers"), review.slide
        if slide is None or part.index is None or not (raster and lines and points):
            return
        wanted = review.wanted(raster)
        field = larger(review.field(), AROUND)
        self.near = wanted and review.viewer.scene.camera.zoom >= CLOSE
        rows = part.index.in_box(field) if self.near else np.zeros(0, np.int64)
        self.near &= len(rows) <= layers.TOO_MANY
        outlined = self.near and len(rows) <= layers.MOST_OUTLINES
        raster.visible = wanted and not outlined
        lines.visible = outlined
        if not self.near:
            if len(points.data):
                points.data = np.zeros((0, 2))
            return
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
        part, slide = self._part, self._part.review.slide
        assert slide is not None and part.nuclei is not None and part.index is not None
        points, start = part.nuclei.outlines(rows)
        more = [np.array(c.outline_px0) for c, use in zip(part.added.values(), seen, strict=True) if use]
        every = np.concatenate([points, *more])
        begin = np.concatenate([start, start[-1] + np.cumsum([len(one) for one in more])])
        kinds = np.concatenate([part.index.class_[rows], part.index.added_class[seen]])
        picture, options, _ = layers.outlines_layer(
            every, begin.astype(np.int64), colors[kinds], slide.mpp, field
        )
        with lines.events.blocker_all():
            lines.data = picture
            lines.scale = options["scale"]
        lines.translate = options["translate"]
        lines.refresh()

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


def larger(box: Box, factor: float) -> Box:
    """A box about the same center."""
    width, height = box.width * factor, box.height * factor
    left, top = box.x - (width - box.width) / 2, box.y - (height - box.height) / 2
    return Box(left, top, width, height)
