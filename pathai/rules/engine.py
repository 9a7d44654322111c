"""All rules over all findings of a case."""

from collections.abc import Callable, Sequence

from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Evidence, Finding, Key, Method, registry
from pathai.rules import (
    case_rules,
    cores,
    counts,
    exclusions,
    gleason,
    mismatch,
    nottingham,
    receptors,
)
from pathai.rules.board import Board
from pathai.rules.places import common_stain, whole_places

RULES: tuple[Callable[[Board], None], ...] = (
    gleason.apply,
    nottingham.apply,
    receptors.apply,
    mismatch.apply,
    cores.apply,
    counts.apply,
    case_rules.apply,
    exclusions.apply,
)


def apply(case: CaseFindings, requires: Sequence[str] = ()) -> CaseFindings:
    """A case with what follows from its findings; applying it twice changes nothing.

    Parameters
    ----------
    case : CaseFindings
        Findings; what rules derived of them before is derived anew.
    requires : sequence of str
        Keys that the report's layout asks for. Where a specimen has none of a key, a line says
        that it was not assessed. A key with ``*`` asks for nothing by itself.

    Returns
    -------
    CaseFindings
        Sealed; ids of findings that were there are kept.

    Raises
    ------
    PathaiError
        E200 for a required key that the registry does not have, or that is always there.
    """
    board = Board(case, requires)
    run_rules(board, case, requires)
    return board.result()


def run_rules(board: Board, case: CaseFindings, requires: Sequence[str]) -> None:
    """Apply every rule, then set down lines for what is required and missing."""
    for rule in RULES:
        rule(board)
    for key in dict.fromkeys(requires):
        row = registry().find(key.replace("*", "x"))
        if "not_assessed" not in row.statuses:
            raise PathaiError("E200", f"{key} cannot be required: it is always there")
        if "*" not in key:
            _require(board, case, key, *_absence(row))


def _absence(row: Key) -> tuple[Method, str]:
    """What would have given a value, and why there is none."""
    if "rule" in row.methods:
        return Method(name="rules", version="1", kind="rule"), "needs_entries"
    if "measured" not in row.statuses and "manual" in row.methods:
        return Method(name="reader", version="1", kind="manual"), "person_only"
    return Method(name="none", version="1", kind=row.methods[0]), "not_run"


def _require(board: Board, case: CaseFindings, key: str, method: Method, note: str) -> None:
    for specimen, slides in whole_places(case, key):
        found = [f for f in board.all() if f.key == key and f.specimen_id == specimen.specimen_id]
        if any(board.covers(f, slides) for f in found):
            continue
        board.put(
            Finding(
                id=board.id_for(key, slides, specimen.specimen_id),
                key=key,
                specimen_id=specimen.specimen_id,
                laterality=specimen.laterality,
                stain=common_stain(case, slides),
                status="not_assessed",
                note=note,
                method=method,
                evidence=tuple(Evidence(slide_id=slide) for slide in slides),
            )
        )
