"""One language's words, read from ``<language>.yaml`` beside this file."""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import Field

from pathai.errors import PathaiError
from pathai.finding import registry
from pathai.finding_values import Frozen
from pathai.language.numbers import number_text, parse_number, percent_text

Language = Literal["en", "fr", "es"]
LANGUAGES: tuple[Language, ...] = ("en", "fr", "es")
NO_BREAK = "\u00a0"
Words = dict[str, str]


class Sentences(Frozen):
    """Patterns by status, with the places ``{term}``, ``{value}`` and ``{predicted}``."""

    sentence: Words
    item: Words


class Catalog(Frozen):
    """Every word that a document of this language prints beside ids, names and values.

    What a catalog lacks is printed in English; a test holds that none lacks anything.
    """

    schema_version: Literal[1]
    language: Language
    reviewed_by: str = ""
    terms: Words = Field(default_factory=dict)
    names: Words = Field(default_factory=dict)
    units: Words = Field(default_factory=dict)
    counts: Words = Field(default_factory=dict)
    notes: Words = Field(default_factory=dict)
    flags: Words = Field(default_factory=dict)
    engine_flags: Words = Field(default_factory=dict)
    statuses: Words
    valueless: Words
    values: dict[str, Words] = Field(default_factory=dict)
    laterality: Words
    titles: Words
    sentences: Sentences
    phrases: Words

    @property
    def reviewed(self) -> bool:
        """Whether a named person has checked the translation; English is no translation."""
        return self.language == "en" or bool(self.reviewed_by)

    def term(self, key: str) -> str:
        """Display words of a key, or of one of the registry's own terms.

        Raises
        ------
        PathaiError
            E200 if the registry has no such key.
        """
        book = registry()
        if key in book.terms:
            return self.terms.get(key, book.terms[key])
        english = book.find(key).name
        pattern, name = pattern_of(key)
        own = self.terms.get(pattern)
        return english if own is None else own.replace("{name}", self._name(name))

    def _name(self, name: str) -> str:
        return self.names.get(name, name.replace("_", " "))

    def unit(self, unit: str) -> str:
        """What stands after a number of this UCUM unit."""
        return self.units.get(unit, registry().units[unit])

    def counted(self, word: str) -> str:
        """What the two numbers of a ratio count, such as nuclei."""
        return self.counts.get(word, word)

    def status(self, status: str) -> str:
        """A status as a word of its own."""
        return self.statuses[status]

    def no_value(self, status: str) -> str:
        """What is printed in the place of a value that is not there."""
        return self.valueless[status]

    def value(self, key: str, code: str) -> str:
        """Printed words of a category's code, by the vocabulary of its key."""
        book = registry()
        vocabulary = book.find(key).vocabulary
        own = self.values.get(vocabulary, {}).get(code)
        return book.vocabularies[vocabulary][code] if own is None else own

    def note(self, code: str) -> str:
        """The sentence that says why there is no plain value."""
        return self.notes.get(code) or registry().notes[code]

    def flag(self, code: str) -> str:
        """The sentence that a reader must see beside a value."""
        return self.flags.get(code) or registry().flags[code]

    def said(self, code: str) -> str:
        """The sentence of a note or of a flag."""
        return self.note(code) if code in registry().notes else self.flag(code)

    def engine_flag(self, code: str, english: str) -> str:
        """What went wrong while drafting; ``english`` is the drafters' own sentence."""
        return self.engine_flags.get(code, english)

    def side(self, laterality: str) -> str:
        """Words of a side; empty for none."""
        return self.laterality.get(laterality, laterality)

    def title(self, name: str) -> str:
        """Heading of a layout's section."""
        return self.titles[name]

    def sentence(self, status: str, style: str = "sentence") -> str:
        """Pattern of a statement: a whole sentence, or item and value for style ``item``."""
        patterns = self.sentences.item if style == "item" else self.sentences.sentence
        return patterns.get(status, patterns["any"])

    def phrase(self, name: str, **values: object) -> str:
        """Fixed words of a document, their places filled."""
        return self.phrases[name].format_map(values) if values else self.phrases[name]

    def number(self, value: Decimal, decimals: int = 0) -> str:
        """A number as this language prints it."""
        return number_text(value, decimals, self.language)

    def percent(self, value: Decimal, decimals: int = 0) -> str:
        """A number of percent with its sign."""
        return percent_text(value, decimals, self.language)

    def parse(self, text: str) -> Decimal:
        """The number that ``number`` printed; ValueError for anything else."""
        return parse_number(text, self.language)

    def measured(self, number: str, unit: str) -> str:
        """A printed number with the words of its unit; French and Spanish do not break there."""
        joint = " " if self.language == "en" else NO_BREAK
        return f"{number}{joint}{unit}" if unit else number

    def typeset(self, text: str) -> str:
        """Spaces that must not break, where the language writes one before a mark."""
        return re.sub(r" (?=[:;?!»])|(?<=«) ", NO_BREAK, text) if self.language == "fr" else text


@lru_cache(maxsize=4096)
def pattern_of(key: str) -> tuple[str, str]:
    """The registry's pattern that a key follows, and what stands for its ``*``."""
    keys = registry().keys
    if key in keys:
        return key, ""
    for pattern in keys:
        if "*" in pattern:
            found = re.fullmatch(re.escape(pattern).replace(r"\*", "([a-z0-9_]+)"), key)
            if found:
                return pattern, found[1]
    return key, ""


@lru_cache(maxsize=8)
def catalog(language: str = "en") -> Catalog:
    """The words of a language.

    Raises
    ------
    PathaiError
        E191 if pathai has no catalog of it.
    """
    if language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise PathaiError("E191", f"no catalog of language {language!r}", f"try {known}")
    text = files("pathai.language").joinpath(f"{language}.yaml").read_text("utf-8")
    data: Mapping[str, object] = yaml.safe_load(text)
    return Catalog.model_validate(data)
