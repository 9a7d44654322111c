"""Small pictures of the places that findings stand on, from the stored pixels, without torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pathai.errors import PathaiError
from pathai.finding import CaseFindings
from pathai.store.folders import SlideFolder
from pathai.store.pyramid import Pyramid
from pathai.units import Box, Size

CROP_PX, OVERVIEW_PX = 272, 340
"""Longest side of a picture."""
MARGIN = 0.3
"""Of a place's longer side, seen around it."""
PER_FINDING, PER_CASE = 3, 60
"""Most crops of one finding, most pictures of a case."""
MAX_BYTES = 20_000
"""Of one picture: a page of 60 stays below 3 MB with base64."""
LARGE = 1 / 3
"""Share of the slide's longer side beyond which a place is shown on the overview."""
QUALITIES = (82, 74, 66, 56, 46, 36, 26, 16)
INK, HALO = (13, 27, 34), (255, 255, 255)
STEPS_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


@dataclass(frozen=True)
class Picture:
    """One place of one slide.

    Parameters
    ----------
    slide_id : str
        Of the slide.
    jpeg : bytes
        The picture; the place is outlined, a bar of ``bar_um`` stands at its lower left.
    size : Size
        Of the picture, px.
    um_px : float
        µm per pixel of the picture.
    bar_um : int
        Length of the bar, µm.
    box : Box or None
        The place, level-0 px; None for the whole slide.
    overview : bool
        Whether the whole tissue is seen.
    findings : tuple of str
        Ids of the findings that stand there.
    """

    slide_id: str
    jpeg: bytes
    size: Size
    um_px: float
    bar_um: int
    box: Box | None
    overview: bool
    findings: tuple[str, ...]


def pictures(case: CaseFindings, folder_of: Callable[[str], SlideFolder]) -> tuple[Picture, ...]:
    """Pictures of the evidence of a case, each place once; a slide without pixels has none.

    Parameters
    ----------
    case : CaseFindings
        Its findings name slides and boxes.
    folder_of : callable
        From a slide's id to its folder of results.

    Returns
    -------
    tuple of Picture
        Overviews of a slide before its crops, slides in the order of the case; at most
        ``PER_CASE``.
    """
    places: dict[str, dict[Box | None, list[str]]] = {}
    for finding in case.findings:
        for item in finding.evidence:
            found = places.setdefault(item.slide_id, {})
            for box in item.boxes[:PER_FINDING] or (None,):
                found.setdefault(box, []).append(finding.id)
    order = [s for specimen in case.specimens for s in specimen.slides if s in places]
    made: list[Picture] = []
    for slide_id in order:
        made += _of_slide(folder_of(slide_id), places[slide_id])
    ranked = sorted(range(len(made)), key=lambda i: (not made[i].overview, i))[:PER_CASE]
    return tuple(made[i] for i in sorted(ranked))


def _of_slide(folder: SlideFolder, places: dict[Box | None, list[str]]) -> Iterator[Picture]:
    try:
        tiles = folder.open_tiles()
        shots = []
        for box, findings in places.items():
            view = _view(tiles, box)
            whole = view == _view(tiles, None)
            shots.append((not whole, box, view, tuple(findings)))
        shots.sort(key=lambda shot: shot[0])  # overviews first, else as the findings come
        for crop, box, view, stands in shots:
            picture = _picture(tiles, folder.slide_id, view, box)
            yield replace(picture, overview=not crop, findings=stands)
    except PathaiError:
        return  # damage is the business of verify; the page goes on without the picture


def _view(tiles: Pyramid, box: Box | None) -> Box:
    """What is seen for a place: the whole slide, or the place with a margin, level-0 px."""
    width, height = tiles.size.width, tiles.size.height
    if box is None or max(box.width, box.height) > LARGE * max(width, height):
        return Box(0, 0, width, height)
    side = min((1 + 2 * MARGIN) * max(box.width, box.height), width, height)
    x, y = box.x + box.width / 2 - side / 2, box.y + box.height / 2 - side / 2
    return Box(min(max(x, 0), width - side), min(max(y, 0), height - side), side, side)


def _picture(tiles: Pyramid, slide_id: str, view: Box, box: Box | None) -> Picture:
    whole = view == _view(tiles, None)
    longest = OVERVIEW_PX if whole else CROP_PX
    d = max(max(view.width, view.height) / longest, 1.0)
    size = Size(max(round(view.width / d), 1), max(round(view.height / d), 1))
    um_px = d * tiles.mpp.x
    bar_um = max((s for s in STEPS_UM if s / um_px <= size.width / 3), default=STEPS_UM[0])
    pixels = tiles.read_at(view, size)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    _draw(image, view, d, box, bar_um / um_px)
    jpeg = packed(np.asarray(image))
    return Picture(slide_id, jpeg, size, um_px, bar_um, box, whole, ())


def _draw(image: Image.Image, view: Box, d: float, box: Box | None, bar_px: float) -> None:
    """Outline of the place, and the bar, dark on a light halo: seen on any tissue."""
    pen = ImageDraw.Draw(image)
    if box is not None:
        left, top = (box.x - view.x) / d, (box.y - view.y) / d
        edge = [left, top, left + box.width / d, top + box.height / d]
        pen.rectangle(edge, outline=HALO, width=4)
        pen.rectangle([edge[0] + 1, edge[1] + 1, edge[2] - 1, edge[3] - 1], outline=INK, width=2)
    x, y = 8, image.height - 12
    pen.rectangle([x - 2, y - 2, x + bar_px + 1, y + 5], fill=HALO)
    pen.rectangle([x, y, x + bar_px - 1, y + 3], fill=INK)


def packed(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG of at most `MAX_BYTES`, of the best quality that fits; uint8[y, x, 3]."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    data = b""
    for quality in QUALITIES:
        out = BytesIO()
        image.save(out, "JPEG", quality=quality, optimize=True)
        data = out.getvalue()
        if len(data) <= MAX_BYTES:
            break
    return data
