"""Breast: Nottingham score and grade, and the density of mitoses.

References
----------
Elston CW, Ellis IO. Pathological prognostic factors in breast cancer. I. The value of histological
grade in breast cancer. Histopathology 1991;19:403-410.
Cree IA et al. Counting mitoses: SI(ze) matters! Mod Pathol 2021;34:1651-1657.
Garwood F. Fiducial limits for the Poisson distribution. Biometrika 1936;28:437-442.
"""

from decimal import Decimal

from pathai.finding import Category, Finding, Quantity, Sum
from pathai.rules.board import Board, says
from pathai.stats.quantiles import chi2_quantile

PARTS = ("nottingham.tubules", "nottingham.nuclear", "nottingham.mitoses")
LEVEL = 0.95


def nottingham_grade(total: int) -> str:
    """Code of the grade of a sum of 3 to 9; empty outside."""
    bands = says("nottingham_grade")["up_to"]
    return next((str(bands[end]) for end in sorted(bands) if 3 <= total <= end), "")


def apply(board: Board) -> None:
    """Score and grade where all three parts are, and mitoses per area."""
    for first in board.with_values(PARTS[0]):
        parts = [board.at(first, key) for key in PARTS]
        found = [p for p in parts if p is not None and isinstance(p.value, Category)]
        if len(found) == len(PARTS):
            numbers = tuple(int(f.value.code[1:]) for f in found if isinstance(f.value, Category))
            board.derive("nottingham_score", "nottingham.score", Sum(parts=numbers), found)
    for score in board.with_values("nottingham.score"):
        if isinstance(score.value, Sum):
            _parts(board, score, score.value.parts)
            grade = Category(code=nottingham_grade(score.value.total))
            board.derive("nottingham_grade", "nottingham.grade", grade, (score,))
    for count in board.with_values("mitoses.count"):
        area = board.at(count, "mitoses.area_mm2")
        if area is None:
            board.suggest("mitoses_area_missing", count)
        else:
            _density(board, count, area)


def _parts(board: Board, score: Finding, numbers: tuple[int, ...]) -> None:
    """Some parts beside a score that was entered; all three together are compared as a sum."""
    given = [board.at(score, key) for key in PARTS]
    for part, number in zip(given, numbers, strict=True):
        if part is None or None not in given or not isinstance(part.value, Category):
            continue
        if int(part.value.code[1:]) != number:
            board.contradict("nottingham_score", part, score)


def _density(board: Board, count: Finding, area: Finding) -> None:
    if not isinstance(count.value, Quantity) or not isinstance(area.value, Quantity):
        return
    number, mm2 = int(count.value.value), area.value.value
    low, high = poisson_interval(number, LEVEL)
    value = Quantity(
        value=Decimal(number) / mm2,
        unit="1/mm2",
        low=Decimal(repr(low)) / mm2,
        high=Decimal(repr(high)) / mm2,
        level=LEVEL,
    )
    board.derive("mitoses_per_mm2", "mitoses.per_mm2", value, (count, area))


def poisson_interval(count: int, level: float) -> tuple[float, float]:
    """Exact interval of a Poisson mean of which ``count`` were seen (Garwood)."""
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else chi2_quantile(tail, 2 * count) / 2
    return low, chi2_quantile(1 - tail, 2 * count + 2) / 2
