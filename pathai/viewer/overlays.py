"""How attention, tissue and artefacts lie on the slide: whose, how strong, and outlines only."""

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from psygnal import Signal

from pathai.store.records import BACKGROUND, TISSUE, TissueMap
from pathai.units import Box, Mpp
from pathai.viewer import layers, palette
from pathai.viewer.slide import Attention

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

STEP = 0.1
"""Of opacity and threshold, by a key."""
CLOSER = 1 / 3
"""Opacity close, as a share of that from afar: what is coarse must not cover the morphology."""
LINE_PX, VIEW_PX = 3, 1600
LINE = "attention, outline"
ARTEFACTS = "tissue, artefacts"


class Overlays:
    """What the reader has set for overlays; it holds for every slide of the session.

    Parameters
    ----------
    review : Review
        Whose viewer it is.
    """

    changed = Signal()

    def __init__(self, review: "Review") -> None:
        self.review = review
        self.opacity = {family: far for family, (far, _) in review.faint.items()}
        """By family, as seen from afar, 0 to 1."""
        self.outlines = False
        self._task = ""
        self._threshold: dict[str, float] = {}
        self._grids: dict[str, NDArray[np.float32]] = {}
        review.slide_shown.connect(self._on_slide)
        review.slide_cleared.connect(self._forget)
        review.at_rest.connect(self.draw_line)
        if review.slide is not None:
            self._on_slide()

    # --- what can be set ------------------------------------------------------------------

    @property
    def tasks(self) -> tuple[str, ...]:
        """Models with attention on the slide that is shown."""
        slide = self.review.slide
        return tuple(one.task for one in slide.attention) if slide else ()

    @property
    def task(self) -> str:
        """Whose attention is shown; empty without any."""
        return self._task if self._task in self.tasks else next(iter(self.tasks), "")

    @property
    def threshold(self) -> float:
        """Share of the slide's tiles whose attention is not shown, 0 to 1; the lowest ones."""
        return self._threshold.get(self.task, 0.0)

    def choose(self, task: str) -> None:
        """Show the attention of another model."""
        self._task = task
        self._apply()

    def next_task(self) -> None:
        """Show the attention of the next model, round and round."""
        if len(self.tasks) > 1:
            self.choose(self.tasks[(self.tasks.index(self.task) + 1) % len(self.tasks)])
        else:
            self.review.told.emit("This slide has no attention of another model.")

    def set_opacity(self, family: str, value: float) -> None:
        """How strong ``attention`` or ``tissue`` is from afar, 0 to 1."""
        self.opacity[family] = float(np.clip(value, 0, 1))
        self._apply()

    def set_threshold(self, value: float) -> None:
        """Hide this share of the tiles, those with the least attention."""
        self._threshold[self.task] = float(np.clip(value, 0, 0.99))
        self._apply()

    def fainter(self) -> None:
        """Attention one step weaker."""
        self.set_opacity("attention", self.opacity["attention"] - STEP)

    def stronger(self) -> None:
        """Attention one step stronger."""
        self.set_opacity("attention", self.opacity["attention"] + STEP)

    def more(self) -> None:
        """Show more tiles."""
        self.set_threshold(self.threshold - STEP)

    def fewer(self) -> None:
        """Show fewer tiles: those with the most attention."""
        self.set_threshold(self.threshold + STEP)

    def toggle_outlines(self) -> None:
        """Outlines alone instead of areas, or areas again."""
        self.outlines = not self.outlines
        if self.outlines and self.threshold == 0:
            self._threshold[self.task] = 0.8  # a line around everything says nothing
        self._apply()

    # --- what is shown --------------------------------------------------------------------

    def shown(self) -> tuple[Attention, NDArray[np.bool_]] | None:
        """The chosen attention, and which of its tiles are at or above the threshold, bool[N]."""
        slide = self.review.slide
        found = [one for one in slide.attention if one.task == self.task] if slide else []
        if not found or not len(found[0].weights):
            return None
        least = np.quantile(found[0].weights, self.threshold) if self.threshold else -1.0
        return found[0], found[0].weights >= least

    def _forget(self) -> None:
        self._grids.clear()

    def _on_slide(self) -> None:
        slide = self.review.slide
        if slide is None:
            return
        for one in slide.attention:
            layer = self.review.layer(f"attention: {one.task}")
            if layer is not None:
                self._grids[one.task] = layer.data
        if slide.tissue is not None and (slide.tissue.classes > TISSUE).any():
            self.review.put(*artefact_layer(slide.tissue), above="tissue")
        if slide.attention:
            self.review.put(*line_layer(), above="tissue").metadata["solid"] = True
        self._apply()

    def _apply(self) -> None:
        """Bring every layer to what is set."""
        review = self.review
        for family, value in self.opacity.items():
            review.faint[family] = (value, value * CLOSER)
        for task, grid in self._grids.items():
            layer = review.layer(f"attention: {task}")
            if layer is None:
                continue
            layer.metadata["left out"] = task != self.task or self.outlines
            least = self._least(task)
            with np.errstate(invalid="ignore"):
                shown = np.where(grid >= least, grid, np.nan) if least > 0 else grid
            if layer.data is not shown:
                layer.data = shown
        artefacts = review.layer(ARTEFACTS)
        if artefacts is not None:
            artefacts.metadata["left out"] = self.outlines
        for layer in review.viewer.layers:
            nuclei = layer.name == "nuclei" and isinstance(layer, Labels)
            if nuclei and layer.contour != int(self.outlines):
                layer.contour = int(self.outlines)
        review.show_layers()
        self.changed.emit()

    def _least(self, task: str) -> float:
        grid, share = self._grids[task], self._threshold.get(task, 0.0)
        known = grid[np.isfinite(grid)]
        return float(np.quantile(known, share)) if share and known.size else 0.0

    def draw_line(self) -> None:
        """Draw the line around the attention above the threshold, for what is in view."""
        layer, found, slide = self.review.layer(LINE), self.shown(), self.review.slide
        if layer is None or slide is None:
            return
        layer.metadata["left out"] = not self.outlines or found is None
        if layer.visible != self.review.wanted(layer):
            layer.visible = not layer.visible
        if not layer.visible or found is None:
            return
        attention, held = found
        field = self.review.field()
        segments = contour(*_cells(attention, held))
        picture, where = line_picture(segments, field, slide.mpp)
        layers.show_picture(layer, picture, where)


Segments = NDArray[np.float64]


def _cells(
    attention: Attention, held: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Chosen tiles on their grid, its top-left corner, and a tile's size, level-0 px."""
    size = attention.features.size_px0.astype(np.float64)
    places = np.rint(attention.features.xy_px0 / size).astype(int)
    low = places.min(axis=0)
    columns, rows = places.max(axis=0) - low + 1
    mask = np.zeros((rows, columns), bool)
    mask[places[held, 1] - low[1], places[held, 0] - low[0]] = True
    return mask, low * size, size


def contour(
    mask: NDArray[np.bool_], corner: NDArray[np.float64], size: NDArray[np.float64]
) -> Segments:
    """Lines between chosen and other tiles.

    Parameters
    ----------
    mask : bool[rows, columns]
        Chosen tiles.
    corner, size : float[2]
        Top-left corner of the grid and size of a tile, (x, y) in level-0 px.

    Returns
    -------
    float64[n, 4]
        Left, top, right, bottom of each straight line, level-0 px; touching ones are joined.
    """
    beside, above = np.pad(mask, ((0, 0), (1, 1))), np.pad(mask, ((1, 1), (0, 0)))
    upright = _runs((beside[:, 1:] != beside[:, :-1]).T)
    level = _runs(above[1:] != above[:-1])
    lines = np.concatenate(
        [
            np.stack([upright[:, 0], upright[:, 1], upright[:, 0], upright[:, 2]], axis=1),
            np.stack([level[:, 1], level[:, 0], level[:, 2], level[:, 0]], axis=1),
        ]
    )
    found: Segments = lines * np.tile(size, 2) + np.tile(corner, 2)
    return found


def _runs(edges: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Row, first and last + 1 of each run of edges in every row: int64[n, 3]."""
    ends = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, first = np.nonzero(ends == 1)
    last = np.nonzero(ends == -1)[1]
    found: NDArray[np.int64] = np.stack([row, first, last], axis=1)
    return found


def line_picture(
    segments: Segments, field: Box, mpp: Mpp
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The lines in view as a picture ``uint8[h, w, 4]``, and where it lies.

    The line is as wide on the screen at any zoom.
    """
    step = max(field.width, field.height, 1.0) / VIEW_PX
    size = (max(round(field.width / step), 1), max(round(field.height / step), 1))
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    seen = (segments[:, 0] <= field.right) & (segments[:, 2] >= field.x)
    seen &= (segments[:, 1] <= field.bottom) & (segments[:, 3] >= field.y)
    for line in ((segments[seen] - np.array([field.x, field.y] * 2)) / step).tolist():
        pen.line(line, palette.ATTENTION_LINE, LINE_PX)
    where = layers.place(mpp, step, step)
    shift = where["translate"]
    where["translate"] = (shift[0] + field.y * mpp.y, shift[1] + field.x * mpp.x)
    return np.asarray(picture), where


def line_layer() -> layers.LayerData:
    """An empty picture for the line around attention."""
    nothing = np.zeros((1, 1, 4), np.uint8)
    return nothing, {"name": LINE, "rgb": True, "units": layers.UNITS}, "image"


def artefact_layer(tissue: TissueMap) -> layers.LayerData:
    """Areas that were left out of the analysis, by kind: pen, blur, folds and the like."""
    colors: dict[int | None, str] = {None: "transparent", BACKGROUND: "transparent"}
    colors.update(dict(palette.TISSUE.items()))
    colors[TISSUE] = "transparent"
    options = {
        "name": ARTEFACTS,
        "colormap": DirectLabelColormap(color_dict=colors),
        **layers.place(tissue.mpp),
    }
    return tissue.classes, options, "labels"
