"""What the review window is made of beside cases and report: tabs and parts of the presenter.

A tab is a widget ``Panel(review)`` with a method ``refresh()``; a part is what its keys and
buttons call, ``Part(review)``, and knows no Qt. Both are loaded when they are needed.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review


@dataclass(frozen=True)
class Tab:
    """One tab of the dock: title, tooltip, ``module:Widget``, and the tab that it is part of.

    ``blind``: it shows nothing of the AI's, so it is there before the first impression, too.
    """

    title: str
    tip: str
    widget: str
    group: str
    blind: bool = False


TABS: tuple[Tab, ...] = (
    Tab("Enter", "Enter what only a person sees", "pathai.viewer.entry_panel:EntryPanel", "Enter"),
    Tab(
        "Classes",
        "Classes of nuclei: hide, choose, correct",
        "pathai.viewer.cells_panel:CellsPanel",
        "Nuclei",
    ),
    Tab(
        "Counting",
        "Count in regions, measure",
        "pathai.viewer.counting_panel:CountingPanel",
        "Nuclei",
    ),
    Tab(
        "Overlays", "Attention, tissue and artefacts", "pathai.viewer.overlays_panel:Panel", "Slide"
    ),
    Tab(
        "Gallery",
        "Tiles a model looked at, nuclei of a class",
        "pathai.viewer.gallery_panel:Panel",
        "Slide",
    ),
    Tab("Regions", "Regions and outlines", "pathai.viewer.drawing_panel:Panel", "Fields", True),
    Tab(
        "Screening",
        "The tissue field by field",
        "pathai.viewer.screening_panel:Panel",
        "Fields",
        True,
    ),
    Tab("Side by side", "Two slides at once", "pathai.viewer.side_panel:Panel", "Fields", True),
)
"""From left to right, after the review itself."""
PARTS: dict[str, str] = {
    "corrected": "pathai.viewer.corrected:Corrected",
    "cells": "pathai.viewer.cells:CellsPart",
    "counting": "pathai.viewer.counting:CountingPart",
    "report": "pathai.viewer.report:Report",
    "entry": "pathai.viewer.entry:Entries",
    "overlays": "pathai.viewer.overlays:Overlays",
    "gallery": "pathai.viewer.gallery:Gallery",
    "screening": "pathai.viewer.screening:Screening",
    "drawing": "pathai.viewer.drawing:Drawing",
    "side": "pathai.viewer.side:Side",
    "segmenting": "pathai.viewer.segmenting:Segmenting",
}
"""Parts of the presenter by name, ``module:Class``."""


def load(target: str) -> Any:
    """The class behind ``module:Class``."""
    module, name = target.split(":")
    return getattr(import_module(module), name)


def part(review: "Review", name: str) -> Any:
    """A new part for this review."""
    return load(PARTS[name])(review)
