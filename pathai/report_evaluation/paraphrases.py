"""True sentences in other words than the template's, which a verifier should let pass.

The patterns are written by hand, as reports are worded. They are combined from an opening and a
core; every one says exactly what the finding holds, and nothing else.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

__all__ = ["paraphrases", "variants"]

OPENINGS = (
    "",
    "On this slide, ",
    "In this specimen, ",
    "Here, ",
    "For this slide, ",
    "In this case, ",
    "In the analyzed tissue, ",
    "By measurement, ",
)
MEASURED = (
    "the {T} is {F}.",
    "the {T} was {F}.",
    "the {T} was found to be {F}.",
    "the measured {T} is {F}.",
    "the value of the {T} is {F}.",
    "{T}: {F}.",
    "{T} was measured as {F}.",
    "a value of {F} was found for the {T}.",
    "{F} was measured for the {T}.",
    "the {T} was determined as {F}.",
    "the analysis gives {F} for the {T}.",
    "the result for the {T} is {F}.",
)
OBSERVED = (
    "the {T} was entered as {F}.",
    "the {T} was entered by a person as {F}.",
    "the entered {T} is {F}.",
    "{F} was entered for the {T}.",
    "{T}, as entered: {F}.",
    "the value entered for the {T} is {F}.",
    "a person entered {F} for the {T}.",
    "{T} (entered): {F}.",
)
PREDICTED = (
    "{T:predicted} for {T}: {F}.",
    "the {T:predicted} for the {T} is {F}.",
    "{T:predicted} of the {T}: {F}.",
    "the {T} has the {T:predicted} {F}.",
    "for the {T}, the {T:predicted} is {F}.",
    "the {T:predicted} gives {F} for the {T}.",
    "{T}, by {T:predicted}: {F}.",
    "{T} ({T:predicted}): {F}.",
)
VALUELESS = (
    "the {T} was {F}.",
    "{T}: {F}.",
    "the {T} is {F}.",
    "the {T} is reported as {F}.",
    "the {T} remains {F}.",
    "{T} is given as {F}.",
    "the result for the {T} is {F}.",
    "status of the {T}: {F}.",
)
FRAMES = {"measured": MEASURED, "observed": OBSERVED, "predicted": PREDICTED}


def variants(status: str) -> list[str]:
    """Patterns for a finding of this status, with ``{T}`` and ``{F}`` for its term and value."""
    measured = status == "measured"
    openings = [o for o in OPENINGS if measured or not o.startswith("By measurement")]
    return [o + core for o, core in product(openings, FRAMES.get(status, VALUELESS))]


def paraphrases(finding: Mapping[str, Any]) -> list[str]:
    """Texts with slots that say what ``finding`` holds."""
    term, slot = "{T:" + finding["key"] + "}", "{" + finding["id"] + "}"
    return [t.replace("{T}", term).replace("{F}", slot) for t in variants(finding["status"])]
