"""Zarr groups of arrays: written whole, checksummed, read with their types checked."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from zarr.codecs import Crc32cCodec, ZstdCodec

from pathai.errors import PathaiError
from pathai.store.records import (
    Cells,
    CellsAttrs,
    Features,
    FeaturesAttrs,
    Prediction,
    PredictionAttrs,
    SlideVector,
    SlideVectorAttrs,
    ZeroShot,
    ZeroShotAttrs,
)

Array = NDArray[Any]
Model = TypeVar("Model", bound=BaseModel)
CODECS = (ZstdCodec(level=3), Crc32cCodec())
CHUNK_BYTES = 2**22


@dataclass(frozen=True)
class Streamed:
    """An array that is never in memory as a whole.

    Parameters
    ----------
    shape : tuple of int
        Of the whole.
    dtype : dtype
    pieces : callable
        Number of rows to the rows in order, so many at a time.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pieces: Callable[[int], Iterator[Array]]


def _chunks(array: Array | Streamed) -> tuple[int, ...]:
    row = max(int(array.dtype.itemsize * np.prod(array.shape[1:], dtype=np.int64)), 1)
    rows = max(CHUNK_BYTES // row, 1)
    return (max(min(rows, array.shape[0]), 1), *(max(n, 1) for n in array.shape[1:]))


def write_group(path: Path, arrays: dict[str, Array | Streamed], attrs: dict[str, Any]) -> None:
    """Write arrays and attributes as one Zarr v3 group; every chunk carries a CRC-32C."""
    group = zarr.create_group(path, zarr_format=3, attributes=attrs, overwrite=True)
    for name, array in sorted(arrays.items()):
        chunks = _chunks(array)
        made = group.create_array(
            name,
            shape=array.shape,
            dtype=array.dtype,
            chunks=chunks,
            compressors=CODECS,
            config={"write_empty_chunks": True},
        )
        if not isinstance(array, Streamed):
            made[...] = np.ascontiguousarray(array)
            continue
        start = 0
        for piece in array.pieces(chunks[0]):
            made[start : start + len(piece)] = piece
            start += len(piece)


def open_group(path: Path, remedy: str) -> zarr.Group:
    """Open a group for reading (E164 with ``remedy`` when it is missing or damaged)."""
    if not (path / "zarr.json").is_file():
        raise PathaiError("E164", f"{path.parent.name}/{path.name} is missing", remedy)
    try:
        return zarr.open_group(path, mode="r")
    except (ValueError, KeyError, OSError) as error:
        raise PathaiError("E164", f"{path.parent.name}/{path.name}: {error}", remedy) from None


def _array(group: zarr.Group, name: str, dtype: str, ndim: int) -> Array:
    try:
        stored = group[name]
        value = stored[...]  # type: ignore[index]
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        raise PathaiError("E164", f"array {name}: {error}") from None
    array = np.asarray(value)
    if array.dtype != np.dtype(dtype) or array.ndim != ndim:
        message = f"array {name} is {array.dtype}[{array.ndim} axes], not {dtype}[{ndim} axes]"
        raise PathaiError("E164", message)
    return array


def attributes(group: zarr.Group, model: type[Model]) -> Model:
    """Attributes of a group as their model (E164 if they are others)."""
    try:
        return model.model_validate_json(json.dumps(dict(group.attrs)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PathaiError("E164", f"attribute {where}: {first['msg']}") from None


def same_rows(lengths: dict[str, int]) -> None:
    """Refuse arrays of different lengths (E164)."""
    if len(set(lengths.values())) > 1:
        raise PathaiError("E164", f"rows do not match: {lengths}")


def write_features(path: Path, features: Features) -> None:
    """Write ``features/<encoder>.zarr``."""
    arrays = {name: getattr(features, name) for name in _FEATURES}
    write_group(path, arrays, features.attrs.model_dump(mode="json"))


def write_streamed_features(
    path: Path, x: Streamed, others: dict[str, Array], attrs: FeaturesAttrs
) -> None:
    """Write ``features/<encoder>.zarr`` whose rows ``x`` come piece by piece.

    Parameters
    ----------
    path : Path
        Of the group.
    x : Streamed
        float16[N, D].
    others : dict
        The other arrays of `Features`.
    attrs : FeaturesAttrs
        Attributes.
    """
    write_group(path, {"x": x, **others}, attrs.model_dump(mode="json"))


def read_features(path: Path) -> Features:
    """Read and check ``features/<encoder>.zarr``."""
    group = open_group(path, "run pathai features")
    arrays = {name: _array(group, name, *kind) for name, kind in _FEATURES.items()}
    same_rows({n: len(a) for n, a in arrays.items() if n != "size_px0"})
    return Features(**arrays, attrs=attributes(group, FeaturesAttrs))


def write_cells(path: Path, cells: Cells) -> None:
    """Write ``cells/<detector>.zarr`` with its class raster."""
    arrays = {stored_name(name): getattr(cells, name) for name in CELL_ARRAYS}
    rasters = {f"raster/{i}": level for i, level in enumerate(cells.raster)}
    write_group(path, {**arrays, **rasters}, cells.attrs.model_dump(mode="json"))


def stored_name(name: str) -> str:
    """Name of an array on disk: ``class_`` is called so for Python's sake only."""
    return name.rstrip("_")


def read_cells(path: Path) -> Cells:
    """Read and check ``cells/<detector>.zarr``."""
    group = open_group(path, "run pathai cells")
    arrays = {name: _array(group, stored_name(name), *kind) for name, kind in CELL_ARRAYS.items()}
    rows = [name for name in CELL_ARRAYS if not name.startswith("outline")]
    same_rows({name: len(arrays[name]) for name in rows})
    rasters = group["raster"]
    count = len(list(rasters.array_keys()))  # type: ignore[union-attr]
    raster = tuple(_array(group, f"raster/{i}", "uint8", 2) for i in range(count))
    return Cells(**arrays, raster=raster, attrs=attributes(group, CellsAttrs))


def read_nuclei(path: Path) -> tuple[Array, Array, Array]:
    """Positions float32[M, 2], classes uint8[M] and DAB float16[M], without outlines and raster."""
    group = open_group(path, "run pathai cells")
    names = ("xy_px0", "class_", "dab_od")
    arrays = {name: _array(group, stored_name(name), *CELL_ARRAYS[name]) for name in names}
    same_rows({name: len(array) for name, array in arrays.items()})
    return arrays["xy_px0"], arrays["class_"], arrays["dab_od"]


def read_cells_attrs(path: Path) -> CellsAttrs:
    """Counts and areas alone, without loading the cells."""
    return attributes(open_group(path, "run pathai cells"), CellsAttrs)


def write_prediction(path: Path, prediction: Prediction) -> None:
    """Write ``predictions/<task>.zarr``."""
    attrs = prediction.attrs.model_dump(mode="json")
    write_group(path, {"attention": prediction.attention}, attrs)


def read_prediction(path: Path) -> Prediction:
    """Read and check ``predictions/<task>.zarr``."""
    group = open_group(path, "run pathai predict")
    attention = _array(group, "attention", "float32", 1)
    return Prediction(attention, attributes(group, PredictionAttrs))


def write_slide_vector(path: Path, found: SlideVector) -> None:
    """Write ``slide/<encoder>.zarr``."""
    write_group(path, {"vector": found.vector}, found.attrs.model_dump(mode="json"))


def read_slide_vector(path: Path) -> SlideVector:
    """Read and check ``slide/<encoder>.zarr``."""
    group = open_group(path, "run pathai slide-vector")
    return SlideVector(_array(group, "vector", "float32", 1), attributes(group, SlideVectorAttrs))


def write_zeroshot(path: Path, found: ZeroShot) -> None:
    """Write ``zeroshot/<prompts>.<encoder>.zarr``."""
    arrays = {name: getattr(found, name) for name in _ZEROSHOT}
    write_group(path, arrays, found.attrs.model_dump(mode="json"))


def read_zeroshot(path: Path) -> ZeroShot:
    """Read and check ``zeroshot/<prompts>.<encoder>.zarr``."""
    group = open_group(path, "run pathai zeroshot")
    arrays = {name: _array(group, name, *kind) for name, kind in _ZEROSHOT.items()}
    same_rows({name: len(array) for name, array in arrays.items()})
    return ZeroShot(**arrays, attrs=attributes(group, ZeroShotAttrs))


_FEATURES = {
    "x": ("float16", 2),
    "xy_px0": ("int32", 2),
    "size_px0": ("float32", 1),
    "valid": ("float16", 1),
    "tissue": ("float16", 1),
}
CELL_ARRAYS = {
    "xy_px0": ("float32", 2),
    "score": ("float16", 1),
    "class_": ("uint8", 1),
    "prob": ("float16", 2),
    "dab_od": ("float16", 1),
    "measures": ("float32", 2),
    "outline_px0": ("float32", 2),
    "outline_start": ("int64", 1),
}
_ZEROSHOT = {"score": ("float16", 2), "softmax": ("float16", 2)}
