"""Every log of a folder of reviews, checked line by line."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checked:
    """What a check of one log found."""

    case_id: str
    reader: str
    events: int
    head: str
    line: int = 0
    problem: str = ""


def audit(reviews: Path) -> list[Checked]:
    """Check every log below a folder of reviews."""
    raise NotImplementedError
