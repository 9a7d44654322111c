"""Colors of the review window; every pair differs in lightness or is told apart by a sign too.

References
----------
Okabe M, Ito K. Color Universal Design: how to make figures that are color-blind friendly. 2008.
"""

from collections.abc import Sequence

BLUE, SKY, GREEN, YELLOW = "#0072b2", "#56b4e9", "#009e73", "#f0e442"
CYAN = "#18c4f0"
ORANGE, VERMILION, PURPLE, BLACK = "#e69f00", "#d55e00", "#cc79a7", "#000000"

CELLS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
"""Classes of nuclei without a color of their own, in order."""
NAMED_CELLS = {"nucleus": CYAN, "negative": BLUE, "positive": YELLOW}
"""Cyan on purple nuclei; blue on pale and yellow on brown ones: each differs in lightness too."""
TISSUE = {
    **{1: "#404040", 2: PURPLE, 3: BLACK, 4: VERMILION},
    **{5: SKY, 6: ORANGE, 7: BLUE, 8: GREEN},
}
"""By value of the tissue map: tissue, pen, dark, unreadable, edge, blur, fold, bubble."""
EVIDENCE = "#0050c8"
SELECTED = "#101010"
"""Of the chosen nucleus: no class and no stain is as dark."""
REGION = "#7a3300"
"""Of regions that a reader drew."""
PROPOSED = "#ffd400"
"""An outline that nobody has kept yet."""
ATTENTION = (
    (0.00, (0.94, 0.89, 0.26, 0.00)),
    (0.35, (0.94, 0.89, 0.26, 0.10)),
    (0.70, (0.60, 0.87, 0.25, 0.60)),
    (1.00, (0.00, 0.62, 0.45, 0.90)),
)
"""From clear over yellow to green, which tissue in H&E or DAB never is: position, RGBA."""

ATTENTION_LINE = "#00664b"
"""Line around attention: the dark end of its colors, darker still."""

VERDICTS = {
    "": ("○", "#8a8a8a", "no decision yet"),
    "accepted": ("✓", BLUE, "accepted"),
    "rejected": ("✕", VERMILION, "rejected"),
    "edited": ("✎", PURPLE, "edited"),
    "flagged": ("⚑", ORANGE, "flagged"),
    "deleted": ("–", "#5a636e", "deleted"),
}
"""Sign, color and word of what became of a sentence."""
STATUS = {
    "unread": ("○", "#8a8a8a"),
    "in review": ("◐", ORANGE),
    "reviewed": ("●", BLUE),
    "signed": ("◆", GREEN),
}
"""Sign and color of a case's status."""

REGIONS = {"tumor": VERMILION, "exclude": BLACK, "necrosis": PURPLE}
"""Lines around drawn regions."""


def region_color(name: str) -> str:
    """Color of the line around a drawn region."""
    return REGIONS.get(name.strip().casefold(), BLUE)


def cell_colors(classes: Sequence[str]) -> dict[str, str]:
    """A color for each class of nuclei."""
    free = [c for c in CELLS if c not in {NAMED_CELLS.get(name) for name in classes}]
    found = {}
    for name in classes:
        found[name] = NAMED_CELLS.get(name) or (free.pop(0) if free else BLACK)
    return found
