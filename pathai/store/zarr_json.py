"""Zarr v3 metadata as JSON, written without loading zarr: importing it would cost more than tiling.

References
----------
Zarr core specification 3.1; ``sharding_indexed``, ``zstd`` and ``crc32c`` of zarr-extensions;
OME-Zarr 0.5.
"""

from pathlib import Path
from typing import Any

from pathai.store.manifest import canonical
from pathai.units import Mpp

CRC = {"name": "crc32c"}
TO_PIXELS = {"name": "transpose", "configuration": {"order": [1, 2, 0]}}
"""Chunks lie on disk as y, x, c: that is how pictures are decoded and shown."""


def zstd(level: int) -> list[dict[str, Any]]:
    """Codecs of a lossless chunk of bytes."""
    settings = {"level": level, "checksum": False}
    return [{"name": "bytes"}, {"name": "zstd", "configuration": settings}, CRC]


def picture(codec: str) -> list[dict[str, Any]]:
    """Codecs of a chunk that is a slide's own compressed tile."""
    return [TO_PIXELS, {"name": f"pathai.{codec}", "configuration": {}}, CRC]


def sharded(chunk: tuple[int, ...], codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Codecs of an array whose chunks lie in shards."""
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, CRC]
    settings = {
        "chunk_shape": list(chunk),
        "codecs": codecs,
        "index_codecs": index,
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": settings}]


def write_array(
    path: Path,
    shape: tuple[int, ...],
    grid: tuple[int, ...],
    codecs: list[dict[str, Any]],
    names: tuple[str, ...],
    fill: int,
) -> None:
    """Write ``zarr.json`` of a ``uint8`` array.

    Parameters
    ----------
    path : Path
        Folder of the array.
    shape : tuple of int
        Of the array.
    grid : tuple of int
        Shape of what one file holds (a chunk, or a shard).
    codecs : list of dict
        Codec metadata.
    names : tuple of str
        Names of the axes.
    fill : int
        Value of what is absent.
    """
    _write(
        path,
        {
            "node_type": "array",
            "shape": list(shape),
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(grid)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill,
            "codecs": codecs,
            "attributes": {},
            "dimension_names": list(names),
            "storage_transformers": [],
        },
    )


def write_group(path: Path, attributes: dict[str, Any]) -> None:
    """Write ``zarr.json`` of a group."""
    _write(path, {"node_type": "group", "attributes": attributes})


def _write(path: Path, node: dict[str, Any]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "zarr.json").write_bytes(canonical({"zarr_format": 3, **node}))


def multiscale(
    name: str, mpp: Mpp, downsamples: list[float], axes: tuple[str, ...]
) -> dict[str, Any]:
    """OME-Zarr 0.5 ``multiscales`` metadata; translations put pixel centers where they belong."""
    spatial = [{"name": a, "type": "space", "unit": "micrometer"} for a in axes if a != "c"]
    channel = [{"name": "c", "type": "channel"}] if "c" in axes else []
    lead = [1.0] if channel else []
    datasets = []
    for k, d in enumerate(downsamples):
        scale = [*lead, mpp.y * d, mpp.x * d]
        shift = [*(0.0 for _ in lead), mpp.y * (d - 1) / 2, mpp.x * (d - 1) / 2]
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if d != 1:
            steps.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(k), "coordinateTransformations": steps})
    return {"name": name, "axes": channel + spatial, "datasets": datasets}
