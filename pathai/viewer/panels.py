"""What the review window is made of beside the report: tabs of the dock and parts of the presenter.

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
    """One tab of the dock: its title, its tooltip and ``module:Widget``.

    ``blind``: it shows nothing of the AI's, so it is there before the first impression, too.
    """

    title: str
    tip: str
    widget: str
    blind: bool = False


TABS: tuple[Tab, ...] = (
    Tab("Report", "Read, correct and sign the report", "pathai.viewer.report_panel:ReportPanel"),
    Tab("Enter", "Enter what only a person sees", "pathai.viewer.entry_panel:EntryPanel"),
    Tab(
        "Nuclei", "Classes of nuclei: hide, choose, correct", "pathai.viewer.cells_panel:CellsPanel"
    ),
    Tab("Counting", "Count in regions, measure", "pathai.viewer.counting_panel:CountingPanel"),
)
"""From left to right, after the review itself."""
PARTS: dict[str, str] = {
    "corrected": "pathai.viewer.corrected:Corrected",
    "cells": "pathai.viewer.cells:CellsPart",
    "counting": "pathai.viewer.counting:CountingPart",
    "report": "pathai.viewer.report:Report",
    "entry": "pathai.viewer.entry:Entries",
}
"""Parts of the presenter by name, ``module:Class``."""


def load(target: str) -> Any:
    """The class behind ``module:Class``."""
    module, name = target.split(":")
    return getattr(import_module(module), name)


def part(review: "Review", name: str) -> Any:
    """A new part for this review."""
    return load(PARTS[name])(review)
