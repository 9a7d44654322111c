"""Regions of a Leica SCN file that OpenSlide refuses to join into one slide."""

import re
from pathlib import Path

from pathai.readers.tiff_walk import TiffReader

_DESCRIPTION = 270
_IMAGE = re.compile(r"<image\b.{0,200000}?</image>", re.DOTALL)
_VIEW = re.compile(r"<view\b([^>]{0,2000})>")
_PIXELS = re.compile(r"<pixels\b([^>]{0,2000})>")
_OBJECTIVE = re.compile(r"<objective>\s*([0-9.]{1,8})\s*</objective>")
_MOST = 20
"""Regions that are listed."""


def leica_regions(path: Path) -> str:
    """Size, place and objective of each region, in numbers alone.

    Parameters
    ----------
    path : Path
        A Leica SCN file that `sniff` has accepted.

    Returns
    -------
    str
        For a message; the overview of the whole glass is among the regions.
    """
    with path.open("rb") as file:
        reader = TiffReader(file, path.stat().st_size)
        entries, _ = reader.entries(reader.first)
        text = b"".join(reader.value(e, 2**22) for e in entries if e.tag == _DESCRIPTION)
    found = []
    for image in _IMAGE.findall(text.decode("utf-8", "replace")):
        size, place = _whole(_PIXELS, image, "size"), _whole(_VIEW, image, "offset")
        objective = _OBJECTIVE.search(image)
        if size and place:
            x, y = place[0] / 1e6, place[1] / 1e6
            at = f"{size[0]} x {size[1]} px at {x:.2f}, {y:.2f} mm"
            found.append(f"{at}, objective {objective[1]}" if objective else at)
    return "; ".join(found[:_MOST]) or "regions unknown"


def _whole(pattern: re.Pattern[str], text: str, name: str) -> tuple[int, int] | None:
    """Attributes ``<name>X`` and ``<name>Y`` of the first element that matches."""
    element = pattern.search(text)
    values = (
        [re.search(rf'{name}{axis}="([0-9]{{1,12}})"', element[1]) for axis in "XY"]
        if element
        else []
    )
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    return int(values[0][1]), int(values[1][1])
