"""Stage ``features``: one vector per tissue tile, from one encoder.

A thread reads tiles while the encoder works on those before; rows go to a journal batch by batch,
from which a killed job goes on, and at the end from there into the store. So memory does not
grow with the slide but by a few bytes for each tile.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.color import feed_color, seen_by
from pathai.config import ColorConfig, FeaturesConfig
from pathai.encoders import Facts
from pathai.encoders.base import Encoder
from pathai.encoders.memory import Halving, TileError
from pathai.errors import PathaiError
from pathai.feed import batches, readable
from pathai.grid import Grid, grid
from pathai.prefetch import ROOMS, Batch, prefetched
from pathai.progress import Pace
from pathai.sampling import sample
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, slug
from pathai.store.groups import Streamed, write_streamed_features
from pathai.store.journal import RowJournal
from pathai.store.manifest import canonical
from pathai.store.records import ColorAttrs, FeaturesAttrs, SlideInfo, TissueMap

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Start = Callable[[Pixels], Callable[[], Vectors]]
"""Begins to encode tiles; what it gives waits for the vectors."""
Encoded = tuple[NDArray[np.float16], NDArray[np.float16], float, float]


def run(
    folder: SlideFolder,
    section: FeaturesConfig,
    out: Commit,
    encoder: Encoder,
    *,
    workers: int = 1,
) -> None:
    """Encode the tissue tiles of a slide.

    Parameters
    ----------
    folder : SlideFolder
        Slide with ``tiles.zarr`` and ``tissue.zarr``.
    section : FeaturesConfig
        Batch size and least share of tissue.
    out : Commit
        Gets ``<slug of the encoder's name>.zarr``.
    encoder : Encoder
        From `pathai.encoders.load_encoder`; slides of a batch share one.
    workers : int
        Processes that decode tiles; the result does not depend on them.

    Raises
    ------
    PathaiError
        E180 if a vector is not finite or not what the encoder promises, E170 if not even one tile
        fits into memory; the tile is named.
    """
    info, tissue, pyramid = folder.read_slide(), folder.read_tissue(), folder.open_tiles()
    tiles = tiles_of(tissue, info, section, encoder)
    color = feed_color(
        section.color,
        has_icc=info.icc is not None,
        profile=folder.read_color_profile(),
        stain=info.stain,
        sample=lambda: sample(pyramid, tissue, pyramid.level_for(encoder.mpp / info.mpp.mean)),
    )
    attrs = _attrs(encoder, tiles, section.color, color.attrs)
    known = readable(pyramid, tiles)
    name, batch = f"{slug(encoder.name)}.zarr", section.batch
    with RowJournal(out.journal(name), _key(out, attrs, encoder, batch), encoder.dim) as journal:
        done = journal.count
        pace = Pace(folder.slide_id, len(tiles), done)
        source = batches(pyramid, tiles, batch, workers=workers, change=color.apply, first=done)
        with closing(encoded(source, tiles.rest(done), encoder, batch)) as rows:
            for x, valid, error, largest in rows:
                journal.append(x, valid, error, largest)
                pace.note(journal.count)
        lost = int((journal.valid < known).sum())
        if lost:
            message = f"{lost} of {len(tiles)} tiles hold pixels that turned out to be undecodable"
            out.degrade("E121", message, "copy or scan the slide again; those tiles are marked")
        _store(out.part(name), journal, tiles, attrs)


def tiles_of(
    tissue: TissueMap, info: SlideInfo, section: FeaturesConfig, encoder: Encoder | Facts
) -> Grid:
    """The tiles that an encoder is to see.

    Raises
    ------
    PathaiError
        E143 if the slide is coarser than the configuration lets pass.
    """
    return grid(
        tissue,
        info,
        encoder.tile_px,
        encoder.mpp,
        section.min_tissue,
        stride_px=max(round(section.stride * encoder.tile_px), 1),
        max_artefact=section.max_artefact,
        tolerance=section.mpp_tolerance,
    )


def _attrs(encoder: Encoder, tiles: Grid, asked: ColorConfig, done: ColorAttrs) -> FeaturesAttrs:
    """What is known before the first tile is encoded."""
    return FeaturesAttrs(
        encoder=encoder.name,
        encoder_digest=seen_by(encoder.digest, asked),
        grid_digest=tiles.digest,
        tile_px=encoder.tile_px,
        mpp=encoder.mpp,
        stride_px=tiles.stride_px,
        names=encoder.names,
        color=done,
        precision=getattr(encoder, "precision", "fp32"),
        device=getattr(encoder, "runs_on", "cpu"),
    )


def _key(out: Commit, attrs: FeaturesAttrs, encoder: Encoder, batch: int) -> str:
    """What rows of an earlier process must have been made from to be kept."""
    made_from = [out.made_from, attrs.model_dump(mode="json"), encoder.dim, batch]
    return sha256(canonical(made_from)).hexdigest()


def _store(path: Path, journal: RowJournal, tiles: Grid, attrs: FeaturesAttrs) -> None:
    x = Streamed((len(tiles), journal.dim), np.dtype(np.float16), journal.rows)
    others: dict[str, NDArray[Any]] = {
        "xy_px0": tiles.xy_px0,
        "size_px0": tiles.size_px0,
        "valid": journal.valid,
        "tissue": tiles.tissue,
    }
    measured = {"rounding": journal.error, "largest": journal.largest}
    write_streamed_features(path, x, others, attrs.model_copy(update=measured))


def encoded(
    source: Generator[Batch], tiles: Grid, encoder: Encoder, batch: int
) -> Generator[Encoded]:
    """Vectors of a feed's batches, in its order.

    Parameters
    ----------
    source : generator
        From `pathai.feed.batches`.
    tiles : Grid
        Those of the source, for messages.
    encoder : Encoder
        One with ``start`` is begun with a batch before the vectors of the one before are fetched,
        so that its device never waits; tiles lie where its ``room`` wants them.
    batch : int
        Tiles that the largest batch has.

    Yields
    ------
    x : float16[B, D]
    valid : float16[B]
        Share of readable pixels inside the slide.
    error, largest : float
        Of the batch: by how much float16 misses a value at most, and the largest value.

    Raises
    ------
    PathaiError
        E180 naming the tile if a vector cannot be stored or is not what the encoder promises,
        E170 if not even one tile fits into memory.
    """
    shape = (batch, encoder.tile_px, encoder.tile_px, 3)
    make = getattr(encoder, "room", lambda count: np.empty((count, *shape[1:]), np.uint8))
    begin: Start = getattr(encoder, "start", None) or _started_by(encoder)
    rooms = [make(min(batch, max(len(tiles), 1))) for _ in range(ROOMS)]
    begun: tuple[slice, NDArray[np.float16], Callable[[], Vectors]] | None = None
    start = 0
    with closing(prefetched(source, rooms)) as ready:
        for pixels, valid in ready:
            rows = slice(start, start + len(pixels))
            try:
                fetch = begin(pixels)
            except TileError as error:
                x, y = tiles.xy_px0[start + error.row]
                place = f"tile at x {x}, y {y}: {error.message}"
                raise PathaiError(error.code, place, error.remedy) from None
            if begun is not None:
                yield _fetched(*begun, tiles, encoder)
            begun, start = (rows, valid, fetch), rows.stop
        if begun is not None:
            yield _fetched(*begun, tiles, encoder)


def _started_by(encoder: Encoder) -> Start:
    """For an encoder that is a plain function: it has ended when it has begun."""
    halving = Halving(encoder.encode)

    def start(pixels: Pixels) -> Callable[[], Vectors]:
        parts = halving(pixels)
        return lambda: parts[0] if len(parts) == 1 else np.concatenate(parts)

    return start


def _fetched(
    rows: slice,
    valid: NDArray[np.float16],
    fetch: Callable[[], Vectors],
    tiles: Grid,
    encoder: Encoder,
) -> Encoded:
    places = tiles.xy_px0[rows]
    vectors = np.asarray(fetch())
    if vectors.shape != (len(places), encoder.dim):
        message = (
            f"tile at x {places[0, 0]}, y {places[0, 1]} and those after it: the encoder made "
            f"{list(vectors.shape)} for {len(places)} tiles, not {[len(places), encoder.dim]}"
        )
        raise PathaiError("E180", message, "correct the encoder, or its dim")
    half = as_float16(vectors, places, encoder.names)
    error = np.abs(vectors - half.astype(np.float32)).max(initial=0)
    return half, valid, float(error), float(np.abs(vectors).max(initial=0))


def as_float16(
    vectors: Vectors, xy_px0: NDArray[np.int32], names: tuple[str, ...]
) -> NDArray[np.float16]:
    """Store vectors as float16, refusing what float16 cannot hold and what means nothing.

    Parameters
    ----------
    vectors : float32[B, D]
        From an encoder.
    xy_px0 : int32[B, 2]
        Corners of the tiles, for the message.
    names : tuple of str
        Names of the features. A network's have none, and one whose vector is all zero has broken
        weights; what features with names measure may be zero on glass.

    Raises
    ------
    PathaiError
        E180 naming tile and feature.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        half = vectors.astype(np.float16)
    bad = np.argwhere(~np.isfinite(half))
    if len(bad):
        row, column = bad[0]
        x, y = xy_px0[row]
        feature = names[column] if names else f"number {column}"
        value = vectors[row, column]
        raise PathaiError(
            "E180", f"tile at x {x}, y {y}: feature {feature} is {value:g}", "check the weights"
        )
    empty = np.flatnonzero(~half.any(axis=1)) if not names else np.empty(0, np.int64)
    if len(empty):
        x, y = xy_px0[empty[0]]
        message = f"tile at x {x}, y {y}: every feature is zero"
        raise PathaiError("E180", message, "check the weights")
    return half
