"""Numbers as a language prints them, and back.

English groups thousands with a comma. French and Spanish group them with a narrow no-break space:
a point would be read as an English decimal sign, and the other way round.
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import NamedTuple

from babel import Locale
from babel.numbers import (
    NumberPattern,
    format_percent,
    get_decimal_symbol,
    get_group_symbol,
    parse_pattern,
)

MINUS = "−"
NARROW = "\u202f"
_OWN_GROUP = {"es": NARROW}
"""Group signs that differ from the locale's own."""


class _Signs(NamedTuple):
    theirs: str
    group: str
    decimal: str


@lru_cache(maxsize=8)
def _signs(language: str) -> _Signs:
    locale = _locale(language)
    theirs = get_group_symbol(locale)
    return _Signs(theirs, _OWN_GROUP.get(language, theirs), get_decimal_symbol(locale))


@lru_cache(maxsize=32)
def _form(decimals: int) -> NumberPattern:
    return parse_pattern("#,##0" + ("." + "0" * decimals if decimals else ""))


@lru_cache(maxsize=8)
def _percent(language: str) -> str:
    return format_percent(Decimal(0), locale=language)


@lru_cache(maxsize=8)
def _locale(language: str) -> Locale:
    return Locale(language)


def _own(text: str, language: str) -> str:
    signs = _signs(language)
    return text.replace(signs.theirs, signs.group).replace("-", MINUS)


def number_text(value: Decimal, decimals: int, language: str = "en") -> str:
    """A number with ``decimals`` places, rounded half to even; zero has no sign.

    Examples
    --------
    >>> number_text(Decimal("1234.5"), 1)
    '1,234.5'
    """
    rounded = value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)
    rounded = rounded if rounded else abs(rounded)
    return _own(_form(decimals).apply(rounded, _locale(language)), language)


def percent_text(value: Decimal, decimals: int, language: str = "en") -> str:
    """A number that already is in percent, with the sign where the language puts it."""
    return _percent(language).replace("0", number_text(value, decimals, language))


@lru_cache(maxsize=8)
def number_pattern(language: str = "en") -> re.Pattern[str]:
    """Matches a printed number of the language; digits within a name (Ki-67) are none.

    Digits of groups must be whole, so that ``1,23`` is not read as a number of English.
    """
    signs = _signs(language)
    group, decimal = re.escape(signs.group), re.escape(signs.decimal)
    whole = rf"(?:[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]+)"
    return re.compile(rf"(?<![\w.\-]){MINUS}?{whole}(?:{decimal}[0-9]+)?(?!{decimal}?[0-9])")


def parse_number(text: str, language: str = "en") -> Decimal:
    """The number that ``number_text`` printed.

    Raises
    ------
    ValueError
        If the text is no number as this language prints it.
    """
    if not number_pattern(language).fullmatch(text):
        raise ValueError(f"{text!r} is not a number as {language} prints it")
    signs = _signs(language)
    plain = text.replace(signs.group, "").replace(signs.decimal, ".").replace(MINUS, "-")
    return Decimal(plain)
