"""Errors seeded into a drafter's own text: words and slots, before any value is filled in."""

import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from random import Random
from typing import Any

import yaml

__all__ = ["TEXT_ERRORS", "WORDS", "TextError"]

Data = Mapping[str, Any]
TextError = Callable[[Random, str, Data, Data], str | None]
"""``(rng, text, finding, case)`` gives the text with the error, or None where it cannot be made."""

WORDS: dict[str, tuple[str, ...]] = {
    name: tuple(words)
    for name, words in yaml.safe_load(
        files("pathai.report_evaluation").joinpath("seeds.yaml").read_text("utf-8")
    ).items()
}
"""What is added or put in the place of something, by kind of error."""
LOOKALIKES = {"e": "\u0435", "a": "\u0430", "o": "\u043e", "i": "\u0456"}
SIDES = ("left", "right", "midline", "both", "bilateral")


def _slot(finding: Data) -> str:
    return "{" + str(finding["id"]) + "}"


def _term(finding: Data) -> str:
    return "{T:" + str(finding["key"]) + "}"


def _before_end(text: str, words: str) -> str:
    joint = "" if words[:1] in ";., " else " "
    return f"{text[:-1]}{joint}{words}." if text.endswith(".") else f"{text}{joint}{words}"


def _insert(rng: Random, text: str, finding: Data, words: str) -> str:
    """``words`` before or after the value, before the term, or at the end."""
    slot, term = _slot(finding), _term(finding)
    return rng.choice(
        (
            text.replace(slot, f"{words} {slot}", 1),
            text.replace(slot, f"{slot} {words}", 1),
            text.replace(term, f"{words} {term}", 1),
            _before_end(text, words),
        )
    )


def _adds(choices: tuple[str, ...]) -> TextError:
    def make(rng: Random, text: str, finding: Data, case: Data) -> str:
        del case
        return _insert(rng, text, finding, rng.choice(choices))

    return make


def _ends(choices: tuple[str, ...]) -> TextError:
    def make(rng: Random, text: str, finding: Data, case: Data) -> str:
        del finding, case
        return _before_end(text, rng.choice(choices))

    return make


def number_written(rng: Random, text: str, finding: Data, case: Data) -> str:
    del case
    return text.replace(_slot(finding), rng.choice(WORDS["numbers"]), 1)


def unit_added(rng: Random, text: str, finding: Data, case: Data) -> str:
    del case
    return text.replace(_slot(finding), f"{_slot(finding)} {rng.choice(WORDS['units'])}", 1)


def polarity_flipped(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    del case
    if rng.random() < 0.5:
        verb = re.search(r" (is|was|remains|are|were) ", text)
        if verb:
            return f"{text[: verb.end()]}{rng.choice(WORDS['negations'])} {text[verb.end() :]}"
    return f"{rng.choice(WORDS['openings'])}{_term(finding)}: {_slot(finding)}."


def side_added(rng: Random, text: str, finding: Data, case: Data) -> str:
    own = next(
        (s["laterality"] for s in case["specimens"] if s["specimen_id"] == finding["specimen_id"]),
        "",
    )
    side = rng.choice([s for s in SIDES if s != own])
    return _insert(rng, text, finding, rng.choice((f"on the {side}", f"of the {side} side", side)))


def other_slot(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    others = [f["id"] for f in case["findings"] if f["id"] != finding["id"]]
    return text.replace(_slot(finding), "{" + rng.choice(others) + "}", 1) if others else None


def foreign_slot(rng: Random, text: str, finding: Data, case: Data) -> str:
    return text.replace(
        _slot(finding), "{F" + str(len(case["findings"]) + rng.randint(1, 99)) + "}", 1
    )


def slot_repeated(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    del case
    slot = _slot(finding)
    return rng.choice((_before_end(text, f"and {slot}"), text.replace(slot, "", 1)))


def other_term(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    others = sorted({f["key"] for f in case["findings"]} - {finding["key"]})
    if not others or _term(finding) not in text:
        return None
    return text.replace(_term(finding), "{T:" + rng.choice(others) + "}", 1)


def hedge_dropped(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    del case
    if finding["status"] != "predicted":
        return None
    verb = rng.choice(("is", "was measured as", "was found to be"))
    return f"The {_term(finding)} {verb} {_slot(finding)}."


def hedge_added(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    del case
    if finding["status"] in ("predicted", "indeterminate"):
        return None
    said = rng.choice(("{T:predicted} for ", "By {T:predicted}, "))
    return f"{said}{_term(finding)}: {_slot(finding)}."


def unassessed_negated(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    del case
    if finding["status"] not in ("not_assessed", "failed"):
        return None
    return f"The {_term(finding)} {rng.choice(WORDS['unassessed'])}: {_slot(finding)}."


def entry_claimed(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    """A person's entry is claimed for what no person entered."""
    del case
    derived = finding["status"] == "observed" and finding["method"]["kind"] == "rule"
    if finding["status"] not in ("measured", "predicted") and not derived:
        return None
    words = ("was confirmed by the pathologist as", "was entered as", "was signed out as")
    return f"The {_term(finding)} {rng.choice(words)} {_slot(finding)}."


def language_mixed(rng: Random, text: str, finding: Data, case: Data) -> str:
    del case, text
    return rng.choice(WORDS["other_language"]).format(term=_term(finding), slot=_slot(finding))


def lookalike(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    """Letters of another script, zero width, marks of direction, digits that are none of ours."""
    del finding, case
    places = [m.start() for m in re.finditer(r"[eaoi](?![^{]*\})", text)]
    if not places:
        return None
    at = rng.choice(places)
    mark = rng.choice(("\u200b", "\u202e", "\u2066", "\u00ad", "\ufeff", "\u2062", "\u0301"))
    digit = rng.choice(("\u0663", "\uff17", "\u00b2", "\u2167", "\u2463", "\u00bd"))
    return rng.choice(
        (
            text[:at] + LOOKALIKES[text[at]] + text[at + 1 :],
            text[:at] + mark + text[at:],
            text[: at + 1] + digit + text[at + 1 :],
        )
    )


TEXT_ERRORS: dict[str, tuple[str, TextError]] = {
    "number written": ("number", number_written),
    "number beside the value": ("number", _adds(WORDS["numbers"])),
    "number word": ("number", _adds(WORDS["number_words"])),
    "unit added": ("unit", unit_added),
    "polarity flipped": ("polarity", polarity_flipped),
    "not assessed told as negative": ("polarity", unassessed_negated),
    "side named": ("laterality", side_added),
    "category word added": ("category", _adds(WORDS["categories"])),
    "slot of another finding": ("other", other_slot),
    "slot of no finding": ("other", foreign_slot),
    "slot repeated or left out": ("other", slot_repeated),
    "term of another key": ("other", other_term),
    "prediction told as a measurement": ("other", hedge_dropped),
    "measurement told as a prediction": ("other", hedge_added),
    "entry by a person claimed": ("other", entry_claimed),
    "clinical term added": ("other", _adds(WORDS["clinical"])),
    "advice added": ("other", _ends(WORDS["advice"])),
    "comparison added": ("other", _adds(WORDS["compared"])),
    "certainty changed": ("other", _adds(WORDS["hedges"])),
    "citation invented": ("other", _ends(WORDS["cited"])),
    "language mixed": ("other", language_mixed),
    "unseen or look-alike characters": ("other", lookalike),
    "markup added": ("other", _adds(WORDS["markup"])),
}
"""Name: (group, how it is made). Groups beside ``other`` must be caught without exception."""
