"""Rules that hold for every organ: sides, and values that were corrected."""

from pathai.finding import Finding, Quantity
from pathai.rules.board import Board


def apply(board: Board) -> None:
    """Flags, and the density that follows from a corrected count."""
    _densities(board)
    _sides(board)
    _stale(board)


def _sides(board: Board) -> None:
    """One flag for all values of a specimen that are of another side than it."""
    wrong: dict[str, list[Finding]] = {}
    for finding in board.all():
        side = board.side(finding)
        if side and finding.laterality and side != finding.laterality:
            wrong.setdefault(finding.specimen_id, []).append(finding)
    for found in wrong.values():
        board.contradict("laterality", *found)


def _densities(board: Board) -> None:
    for count in board.with_values("cells.count"):
        area = board.at(count, "cells.analyzed_area_mm2")
        pair = (count.value, area.value if area else None)
        if count.status != "observed" or not area:
            continue
        if isinstance(pair[0], Quantity) and isinstance(pair[1], Quantity) and pair[1].value > 0:
            value = Quantity(value=pair[0].value / pair[1].value, unit="1/mm2")
            board.derive("density", "cells.density_per_mm2", value, (count, area))


def _stale(board: Board) -> None:
    """A measured value of which a parent was corrected is not measured of what stands there now."""
    by_id: dict[str, Finding] = {f.id: f for f in board.all()}
    for finding in board.all():
        if finding.status != "measured":
            continue
        for parent in (by_id[p] for p in finding.parents if p in by_id):
            if parent.status == "observed":
                board.contradict("parent_corrected", finding, parent)
