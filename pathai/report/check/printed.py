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
    plain_keys = [key for key in registry().keys if "*" not in key]
    return frozenset(plain_name(key, language) for key in plain_keys)


def other_names(finding: Finding, case: CaseFindings, language: str) -> set[str]:
    """Names of two words or more that are of other findings, plain."""
    names = _registry_names(language) | {plain_name(f.key, language) for f in case.findings}
    return {name for name in names if " " in name} - {plain_name(finding.key, language)}


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


def watermark(language: str) -> str:
    """What stands on every page of a draft."""
    return catalog(language).phrase("watermark")
