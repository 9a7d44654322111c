"""Stage ``features``: one vector per tissue tile, from one encoder."""

import numpy as np
from numpy.typing import NDArray

from pathai.color import feed_color, seen_by
from pathai.config import FeaturesConfig
from pathai.encoders.base import Encoder
from pathai.errors import PathaiError
from pathai.feed import Change, batches, readable
from pathai.grid import Grid, grid
from pathai.sampling import sample
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, slug
from pathai.store.groups import write_features
from pathai.store.pyramid import Pyramid
from pathai.store.records import Features, FeaturesAttrs


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
        E180 if a vector is not finite; the tile is named.
    """
    info, tissue, pyramid = folder.read_slide(), folder.read_tissue(), folder.open_tiles()
    tiles = grid(
        tissue,
        info,
        encoder.tile_px,
        encoder.mpp,
        section.min_tissue,
        stride_px=max(round(section.stride * encoder.tile_px), 1),
        max_artefact=section.max_artefact,
        tolerance=section.mpp_tolerance,
    )
    color = feed_color(
        section.color,
        has_icc=info.icc is not None,
        profile=folder.read_color_profile(),
        stain=info.stain,
        sample=lambda: sample(pyramid, tissue, pyramid.level_for(encoder.mpp / info.mpp.mean)),
    )
    known = readable(pyramid, tiles)
    x, valid = encode_grid(
        pyramid, tiles, encoder, section.batch, workers=workers, change=color.apply
    )
    lost = int((valid < known).sum())
    if lost:
        message = f"{lost} of {len(tiles)} tiles hold pixels that turned out to be undecodable"
        out.degrade("E121", message, "copy or scan the slide again; those tiles are marked")
    attrs = FeaturesAttrs(
        encoder=encoder.name,
        encoder_digest=seen_by(encoder.digest, section.color),
        grid_digest=tiles.digest,
        tile_px=encoder.tile_px,
        mpp=encoder.mpp,
        stride_px=tiles.stride_px,
        names=encoder.names,
        color=color.attrs,
    )
    features = Features(x, tiles.xy_px0, tiles.size_px0, valid, tiles.tissue, attrs)
    write_features(out.part(f"{slug(encoder.name)}.zarr"), features)


def encode_grid(
    pyramid: Pyramid,
    tiles: Grid,
    encoder: Encoder,
    batch: int,
    *,
    workers: int = 1,
    change: Change | None = None,
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Vectors of a grid's tiles, in its order.

    Parameters
    ----------
    pyramid : Pyramid
        Pixels.
    tiles : Grid
        N tiles; N may be 0.
    encoder : Encoder
        Gets at most ``batch`` tiles at a time.
    batch : int
        Tiles per call; does not change the vectors beyond rounding.
    workers : int
        Processes that decode.
    change : callable, optional
        What is done to the colors of a batch before the encoder sees it.

    Returns
    -------
    x : float16[N, D]
    valid : float16[N]
        Share of readable pixels inside the slide.

    Raises
    ------
    PathaiError
        E180 naming the tile if a vector is not finite or beyond float16.
    """
    x = np.empty((len(tiles), encoder.dim), np.float16)
    valid = np.empty(len(tiles), np.float16)
    start = 0
    for pixels, share in batches(pyramid, tiles, batch, workers=workers, change=change):
        stop = start + len(pixels)
        x[start:stop] = as_float16(encoder.encode(pixels), tiles.xy_px0[start:stop], encoder.names)
        valid[start:stop] = share
        start = stop
    return x, valid


def as_float16(
    vectors: NDArray[np.float32], xy_px0: NDArray[np.int32], names: tuple[str, ...]
) -> NDArray[np.float16]:
    """Store vectors as float16, refusing what float16 cannot hold.

    Parameters
    ----------
    vectors : float32[B, D]
        From an encoder.
    xy_px0 : int32[B, 2]
        Corners of the tiles, for the message.
    names : tuple of str
        Names of the features, for the message; may be empty.

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
    return half
