"""Rules over findings: what follows, what contradicts, and which follow-up may be suggested.

Pure functions of a case's findings. Thresholds, texts and sources are in the tables beside this
file; no advice comes from anywhere else.
"""

from pathai.rules.engine import apply
from pathai.rules.entries import Entered, admits, revise
from pathai.rules.tables import contradiction_text, source, suggestion_text

__all__ = [
    "Entered",
    "admits",
    "apply",
    "contradiction_text",
    "revise",
    "source",
    "suggestion_text",
]
