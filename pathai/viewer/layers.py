"""What the store holds, as napari layers in µm.

The origin of the world is the top-left *corner* of the slide: a place (x, y) in level-0 pixels
lies at (y * mpp.y, x * mpp.x) µm. napari puts the *center* of the first pixel at the layer's
translation, hence the half pixels.

Every function returns layer data as napari's readers do: data, keyword arguments, kind of layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from pathai.store.chunked import KeptChunks
from pathai.store.pyramid import Pyramid
from pathai.store.records import BACKGROUND, TISSUE_NAMES, Features, TissueMap
from pathai.units import Box, Mpp
from pathai.viewer import palette
from pathai.viewer.nuclei import Nuclei

KEPT_MIB = 256
"""Decoded pixels that are kept of a slide: some twenty views of a large screen."""
LayerData = tuple[Any, dict[str, Any], str]
UNITS = ("um", "um")
TOO_MANY = 10_000
"""More nuclei than this in the field of view are shown by the raster, which shows them all."""
MOST_OUTLINES = 2_000
"""More than this are shown by their centers over the raster."""
CENTER_UM = 1.8
OUTLINE_PX, LINE_PX = 2000, 2
"""Longest edge of the picture of outlines, and width of a line in it."""


def place(mpp: Mpp, width_px0: float = 1.0, height_px0: float = 1.0) -> dict[str, Any]:
    """Scale, translation and units of an image.

    Parameters
    ----------
    mpp : Mpp
        Of level 0.
    width_px0, height_px0 : float
        Size of one image pixel in level-0 px.
    """
    step = (height_px0 * mpp.y, width_px0 * mpp.x)
    return {"scale": step, "translate": (step[0] / 2, step[1] / 2), "units": UNITS}


def slide_layer(pyramid: Pyramid) -> LayerData:
    """The tissue's pixels: multiscale RGB through dask, read when they come into view."""
    levels = pyramid.dask(KeptChunks(KEPT_MIB))
    # napari's own cache takes a quarter of the machine's memory before it forgets anything.
    options = {"name": "slide", "rgb": True, "cache": False, **place(pyramid.mpp)}
    if len(levels) == 1:
        return levels[0], options, "image"
    return levels, {**options, "multiscale": True}, "image"


def tissue_layer(tissue: TissueMap) -> LayerData:
    """Outlines of tissue and of what was left out (pen, blur, folds and the like)."""
    colors: dict[int | None, str] = {None: "transparent", BACKGROUND: "transparent"}
    colors.update(dict(palette.TISSUE.items()))
    options = {
        "name": "tissue",
        "colormap": DirectLabelColormap(color_dict=colors),
        "opacity": 0.5,
        "features": {"index": list(range(len(TISSUE_NAMES))), "class": list(TISSUE_NAMES)},
        **place(tissue.mpp),
    }
    return tissue.classes, options, "labels"


def attention_grid(features: Features, attention: NDArray[np.float32]) -> tuple[Any, Box]:
    """Attention as a picture with one pixel per tile.

    Parameters
    ----------
    features : Features
        Place and size of the tiles.
    attention : float32[N]
        Weight of each tile, sum 1.

    Returns
    -------
    float32[rows, columns]
        Weight times the number of tiles, so that 1 is an even share; NaN where no tile lies.
    Box
        Place of the picture, level-0 px.
    """
    width, height = (float(v) for v in features.size_px0)
    if not len(attention):
        return np.full((1, 1), np.nan, np.float32), Box(0, 0, width, height)
    columns = np.rint(features.xy_px0[:, 0] / width).astype(int)
    rows = np.rint(features.xy_px0[:, 1] / height).astype(int)
    left, top = int(columns.min()), int(rows.min())
    shape = (int(rows.max()) - top + 1, int(columns.max()) - left + 1)
    grid = np.full(shape, np.nan, np.float32)
    grid[rows - top, columns - left] = attention * len(attention)
    return grid, Box(left * width, top * height, shape[1] * width, shape[0] * height)


def attention_layer(
    features: Features, attention: NDArray[np.float32], mpp: Mpp, task: str
) -> LayerData:
    """Attention of one model as an image with one pixel per tile."""
    grid, box = attention_grid(features, attention)
    width, height = (float(v) for v in features.size_px0)
    where = place(mpp, width, height)
    shift = where["translate"]
    where["translate"] = (shift[0] + box.y * mpp.y, shift[1] + box.x * mpp.x)
    known = grid[np.isfinite(grid)]
    top = float(np.quantile(known, 0.97)) if known.size else 1.0
    controls, colors = zip(*palette.ATTENTION, strict=True)
    options = {
        "name": f"attention: {task}",
        "colormap": Colormap(list(colors), controls=list(controls), name="pathai attention"),
        "contrast_limits": (0.0, max(top, 2.0)),
        "gamma": 0.7,  # attention is steep; the second best shall be seen too
        "interpolation2d": "nearest",
        "blending": "translucent",
        "opacity": 0.6,
        **where,
    }
    return grid, options, "image"


def class_colormap(
    classes: Sequence[str], colors: Mapping[str, str], hidden: AbstractSet[str] = frozenset()
) -> DirectLabelColormap:
    """Colors of the class raster; a hidden class is clear."""
    chosen: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    chosen.update(
        {i + 1: "transparent" if name in hidden else colors[name] for i, name in enumerate(classes)}
    )
    return DirectLabelColormap(color_dict=chosen)


def cells_layer(nuclei: Nuclei, mpp: Mpp) -> LayerData:
    """Every nucleus as a label picture of its class: complete at any zoom, never a sample."""
    step, classes = nuclei.raster.step, nuclei.attrs.classes
    options = {
        "name": "nuclei",
        "colormap": class_colormap(classes, palette.cell_colors(classes)),
        "opacity": 0.6,
        **place(mpp, step, step),
    }
    if len(nuclei.raster.levels) == 1:
        return nuclei.raster.levels[0], options, "labels"
    return list(nuclei.raster.levels), {**options, "multiscale": True}, "labels"


def rgba(colors: Sequence[str]) -> NDArray[np.uint8]:
    """Colors as uint8[n, 4], opaque."""
    found = [(*ImageColor.getrgb(color)[:3], 255) for color in colors]
    return np.array(found, np.uint8).reshape(-1, 4)


def centers_layer(yx_um: NDArray[np.float64], colors: NDArray[np.uint8]) -> LayerData:
    """Centers of some nuclei as points.

    Parameters
    ----------
    yx_um : float64[n, 2]
        Places in the viewer's world.
    colors : uint8[n, 4]
        Of each.
    """
    options = {
        "name": "nuclei, centers",
        "size": CENTER_UM,
        "face_color": colors / 255 if len(colors) else "white",
        "border_color": "white",
        "border_width": 0.15,
        "ndim": 2,
        "units": UNITS,
    }
    return yx_um, options, "points"


def show_centers(points: Any, yx_um: NDArray[np.float64], colors: NDArray[np.uint8]) -> None:
    """Put other centers into the layer of `centers_layer`, read and drawn once."""
    with _at_once(points):
        points.data = yx_um
        points.set_view_slice()  # hidden, it would look for the points of before
        if len(yx_um):
            points.size = CENTER_UM
            points.face_color = colors / 255
            points.border_color = "white"
            points.border_width = 0.15


def selected_layer() -> LayerData:
    """An empty layer for the outline of the selected nucleus."""
    options = {
        "name": "nuclei, selected",
        "ndim": 2,
        "edge_color": palette.SELECTED,
        "face_color": "transparent",
        "units": UNITS,
    }
    return None, options, "shapes"


def outlines_layer(
    points: NDArray[Any],
    start: NDArray[np.int64],
    colors: NDArray[np.uint8],
    mpp: Mpp,
    field: Box,
    longest: int = OUTLINE_PX,
) -> LayerData:
    """Outlines of some nuclei, drawn as a picture: shapes would take seconds.

    Parameters
    ----------
    points : float[k, 2]
        Points x, y of all outlines, level-0 px.
    start : int64[n + 1]
        Outline ``i`` is ``points[start[i]:start[i + 1]]``.
    colors : uint8[n, 4]
        Of each.
    mpp : Mpp
        Of level 0.
    field : Box
        What the picture covers, level-0 px.
    longest : int
        Longer edge of the picture, px.
    """
    step = max(field.width, field.height, 1.0) / max(longest, 1)
    size = (max(round(field.width / step), 1), max(round(field.height / step), 1))
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    placed = ((np.asarray(points, np.float64).reshape(-1, 2) - (field.x, field.y)) / step).tolist()
    for i, color in enumerate(map(tuple, colors.tolist())):
        line = placed[start[i] : start[i + 1]]
        if line:
            pen.line([*map(tuple, line), tuple(line[0])], color, LINE_PX)
    where = place(mpp, step, step)
    shift = where["translate"]
    where["translate"] = (shift[0] + field.y * mpp.y, shift[1] + field.x * mpp.x)
    return np.asarray(picture), {"name": "nuclei, outlines", "rgb": True, **where}, "image"


def show_picture(layer: Any, picture: NDArray[np.uint8], place: dict[str, Any]) -> None:
    """Put another picture and its place into an image layer, read and drawn once."""
    with _at_once(layer):
        layer.data = picture
        layer.scale, layer.translate = place["scale"], place["translate"]
    layer.events.scale()


@contextmanager
def _at_once(layer: Any) -> Iterator[None]:
    """Let napari read a layer once after several changes, not after each."""
    shown = layer.visible
    with layer.events.blocker_all():
        if shown:
            layer.visible = False
        yield
        layer.scale = layer.scale  # forgets its extent, which an invisible layer keeps
        if shown:
            layer.visible = True
    if shown:
        layer.events.set_data()


def points_um(xy_px0: NDArray[Any], mpp: Mpp) -> NDArray[np.float64]:
    """Places (x, y) in level-0 px as float64[n, 2] (y, x) in µm, the world of the viewer."""
    return np.asarray(xy_px0, np.float64).reshape(-1, 2)[:, ::-1] * (mpp.y, mpp.x)


def box_um(box: Box, mpp: Mpp) -> NDArray[np.float64]:
    """Corners of a box as float64[4, 2] (y, x) in µm."""
    x, y, right, bottom = box.x, box.y, box.right, box.bottom
    return points_um(np.array([(x, y), (right, y), (right, bottom), (x, bottom)]), mpp)


def evidence_layer() -> LayerData:
    """An empty layer for the places that a sentence stands on."""
    options = {
        "name": "evidence",
        "ndim": 2,
        "edge_color": palette.EVIDENCE,
        "face_color": "transparent",
        "units": UNITS,
    }
    return None, options, "shapes"
