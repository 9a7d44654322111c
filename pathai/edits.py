"""What a reader changes on a slide, and how it stands in an event of the log.

Nuclei are named by their row in the cells of one detector, with the digest of those cells: the
rows of other cells are other nuclei. Their positions are kept too, so that a correction survives
when nuclei are found anew.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from pydantic import JsonValue

from pathai.config import ID_PATTERN
from pathai.errors import PathaiError
from pathai.units import Box, Ring

Json = dict[str, JsonValue]
Position = tuple[float, float]
"""x and y, level-0 px."""
DECIMALS = 1
"""Of a coordinate in the log, level-0 px."""
MAX_NAME = 64
"""Characters of the name of a class or a region."""


@dataclass(frozen=True)
class CellEdit:
    """Nuclei of one slide that get one class, or are no nuclei.

    Parameters
    ----------
    slide_id : str
        Where they are.
    detector : str
        Whose nuclei they are.
    store : str
        Digest of the cells' contents that the rows belong to.
    rows : tuple of int
        Rows of the nuclei in these cells.
    xy_px0 : tuple of (float, float)
        Their centers (x, y) in level-0 px, in the order of the rows; one decimal is kept.
    after : str
        Name of the class; empty for what is no nucleus.

    Raises
    ------
    PathaiError
        E193 if there is no row, a row comes twice, or rows and positions do not match.
    """

    slide_id: str
    detector: str
    store: str
    rows: tuple[int, ...]
    xy_px0: tuple[Position, ...]
    after: str

    def __post_init__(self) -> None:
        _check_id(self.slide_id)
        if not self.rows or len(self.rows) != len(self.xy_px0):
            message = f"{len(self.rows)} rows of nuclei with {len(self.xy_px0)} positions"
            raise PathaiError("E193", message, "give one position for each row, and one at least")
        if len(set(self.rows)) != len(self.rows) or min(self.rows) < 0:
            raise PathaiError("E193", "a row of the nuclei is negative or comes twice")
        if not self.detector or not self.store:
            raise PathaiError("E193", "a correction of nuclei names no detector or no cells")
        if self.after:
            check_name(self.after)


@dataclass(frozen=True)
class AddedCell:
    """A nucleus that the detector missed; ``store`` is the digest of the cells it missed in."""

    outline_px0: Ring
    class_name: str
    detector: str = ""
    store: str = ""


@dataclass(frozen=True)
class Drawn:
    """A region that a reader drew: its outer ring, then its holes, in level-0 px.

    ``store`` is the digest of what it corrects; empty if it was drawn on the picture alone.
    """

    name: str
    rings_px0: tuple[Ring, ...]
    store: str = ""


@dataclass(frozen=True)
class Impression:
    """What a reader thought of the case; ``blind`` says that no output had been shown before.

    ``number`` and ``time`` are those of the event.
    """

    text: str
    answers: Mapping[str, str] = field(default_factory=dict)
    blind: bool = False
    number: int = 0
    time: str = ""

    def value(self) -> Json:
        """As it stands in an event."""
        return {"text": self.text, "answers": dict(self.answers), "blind": self.blind}


def check_name(name: str) -> str:
    """A class's or region's name, trimmed (E193 if it is empty, long or not printable)."""
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        message = f"{name[:MAX_NAME]!r} cannot name a class or a region"
        raise PathaiError("E193", message, f"give 1 to {MAX_NAME} printable characters")
    return name


def _check_id(slide_id: str) -> None:
    if not re.fullmatch(ID_PATTERN, slide_id):
        raise PathaiError("E193", f"{slide_id!r} is no slide", "see column slide_id of the sheet")


# --- what an event is about ------------------------------------------------------------------


def cells_of(slide_id: str) -> str:
    """What a change of nuclei that the detector found is about."""
    _check_id(slide_id)
    return f"cells:{slide_id}"


def added_cell(slide_id: str, cell_id: str) -> str:
    """What an event on one added nucleus is about."""
    _check_id(slide_id)
    return f"cell:{slide_id}:{cell_id}"


def region_of(slide_id: str, region_id: str) -> str:
    """What an event on one drawn region is about."""
    _check_id(slide_id)
    return f"region:{slide_id}:{region_id}"


def seen_on(slide_id: str) -> str:
    """What an event on a field that was seen is about."""
    _check_id(slide_id)
    return f"seen:{slide_id}"


def part_of(what: str) -> tuple[str, str, str]:
    """What an event is about, in parts: kind of thing, slide, id; empty for a sentence or case."""
    kind, _, rest = what.partition(":")
    slide_id, _, name = rest.partition(":")
    return (kind, slide_id, name) if kind in ("cells", "cell", "region", "seen") else ("", "", "")


# --- rows and classes, short -----------------------------------------------------------------


def spans(rows: Iterable[int]) -> str:
    """Rows in ascending order as text: ``0-4,7``."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def rows_of(text: str) -> tuple[int, ...]:
    """Rows that `spans` wrote (ValueError for anything else)."""
    rows: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        rows.extend(range(int(first), int(last) + 1) if dash else [int(first)])
    if spans(rows) != text or any(a >= b for a, b in pairwise(rows)):
        raise ValueError("rows out of order")
    return tuple(rows)


def class_runs(classes: Iterable[str | None]) -> Json:
    """Classes in the order of the rows, as runs; None where the detector's own class stands."""
    return {"classes": [[name, sum(1 for _ in run)] for name, run in groupby(classes)]}


def run_classes(value: Mapping[str, JsonValue], length: int) -> list[str | None]:
    """Classes that `class_runs` wrote, for ``length`` rows (ValueError if they do not fit)."""
    runs = value["classes"]
    if not isinstance(runs, list):
        raise ValueError("no runs of classes")
    found: list[str | None] = []
    for run in runs:
        if not isinstance(run, list) or len(run) != 2:
            raise ValueError("no run of a class")
        name, count = run
        if not (name is None or isinstance(name, str)) or not isinstance(count, int):
            raise ValueError("no run of a class")
        if not 0 < count <= length - len(found):
            raise ValueError("a run of a class is too long")
        found.extend([name] * count)
    if len(found) != length:
        raise ValueError("classes and rows do not match")
    return found


def edit_value(edit: CellEdit) -> Json:
    """A correction of nuclei as it stands in an event, in ascending order of the rows."""
    order = sorted(range(len(edit.rows)), key=lambda i: edit.rows[i])
    return {
        "detector": edit.detector,
        "store": edit.store,
        "rows": spans(edit.rows[i] for i in order),
        "xy_px0": [_short(v) for i in order for v in edit.xy_px0[i]],
        "class": edit.after,
    }


def edit_of(slide_id: str, value: Mapping[str, JsonValue]) -> CellEdit:
    """The correction that `edit_value` wrote (ValueError for anything else)."""
    flat = _numbers(value["xy_px0"])
    points = tuple(zip(flat[::2], flat[1::2], strict=True))
    rows = rows_of(_text(value["rows"]))
    detector, store = _text(value["detector"]), _text(value["store"])
    return CellEdit(slide_id, detector, store, rows, points, _text(value["class"]))


# --- outlines, regions, boxes ----------------------------------------------------------------


def cell_value(cell: AddedCell) -> Json:
    """An added nucleus as it stands in an event."""
    return {
        "outline_px0": _flat(cell.outline_px0),
        "class": cell.class_name,
        "detector": cell.detector,
        "store": cell.store,
    }


def cell_of(value: Mapping[str, JsonValue]) -> AddedCell:
    """The nucleus that `cell_value` wrote (ValueError for anything else)."""
    names = (_text(value[key]) for key in ("class", "detector", "store"))
    return AddedCell(_ring(value["outline_px0"]), *names)


def drawn_value(drawn: Drawn) -> Json:
    """A region as it stands in an event."""
    rings: list[JsonValue] = [_flat(ring) for ring in drawn.rings_px0]
    return {"name": drawn.name, "rings_px0": rings, "store": drawn.store}


def drawn_of(value: Mapping[str, JsonValue]) -> Drawn:
    """The region that `drawn_value` wrote (ValueError for anything else)."""
    rings = value["rings_px0"]
    if not isinstance(rings, list):
        raise ValueError("no rings")
    return Drawn(_text(value["name"]), tuple(map(_ring, rings)), _text(value["store"]))


def box_value(box: Box) -> Json:
    """A field as it stands in an event."""
    return {"box_px0": [_short(v) for v in (box.x, box.y, box.width, box.height)]}


def box_of(value: Mapping[str, JsonValue]) -> Box:
    """The field that `box_value` wrote (ValueError for anything else)."""
    x, y, width, height = _numbers(value["box_px0"])
    return Box(x, y, width, height)


def ring(points: Sequence[Sequence[float]], what: str) -> Ring:
    """An outline as it is kept: one decimal, not closed, at least three points that differ.

    Raises
    ------
    PathaiError
        E193 if it encloses nothing.
    """
    kept: list[Position] = []
    for x, y in points:
        point = (_short(x), _short(y))
        if not kept or point != kept[-1]:
            kept.append(point)
    if len(kept) > 1 and kept[0] == kept[-1]:
        kept.pop()
    if len(set(kept)) < 3:
        raise PathaiError("E193", f"the outline of {what} encloses nothing", "draw three points")
    return tuple(kept)


def _short(value: float) -> float:
    """One decimal; never a negative zero, which would be another text for the same place."""
    value = round(float(value), DECIMALS)
    if not abs(value) < 1e9:
        raise PathaiError("E193", f"{value} is no place on a slide")
    return value + 0.0


def _flat(points: Ring) -> list[JsonValue]:
    return [_short(v) for point in points for v in point]


def _ring(value: JsonValue) -> Ring:
    flat = _numbers(value)
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _numbers(value: JsonValue) -> list[float]:
    if not isinstance(value, list):
        raise ValueError("no list of numbers")
    found = [v for v in value if isinstance(v, float)]
    if len(found) != len(value):
        raise ValueError("not a number")
    return found


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value
