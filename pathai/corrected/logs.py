"""A reader's corrections, read from the logs of a case."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from pathai.corrected.given import (
    AddedNucleus,
    CellEdit,
    Corrections,
    DrawnRegion,
    SlideCorrections,
)
from pathai.errors import PathaiError
from pathai.review import Case, State, replay
from pathai.review_log import ADJUDICATION, Event, action, read_log

KINDS = ("cells", "region")
SAME_PX0 = 4.0
"""Two readers added the same nucleus if its centers lie within so many level-0 px."""


def readers_of(reviews: Path, case_id: str) -> tuple[str, ...]:
    """Readers with a log of a case, the adjudication's among them, sorted."""
    return tuple(sorted(path.stem for path in (reviews / case_id).glob("*.jsonl")))


def read_corrections(reviews: Path, case_id: str, reader: str = "") -> Corrections:
    """What a reader corrected in a case, with what the adjudication settled on top.

    Of nuclei that both speak of, the adjudication's word stands; its regions take the place of
    the reader's of the same name; a nucleus that both added counts once.

    Parameters
    ----------
    reviews : Path
        Folder of the logs.
    case_id : str
    reader : str
        Whose; empty where only one reader corrected the case.

    Raises
    ------
    PathaiError
        E193 if several readers corrected the case and none is named, or the one named has no
        log; E210 if a log is broken.
    """
    there = [name for name in readers_of(reviews, case_id) if name != ADJUDICATION]
    if reader and reader not in (*there, ADJUDICATION):
        raise PathaiError("E193", f"{case_id}: no log of reader {reader}", "see pathai readers")
    read = {name: _read(reviews, case_id, name) for name in ([reader] if reader else there)}
    standing = [name for name, found in read.items() if found.anything]
    if len(standing) > 1:
        message = f"{case_id}: corrected by {', '.join(standing)}"
        raise PathaiError("E193", message, "say whose corrections count: --reader")
    once = [name for name, found in read.items() if found.events]  # and took all of it back
    first = read[name] if (name := next(iter([*standing, *once]), reader)) else Corrections("")
    if reader == ADJUDICATION or ADJUDICATION not in readers_of(reviews, case_id):
        return first
    return _settled(first, _read(reviews, case_id, ADJUDICATION))


def regions_drawn(reviews: Path, cases: Iterable[str]) -> int:
    """Regions that stand in the logs of these cases (E210 if one is broken)."""
    logs = [(case, reader) for case in sorted(cases) for reader in readers_of(reviews, case)]
    given = (_read(reviews, case, reader) for case, reader in logs)
    return sum(len(slide.regions) for one in given for slide in one.slides.values())


def read_own(reviews: Path, case_id: str, reader: str) -> Corrections:
    """What stands in a reader's own log, without what the adjudication settled.

    Raises
    ------
    PathaiError
        E193 if the reader has no log of the case, E210 if it is broken.
    """
    if reader not in readers_of(reviews, case_id):
        raise PathaiError("E193", f"{case_id}: no log of reader {reader}", "see pathai readers")
    return _read(reviews, case_id, reader)


def read_counted(
    reviews: Path, case_id: str, readers: Sequence[str], counted: Collection[str]
) -> Corrections:
    """Corrections as they stood when they were counted in the report.

    Parameters
    ----------
    reviews : Path
        Folder of the logs.
    case_id : str
    readers : sequence of str
        Whose; the adjudication, which settled the rest, last.
    counted : collection of str
        SHA-256 of the logged events that were counted; what came after them is left out.

    Raises
    ------
    PathaiError
        E210 if a log is broken.
    """
    first, *others = (_read(reviews, case_id, reader, counted) for reader in readers)
    return _settled(first, others[0]) if others else first


def _read(
    reviews: Path, case_id: str, reader: str, counted: Collection[str] | None = None
) -> Corrections:
    events = list(read_log(reviews / case_id / f"{reader}.jsonl"))
    if counted is not None:
        last = max((i for i, e in enumerate(events, 1) if e.sha256 in counted), default=0)
        events = events[:last]
    state = replay(events, Case(case_id))
    return corrections_of(reader, state, events)


def corrections_of(reader: str, state: State, events: Sequence[Event]) -> Corrections:
    """What stands of a reader's corrections after these events.

    Parameters
    ----------
    reader : str
        Name as asserted.
    state : State
        Of the open case.
    events : sequence of Event
        Of its log.
    """
    about = [e for e in events if action(e, events).kind in KINDS]
    slides = {key.slide_id for key in state.nuclei} | set(state.added_cells) | set(state.regions)
    return Corrections(
        reader,
        {slide_id: of_slide(state, slide_id) for slide_id in sorted(slides)},
        tuple(event.sha256 for event in about),
        about[-1].time if about else "",
    )


def of_slide(state: State, slide_id: str) -> SlideCorrections:
    """What stands of a reader's corrections of one slide, in the order of the state."""
    edits = tuple(
        CellEdit(edit.detector, edit.store, row, place, edit.after)
        for edit in state.cell_edits(slide_id)
        for row, place in zip(edit.rows, edit.xy_px0, strict=True)
    )
    added = tuple(
        AddedNucleus(cell.detector, cell.outline_px0, cell.class_name, cell.store)
        for cell in state.added_cells.get(slide_id, {}).values()
    )
    drawn = state.regions.get(slide_id, {}).values()
    return SlideCorrections(edits, added, tuple(DrawnRegion(d.name, d.rings_px0) for d in drawn))


def _settled(first: Corrections, last: Corrections) -> Corrections:
    """The reader's corrections with the adjudication's on top."""
    if not last.anything:
        return first
    slides = {
        slide_id: _over(first.of(slide_id), last.of(slide_id))
        for slide_id in sorted({*first.slides, *last.slides})
    }
    reader = f"{first.reader}, {last.reader}" if first.anything else last.reader
    return Corrections(reader, slides, (*first.events, *last.events), last.time)


def _over(under: SlideCorrections, top: SlideCorrections) -> SlideCorrections:
    names = {region.name.casefold() for region in top.regions}
    kept = tuple(r for r in under.regions if r.name.casefold() not in names)
    added = (*(a for a in under.added if not _near(a, top.added)), *top.added)
    return SlideCorrections((*under.edits, *top.edits), added, (*kept, *top.regions))


def _near(one: AddedNucleus, others: Iterable[AddedNucleus]) -> bool:
    centers = [(o.shape.centroid.x, o.shape.centroid.y) for o in others]
    if not centers:
        return False
    at = one.shape.centroid
    return bool(cKDTree(np.array(centers)).query((at.x, at.y))[0] <= SAME_PX0)
