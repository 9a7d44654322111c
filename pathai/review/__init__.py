"""A reader's session on the cases of a run: what there is, what was done, how to take it back.

Pure Python: neither Qt nor napari. The state of a case is a function of its event log alone, so
it is the same after any crash and on any machine.
"""

from pathai.edits import AddedCell, CellEdit, Drawn, Impression
from pathai.review.audit import Checked, audit
from pathai.review.compare import Disagreement, Reading, compare, readings
from pathai.review.records import CASE, Case, Decision, Statement, Status, Verdict
from pathai.review.session import ReviewSession
from pathai.review.state import State, replay
from pathai.review.worklist import Row, filtered, ordered

__all__ = [
    "CASE",
    "AddedCell",
    "Case",
    "CellEdit",
    "Checked",
    "Decision",
    "Disagreement",
    "Drawn",
    "Impression",
    "Reading",
    "ReviewSession",
    "Row",
    "State",
    "Statement",
    "Status",
    "Verdict",
    "audit",
    "compare",
    "filtered",
    "ordered",
    "readings",
    "replay",
]
