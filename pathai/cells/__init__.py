"""Stage ``cells``: the nuclei of a slide: where, which class, how many per mm²."""

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.cells.blocks import detect_slide, frame
from pathai.config import CellsConfig
from pathai.detectors import DETECTORS
from pathai.detectors.base import Detections, Detector
from pathai.errors import PathaiError
from pathai.finding import registry
from pathai.quantities.counting import per_mm2
from pathai.quantities.summary import Known, Nuclei, summarize
from pathai.sampling import sample
from pathai.stain import given_matrix
from pathai.store.cells_summary import CellsSummary, write_regions, write_summary
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, slug
from pathai.store.groups import write_cells
from pathai.store.records import BACKGROUND, TISSUE, Cells, CellsAttrs, TissueMap

RASTER_PX = 4
"""Working px per px of the class raster (2 µm at 0.5 µm/px)."""
U8 = NDArray[np.uint8]


def class_raster(found: Detections, size_px0: tuple[int, int], step_px0: float) -> tuple[U8, ...]:
    """Class + 1 of the nucleus at each pixel, 0 for none, and its halvings down to 512 px.

    Parameters
    ----------
    found : Detections
        In level-0 px.
    size_px0 : tuple of int
        Width and height of the slide.
    step_px0 : float
        Level-0 px per px of the finest raster.
    """
    from skimage.draw import polygon

    shape = (ceil(size_px0[1] / step_px0), ceil(size_px0[0] / step_px0))
    finest = np.zeros(shape, np.uint8)
    place = found.outline / step_px0 - 0.5  # skimage counts from pixel centers
    middle = np.floor(found.centers / step_px0).astype(np.int64)
    middle = middle.clip(0, [shape[1] - 1, shape[0] - 1])
    value = found.class_ + np.uint8(1)
    for i, (start, stop) in enumerate(
        zip(found.outline_start[:-1], found.outline_start[1:], strict=True)
    ):
        at = polygon(place[start:stop, 1], place[start:stop, 0], shape)
        finest[at] = np.maximum(finest[at], value[i])
    where = (middle[:, 1], middle[:, 0])  # a nucleus smaller than a pixel still shows
    np.maximum.at(finest, where, value)
    levels = [finest]
    while max(levels[-1].shape) > 512:
        last = levels[-1]
        last = np.pad(last, [(0, n % 2) for n in last.shape])
        levels.append(last.reshape(last.shape[0] // 2, 2, last.shape[1] // 2, 2).max(axis=(1, 3)))
    return tuple(levels)


def _detector(name: str, stain: str, section: CellsConfig, vectors: str) -> Detector:
    """The detector for a slide; ``vectors`` are those of the sheet."""
    stains: dict[str, Any] = {}
    if vectors:
        stains["vectors"] = given_matrix(stain, vectors)
    elif section.stain_vectors == "fixed":
        stains["estimate"] = False
    try:
        made: Detector = DETECTORS.load(name)(
            stain=stain, dab_cutoff_od=section.dab_cutoff_od, **stains
        )
    except TypeError:
        if not stains:
            raise
        message = f"detector {name} takes no stain vectors"
        raise PathaiError("E190", message, "leave cells.stain_vectors and the column out") from None
    return made


def _summary(
    found: Detections, tissue: TissueMap, detector: Detector, section: CellsConfig, stain: str
) -> CellsSummary:
    family = registry().family(stain)
    return summarize(
        Nuclei(found.anchors, found.class_, found.dab_od, detector.classes),
        tissue,
        detector=section.detector,
        digest=detector.digest,
        stain=stain,
        family="he" if family == "he" else "ihc" if family == "ihc" else "",
        cutoffs_od=section.cutoffs_od,
        known=Known(
            detector.error,
            getattr(detector, "share_error", None),
            getattr(detector, "class_error", None),
        ),
    )


def run(
    folder: SlideFolder,
    section: CellsConfig,
    out: Commit,
    workers: int = 1,
    vectors: str = "",
) -> None:
    """Find, classify and count the nuclei of a slide.

    Parameters
    ----------
    folder : SlideFolder
        Slide with ``tiles.zarr`` and ``tissue.zarr``.
    section : CellsConfig
        Detector, block size, DAB cut-off.
    out : Commit
        Gets ``.zarr``, ``.summary.json`` and ``.regions.csv`` under the detector's slug.
    workers : int
        Threads; the result does not depend on them.
    vectors : str
        Column ``stain_vectors`` of the sheet.

    Raises
    ------
    PathaiError
        E131 if the slide's µm/px is outside the detector's range, E142 if its stain is unknown.
    """
    slide, tissue, pyramid = folder.read_slide(), folder.read_tissue(), folder.open_tiles()
    detector = _detector(section.detector, slide.stain, section, vectors)
    level = pyramid.level_for(min(detector.mpp / slide.mpp_x, detector.mpp / slide.mpp_y))
    downsample = pyramid.downsamples[level]
    image, mpp = pyramid.dask()[level], slide.mpp.scaled(downsample)
    fitted = detector.for_slide(sample(pyramid, tissue, level))
    found = detect_slide(
        image, mpp, tissue, fitted, section.block_px, downsample=downsample, workers=workers
    )
    summary = _summary(found, tissue, detector, section, slide.stain)
    area, density = tissue.area_mm2(TISSUE), summary.slide.density_per_mm2
    step = float(frame(image.shape, mpp, downsample, detector).scale[0]) * RASTER_PX
    attrs = CellsAttrs(
        detector=section.detector,
        detector_digest=detector.digest,
        classes=detector.classes,
        analyzed_mm2=area,
        excluded_mm2=sum(
            tissue.area_mm2(int(v))
            for v in np.unique(tissue.classes)
            if v not in (BACKGROUND, TISSUE)
        ),
        count=summary.slide.count,
        density_per_mm2=density or per_mm2(summary.slide.count, 0.0),
        class_counts=tuple(
            int(n) for n in np.bincount(found.class_, minlength=len(detector.classes))
        ),
        raster_downsample0=step,
    )
    cells = Cells(
        xy_px0=found.centers,
        score=found.score.astype(np.float16),
        class_=found.class_,
        prob=found.prob.astype(np.float16),
        dab_od=found.dab_od.astype(np.float16),
        measures=np.empty((len(found), 0), np.float32),
        outline_px0=found.outline,
        outline_start=found.outline_start,
        raster=class_raster(found, (slide.width, slide.height), step),
        attrs=attrs,
    )
    name = slug(section.detector)
    write_cells(out.part(f"{name}.zarr"), cells)
    write_summary(out.part(f"{name}.summary.json"), summary)
    write_regions(out.part(f"{name}.regions.csv"), summary)
