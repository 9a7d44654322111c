"""One slide as the viewer shows it: its pixels, and every overlay that the run made."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.quantities.summary import Known, known_of
from pathai.store.folders import SlideFolder
from pathai.store.pyramid import Pyramid
from pathai.store.records import Features, PredictionAttrs, TissueMap
from pathai.units import Mpp
from pathai.viewer import layers
from pathai.viewer.nuclei import Nuclei, open_nuclei

T = TypeVar("T")


@dataclass
class Attention:
    """One model's answer with its weight for every tile."""

    task: str
    attrs: PredictionAttrs
    features: Features
    weights: NDArray[np.float32]


@dataclass
class Slide:
    """What there is to show of a slide.

    ``notes`` says what could not be read; ``known`` holds the measured errors of the detector.
    """

    slide_id: str
    pixels: Pyramid
    tissue: TissueMap | None = None
    cells: Nuclei | None = None
    known: Known = field(default_factory=Known)
    attention: list[Attention] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def mpp(self) -> Mpp:
        """µm per level-0 px."""
        return self.pixels.mpp

    def layers(self) -> list[layers.LayerData]:
        """Layer data from the bottom to the top."""
        found = [layers.slide_layer(self.pixels)]
        for one in self.attention:
            found.append(layers.attention_layer(one.features, one.weights, self.mpp, one.task))
        if self.tissue is not None:
            found.append(layers.tissue_layer(self.tissue))
        if self.cells is not None:
            found.append(layers.cells_layer(self.cells, self.mpp))
        return found


def open_slide(
    folder: SlideFolder,
    detector: str = "",
    tasks: tuple[str, ...] = (),
    *,
    pixels_only: bool = False,
) -> Slide:
    """Open a slide's pixels and read its overlays.

    Parameters
    ----------
    folder : SlideFolder
        The slide's results.
    detector : str
        Whose nuclei to show; none if empty.
    tasks : tuple of str
        Whose attention to show.
    pixels_only : bool
        True: no overlay.

    Raises
    ------
    PathaiError
        E164 if there are no pixels: run ``pathai tile``. A missing or damaged overlay is a note.
    """
    slide = Slide(folder.slide_id, folder.open_tiles())
    if pixels_only:
        return slide
    slide.tissue = _overlay(slide, "tissue map", folder.read_tissue)
    if detector and folder.cells(detector).exists():
        slide.cells = _overlay(slide, "nuclei", partial(_nuclei, folder, detector))
        summary = _overlay(slide, "figures of nuclei", partial(folder.read_cells_summary, detector))
        slide.known = known_of(summary) if summary else Known()
    for task in tasks:
        if not folder.prediction(task).exists():
            continue
        found = _overlay(slide, f"attention of {task}", partial(read_attention, folder, task))
        if found is not None:
            slide.attention.append(found)
    return slide


def _overlay(slide: Slide, what: str, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except PathaiError as error:
        slide.notes.append(f"{what} not shown: {error}")
        return None


def _nuclei(folder: SlideFolder, detector: str) -> Nuclei:
    return open_nuclei(folder.cells(detector), detector, folder.cells_digest(detector))


def read_attention(folder: SlideFolder, task: str) -> Attention:
    """Answer and attention of one model on a slide.

    Raises
    ------
    PathaiError
        E164 if it cannot be read, E166 if it is of other tiles than the features.
    """
    found = folder.read_prediction(task)
    features = folder.read_features(found.attrs.encoder)
    if found.attrs.grid_digest != features.attrs.grid_digest:
        raise PathaiError("E166", f"attention of {task} and its tiles do not match")
    if len(found.attention) != len(features.xy_px0):
        raise PathaiError("E166", f"attention of {task} and its tiles do not match")
    return Attention(task, found.attrs, features, found.attention)
