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
    """One tab of the dock: its title, its tooltip and ``module:Widget``."""

    title: str
    tip: str
    widget: str


TABS: tuple[Tab, ...] = (
    Tab("Overlays", "Attention, tissue and artefacts", "pathai.viewer.overlays_panel:Panel"),
    Tab(
        "Gallery", "Tiles a model looked at, nuclei of a class", "pathai.viewer.gallery_panel:Panel"
    ),
    Tab("Screening", "The tissue field by field", "pathai.viewer.screening_panel:Panel"),
    Tab("Draw", "Regions and outlines", "pathai.viewer.drawing_panel:Panel"),
    Tab("Side", "Two slides side by side", "pathai.viewer.side_panel:Panel"),
)
"""From left to right, after the review itself."""
PARTS: dict[str, str] = {
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
