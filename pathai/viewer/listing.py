"""How the reader wants the worklist: which cases, in which order. Knows no Qt."""

from collections.abc import Sequence
from dataclasses import dataclass

from pathai.review import Row, Status, filtered, ordered
from pathai.review.worklist import By


@dataclass
class Listing:
    """Filter and order of the worklist.

    Parameters
    ----------
    words : str
        Parts of words that a row must hold.
    status : str
        Only this status; empty for all.
    by : str
        What rows are ordered by; ``sheet`` is the order of the sheet.
    backwards : bool
        The other way round.
    """

    words: str = ""
    status: Status | str = ""
    by: By = "sheet"
    backwards: bool = False

    @property
    def narrow(self) -> bool:
        """Whether some cases may be left out."""
        return bool(self.words.strip() or self.status)

    def of(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """The rows that are wanted, in order."""
        statuses = [row.status for row in rows if row.status == self.status]
        if self.status and not statuses:
            return ()
        return ordered(filtered(rows, self.words, statuses), self.by, backwards=self.backwards)
