"""What cannot be true together of one specimen, by the table beside this file."""

from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from pathai.finding import Category, Finding, Prediction, Quantity, plain
from pathai.rules.board import Board, entered, place_of
from pathai.rules.tables import exclusions, tumor_labels

MALIGNANT = ("in_situ", "invasive", "other_malignant")


def apply(board: Board) -> None:
    """Flag what the diagnosis excludes, keys of two organs, and models that say the opposite."""
    diagnoses = [f for f in board.with_values("diagnosis.category") if _code(f)]
    for diagnosis in diagnoses:
        _of_diagnosis(board, diagnosis, diagnoses)
    _organs(board)


def _code(finding: Finding) -> str:
    return finding.value.code if isinstance(finding.value, Category) else ""


def _of_diagnosis(board: Board, diagnosis: Finding, diagnoses: list[Finding]) -> None:
    """With several diagnoses of a specimen, each speaks for its own slides alone."""
    alone = not any(board.together(diagnosis, other) for other in diagnoses if other != diagnosis)
    near = [f for f in board.all() if f != diagnosis and board.together(diagnosis, f)]
    here = set(place_of(diagnosis))
    near = [f for f in near if alone or set(place_of(f)) <= here]
    measured: list[Finding] = []
    for rule, row in exclusions()["diagnoses"].items():
        if _code(diagnosis) not in row["diagnosis"]:
            continue
        against = [f for f in near if _excluded(f, row["against"])]
        given = [f for f in against if f.status == "observed"]
        measured += [f for f in against if f.status == "measured" and f not in measured]
        if given:
            board.contradict(rule, diagnosis, *given)
    if measured:
        board.contradict("diagnosis_measured", diagnosis, *measured)
    for model in near:
        tumor = _predicted(model)
        wrong = _code(diagnosis) in (MALIGNANT if tumor is False else ("benign",))
        if tumor is not None and wrong:
            board.contradict("diagnosis_predicted", diagnosis, model)


def _excluded(finding: Finding, against: dict[str, Any]) -> bool:
    if finding.value is None or finding.status not in ("measured", "observed"):
        return False
    for pattern, wanted in against.items():
        if not fnmatchcase(finding.key, pattern):
            continue
        if isinstance(wanted, list):
            return _code(finding) in wanted
        if wanted != "any" and isinstance(finding.value, Quantity):
            return bool(wanted == ("above_zero" if finding.value.value > 0 else "zero"))
        return bool(wanted == "any")
    return False


def _predicted(finding: Finding) -> bool | None:
    """What a model of tumor says for certain of its own set; None for everything else."""
    value, (models, yes, no) = finding.value, tumor_labels()
    if finding.status != "predicted" or not isinstance(value, Prediction):
        return None
    if finding.key.split(".")[0] not in models:
        return None
    kept = {plain(label) for label in (*value.set, value.label)}
    return True if kept <= yes else False if kept <= no else None


def _organs(board: Board) -> None:
    """Entries on keys of two organs; an unnamed specimen may be several things."""
    found: dict[str, list[Finding]] = {}
    for organ, heads in exclusions()["organs"].items():
        found[organ] = [f for f in board.all() if entered(f) and f.key.split(".")[0] in heads]
    for one, other in combinations(found.values(), 2):
        left = [f for f in one if any(_one_place(board, f, g) for g in other)]
        right = [g for g in other if any(_one_place(board, f, g) for f in one)]
        for specimen in sorted({f.specimen_id for f in left}):
            group = [f for f in (*left, *right) if f.specimen_id == specimen]
            board.contradict("organs", *group)


def _one_place(board: Board, one: Finding, other: Finding) -> bool:
    shared = set(place_of(one)) & set(place_of(other))
    return bool(shared) or (bool(one.specimen_id) and board.together(one, other))
