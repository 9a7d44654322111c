"""What the renderer prints, asked for in one place."""

from functools import lru_cache
from importlib import import_module
from typing import Any

from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Finding, registry
from pathai.report import render
from pathai.report.check.lexicon import WORD, bare


def filled(text: str, case: CaseFindings, language: str) -> str:
    """A text with its slots filled."""
    return render.render_text(text, case)


def notes(finding: Finding, language: str) -> tuple[str, ...]:
    """Fixed sentences beside a finding."""
    return render.note_texts(finding)


@lru_cache(maxsize=4096)
def term_words(key: str, language: str) -> str:
    """Display name of a key."""
    return render.term_text(key)


@lru_cache(maxsize=4096)
def plain_name(key: str, language: str) -> str:
    """Words of a key's name, as the words of a text are compared with them."""
    return " ".join(bare(word) for word in WORD.findall(term_words(key, language)))


@lru_cache(maxsize=4)
def _registry_names(language: str) -> frozenset[str]:
    plain_keys = [key for key in registry().keys if "*" not in key]
    return frozenset(plain_name(key, language) for key in plain_keys)


def other_names(finding: Finding, case: CaseFindings, language: str) -> set[str]:
    """Names of two words or more that are of other findings, plain."""
    names = set(_registry_names(language))
    for other in case.findings:
        try:
            names.add(plain_name(other.key, language))
        except PathaiError:
            continue
    return {name for name in names if " " in name} - {plain_name(finding.key, language)}


def category_words(finding: Finding, language: str) -> str:
    """Printed words of a category."""
    return render.value_text(finding)


def _rules() -> Any:
    return import_module("pathai.rules")


def suggestion_words(rule: str, language: str) -> str:
    """The table's words for a suggestion."""
    return str(_rules().suggestion_text(rule, language))


def contradiction_words(rule: str, language: str) -> str:
    """The table's words for a contradiction."""
    return str(_rules().contradiction_text(rule, language))
