"""What the renderer prints, asked for in one place."""

from functools import lru_cache

from pathai import rules
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Category, Finding, registry
from pathai.language import Language, catalog
from pathai.report import render
from pathai.report.check.lexicon import WORD, bare


def filled(text: str, case: CaseFindings, language: str) -> str:
    """A text with its slots filled."""
    return render.render_text(text, case, language)


def notes(finding: Finding, language: str) -> tuple[str, ...]:
    """Fixed sentences beside a finding."""
    return render.note_texts(finding, language)


@lru_cache(maxsize=4096)
def term_words(key: str, language: str) -> str:
    """Display name of a key, as a sentence prints it."""
    return catalog(language).typeset(catalog(language).term(key))


@lru_cache(maxsize=4096)
def plain_name(key: str, language: str) -> str:
    """Words of a key's name, as the words of a text are compared with them."""
    return " ".join(bare(word) for word in WORD.findall(term_words(key, language)))


@lru_cache(maxsize=4)
def _registry_names(language: str) -> frozenset[str]:
    names = (plain_name(key, language) for key in registry().keys if "*" not in key)
    return frozenset(name for name in names if " " in name)


def other_names(finding: Finding, case: CaseFindings, language: str) -> set[str]:
    """Names of two words or more that are of other findings, plain."""
    own = {name for f in case.findings if " " in (name := plain_name(f.key, language))}
    return (_registry_names(language) | own) - {plain_name(finding.key, language)}


def category_words(finding: Finding, language: str) -> str:
    """Printed words of a category."""
    if not isinstance(finding.value, Category):
        return ""
    return catalog(language).typeset(catalog(language).value(finding.key, finding.value.code))


def rule_words(kind: str, rule: str, language: Language) -> str:
    """The table's words for a suggestion or a contradiction; empty for a rule without any."""
    words = rules.suggestion_text if kind == "suggestion" else rules.contradiction_text
    try:
        return words(rule, language)
    except PathaiError:
        return ""


def rule_source(rule: str) -> str:
    """The source that the table names for a rule."""
    try:
        return rules.source(rule)
    except PathaiError:
        return ""


def watermark(language: str) -> str:
    """What stands on every page of a draft."""
    return catalog(language).phrase("watermark")


def other_values(finding: Finding, language: str) -> set[str]:
    """Words of the other codes of a category's list, plain."""
    value = finding.value
    if not isinstance(value, Category):
        return set()
    codes = registry().find(finding.key).values
    words = {_value_words(finding.key, code, language) for code in codes if code != value.code}
    return words - {_value_words(finding.key, value.code, language)}


@lru_cache(maxsize=1024)
def _value_words(key: str, code: str, language: str) -> str:
    """Words of a code; its digits cannot stand in a text anyway."""
    return " ".join(bare(word) for word in WORD.findall(catalog(language).value(key, code)))
