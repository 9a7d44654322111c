"""Prostate: Gleason score, Grade Group, and what belongs beside them.

References
----------
van Leenders GJLH et al. The 2019 International Society of Urological Pathology (ISUP) consensus
conference on grading of prostatic carcinoma. Am J Surg Pathol 2020;44:e87-e99.
Epstein JI et al. The 2019 Genitourinary Pathology Society (GUPS) white paper on contemporary
grading of prostate cancer. Arch Pathol Lab Med 2021;145:461-493.
"""

from pathai.finding import Category, Finding, Quantity, Sum
from pathai.rules.board import Board, says


def grade_group(primary: int, secondary: int) -> str:
    """Code of the Grade Group of two patterns (1 to 5); empty where there is none."""
    row = says("gleason_grade_group")
    if primary + secondary <= 6:
        return str(row["up_to_6"])
    return str(row["pairs"].get(f"{primary}+{secondary}", ""))


def apply(board: Board) -> None:
    """Score and Grade Group at each place that has patterns, and their contradictions."""
    for first in board.with_values("gleason.primary"):
        second = board.at(first, "gleason.secondary")
        if second is not None:
            score = Sum(parts=(_pattern(first), _pattern(second)))
            board.derive("gleason_score", "gleason.score", score, (first, second))
    for found in board.with_values("gleason.score"):
        _of_score(board, found)
    for group in board.with_values("gleason.grade_group"):
        asks = isinstance(group.value, Category) and group.value.code in ("gg2", "gg3")
        if asks and board.beside(group, "gleason.pattern4_percent") is None:
            board.suggest("pattern4_missing", group)


def _pattern(finding: Finding) -> int:
    return int(finding.value.code[1:]) if isinstance(finding.value, Category) else 0


def _of_score(board: Board, score: Finding) -> None:
    if not isinstance(score.value, Sum):
        return
    first, second = score.value.parts
    given = [board.at(score, key) for key in ("gleason.primary", "gleason.secondary")]
    for part, number in zip(given, (first, second), strict=True):
        if part is not None and None in given and _pattern(part) != number:
            board.contradict("gleason_score", part, score)
    code = grade_group(first, second)
    if code:
        board.derive("gleason_grade_group", "gleason.grade_group", Category(code=code), (score,))
    else:
        group = board.at(score, "gleason.grade_group")
        board.contradict("gleason_no_group", *([score, group] if group else [score]))
    if min(first, second) < 3:
        board.contradict("gleason_low_pattern", score)
    if 4 in (first, second) and board.beside(score, "prostate.cribriform") is None:
        board.suggest("cribriform_missing", score)
    _of_pattern4(board, score, (first, second))
    positive = board.beside(score, "prostate.cores_positive")
    if positive and isinstance(positive.value, Quantity) and positive.value.value == 0:
        board.contradict("cores_without_tumor", positive, score)


def _of_pattern4(board: Board, score: Finding, parts: tuple[int, int]) -> None:
    share = board.beside(score, "gleason.pattern4_percent")
    if share is None or not isinstance(share.value, Quantity):
        return
    percent = share.value.value
    if 4 not in parts and percent > 0:
        board.contradict("pattern4_absent", share, score)
    wrong = {(3, 4): percent > 50 or percent == 0, (4, 3): percent < 50}
    if wrong.get(parts, False):
        board.contradict("pattern4_order", share, score)
