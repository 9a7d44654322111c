"""Two readers of one case: where they differ, and what settles it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pathai.review.records import Case, Status
from pathai.review.state import State


@dataclass(frozen=True)
class Reading:
    """One reader's log of a case; ``problem`` says why it cannot be read."""

    case_id: str
    reader: str
    status: Status
    events: int
    state: State
    problem: str = ""


@dataclass(frozen=True)
class Disagreement:
    """Something that readers see differently."""

    kind: Literal["sentence", "answer", "cells", "region"]
    what: str
    said: tuple[tuple[str, str], ...]
    slide_id: str = ""
    settled: str = ""


def readings(reviews: Path, case: Case) -> list[Reading]:
    """Every reader's log of a case, in the order of their names."""
    raise NotImplementedError


def compare(reviews: Path, case: Case, readers: Sequence[str] = ()) -> list[Disagreement]:
    """Where readers of a case differ."""
    raise NotImplementedError
