"""The tables of the rules: thresholds, texts in each language, and sources."""

from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field

from pathai.errors import PathaiError
from pathai.finding_registry import plain
from pathai.finding_values import Frozen

Language = Literal["en", "fr", "es"]
DOI = r"^(10\.[0-9]{4,9}/\S+)?$"


class Text(Frozen):
    """Words of a rule in each language, and its source."""

    doi: str = Field(pattern=DOI)
    error: bool = True
    en: str
    fr: str
    es: str


class Table(Frozen):
    """One of the two tables of texts."""

    schema_version: Literal[1]
    rules: dict[str, Text]


@lru_cache(maxsize=8)
def _read(name: str) -> Any:
    return yaml.safe_load(files("pathai.rules").joinpath(f"{name}.yaml").read_text("utf-8"))


@lru_cache(maxsize=1)
def contradictions() -> dict[str, Text]:
    """Rules that find contradictions."""
    return Table.model_validate(_read("contradictions")).rules


@lru_cache(maxsize=1)
def suggestions() -> dict[str, Text]:
    """Rules that suggest a follow-up."""
    return Table.model_validate(_read("suggestions")).rules


def derivations() -> dict[str, dict[str, Any]]:
    """Rules that derive a value, with their thresholds."""
    rules: dict[str, dict[str, Any]] = _read("derivations")["rules"]
    return rules


@lru_cache(maxsize=1)
def derivations_digest() -> str:
    """SHA-256 of the table of derivations, which a derived finding's method carries."""
    text = files("pathai.rules").joinpath("derivations.yaml").read_bytes()
    return sha256(text).hexdigest()


@lru_cache(maxsize=1)
def msi_labels() -> tuple[tuple[str, ...], frozenset[str], frozenset[str]]:
    """How keys of models on MSI begin, and their labels for deficient and for proficient."""
    data = _read("labels")
    deficient, proficient = (
        frozenset(plain(label) for label in data[kind]) for kind in ("deficient", "proficient")
    )
    return tuple(data["models"]), deficient, proficient


@lru_cache(maxsize=1)
def tumor_labels() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """First words of keys of models on tumor, and their labels for tumor and for none."""
    data = _read("labels")["tumor"]
    yes, no = (frozenset(plain(label) for label in data[kind]) for kind in ("present", "absent"))
    return frozenset(data["models"]), yes, no


def exclusions() -> dict[str, Any]:
    """What cannot be true of one specimen together."""
    table: dict[str, Any] = _read("exclusions")
    return table


def contradiction_text(rule: str, language: Language = "en") -> str:
    """Sentence of a contradiction.

    Raises
    ------
    PathaiError
        E191 for a rule that does not exist.
    """
    return _text(contradictions(), rule, language)


def suggestion_text(rule: str, language: Language = "en") -> str:
    """Sentence of a suggestion.

    Raises
    ------
    PathaiError
        E191 for a rule that does not exist.
    """
    return _text(suggestions(), rule, language)


def _text(table: dict[str, Text], rule: str, language: Language) -> str:
    if rule not in table:
        raise PathaiError("E191", f"no rule named {rule!r}", f"rules are {', '.join(table)}")
    words: str = getattr(table[rule], language)
    return words


def source(rule: str) -> str:
    """Digital object identifier of a rule's source; empty where it needs none.

    Raises
    ------
    PathaiError
        E191 for a rule that does not exist.
    """
    for table in (suggestions(), contradictions()):
        if rule in table:
            return table[rule].doi
    if rule in derivations():
        doi: str = derivations()[rule]["doi"]
        return doi
    raise PathaiError("E191", f"no rule named {rule!r}")
