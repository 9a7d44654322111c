"""Read a printed sentence back into what it claims. Nothing here knows pathai's code.

A sentence is taken apart by plain patterns: the name of what it is about, the mark of a model's
answer, numbers with unit, interval and counts, words of a status or a category. What is left over
must be words that say nothing. The names come from the registry's and the catalogs' own files,
which are read as plain data.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

__all__ = ["Book", "Claim", "book", "read_sentence"]

WORDS: dict[str, Any] = yaml.safe_load(
    files("pathai.report_evaluation").joinpath("words.yaml").read_text("utf-8")
)
"""Words that say nothing, that negate, that count, that name a side; per language."""
QUOTED = re.compile("[“«]\\s?([^”»]*?)\\s?[”»]")
NUMBER = {
    "en": r"[-−]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!,?\d)|[-−]?\d+(?:\.\d+)?",
    "fr": r"[-−]?\d{1,3}(?:[\u202f\u00a0 ]\d{3})+(?:,\d+)?(?!\d)|[-−]?\d+(?:,\d+)?",
    "es": r"[-−]?\d{1,3}(?:[\u202f\u00a0 .]\d{3})+(?:,\d+)?(?!\d)|[-−]?\d+(?:,\d+)?",
}
ODD = re.compile(
    "[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""Characters that no sentence prints: controls, zero width, marks of direction."""


@dataclass(frozen=True)
class Book:
    """Names and words of one language, as they are printed."""

    language: str
    rows: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str]
    units: Mapping[str, str]
    terms: Mapping[str, str]
    notes: Mapping[str, str]
    once: tuple[str, ...]
    statuses: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]

    def pattern(self, key: str) -> str:
        """Row of the registry that ``key`` belongs to."""
        if key in self.rows and "*" not in key:
            return key
        for pattern in self.rows:
            shape = re.escape(pattern).replace(r"\*", "[a-z0-9_]+")
            if "*" in pattern and re.fullmatch(shape, key):
                return pattern
        raise KeyError(key)

    def name(self, key: str) -> str:
        """Printed name of ``key``."""
        pattern = self.pattern(key)
        shape = re.escape(pattern).replace(r"\*", "([a-z0-9_]+)")
        match = re.fullmatch(shape, key)
        part = match[1].replace("_", " ") if match and match.groups() else ""
        return self.names[pattern].replace("{name}", part)


@lru_cache(maxsize=4)
def book(language: str = "en") -> Book:
    """Names and words of a language from the registry's and the catalog's files."""
    folder = files("pathai").joinpath("finding_keys")
    registry = yaml.safe_load(folder.joinpath("words.yaml").read_text("utf-8"))
    rows: dict[str, Any] = {}
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name != "words.yaml":
            rows.update(yaml.safe_load(path.read_text("utf-8"))["keys"])
    # A key without "*" is looked up first, as the more special one.
    own = WORDS[language]
    return Book(
        language=language,
        rows=rows,
        names={key: row["name"] for key, row in rows.items()},
        units=dict(registry["units"]),
        terms=dict(registry["terms"]),
        notes={**registry["notes"], **registry["flags"]},
        once=tuple(registry["once_per_slide"]),
        statuses=own["statuses"],
        values=registry["vocabularies"],
    )


@dataclass
class Claim:
    """What a sentence says, and what was left over when all of it was read."""

    keys: tuple[str, ...] = ()
    predicted: int = 0
    entered: bool = False
    status: str = ""
    code: str = ""
    number: Decimal | None = None
    bound: str = ""
    unit: str = ""
    level: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    no_interval: bool = False
    ratio: tuple[int, int] | None = None
    label: str = ""
    members: tuple[str, ...] | None = None
    coverage: Decimal | None = None
    parts: tuple[int, ...] = ()
    total: int | None = None
    category: str = ""
    odd: bool = False
    left: list[str] = field(default_factory=list)


class _Sentence:
    """A sentence from which pieces are taken until nothing that speaks is left."""

    def __init__(self, text: str, book: Book) -> None:
        self.labels: list[str] = []
        self.text = QUOTED.sub(self._keep, text)
        self.book = book
        self.phrases: Mapping[str, str] = WORDS[book.language]["phrases"]
        self.n = f"(?:{NUMBER[book.language]})"

    def _keep(self, match: re.Match[str]) -> str:
        self.labels.append(match[1])
        return f"\u27e6{len(self.labels) - 1}\u27e7"

    def take(self, pattern: str) -> re.Match[str] | None:
        return self._cut(_pattern(pattern).search(self.text))

    def take_phrase(self, phrase: str) -> bool:
        if phrase.casefold() not in self.text.casefold():
            return False
        return self._cut(_phrase(phrase).search(self.text)) is not None

    def _cut(self, match: re.Match[str] | None) -> re.Match[str] | None:
        if match:
            self.text = self.text[: match.start()] + " \u25cb " + self.text[match.end() :]
        return match

    def number(self, text: str) -> Decimal:
        plain = re.sub("[\u202f\u00a0 ]", "", text).replace("−", "-")
        if self.book.language == "en":
            return Decimal(plain.replace(",", ""))
        return Decimal(re.sub(r"\.(?=\d{3}(\D|$))", "", plain).replace(",", "."))

    def label(self, mark: str) -> str:
        return self.labels[int(mark.strip("\u27e6\u27e7"))]


def read_sentence(
    text: str, book: Book, keys: Iterable[str], own_units: Iterable[str] = ()
) -> Claim:
    """What a printed sentence claims.

    Parameters
    ----------
    text : str
        The sentence with its values filled in.
    book : Book
        Names and words of its language.
    keys : iterable of str
        Keys that may be spoken of; those of the case.
    own_units : iterable of str
        Units beside the registry's, which a model's task brings.
    """
    claim = Claim(odd=bool(ODD.search(text)) or unicodedata.normalize("NFC", text) != text)
    sentence = _Sentence(_unquoted(text, book, keys := tuple(keys)), book)
    _take_subject(sentence, claim, keys)
    _take_answer(sentence, claim)
    _take_sum(sentence, claim)
    _take_beside(sentence, claim)
    _take_words(sentence, claim)
    _take_number(sentence, claim, own_units)
    claim.left = re.findall(
        r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+|[^\w\s.,:;()\u25cb'’=-]", sentence.text
    )
    return claim


MARKS = re.compile("[“«]\\s?|\\s?[”»]")


def _unquoted(text: str, book: Book, keys: Iterable[str]) -> str:
    """The text with the quotation marks of names taken off; those of labels stay."""
    for key in keys:
        name = book.name(key)
        if MARKS.search(name):
            text = re.sub(
                re.escape(name).replace(r"\ ", r"\s"),
                lambda m: MARKS.sub("", m[0]),
                text,
                flags=re.IGNORECASE,
            )
    return text


@lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@lru_cache(maxsize=4096)
def _phrase(phrase: str) -> re.Pattern[str]:
    """A phrase on word boundaries, in any case."""
    return re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _name(language: str, key: str) -> str:
    return MARKS.sub("", book(language).name(key))


def _take_subject(sentence: _Sentence, claim: Claim, keys: Iterable[str]) -> None:
    named: dict[str, list[str]] = {}
    for key in keys:
        named.setdefault(_name(sentence.book.language, key), []).append(key)
    predicted = sentence.book.terms["predicted"]
    while sentence.take_phrase(predicted):
        claim.predicted += 1
    for name in sorted(named, key=len, reverse=True):
        if sentence.take_phrase(name):
            claim.keys = tuple(named[name])
            return


def _take_answer(sentence: _Sentence, claim: Claim) -> None:
    say = sentence.phrases
    mark = "(\u27e6\\d+\u27e7)"
    bound = f"(?:({say['above']}|{say['below']}) )?"
    match = sentence.take(f"{mark} {say['probability']} {bound}({sentence.n})")
    if match:
        claim.label = sentence.label(match[1])
        claim.bound = {say["above"]: "above", say["below"]: "below"}.get(match[2] or "", "")
        claim.number = sentence.number(match[3])
    share = f"({sentence.n})[\u202f\u00a0 ]?%"
    many = f"({mark}(?: {say['or']} {mark})*|{say['empty']})"
    match = sentence.take(say["set"].format(share=share, members=many))
    if match:
        claim.coverage = sentence.number(match[1])
        found = re.findall("\u27e6\\d+\u27e7", match[2])
        claim.members = tuple(sentence.label(m) for m in found)


def _take_sum(sentence: _Sentence, claim: Claim) -> None:
    match = sentence.take(r"(?<![\d.,])(\d+(?: \+ \d+)+) = (\d+)(?![.,]?\d)")
    if match:
        claim.parts = tuple(int(p) for p in match[1].split(" + "))
        claim.total = int(match[2])


def _take_beside(sentence: _Sentence, claim: Claim) -> None:
    say, n = sentence.phrases, sentence.n
    share = f"({n})[\u202f\u00a0 ]?%"
    ends = (
        f"(?:{say['from']} (?P<from>{n})|{say['up_to']} (?P<up>{n})"
        f"|(?P<low>{n}) {say['to']} (?P<high>{n}))"
    )
    match = sentence.take(say["interval"].format(share=share, ends=ends) + r"(?!\d)")
    if match:
        claim.level = sentence.number(match[1])
        low, high = match["from"] or match["low"], match["up"] or match["high"]
        claim.low = sentence.number(low) if low else None
        claim.high = sentence.number(high) if high else None
    claim.no_interval = bool(sentence.take(rf"\({say['no_interval']}\)"))
    match = sentence.take(rf"(?<![\d.,])({n}) {say['of']} ({n})(?: {say['nuclei']})?(?![.,]?\d)")
    if match:
        n_, d_ = sentence.number(match[1]), sentence.number(match[2])
        claim.ratio = (int(n_), int(d_)) if n_ == int(n_) and d_ == int(d_) else (-1, -1)
    match = sentence.take(rf"\({say['failed']} ?(E\d{{3}})\)")
    claim.code = match[1] if match else ""


def _take_words(sentence: _Sentence, claim: Claim) -> None:
    for status, words in sorted(sentence.book.statuses.items(), key=lambda x: -len(x[1])):
        if sentence.take_phrase(words):
            claim.status = status
            break
    known = {w for of in sentence.book.values.values() for w in of.values()}
    for words in sorted(known, key=len, reverse=True):
        if sentence.take_phrase(words):
            claim.category = words
            break
    entered = WORDS[sentence.book.language]["entered"]
    claim.entered = bool(
        [w for w in sorted(entered, key=len, reverse=True) if sentence.take_phrase(w)]
    )


def _take_number(sentence: _Sentence, claim: Claim, own: Iterable[str]) -> None:
    if claim.number is not None:
        return
    units = {u for u in (*sentence.book.units.values(), *own) if u}
    some = "|".join(re.escape(u) for u in sorted(units, key=len, reverse=True))
    match = sentence.take(
        rf"(?<![\w.,])({sentence.n})(?:[\u202f\u00a0 ]?({some})(?!\w))?(?![.,]?\d)"
    )
    if match:
        claim.number = sentence.number(match[1])
        claim.unit = match[2] or ""
