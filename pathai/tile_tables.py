"""Tables beside the features: what other stages counted in each tile."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pathai.store.folders import SlideFolder
from pathai.store.records import Cells, Features


def with_tables(folder: SlideFolder, features: Features, detectors: Sequence[str]) -> Features:
    """Features with the nuclei of each class in each tile as further columns.

    Parameters
    ----------
    folder : SlideFolder
        With the nuclei of each detector.
    features : Features
        ``x`` float16[N, D].
    detectors : sequence of str
        Names; none leaves the features as they are.

    Returns
    -------
    Features
        ``x`` float16[N, D + classes of all detectors]; counts beyond 2,048 are rounded.

    Raises
    ------
    PathaiError
        E164 when cells have not been counted (run pathai cells).
    """
    tables = [counts(features, folder.read_cells(name)) for name in detectors]
    if not tables:
        return features
    return replace(features, x=np.concatenate([features.x, *tables], axis=1).astype(np.float16))


def counts(features: Features, cells: Cells) -> NDArray[np.float64]:
    """Nuclei float64[N, C] of each class with their center in the tile; tiles may overlap.

    A tile reaches from its edge up to that of the next one, which it does not contain. The edges
    are the exact ones and not the whole pixels that are read, so that a nucleus between two tiles
    that touch belongs to one of them, and tiles without overlap never count one twice.
    """
    out = np.zeros((len(features.x), len(cells.attrs.classes)))
    order = np.argsort(cells.xy_px0[:, 1], kind="stable")
    x, y, kind = cells.xy_px0[order, 0], cells.xy_px0[order, 1], cells.class_[order]
    strides = features.attrs.tile_px / features.attrs.stride_px  # edge of a tile
    step = features.size_px0.astype(float) / strides
    place = features.places[:, ::-1]
    (left, top), (right, bottom) = (place * step).T, ((place + strides) * step).T
    first, last = np.searchsorted(y, top), np.searchsorted(y, bottom)
    for i in range(len(out)):
        row = slice(first[i], last[i])
        inside = (x[row] >= left[i]) & (x[row] < right[i])
        out[i] = np.bincount(kind[row][inside], minlength=out.shape[1])
    return out
