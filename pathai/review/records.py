"""What a reader decides on, and what became of it."""

from dataclasses import dataclass
from typing import Literal

from pathai.review_log import Kind

Status = Literal["unread", "in review", "reviewed", "signed"]
"""In the order in which a case goes through them."""
STATUSES: tuple[Status, ...] = ("unread", "in review", "reviewed", "signed")
Verdict = Literal["accepted", "rejected", "edited"]
CASE = "case"
VERDICTS: dict[Kind, Verdict] = {"accept": "accepted", "reject": "rejected", "edit": "edited"}


@dataclass(frozen=True)
class Statement:
    """A sentence of the draft, as the reader sees it."""

    id: str
    text: str


@dataclass(frozen=True)
class Case:
    """What there is to decide on a case.

    ``findings`` and ``draft`` are digests; both are empty while there is no draft.
    """

    case_id: str
    findings: str = ""
    draft: str = ""
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What became of a sentence, and its words at that moment.

    ``carried`` is the digest of the draft on which it was made, if that is another one: the
    words are the same in both.
    """

    verdict: Verdict
    text: str
    carried: str = ""
