"""Changes of a file as events of a reader's log."""

from pathai.edits import CellEdit
from pathai.exchange.changes import Changes
from pathai.exchange.standing import Standing
from pathai.review import ReviewSession

SHOWN = "nuclei were seen in another program"
"""Reason of the reveal where a file comes before the first impression."""


def take_in(session: ReviewSession, now: Standing, found: Changes, source: str) -> int:
    """Log what a file says; each change is an event that names the file, and can be undone.

    Who corrects nuclei in another program has seen them: where output is hidden still, that is
    logged, too.

    Parameters
    ----------
    session : ReviewSession
        With the case open.
    now : Standing
        What `found` was compared with.
    found : Changes
        Of `pathai.exchange.changes_of`.
    source : str
        SHA-256 of the file.

    Returns
    -------
    int
        Events that were written.
    """
    if not found:
        return 0
    slide_id, written = now.slide_id, 0
    session.source = source
    try:
        if session.hidden:
            session.reveal(SHOWN)
        for key, name, rings in found.drawn:
            session.set_region(slide_id, key, name, rings)
            written += 1
        for key in found.erased:
            session.remove_region(slide_id, key)
            written += 1
        if found.classes:
            places = now.cells.read("xy_px0").tolist()
            for name, rows in sorted(found.classes.items()):
                xy = tuple((places[row][0], places[row][1]) for row in rows)
                edit = CellEdit(slide_id, now.detector, now.store, tuple(rows), xy, name)
                written += bool(session.correct_cells(edit))
        for key, outline, name in found.renewed:
            session.change_cell(slide_id, key, name, outline)
            written += 1
        for key in found.removed:
            session.remove_cell(slide_id, key)
            written += 1
        for outline, name in found.missed:
            session.add_cell(slide_id, now.detector, outline, name, now.store)
            written += 1
    finally:
        session.source = ""
    return written


def take_back(session: ReviewSession, source: str) -> int:
    """Undo every action that came from a file, as long as nothing was done after it.

    Returns
    -------
    int
        Actions that were undone.
    """
    undone = 0
    while session.state.undoable and session.state.undoable[-1].source == source:
        session.undo()
        undone += 1
    return undone
