"""One slide in a bundle: its tiles, its overlays, and the data by which the page shows them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any

from PIL import Image

from pathai.config import CellsConfig
from pathai.corrected.given import Corrections, SlideCorrections
from pathai.corrected.nuclei import corrected_nuclei, with_outlines
from pathai.errors import CODES, PathaiError
from pathai.export.held import Held, held
from pathai.share.nuclei import Drawn, write_nuclei
from pathai.share.overlays import attention, outlines
from pathai.share.pixels import WHITE, Put, Shown, write_pixels
from pathai.share.walk import Levels
from pathai.store.cell_store import CellsFile
from pathai.store.folders import SlideFolder
from pathai.store.records import Qc, TissueMap
from pathai.units import Box
from pathai.viewer.palette import cell_colors

DIMMEST = 200
"""Of bare glass, gray levels; what is darker was not glass."""
Told = Callable[[str, int, int], None]
"""Takes what is being made, how much of it is done, of how much."""


@dataclass(frozen=True)
class Wanted:
    """What to put into a bundle of each slide.

    Parameters
    ----------
    detector : str
        Whose nuclei.
    tasks : tuple of str
        Whose attention.
    quality : int
        Of JPEG.
    finest_mpp : float
        µm/px beyond which nothing is finer; 0 for all there is.
    corrected : Corrections, optional
        A reader's corrections that the report's numbers stand on; nuclei are drawn and counted
        with them.
    section : CellsConfig, optional
        How nuclei that a reader added are measured.
    """

    detector: str = ""
    tasks: tuple[str, ...] = ()
    quality: int = 80
    finest_mpp: float = 0.0
    corrected: Corrections | None = None
    section: CellsConfig | None = None


@dataclass
class Made:
    """A slide's data for the page, and what a reader must know of it."""

    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def absent(name: str, stain: str, error: PathaiError) -> Made:
    """A slide that cannot be shown; of the error only its title is told, which names nothing."""
    title = reason(error)
    return Made({"name": name, "stain": stain, "problem": title}, [f"is not here: {title}"])


def reason(error: PathaiError) -> str:
    """What went wrong in words that hold no id and no path."""
    return f"{CODES[error.code].title} ({error.code})"


def write_slide(
    folder: SlideFolder,
    name: str,
    stain: str,
    wanted: Wanted,
    put: Put,
    told: Told,
    vectors: str = "",
) -> Made:
    """Write a slide's tiles and overlays.

    Parameters
    ----------
    folder : SlideFolder
        The slide's results.
    name : str
        Its pseudonym.
    stain : str
        As the sheet has it.
    wanted : Wanted
        What, and how well.
    put : callable
        Takes a name and its bytes.
    told : callable
        See `Told`.
    vectors : str
        Column ``stain_vectors`` of the sheet.

    Returns
    -------
    Made
        An overlay that cannot be read is a note there.

    Raises
    ------
    PathaiError
        E164, E165 if pixels or tissue map cannot be read; nothing was written then.
    """
    pyramid, tissue, qc = folder.open_tiles(), folder.read_tissue(), folder.read_qc()
    place = f"slides/{name}"
    shown = write_pixels(
        pyramid, tissue, place, put, quality=wanted.quality, finest_mpp=wanted.finest_mpp,
        glass=glass_of(qc), told=lambda done, of: told("pixels", done, of),
    )  # fmt: skip
    made = Made(slide_data(name, stain, place, shown, tissue))
    if shown.unreadable:
        made.notes.append(f"has {len(shown.unreadable)} unreadable places, framed in orange")
    if wanted.detector and folder.cells(wanted.detector).exists():

        def nuclei() -> None:
            found = _standing(made, folder, wanted, vectors)
            _nuclei(made, found, place, shown, put, lambda done, of: told("nuclei", done, of))

        _attempt(made, "nuclei", nuclei)
    for number, task in enumerate(wanted.tasks):
        if folder.prediction(task).exists():
            what = f"attention of {task}"
            _attempt(made, what, partial(_attention, made, folder, place, number, task, put))
    return made


def glass_of(qc: Qc | None) -> tuple[int, int, int]:
    """What stands where nothing is stored: the slide's own bare glass, so that no edge is seen."""
    if qc is None or min(qc.white) < DIMMEST:
        return WHITE
    red, green, blue = (min(round(v), 255) for v in qc.white)
    return red, green, blue


def _attempt(made: Made, what: str, work: Callable[[], None]) -> None:
    try:
        work()
    except PathaiError as error:
        if error.code in ("E160", "E161"):  # of the bundle, not of the slide
            raise
        made.notes.append(f"is without its {what}: {reason(error)}")


def slide_data(
    name: str, stain: str, place: str, shown: Shown, tissue: TissueMap
) -> dict[str, Any]:
    """What the page needs to know of a slide; lengths are level-0 px unless they say otherwise."""
    used, left = outlines(tissue)
    size = shown.size
    return {
        "name": name,
        "stain": stain,
        "problem": "",
        "folder": place,
        "size": [size.width, size.height],
        "mpp": [shown.mpp.x, shown.mpp.y],
        "step": shown.step,
        "levels": _levels(shown.levels),
        "tissue": used,
        "left": left,
        "glass": "#{:02x}{:02x}{:02x}".format(*shown.glass),
        "unreadable": [_box(box) for box in shown.unreadable],
        "attention": [],
        "nuclei": {"classes": [], "experimental": False, "by_hand": -1},
    }


def _levels(levels: Levels) -> dict[str, Any]:
    size = levels.size
    return {"size": [size.width, size.height], "tile": levels.tile, "masks": levels.masks()}


def _box(box: Box) -> list[float]:
    return [round(v, 1) for v in (box.x, box.y, box.width, box.height)]


def _standing(
    made: Made, folder: SlideFolder, wanted: Wanted, vectors: str
) -> tuple[CellsFile | Held, int]:
    """Nuclei as the report counts them, and how many by hand; -1 where no correction counts."""
    given = wanted.corrected.of(folder.slide_id) if wanted.corrected else SlideCorrections()
    stored = CellsFile(folder.cells(wanted.detector))
    if not given:
        return stored, -1
    found = corrected_nuclei(folder, wanted.detector, given, wanted.section, vectors)
    cells = with_outlines(folder, wanted.detector, found)
    made.notes.append(f"shows its nuclei as a person corrected them, {found.by_hand} by hand")
    return held(cells, found.rows, len(stored)), found.by_hand


def _nuclei(
    made: Made,
    found: tuple[CellsFile | Held, int],
    place: str,
    shown: Shown,
    put: Put,
    told: Callable[[int, int], None],
) -> None:
    cells, by_hand = found
    colors = cell_colors(cells.attrs.classes)
    drawn: Drawn = write_nuclei(cells, shown.size, shown.mpp, colors, place, put, told)
    counts = cells.attrs.class_counts
    size = drawn.levels[0].size if drawn.levels else shown.size
    made.data["nuclei"] = {
        "step": drawn.step,
        "size": [size.width, size.height],
        "tile": shown.levels.tile,
        "by_hand": by_hand,
        "experimental": bool(cells.attrs.classifier and cells.attrs.classifier.experimental),
        "classes": [
            {"name": name, "color": colors[name], "count": count, "masks": levels.masks()}
            for name, count, levels in zip(drawn.classes, counts, drawn.levels, strict=True)
        ],
    }


def _attention(
    made: Made, folder: SlideFolder, place: str, number: int, task: str, put: Put
) -> None:
    found = folder.read_prediction(task)
    features = folder.read_features(found.attrs.encoder)
    fits = found.attrs.grid_digest == features.attrs.grid_digest
    if not fits or len(found.attention) != len(features.xy_px0):
        raise PathaiError("E166", f"attention of {task} and its tiles do not match")
    picture = attention(features, found.attention)
    if picture is None:
        return
    file = f"{place}/attention_{number}.png"
    put(file, picture.png)
    size = Image.open(BytesIO(picture.png)).size
    made.data["attention"].append(
        {"task": task, "file": file, "size": list(size), "box": _box(picture.box)}
    )
