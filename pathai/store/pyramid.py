"""``tiles.zarr`` and ``tissue.zarr``: the pixels of a slide where there is tissue, else white.

A pyramid is a valid OME-Zarr 0.5 image ``uint8[c, y, x]``. Its levels are the slide's own, copied
as they are compressed, or made from what is stored one level below. A
chunk is absent if and only if it holds no tissue; the number of chunks of a level and every
unreadable rectangle are attributes of the group.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pathai.errors import PathaiError
from pathai.resample import resample
from pathai.store import zarr_json
from pathai.store.chunked import ChunkCache, KeptChunks, Levels
from pathai.store.chunks import ZSTD_LEVEL, pack_zstd, sealed
from pathai.store.level import Level, LevelInfo, LevelPixels
from pathai.store.records import TISSUE_NAMES, Qc, TissueMap
from pathai.units import Box, Mpp, Size

if TYPE_CHECKING:
    import zarr

Pixels = NDArray[np.uint8]

SCHEMA = 2
TISSUE_CHUNK = 1024
"""Largest edge of a chunk of the tissue map, px."""
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


class Pyramid(Levels):
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
        self.path = path
        attrs = _attributes(path, "run pathai tile")
        if attrs.get("schema") != SCHEMA:
            raise PathaiError("E165", f"tiles: schema {attrs.get('schema')}, not {SCHEMA}")
        try:
            infos = [LevelInfo.model_validate(info) for info in attrs["levels"]]
            self.mpp = Mpp(*attrs["mpp"])
        except (KeyError, TypeError, ValidationError):
            raise PathaiError("E164", f"{path.name}: its attributes are damaged") from None
        self.levels = [Level(path / str(k), k, info) for k, info in enumerate(infos)]
        """Finest first."""
        super().__init__(self.levels)

    @cached_property
    def arrays(self) -> "list[zarr.Array[Any]]":
        """Levels as zarr arrays ``uint8[c=3, y, x]``, finest first."""
        import zarr

        group = zarr.open_group(self.path, mode="r")
        return [group[str(k)] for k in range(len(self.levels))]  # type: ignore[misc]

    def dask(self, kept: KeptChunks | None = None) -> list[Any]:
        """Levels as dask arrays ``uint8[y, x, c=3]``, finest first, for viewer and cells.

        Parameters
        ----------
        kept : KeptChunks, optional
            Where decoded chunks are kept for the next look at them.
        """
        import dask.array as da

        found = []
        for level in self.levels:
            pixels = LevelPixels(level.path, level.number, level.info, kept)
            chunks = (level.chunk.height, level.chunk.width, 3)
            found.append(da.from_array(pixels, chunks=chunks, meta=np.empty((0, 0, 0), np.uint8)))
        return found

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
            ``w = round(box.width / downsample)``, likewise ``h``.
        """
        d = self.downsamples[level]
        x, y, width, height = (round(v / d) for v in (box.x, box.y, box.width, box.height))
        return self.levels[level].read_px(x, y, width, height)

    def read_at(self, box: Box, out: Size, cache: ChunkCache | None = None) -> Pixels:
        """A box resampled to ``out`` pixels, from the coarsest level that is fine enough.

        See `pathai.resample.resample` for the filter.

        Parameters
        ----------
        box : Box
            Level-0 px.
        out : Size
            Size of the result, px.
        cache : ChunkCache, optional
            As in `Level.read_into`.

        Returns
        -------
        uint8[out.height, out.width, 3]
            White where nothing is stored.
        """
        level = self.levels[self.level_for(min(box.width / out.width, box.height / out.height))]
        d = level.downsample

        def fetch(x: int, y: int, width: int, height: int) -> Pixels:
            return level.read_px(x, y, width, height, cache)

        return resample(fetch, Box(box.x / d, box.y / d, box.width / d, box.height / d), out)

    def check(self) -> None:
        """Read every chunk and compare their number with the attributes.

        Raises
        ------
        PathaiError
            E164 naming level and chunk: run ``pathai verify``, then ``pathai run``.
        """
        for level in self.levels:
            found = sum(level.packed(*place) is not None for place in level.stored())
            if found != level.info.chunks:
                message = f"tiles, level {level.number}: {found} chunks, {level.info.chunks} were"
                raise PathaiError("E164", f"{message} written")


def write_metadata(path: Path, mpp: Mpp, infos: list[LevelInfo], notes: dict[str, Any]) -> None:
    """Write the metadata of ``tiles.zarr``; its shards are there already.

    Parameters
    ----------
    path : Path
        ``tiles.zarr`` (its part).
    mpp : Mpp
        µm per px of level 0.
    infos : list of LevelInfo
        Finest first.
    notes : dict
        Further attributes below ``pathai``.
    """
    image = zarr_json.multiscale("tiles", mpp, [i.downsample for i in infos], ("c", "y", "x"))
    levels = [info.model_dump(mode="json") for info in infos]
    own = {"schema": SCHEMA, "mpp": [mpp.x, mpp.y], "levels": levels, **notes}
    ome = {"version": "0.5", "multiscales": [image]}
    zarr_json.write_group(path, {"ome": ome, "pathai": own})
    for k, info in enumerate(infos):
        lossless = info.codec == "zstd"
        codecs = zarr_json.zstd(ZSTD_LEVEL) if lossless else zarr_json.picture(info.codec)
        if lossless:
            codecs = [zarr_json.TO_PIXELS, *codecs]
        chunk = (3, info.chunk_height, info.chunk_width)
        zarr_json.write_array(
            path / str(k),
            (3, info.height, info.width),
            (3, info.chunk_height * info.per_shard, info.chunk_width * info.per_shard),
            zarr_json.sharded(chunk, codecs),
            ("c", "y", "x"),
            fill=255,
        )


def _attributes(path: Path, remedy: str) -> dict[str, Any]:
    try:
        found = json.loads((path / "zarr.json").read_bytes())["attributes"]["pathai"]
    except (OSError, ValueError, KeyError, TypeError):
        raise PathaiError("E164", f"{path.name} is missing or damaged", remedy) from None
    return dict(found)


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
    colors = [
        {"label-value": value, "rgba": list(rgba)} for value, rgba in enumerate(_TISSUE_COLORS)
    ]
    names = [{"label-value": value, "class": name} for value, name in enumerate(TISSUE_NAMES)]
    attributes: dict[str, Any] = {
        "ome": {
            "version": "0.5",
            "multiscales": [zarr_json.multiscale("tissue", tissue.mpp, [1.0], ("y", "x"))],
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
    zarr_json.write_group(path, attributes)
    height, width = tissue.classes.shape
    edge = min(max(height, width), TISSUE_CHUNK)
    codecs = zarr_json.zstd(ZSTD_LEVEL)
    zarr_json.write_array(path / "0", (height, width), (edge, edge), codecs, ("y", "x"), fill=0)
    for y in range(0, height, edge):
        for x in range(0, width, edge):
            part = tissue.classes[y : y + edge, x : x + edge]
            whole = np.zeros((edge, edge), np.uint8)
            whole[: part.shape[0], : part.shape[1]] = part
            file = path / "0" / "c" / str(y // edge) / str(x // edge)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(sealed(pack_zstd(whole)))


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
