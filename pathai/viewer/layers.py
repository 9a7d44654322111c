"""What the store holds, as napari layers in µm.

The origin of the world is the top-left *corner* of the slide: a place (x, y) in level-0 pixels
lies at (y * mpp.y, x * mpp.x) µm. napari puts the *center* of the first pixel at the layer's
translation, hence the half pixels.

Every function returns layer data as napari's readers do: data, keyword arguments, kind of layer.
"""

from typing import Any

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pathai.store.pyramid import Pyramid
from pathai.store.records import BACKGROUND, TISSUE_NAMES, Cells, Features, TissueMap
from pathai.units import Box, Mpp
from pathai.viewer import palette

LayerData = tuple[Any, dict[str, Any], str]
UNITS = ("um", "um")
TOO_MANY = 10_000
"""More nuclei than this in the field of view are shown by the raster, which shows them all."""
OUTLINE_PX, LINE_PX = 2400, 3
"""Longer edge of the picture of outlines, and width of a line in it."""


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
    levels = pyramid.dask()
    options = {"name": "slide", "rgb": True, **place(pyramid.mpp)}
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


def cells_layer(cells: Cells, mpp: Mpp) -> LayerData:
    """Every nucleus as a label picture of its class: complete at any zoom, never a sample."""
    colors: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    chosen = palette.cell_colors(cells.attrs.classes)
    colors.update({i + 1: chosen[name] for i, name in enumerate(cells.attrs.classes)})
    step = cells.attrs.raster_downsample0
    options = {
        "name": "nuclei",
        "colormap": DirectLabelColormap(color_dict=colors),
        "opacity": 0.6,
        **place(mpp, step, step),
    }
    if len(cells.raster) == 1:
        return cells.raster[0], options, "labels"
    return list(cells.raster), {**options, "multiscale": True}, "labels"


def centers_layer(cells: Cells, mpp: Mpp, rows: NDArray[np.intp]) -> LayerData:
    """Centers of some nuclei as points.

    Parameters
    ----------
    cells : Cells
        Of the slide.
    mpp : Mpp
        Of level 0.
    rows : int[n]
        Which nuclei.
    """
    chosen = palette.cell_colors(cells.attrs.classes)
    names = [cells.attrs.classes[i] for i in cells.class_[rows]]
    options = {
        "name": "nuclei, centers",
        "size": 1.8,
        "face_color": [chosen[name] for name in names] or "white",
        "border_color": "white",
        "border_width": 0.15,
        "ndim": 2,
        "units": UNITS,
    }
    return points_um(cells.xy_px0[rows], mpp), options, "points"


def outlines_layer(cells: Cells, mpp: Mpp, rows: NDArray[np.intp], field: Box) -> LayerData:
    """Outlines of some nuclei, drawn as a picture: shapes would take seconds.

    Parameters
    ----------
    cells : Cells
        Of the slide.
    mpp : Mpp
        Of level 0.
    rows : int[n]
        Which nuclei.
    field : Box
        What the picture covers, level-0 px; about ``OUTLINE_PX`` pixels wide.
    """
    step = max(field.width, field.height, 1.0) / OUTLINE_PX
    size = (max(round(field.width / step), 1), max(round(field.height / step), 1))
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    chosen = palette.cell_colors(cells.attrs.classes)
    for row in rows:
        first, last = cells.outline_start[row : row + 2]
        points = (cells.outline_px0[first:last] - (field.x, field.y)) / step
        color = chosen[cells.attrs.classes[cells.class_[row]]]
        pen.line([*map(tuple, points.tolist()), tuple(points[0].tolist())], color, LINE_PX)
    where = place(mpp, step, step)
    shift = where["translate"]
    where["translate"] = (shift[0] + field.y * mpp.y, shift[1] + field.x * mpp.x)
    return np.asarray(picture), {"name": "nuclei, outlines", "rgb": True, **where}, "image"


def in_field(cells: Cells, field: Box) -> NDArray[np.intp]:
    """Rows of the nuclei whose centers lie in a box of level-0 px; cells are sorted by y."""
    first, last = np.searchsorted(cells.xy_px0[:, 1], (field.y, field.bottom))
    x = cells.xy_px0[first:last, 0]
    rows: NDArray[np.intp] = first + np.flatnonzero((x >= field.x) & (x <= field.right))
    return rows


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
