"""DAB of nuclei that a person added, measured as a detector measures its own."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from pathai.config import CellsConfig
from pathai.sampling import sample
from pathai.stain import Background, densities, given_matrix, slide_background, stain_matrix
from pathai.store.folders import SlideFolder

MPP = 0.5
"""µm/px at which built-in detectors measure."""


def background_of(folder: SlideFolder, section: CellsConfig, vectors: str = "") -> Background:
    """The slide's light, stain vectors and haze, from the sample that stage ``cells`` takes.

    Parameters
    ----------
    folder : SlideFolder
    section : CellsConfig
        Says whether stain vectors are estimated.
    vectors : str
        Column ``stain_vectors`` of the sheet.
    """
    info, pyramid = folder.read_slide(), folder.open_tiles()
    number = pyramid.level_for(MPP / info.mpp_x)
    pixels = sample(pyramid, folder.read_tissue(), number)
    if vectors:
        return slide_background(pixels, given_matrix(info.stain, vectors), estimate=False)
    estimate = section.stain_vectors != "fixed"
    return slide_background(pixels, stain_matrix(info.stain), estimate=estimate)


def nuclear_dab(
    folder: SlideFolder, shapes: Sequence[shapely.Geometry], known: Background
) -> NDArray[np.float32]:
    """Mean DAB optical density inside outlines, less the slide's haze.

    Parameters
    ----------
    folder : SlideFolder
        With ``tiles.zarr``.
    shapes : sequence of shapely geometry
        Outlines, level-0 px.
    known : Background
        Of the slide.

    Returns
    -------
    float32[M]
    """
    info, pyramid = folder.read_slide(), folder.open_tiles()
    level = pyramid.levels[pyramid.level_for(MPP / info.mpp_x)]
    found = np.zeros(len(shapes), np.float32)
    for i, shape in enumerate(shapes):
        x0, y0, x1, y1 = (float(v) / level.downsample for v in shape.bounds)
        left, top = int(np.floor(x0)), int(np.floor(y0))
        width, height = int(np.ceil(x1)) - left, int(np.ceil(y1)) - top
        rgb = level.read_px(left, top, max(width, 1), max(height, 1))
        y, x = (np.indices(rgb.shape[:2]) + 0.5) * level.downsample
        origin = left * level.downsample, top * level.downsample
        inside = shapely.contains_xy(shape, x + origin[0], y + origin[1])
        if not inside.any():  # smaller than a pixel
            inside[:] = True
        od = densities(rgb, known.stain, known.white)[1]
        found[i] = od[inside].mean() - known.haze
    return found
