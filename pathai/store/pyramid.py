"""``tiles.zarr`` and ``tissue.zarr``: the pixels of a slide where there is tissue, else white.

A pyramid is a valid OME-Zarr 0.5 image ``uint8[c, y, x]``. Level *k* is exactly ``2**k`` times
smaller than level 0 and made of 2 x 2 means of what is *stored* one level below, so all levels
show the same thing. A chunk is absent if and only if it holds no tissue; the number of chunks
per level and every unreadable rectangle are attributes of the group.
"""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.resample import SLACK, resample
from pathai.store.records import TISSUE_NAMES, Qc, TissueMap
from pathai.store.shard import ABSENT, CHUNK, PER_SHARD, read_chunk, read_index
from pathai.units import Box, Mpp, Size

if TYPE_CHECKING:
    import zarr

Pixels = NDArray[np.uint8]
ChunkCache = dict[tuple[int, int, int], Pixels | None]
"""Decoded chunks by (level, row, column); the caller decides what stays."""

SCHEMA = 1
_TISSUE_COLORS = (
    (0, 0, 0, 0),
    (46, 160, 67, 96),
    (0, 90, 255, 128),
    (60, 60, 60, 128),
    (255, 0, 0, 160),
    (86, 180, 233, 128),
    (230, 159, 0, 128),
    (204, 121, 167, 128),
    (0, 158, 115, 128),
)


class Pyramid:
    """Tissue pixels of one slide, opened for reading.

    Parameters
    ----------
    path : Path
        ``tiles.zarr``.

    Raises
    ------
    PathaiError
        E164 if it is missing or damaged (run ``pathai tile``), E165 if another version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        attrs = _attributes(path, "run pathai tile")
        if attrs.get("schema") != SCHEMA:
            raise PathaiError("E165", f"tiles: schema {attrs.get('schema')}, not {SCHEMA}")
        self.size = Size(*attrs["size"])
        """Level 0, px."""
        self.mpp = Mpp(*attrs["mpp"])
        """µm per px of level 0."""
        self.chunks: tuple[int, ...] = tuple(attrs["chunks"])
        """Stored chunks per level; a chunk that is not there is background."""
        self.unreadable = tuple(Box(*box) for box in attrs["unreadable"])
        """Rectangles of level 0 whose pixels could not be read (they read as white)."""
        self.downsamples = [float(2**k) for k in range(len(self.chunks))]
        self._indices: dict[tuple[int, int, int], NDArray[np.uint64] | None] = {}

    @cached_property
    def levels(self) -> "list[zarr.Array[Any]]":
        """Levels as zarr arrays ``uint8[c=3, y, x]``, finest first."""
        import zarr

        group = zarr.open_group(self._path, mode="r")
        return [group[str(k)] for k in range(len(self.chunks))]  # type: ignore[misc]

    def dask(self) -> list[Any]:
        """Levels as dask arrays ``uint8[y, x, c=3]``, finest first, for the viewer."""
        import dask.array as da

        return [da.moveaxis(da.from_zarr(level), 0, -1) for level in self.levels]

    def level_size(self, level: int) -> Size:
        """Width and height of a level in its own px."""
        step = 2**level
        return Size(-(-self.size.width // step), -(-self.size.height // step))

    def level_for(self, downsample: float) -> int:
        """Coarsest level that is not coarser than ``downsample`` (within 1 %)."""
        fits = [k for k, d in enumerate(self.downsamples) if d <= downsample * SLACK]
        return max(fits, default=0)

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Pixels of a box at one level, white where nothing is stored.

        Parameters
        ----------
        box : Box
            Level-0 px; it may reach outside of the slide.
        level : int
            Level to read; the box is rounded to whole pixels of it.

        Returns
        -------
        uint8[h, w, 3]
            ``w = round(box.width / 2**level)``, likewise ``h``.
        """
        d = self.downsamples[level]
        x, y, width, height = (round(v / d) for v in (box.x, box.y, box.width, box.height))
        return self.read_px(level, x, y, width, height)

    def read_px(
        self, level: int, x: int, y: int, width: int, height: int, cache: ChunkCache | None = None
    ) -> Pixels:
        """Pixels by the level's own coordinates; see `read`.

        Parameters
        ----------
        cache : dict, optional
            Decoded chunks to use and to add to, so that neighbors decode each chunk once.

        Raises
        ------
        PathaiError
            E164 if a chunk is damaged: run ``pathai verify``.
        """
        out = np.full((height, width, 3), 255, np.uint8)
        size = self.level_size(level)
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, size.width), min(y + height, size.height)
        if left >= right or top >= bottom:
            return out
        for row in range(top // CHUNK, (bottom - 1) // CHUNK + 1):
            for column in range(left // CHUNK, (right - 1) // CHUNK + 1):
                chunk = self._chunk(level, row, column, cache)
                if chunk is None:
                    continue
                y0, x0 = row * CHUNK, column * CHUNK
                ys = slice(max(top, y0), min(bottom, y0 + CHUNK))
                xs = slice(max(left, x0), min(right, x0 + CHUNK))
                out[ys.start - y : ys.stop - y, xs.start - x : xs.stop - x] = chunk[
                    ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0
                ]
        return out

    def read_at(self, box: Box, out: Size, cache: ChunkCache | None = None) -> Pixels:
        """A box resampled to ``out`` pixels, from the coarsest level that is fine enough.

        See `pathai.resample.resample` for the filter.

        Parameters
        ----------
        box : Box
            Level-0 px.
        out : Size
            Size of the result, px.
        cache : dict, optional
            As in `read_px`.

        Returns
        -------
        uint8[out.height, out.width, 3]
            White where nothing is stored.
        """
        level = self.level_for(min(box.width / out.width, box.height / out.height))
        d = self.downsamples[level]

        def fetch(x: int, y: int, width: int, height: int) -> Pixels:
            return self.read_px(level, x, y, width, height, cache)

        return resample(fetch, Box(box.x / d, box.y / d, box.width / d, box.height / d), out)

    def valid(self, box: Box) -> float:
        """Share of a box that lies on the slide and was readable, 0 to 1."""
        inside = _overlap(box, Box(0, 0, self.size.width, self.size.height))
        lost = sum(_overlap(box, bad) for bad in self.unreadable)
        return max(0.0, inside - lost) / (box.width * box.height)

    def stored(self, level: int) -> Iterator[tuple[int, int]]:
        """Row and column of every stored chunk of a level, in row-major order."""
        size = self.level_size(level)
        for row in range(-(-size.height // CHUNK)):
            for column in range(-(-size.width // CHUNK)):
                if self._entry(level, row, column) is not None:
                    yield row, column

    def check(self) -> None:
        """Decode every chunk and compare their number with the attributes.

        Raises
        ------
        PathaiError
            E164 naming level and chunk: run ``pathai verify``, then ``pathai run``.
        """
        for level, wanted in enumerate(self.chunks):
            found = 0
            for row, column in self.stored(level):
                self._chunk(level, row, column, None)
                found += 1
            if found != wanted:
                message = f"tiles, level {level}: {found} chunks, {wanted} were written"
                raise PathaiError("E164", message)

    def _entry(self, level: int, row: int, column: int) -> NDArray[np.uint64] | None:
        shard = (level, row // PER_SHARD, column // PER_SHARD)
        if shard not in self._indices:
            self._indices[shard] = read_index(shard_path(self._path, *shard))
        index = self._indices[shard]
        if index is None:
            return None
        entry: NDArray[np.uint64] = index[row % PER_SHARD, column % PER_SHARD]
        return None if entry[0] == ABSENT else entry

    def _chunk(self, level: int, row: int, column: int, cache: ChunkCache | None) -> Pixels | None:
        key = (level, row, column)
        if cache is not None and key in cache:
            return cache[key]
        entry = self._entry(level, row, column)
        chunk = None
        if entry is not None:
            path = shard_path(self._path, level, row // PER_SHARD, column // PER_SHARD)
            chunk = read_chunk(path, entry, f"level {level}, chunk row {row} column {column}")
        if cache is not None:
            cache[key] = chunk
        return chunk


def shard_path(root: Path, level: int, row: int, column: int) -> Path:
    """File of one shard below ``tiles.zarr`` (Zarr v3 default chunk keys)."""
    return root / str(level) / "c" / "0" / str(row) / str(column)


def _overlap(a: Box, b: Box) -> float:
    width = min(a.right, b.right) - max(a.x, b.x)
    height = min(a.bottom, b.bottom) - max(a.y, b.y)
    return max(width, 0.0) * max(height, 0.0)


def _attributes(path: Path, remedy: str) -> dict[str, Any]:
    try:
        found = json.loads((path / "zarr.json").read_bytes())["attributes"]["pathai"]
    except (OSError, ValueError, KeyError, TypeError):
        raise PathaiError("E164", f"{path.name} is missing or damaged", remedy) from None
    return dict(found)


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


def write_tissue(path: Path, tissue: TissueMap, qc: Qc | None = None) -> None:
    """Write the tissue map as an OME-Zarr label image.

    Parameters
    ----------
    path : Path
        ``tissue.zarr`` (its part).
    tissue : TissueMap
        Classes and resolution.
    qc : Qc, optional
        Quality figures of the slide.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    colors = [
        {"label-value": value, "rgba": list(rgba)} for value, rgba in enumerate(_TISSUE_COLORS)
    ]
    names = [{"label-value": value, "class": name} for value, name in enumerate(TISSUE_NAMES)]
    attributes: dict[str, Any] = {
        "ome": {
            "version": "0.5",
            "multiscales": [multiscale("tissue", tissue.mpp, [1.0], ("y", "x"))],
            "image-label": {"version": "0.5", "colors": colors, "properties": names},
        },
        "pathai": {
            "schema": SCHEMA,
            "downsample": tissue.downsample,
            "mpp": [tissue.mpp.x, tissue.mpp.y],
            "edge": list(tissue.edge),
            "names": list(TISSUE_NAMES),
            "qc": qc.model_dump(mode="json") if qc is not None else None,
        },
    }
    group = zarr.create_group(path, zarr_format=3, attributes=attributes)
    group.create_array(
        "0",
        data=tissue.classes,
        chunks=tuple(min(n, 1024) for n in tissue.classes.shape),
        compressors=(ZstdCodec(level=3), Crc32cCodec()),
        dimension_names=["y", "x"],
        config={"write_empty_chunks": True},
    )


def read_tissue(path: Path) -> TissueMap:
    """Read the tissue map.

    Raises
    ------
    PathaiError
        E164 if it is missing or damaged: run ``pathai tile``.
    """
    import zarr

    attrs = _attributes(path, "run pathai tile")
    try:
        classes = np.asarray(zarr.open_array(path / "0", mode="r")[...], np.uint8)
        edge = float(attrs["edge"][0]), float(attrs["edge"][1])
        return TissueMap(classes, float(attrs["downsample"]), Mpp(*attrs["mpp"]), edge)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise PathaiError("E164", f"{path.name}: {error}", "run pathai tile") from None


def read_qc(path: Path) -> Qc | None:
    """Quality figures stored with the tissue map; None where there are none.

    Raises
    ------
    PathaiError
        E164 if it is missing or damaged: run ``pathai tile``.
    """
    found = _attributes(path, "run pathai tile").get("qc")
    try:
        return None if found is None else Qc.model_validate(found)
    except ValueError:
        raise PathaiError("E164", f"{path.name}: quality figures", "run pathai tile") from None
