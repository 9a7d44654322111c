"""A model's attention for other programs: tiles for QuPath, and a heat map that lies on the slide.

Attention says where the model looked, not why. A tile's figures are its attention (all tiles of
the slide sum to 1), its percentile rank among the slide's tiles, and its attention relative to
uniform, ``N a``: 1 is what every tile would have if the model preferred none, whatever the number
of tiles.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.export.results import model_of
from pathai.store.folders import SlideFolder
from pathai.store.records import Features, Prediction, PredictionAttrs, SlideInfo
from pathai.units import Box

BLOCK = 2_000
"""Tiles that are turned into text at once."""
CHUNK = 512
MEASURES = ("Attention", "Attention: percentile", "Attention: relative to uniform")


@dataclass(frozen=True)
class Attention:
    """Attention of one model with the tiles that it was given; row *i* is the same tile."""

    model: str
    slide: SlideInfo
    features: Features
    prediction: Prediction

    @property
    def relative(self) -> NDArray[np.float64]:
        """Attention relative to uniform, float64[N]: mean 1."""
        weight = self.prediction.attention.astype(np.float64)
        return weight * len(weight)

    @property
    def about(self) -> dict[str, Any]:
        """What was asked and answered, with the set; no path, no text of the scanner."""
        answer = self.prediction.attrs.model_dump(mode="json")
        return {"slide_id": self.slide.slide_id, "model": self.model, "answer": answer}


def read_attention(folder: SlideFolder, model: str = "") -> Attention:
    """Attention of a slide's model: the named one, or the only one.

    Raises
    ------
    PathaiError
        As `pathai.export.results.model_of`; E166 when the features are of other tiles than the
        model saw (run ``pathai predict`` again).
    """
    name = model_of(folder, model)
    prediction = folder.read_prediction(name)
    features = folder.read_features(prediction.attrs.encoder)
    same = prediction.attrs.grid_digest == features.attrs.grid_digest
    if not same or len(prediction.attention) != len(features.xy_px0):
        message = f"{folder.slide_id}: prediction {name} is of other tiles"
        raise PathaiError("E166", message)
    return Attention(name, folder.read_slide(), features, prediction)


def percentiles(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Share of the tiles that are at or below each one, %: float64[N], above 0 to 100.

    Ties share the mean of their ranks, so tiles of equal attention have equal percentiles.
    """
    from scipy.stats import rankdata

    ranks: NDArray[np.float64] = 100.0 * rankdata(values) / max(len(values), 1)
    return ranks


# --- QuPath ----------------------------------------------------------------------------------


def write_geojson(file: TextIO, attention: Attention) -> None:
    """Write tiles as QuPath reads them, block by block.

    The answer stands in member ``pathai`` of the file, and for QuPath, which reads features
    alone, in the metadata of the first feature: a locked annotation around all tiles. Each tile
    is classified by the slide's answer; the tiles of a withheld answer have no class.
    """
    from pathai import geojson

    geojson.write_collection(file, _features(attention), {"pathai": attention.about})


def _features(attention: Attention) -> Iterator[str]:
    from pathai import geojson

    features, attrs = attention.features, attention.prediction.attrs
    weight = attention.prediction.attention.astype(np.float64)
    if not len(weight):
        return
    slide_id, label = attention.slide.slide_id, attrs.label
    width, height = (float(v) for v in features.size_px0)
    low, high = features.xy_px0.min(axis=0).tolist(), features.xy_px0.max(axis=0).tolist()
    around = Box(low[0], low[1], high[0] - low[0] + width, high[1] - low[1] + height)
    words = "no answer" if attrs.abstained else label  # a number stands in the metadata
    name = f"{attention.model}: {words}" if words else attention.model
    yield geojson.note(slide_id, name, label, around, _metadata(attrs))
    columns = (weight, percentiles(weight), attention.relative)
    measures = dict(zip(MEASURES, columns, strict=True))
    for first in range(0, len(weight), BLOCK):
        rows = slice(first, first + BLOCK)
        corners = features.xy_px0[rows].tolist()
        yield from geojson.tiles(
            slide_id,
            [Box(float(x), float(y), width, height) for x, y in corners],
            {name: column[rows] for name, column in measures.items()},
            first=first,
            kind=f"attention {attention.model}",
            classification=label,
        )


def _metadata(attrs: PredictionAttrs) -> dict[str, str]:
    """The answer as texts by key, which is what QuPath keeps of an object."""
    values = attrs.model_dump(mode="json")
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}


# --- heat map --------------------------------------------------------------------------------


def heatmap(attention: Attention) -> NDArray[np.float32]:
    """Attention relative to uniform on the tile grid: float32[rows, columns], axes y, x.

    A pixel is one step of the grid. Where tiles overlap it is the mean of the tiles that lie on
    it, each weighted by the share of the pixel that it covers. A pixel without a tile is NaN: the
    model did not look there, which is not the same as no attention.
    """
    step = _step_px0(attention.features)
    size = np.array([attention.slide.width, attention.slide.height], np.float64)
    # As many as the grid laid: a sliver below a thousandth of a step is rounding.
    columns, rows = np.maximum(np.ceil(size / step - 1e-3), 1).astype(int).tolist()
    total, weight = np.zeros((2, rows, columns))
    edge = attention.features.attrs.tile_px / attention.features.attrs.stride_px
    covered = [min(edge - k, 1.0) for k in range(int(np.ceil(edge - 1e-9)))]
    places, values = attention.features.places, attention.relative
    for dy, share_y in enumerate(covered):
        for dx, share_x in enumerate(covered):
            y, x = places[:, 0] + dy, places[:, 1] + dx
            inside = (y < rows) & (x < columns)
            here = (y[inside], x[inside])
            np.add.at(total, here, share_y * share_x * values[inside])
            np.add.at(weight, here, share_y * share_x)
    found = np.full((rows, columns), np.nan, np.float32)
    np.divide(total, weight, out=found, where=weight > 0, casting="same_kind")
    return found


def _step_px0(features: Features) -> NDArray[np.float64]:
    """From one tile to the next (x, y), level-0 px: float64[2]."""
    return features.size_px0.astype(np.float64) * features.attrs.stride_px / features.attrs.tile_px


def write_ome_zarr(path: Path, attention: Attention) -> None:
    """Write the heat map as an OME-Zarr 0.5 image that lies on the slide, in µm.

    The slide's pixel (0, 0) has its center at 0 µm, so the center of the map's first pixel, which
    is as large as a step of the grid, lies half a step less half a pixel further.
    """
    import zarr
    from zarr.codecs import ZstdCodec

    found = heatmap(attention)
    mpp = attention.slide.mpp
    step_x, step_y = _step_px0(attention.features).tolist()
    steps = [
        {"type": "scale", "scale": [mpp.y * step_y, mpp.x * step_x]},
        {"type": "translation",
         "translation": [mpp.y * (step_y - 1) / 2, mpp.x * (step_x - 1) / 2]},
    ]  # fmt: skip
    image = {
        "name": f"{attention.slide.slide_id} {attention.model} attention",
        "axes": [{"name": a, "type": "space", "unit": "micrometer"} for a in ("y", "x")],
        "datasets": [{"path": "0", "coordinateTransformations": steps}],
    }
    said = {
        **attention.about,
        "measure": "attention times number of tiles: 1 is the mean tile of the slide",
        "outside": "NaN: no tile, not looked at",
    }
    attributes = {"ome": {"version": "0.5", "multiscales": [image]}, "pathai": said}
    group = zarr.create_group(path, zarr_format=3, attributes=attributes)
    array = group.create_array(
        "0",
        shape=found.shape,
        dtype="float32",
        chunks=(min(CHUNK, found.shape[0]), min(CHUNK, found.shape[1])),
        compressors=(ZstdCodec(level=3),),
        fill_value=float("nan"),
        dimension_names=["y", "x"],
    )
    array[...] = found
