"""True sentences in other words than the template's, which a verifier should let pass.

The patterns are written by hand, as reports are worded. They are combined from an opening and a
core; every one says exactly what the finding holds, and nothing else.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

__all__ = ["paraphrases", "variants"]

OPENINGS = ("", "Here, ", "In this case, ")
OF_SLIDE = ("On this slide, ", "For this slide, ")
OF_SPECIMEN = ("In this specimen, ", "For this specimen, ")
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
    "{F} is the value of the {T}.",
    "{T} was {F}.",
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
    "{T} was entered: {F}.",
    "entered as {F}: the {T}.",
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
    "{T:predicted} {F} for the {T}.",
    "by {T:predicted}, the {T} is {F}.",
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
    "{T} is {F}.",
    "the {T}: {F}.",
)
FRAMES = {"measured": MEASURED, "observed": OBSERVED, "predicted": PREDICTED}


def variants(status: str, openings: tuple[str, ...] = OPENINGS) -> list[str]:
    """Patterns for a finding of this status, with ``{T}`` and ``{F}`` for its term and value."""
    said = (o + core for o, core in product(openings, FRAMES.get(status, VALUELESS)))
    return [text if text[0] == "{" else text[0].upper() + text[1:] for text in said]


def paraphrases(finding: Mapping[str, Any]) -> list[str]:
    """Texts with slots that say what ``finding`` holds, and nothing that it does not."""
    openings: tuple[str, ...] = OPENINGS
    if len({e["slide_id"] for e in finding["evidence"]}) == 1:
        openings += OF_SLIDE
    if finding["specimen_id"]:
        openings += OF_SPECIMEN
    derived = finding["method"]["kind"] == "rule"
    valued = finding["status"] in ("measured", "observed")
    texts = variants("measured" if derived and valued else finding["status"], openings)
    if derived:  # nobody measured it, and nobody entered it
        texts = [t for t in texts if "measured" not in t and "analysis" not in t]
    term, slot = "{T:" + finding["key"] + "}", "{" + finding["id"] + "}"
    return [t.replace("{T}", term).replace("{F}", slot) for t in texts]
