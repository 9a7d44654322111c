"""Errors seeded into a drafter's own text: words and slots, before any value is filled in."""

import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

__all__ = ["TEXT_ERRORS", "TextError"]

Data = Mapping[str, Any]
TextError = Callable[[Random, str, Data, Data], str | None]
"""``(rng, text, finding, case)`` gives the text with the error, or None where it cannot be made."""

NUMBERS = ("42", "7", "0.5", "1,200", "99", "3")
NUMBER_WORDS = ("twice", "three", "half of", "a dozen of", "twenty", "a third of", "hundreds of", "zero", "two in ten", "double")  # fmt: skip
UNITS = ("mm", "percent", "per mm²", "micrometers", "per high-power field", "cm", "%", "mg", "points")  # fmt: skip
NEGATIONS = ("not", "never", "hardly", "no longer")
OPENINGS = ("No evidence of ", "Absence of ", "Negative for ", "There is no ", "Without ", "Free of ")  # fmt: skip
CATEGORIES = ("positive", "negative", "high", "low", "present", "benign", "malignant", "well differentiated", "grade group", "equivocal", "amplified", "deficient")  # fmt: skip
CLINICAL = ("with metastasis", "at the margin", "in keeping with carcinoma", "with vascular invasion", "of advanced stage", "with a poor prognosis", "as in adenocarcinoma", "with necrosis", "in the lymph node", "due to chemotherapy")  # fmt: skip
ADVICE = ("; surgery is recommended", "; consider a repeat biopsy", "; treat with tamoxifen", "; please correlate clinically", "; follow up is advised", "; further testing should be done", "; refer to oncology")  # fmt: skip
COMPARED = ("higher than usual", "elevated", "increased", "within normal limits", "lower than before", "above the threshold", "markedly", "stable", "abnormal")  # fmt: skip
HEDGES = ("probably", "possibly", "certainly", "without doubt", "definitely", "suspicious for", "likely")  # fmt: skip
MARKUP = ("<b>", "[see](http://example.org)", "<script>alert(1)</script>", "**bold**", "{{ 7 }}", "`code`", "{%raw%}", "![x](y)")  # fmt: skip
CITED = ("{K:no-such-entry}", " (see the guideline of the society)", " {K:invented}", " [Ref]", " as in Smith et al.")  # fmt: skip
OTHER_LANGUAGE = ("La valeur de {term} est de {slot}.", "Le résultat pour {term} est {slot}.", "El valor de {term} es {slot}.", "Se observa {term} de {slot}.", "Der Wert von {term} ist {slot}.")  # fmt: skip
LOOKALIKES = {"e": "\u0435", "a": "\u0430", "o": "\u043e", "i": "\u0456"}
SIDES = ("left", "right", "midline", "both", "bilateral")


def _slot(finding: Data) -> str:
    return "{" + finding["id"] + "}"


def _term(finding: Data) -> str:
    return "{T:" + finding["key"] + "}"


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
    return text.replace(_slot(finding), rng.choice(NUMBERS), 1)


def unit_added(rng: Random, text: str, finding: Data, case: Data) -> str:
    del case
    return text.replace(_slot(finding), f"{_slot(finding)} {rng.choice(UNITS)}", 1)


def polarity_flipped(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    del case
    if rng.random() < 0.5:
        verb = re.search(r" (is|was|remains|are|were) ", text)
        if verb:
            return f"{text[: verb.end()]}{rng.choice(NEGATIONS)} {text[verb.end() :]}"
    return f"{rng.choice(OPENINGS)}{_term(finding)}: {_slot(finding)}."


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
    return text.replace(_slot(finding), "{F" + str(len(case["findings"]) + rng.randint(1, 99)) + "}", 1)


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
    words = ("was absent", "was negative", "was not detected", "is zero", "was normal", "was excluded", "was lacking")  # fmt: skip
    return f"The {_term(finding)} {rng.choice(words)}: {_slot(finding)}."


def entry_claimed(rng: Random, text: str, finding: Data, case: Data) -> str | None:
    """A person's entry is claimed for what no person entered."""
    del case
    if finding["status"] not in ("measured", "predicted"):
        return None
    words = ("was confirmed by the pathologist as", "was entered as", "was signed out as")
    return f"The {_term(finding)} {rng.choice(words)} {_slot(finding)}."


def language_mixed(rng: Random, text: str, finding: Data, case: Data) -> str:
    del case, text
    return rng.choice(OTHER_LANGUAGE).format(term=_term(finding), slot=_slot(finding))


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
    "number beside the value": ("number", _adds(NUMBERS)),
    "number word": ("number", _adds(NUMBER_WORDS)),
    "unit added": ("unit", unit_added),
    "polarity flipped": ("polarity", polarity_flipped),
    "not assessed told as negative": ("polarity", unassessed_negated),
    "side named": ("laterality", side_added),
    "category word added": ("category", _adds(CATEGORIES)),
    "slot of another finding": ("other", other_slot),
    "slot of no finding": ("other", foreign_slot),
    "slot repeated or left out": ("other", slot_repeated),
    "term of another key": ("other", other_term),
    "prediction told as a measurement": ("other", hedge_dropped),
    "measurement told as a prediction": ("other", hedge_added),
    "entry by a person claimed": ("other", entry_claimed),
    "clinical term added": ("other", _adds(CLINICAL)),
    "advice added": ("other", _ends(ADVICE)),
    "comparison added": ("other", _adds(COMPARED)),
    "certainty changed": ("other", _adds(HEDGES)),
    "citation invented": ("other", _ends(CITED)),
    "language mixed": ("other", language_mixed),
    "unseen or look-alike characters": ("other", lookalike),
    "markup added": ("other", _adds(MARKUP)),
}
"""Name: (group, how it is made). Groups beside ``other`` must be caught without exception."""
