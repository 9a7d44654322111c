"""Stage ``cells``: the nuclei of a slide: where, which class, how many per mm²."""

from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from pathai.cell_classes import classify
from pathai.cells.blocks import detect_slide, frame
from pathai.cells.classes import chosen, measured, record
from pathai.cells.counts import count_interval, per_mm2, square_counts
from pathai.config import CellsConfig
from pathai.detectors import DETECTORS
from pathai.detectors.base import Detections, Detector
from pathai.morphometry import MEASURES
from pathai.sampling import sample
from pathai.stain import slide_background, stain_matrix
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, slug
from pathai.store.groups import write_cells
from pathai.store.records import BACKGROUND, TISSUE, Cells, CellsAttrs

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


def run(folder: SlideFolder, section: CellsConfig, out: Commit, workers: int = 1) -> None:
    """Find, classify and count the nuclei of a slide.

    Parameters
    ----------
    folder : SlideFolder
        Slide with ``tiles.zarr`` and ``tissue.zarr``.
    section : CellsConfig
        Detector, block size, DAB cut-off.
    out : Commit
        Gets ``<slug of the detector>.zarr``.
    workers : int
        Threads; the result does not depend on them.

    Raises
    ------
    PathaiError
        E131 if the slide's µm/px is outside the detector's range, E142 if its stain is unknown,
        E182 or E183 if the model of cell classes is damaged or missing.
    """
    slide, tissue, pyramid = folder.read_slide(), folder.read_tissue(), folder.open_tiles()
    make = DETECTORS.load(section.detector)
    detector: Detector = make(stain=slide.stain, dab_cutoff_od=section.dab_cutoff_od)
    level = pyramid.level_for(min(detector.mpp / slide.mpp_x, detector.mpp / slide.mpp_y))
    downsample = pyramid.downsamples[level]
    image, mpp = pyramid.dask()[level], slide.mpp.scaled(downsample)
    sampled = sample(pyramid, tissue, level)
    fitted = detector.for_slide(sampled)
    found = detect_slide(
        image, mpp, tissue, fitted, section.block_px, downsample=downsample, workers=workers
    )
    background = slide_background(sampled, stain_matrix(slide.stain))
    grid = frame(image.shape, mpp, downsample, detector)
    measures = measured(image, grid, found, background, section.block_px)
    model, names = chosen(section, slide.stain, detector.classes), detector.classes
    if model is not None:
        scale_um = np.array([slide.mpp_x, slide.mpp_y])
        class_, prob = classify(found.centers * scale_um, measures, model)
        found, names = replace(found, class_=class_, prob=prob), model.classes
    counts, areas = square_counts(found.anchors, tissue)
    count, area = count_interval(counts, areas), tissue.area_mm2(TISSUE)
    step = float(grid.scale[0]) * RASTER_PX
    attrs = CellsAttrs(
        detector=section.detector,
        detector_digest=detector.digest,
        classes=names,
        analyzed_mm2=area,
        excluded_mm2=sum(
            tissue.area_mm2(int(v))
            for v in np.unique(tissue.classes)
            if v not in (BACKGROUND, TISSUE)
        ),
        count=count,
        density_per_mm2=per_mm2(count, area),
        class_counts=tuple(int(n) for n in np.bincount(found.class_, minlength=len(names))),
        raster_downsample0=step,
        measures=MEASURES,
        classifier=record(section.classifier, model) if model else None,
    )
    cells = Cells(
        xy_px0=found.centers,
        score=found.score.astype(np.float16),
        class_=found.class_,
        prob=found.prob.astype(np.float16),
        dab_od=found.dab_od.astype(np.float16),
        measures=measures,
        outline_px0=found.outline,
        outline_start=found.outline_start,
        raster=class_raster(found, (slide.width, slide.height), step),
        attrs=attrs,
    )
    write_cells(out.part(f"{slug(section.detector)}.zarr"), cells)
