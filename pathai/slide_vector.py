"""Stage ``slide``: one vector for a slide, from its tiles."""

from dataclasses import replace

import numpy as np

from pathai.encoders.slide_encoder import MeanTile, SlideEncoder
from pathai.errors import PathaiError
from pathai.store.commit import Commit, Skipped
from pathai.store.folders import SlideFolder
from pathai.store.groups import write_slide_vector
from pathai.store.records import Features, SlideVector, SlideVectorAttrs

NO_TILE = "no tile with a readable pixel"


def run(folder: SlideFolder, out: Commit, *, encoder: SlideEncoder) -> None:
    """Describe a slide by one vector and write ``slide/<encoder>.zarr``.

    Parameters
    ----------
    folder : SlideFolder
        With features of the slide encoder's tile encoder.
    out : Commit
        Where to write.
    encoder : SlideEncoder
        From `pathai.encoders.slide_encoder.load_slide_encoder`.

    Raises
    ------
    Skipped
        E145 without a tile that can be used.
    PathaiError
        E164 without features, E181 for those of another encoder, size or µm/px, E180 for
        features or a vector that is not finite.
    """
    features = readable(folder.read_features(encoder.tile_encoder))
    if not len(features.x):
        raise Skipped("E145", NO_TILE)
    vector = encoder.encode(features)
    if not np.isfinite(vector).all():
        raise PathaiError("E180", f"the vector of {encoder.name} is not finite")
    made = features.attrs
    attrs = SlideVectorAttrs(
        encoder=encoder.name,
        encoder_digest=encoder.digest,
        tile_encoder=made.encoder,
        tile_encoder_digest=made.encoder_digest,
        grid_digest=made.grid_digest,
        tile_px=made.tile_px,
        mpp=made.mpp,
        tiles=len(features.x),
        names=made.names if isinstance(encoder, MeanTile) else (),
    )
    write_slide_vector(out.part(folder.slide_vector(encoder.name).name), SlideVector(vector, attrs))


def readable(features: Features) -> Features:
    """Without the tiles of which no pixel could be read: their vectors describe nothing."""
    kept = features.valid > 0
    if kept.all():
        return features
    rows = {name: getattr(features, name)[kept] for name in ("x", "xy_px0", "valid", "tissue")}
    return replace(features, **rows)
