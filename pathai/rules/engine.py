"""All rules over all findings of a case."""

from collections.abc import Callable, Sequence
from typing import Literal

from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Evidence, Finding, Method, registry
from pathai.rules import case_rules, cores, gleason, mismatch, nottingham, receptors
from pathai.rules.board import Board
from pathai.rules.places import common_stain, whole_places

RULES: tuple[Callable[[Board], None], ...] = (
    gleason.apply,
    nottingham.apply,
    receptors.apply,
    mismatch.apply,
    cores.apply,
    case_rules.apply,
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
        E200 for a required key that the registry does not have.
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
        if not {"manual", "rule"} & set(row.methods):
            raise PathaiError("E200", f"{key} cannot be required: no person enters it")
        if "*" not in key:
            _require(board, case, key, by_hand="rule" not in row.methods)


def _require(board: Board, case: CaseFindings, key: str, *, by_hand: bool) -> None:
    kind: Literal["manual", "rule"] = "manual" if by_hand else "rule"
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
                note="person_only" if by_hand else "needs_entries",
                method=Method(name="reader" if by_hand else "rules", version="1", kind=kind),
                evidence=tuple(Evidence(slide_id=slide) for slide in slides),
            )
        )
