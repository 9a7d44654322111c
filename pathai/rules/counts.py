"""Parts are not more than their whole: classes, circles, regions and areas of a slide."""

from collections.abc import Iterable
from decimal import Decimal
from fnmatch import fnmatchcase

from pathai.finding import Finding, Quantity
from pathai.rules.board import Board, place_of

PARTS = {
    "cells.count": ("cells.count.*", "hotspot_*mm2.*", "in_tumor.count", "region.*.count"),
    "tissue.area_mm2": ("cells.analyzed_area_mm2", "in_tumor.area_mm2", "region.*.area_mm2"),
}
"""Of a slide, each by itself; what was measured alone is a matter of its own tests."""
SPLIT = ("cells.count.positive", "cells.count.negative")


def apply(board: Board) -> None:
    """Flag parts beyond their whole where a person entered one of them."""
    for key, patterns in PARTS.items():
        for whole in board.with_values(key):
            parts = [f for f in _beside(board, whole) if _any(f.key, patterns)]
            wrong = [f for f in parts if _number(f) > _number(whole) and _given(whole, f)]
            split = [f for f in parts if f.key in SPLIT]
            if _given(whole, *split) and sum(_number(f) for f in split) > _number(whole):
                wrong += [f for f in split if f not in wrong]
            if wrong:
                board.contradict("part_over_whole", whole, *wrong)
    for area in board.with_values("mitoses.area_mm2"):
        slides = set(place_of(area))
        here = [f for f in board.with_values("tissue.area_mm2") if slides & set(place_of(f))]
        if here and _number(area) > sum(_number(f) for f in here):
            board.contradict("part_over_whole", *here, area)


def _beside(board: Board, whole: Finding) -> Iterable[Finding]:
    held = (f for f in board.all() if f.status in ("measured", "observed"))
    return [f for f in held if f.id != whole.id and board.at(whole, f.key) == f]


def _any(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _number(finding: Finding) -> Decimal:
    return finding.value.value if isinstance(finding.value, Quantity) else Decimal(0)


def _given(*findings: Finding) -> bool:
    return any(f.status == "observed" for f in findings)
