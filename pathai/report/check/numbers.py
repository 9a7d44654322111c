"""Numbers and units of a printed sentence, read back and compared with the finding.

What is expected is computed here from the finding, independently of the renderer.
"""

import re
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import NamedTuple

from pathai.drafters.base import CITE
from pathai.finding import (
    Category,
    Finding,
    PredictedNumber,
    Prediction,
    Quantity,
    Sum,
    registry,
)
from pathai.report.check.lexicon import lexicon
from pathai.report.check.printed import category_words, term_words
from pathai.report.records import Problem

SPACE = " \u00a0\u202f\u2009"
UNITS = {
    "%": "%",
    "1/mm2": r"(?:(?:per|par|por)[ \u00a0\u202f]|/)mm²",
    "mm2": "mm²",
    "um": "[µμ]m",
    "mm": r"mm(?![²\w])",
}
"""UCUM code and how a unit is read, the longer ones first."""
UNIT = re.compile("|".join(f"(?P<u{i}>{words})" for i, words in enumerate(UNITS.values())))
ABSENT = ("not_", "no_", "negative", "absent")
PRESENT = ("present", "positive", "low_positive", "amplified", "intact")
"""Beginnings of codes whose printed words must, or must not, hold a negation."""
CODE_NUMBER = re.compile(r"[0-9]+")


class Printed(NamedTuple):
    """A number and its UCUM unit; None accepts any unit."""

    value: Decimal
    unit: str | None = ""


@lru_cache(maxsize=4)
def _number(language: str) -> re.Pattern[str]:
    book = lexicon(language)
    group, decimal = re.escape(book.group), re.escape(book.decimal)
    if book.group == " ":
        group = r"[\u00a0\u202f]"
    # A name such as Ki-67, E110 or F12 is no number.
    grouped = rf"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+(?![0-9])|[0-9]+"
    return re.compile(rf"(?<![\w.-])[−]?(?:{grouped})(?:{decimal}[0-9]+)?")


def read(text: str, language: str = "en") -> list[Printed]:
    """Numbers with their units, in order; digits inside names (Ki-67, E110) are not numbers."""
    book, found = lexicon(language), []
    for match in _number(language).finditer(text):
        digits = re.sub(f"[{SPACE}]", "", match[0].replace("−", "-"))
        if book.group != " ":
            digits = digits.replace(book.group, "")
        rest = text[match.end() :].lstrip(SPACE)
        unit = UNIT.match(rest)
        name = list(UNITS)[int(unit.lastgroup[1:])] if unit and unit.lastgroup else ""
        found.append(Printed(Decimal(digits.replace(book.decimal, ".")), name))
    return found


def read_numbers(text: str, language: str = "en") -> list[Decimal]:
    """Numbers printed in a text, without their units."""
    return [number.value for number in read(text, language)]


def expected_numbers(finding: Finding, language: str = "en") -> list[Decimal]:
    """Numbers that a sentence about ``finding`` prints, in order."""
    return [number.value for number in expected(finding, language)]


def expected(finding: Finding, language: str = "en") -> list[Printed]:
    """Numbers and units that a sentence about ``finding`` prints, in order."""
    value = finding.value
    if finding.status not in ("measured", "observed", "predicted") or value is None:
        return []
    if isinstance(value, Quantity):
        return list(_of_quantity(value, finding.key))
    if isinstance(value, Sum):
        return [Printed(Decimal(n)) for n in (*value.parts, sum(value.parts))]
    if isinstance(value, Category):
        words = category_words(finding, language)
        return [Printed(n, None) for n in read_numbers(words, language)]
    if isinstance(value, PredictedNumber):
        return list(_of_predicted_number(value, language))
    return list(_of_prediction(value, finding.key, language))


def _of_quantity(value: Quantity, key: str) -> Iterator[Printed]:
    row = registry().find(key)
    unit = row.unit if row.unit in UNITS else ""

    def seen(number: Decimal) -> Decimal:
        return number.quantize(Decimal(1).scaleb(-row.places(number)), ROUND_HALF_EVEN)

    yield Printed(seen(value.value), unit)
    if value.low is not None and value.high is not None and value.level is not None:
        yield Printed(100 * value.level, "%")
        yield Printed(seen(value.low))
        yield Printed(seen(value.high))
    if value.numerator is not None and value.denominator is not None:
        yield Printed(Decimal(value.numerator))
        yield Printed(Decimal(value.denominator))


def _of_prediction(value: Prediction, key: str, language: str) -> Iterator[Printed]:
    if value.probability is None:
        return
    step = Decimal(1).scaleb(-registry().find(key).decimals)
    chance = value.probability.quantize(step, ROUND_HALF_EVEN)
    if not step <= value.probability <= 1 - step:
        chance = min(max(chance, step), 1 - step)
    yield from (Printed(n, None) for n in read_numbers(value.label, language))
    yield Printed(chance)
    if value.alpha is not None:
        yield Printed(100 * (1 - value.alpha), "%")
        for member in value.set:
            yield from (Printed(n, None) for n in read_numbers(member, language))


def _of_predicted_number(value: PredictedNumber, language: str) -> Iterator[Printed]:
    """Value, numbers of the unit's own words, coverage, and the ends that the interval has."""
    if value.value is None:
        return
    step = Decimal(1).scaleb(-value.decimals)
    answer, *ends = (
        n.quantize(step, ROUND_HALF_EVEN)
        for n in (value.value, value.low, value.high)
        if n is not None
    )
    # The unit is the task's own word; check_numbers looks for it as it is written.
    yield Printed(answer, None)
    yield from (Printed(n, None) for n in read_numbers(value.unit, language))
    if ends and value.alpha is not None:
        yield Printed(100 * (1 - value.alpha), "%")
    yield from (Printed(end) for end in ends)


def check_numbers(rendered: str, finding: Finding, language: str = "en") -> list[Problem]:
    """Compare what is read back from a printed sentence with the finding.

    Parameters
    ----------
    rendered : str
        The sentence as printed.
    finding : Finding
        What it stands on.
    language : str
        Language of the sentence: how it groups digits and marks decimals.
    """
    name = term_words(finding.key, language)
    rest = re.sub(re.escape(name), " ", CITE.sub(" ", rendered), flags=re.IGNORECASE)
    said, wanted = read(rest, language), expected(finding, language)
    if [n.value for n in said] != [n.value for n in wanted]:
        return [Problem(code="rendered", message=f"{finding.id} is not printed as it was found")]
    for one, other in zip(said, wanted, strict=True):
        if other.unit is not None and one.unit != other.unit:
            return [Problem(code="unit", message=f"{finding.id} is printed in another unit")]
    return _check_value_words(rest, finding, language)


def _spaced(text: str) -> str:
    """A text in which every space is the same."""
    return re.sub(r"\s+", " ", text)


def _check_value_words(rest: str, finding: Finding, language: str) -> list[Problem]:
    """Words of a category, label, sum or status, with their polarity."""
    value, book, rest = finding.value, lexicon(language), _spaced(rest)
    wrong = Problem(code="category", message=f"{finding.id} is not printed as it was found")
    if finding.status in ("not_assessed", "failed", "not_detected"):
        negated = bool(book.absent.search(rest))
        return [] if negated else [Problem(code="status", message=f"{finding.id} lacks its status")]
    if isinstance(value, Sum):
        text = r"\s*\+\s*".join(str(part) for part in value.parts)
        return [] if re.search(rf"{text}\s*=\s*{sum(value.parts)}", rest) else [wrong]
    if isinstance(value, Prediction) and value.label:
        return [] if _spaced(value.label) in rest else [wrong]
    if isinstance(value, PredictedNumber) and value.unit:
        return [] if _spaced(value.unit) in rest else [wrong]
    if isinstance(value, Category) and finding.status == "observed":
        return _check_category(rest, finding, value, language)
    return []


def _check_category(rest: str, finding: Finding, value: Category, language: str) -> list[Problem]:
    """The code's own words, the digits that it holds, and its polarity."""
    words, digits = _spaced(category_words(finding, language)), CODE_NUMBER.findall(value.code)
    if words.casefold() not in rest.casefold() or (digits and CODE_NUMBER.findall(words) != digits):
        return [Problem(code="category", message=f"{finding.id} is printed as another category")]
    absent = bool(lexicon(language).absent.search(words))
    if absent != value.code.startswith(ABSENT) and value.code.startswith((*ABSENT, *PRESENT)):
        return [Problem(code="polarity", message=f"{finding.id} is printed with another polarity")]
    return []
