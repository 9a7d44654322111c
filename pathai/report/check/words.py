"""Words of a text: a closed vocabulary for drafters, reasons of refusal for everybody."""

import re
from functools import lru_cache
from itertools import pairwise

from pathai.finding import CaseFindings, Category, Finding
from pathai.report.check.form import marked
from pathai.report.check.lexicon import WORD, Lexicon, bare
from pathai.report.check.place import check_place, name_words, place_words
from pathai.report.check.printed import other_names, other_values, term_words
from pathai.report.records import Problem

VALUELESS = ("not_assessed", "failed", "not_detected", "indeterminate")
ABSENT_CODES = ("negative", "absent", "none")
REASONS = {
    "number_word": "a number in words",
    "unit": "a unit outside a slot",
    "negation": "a negation outside a slot",
    "comparison": "a comparison that no finding holds",
    "hedge": "a hedge that no finding holds",
    "certainty": "a certainty that no finding holds",
    "clinical_term": "a clinical term without a finding",
    "advice": "advice, which only the rules' table gives",
    "person": "a word about a person",
    "instruction": "an instruction or an address",
}


def check_words(
    text: str, finding: Finding, case: CaseFindings, lexicon: Lexicon, *, human: bool
) -> list[Problem]:
    """Whether each word may stand beside this finding."""
    spoken = words_of(text)
    lower = [word if word.startswith("#") else bare(word) for word in spoken]
    problems = _check_forbidden(text, lower, finding, lexicon)
    problems = problems or check_place(text, spoken, finding, case, lexicon)
    problems = problems or _check_subject(text, lower, finding, case, lexicon)
    problems = problems or _check_status(lower, finding, lexicon)
    return problems or _check_closed(lower, finding, case, lexicon, human=human)


def words_of(text: str) -> list[str]:
    """Words in order, slots as marks; ``isn't`` gives ``is not``, a possessive its noun."""
    plain = re.sub(r"n['’]t\b", " not", marked(text))
    plain = re.sub(r"can not\b", "can not", re.sub(r"['’]s\b", "", plain))
    return WORD.findall(plain)


def _parts(word: str) -> set[str]:
    return {word, *word.split("-")} - {""}


def _check_forbidden(
    text: str, lower: list[str], finding: Finding, lexicon: Lexicon
) -> list[Problem]:
    own = _own_words(finding, lexicon)
    said = {part for word in lower for part in _parts(word)} - own
    for code, words in lexicon.forbidden.items():
        if words & said:
            return [_reason(code)]
    for code, pattern in lexicon.phrases:
        if pattern.search(marked(text)):
            return [_reason(code)]
    return []


def _reason(code: str) -> Problem:
    return Problem(code="polarity" if code == "negation" else code, message=REASONS[code])


def _own_words(finding: Finding, lexicon: Lexicon) -> set[str]:
    """Clinical words of the finding's own name: they are about it, whoever writes them.

    A model's question may be named anything (``high``, ``negative``), so its words count for
    nothing here.
    """
    if finding.status in ("predicted", "indeterminate"):
        return set()
    name = _name(term_words(finding.key, lexicon.language))
    return set(
        name & lexicon.forbidden["clinical_term"] | name & lexicon.subjects | name & lexicon.sites
    )


@lru_cache(maxsize=4096)
def _name(term: str) -> frozenset[str]:
    return frozenset(bare(word) for word in WORD.findall(term))


def _check_subject(
    text: str, lower: list[str], finding: Finding, case: CaseFindings, lexicon: Lexicon
) -> list[Problem]:
    """No name, and no telling word of a name, of anything but this finding."""
    said = {part for word in lower for part in _parts(word)}
    if (said & lexicon.subjects) - _name(term_words(finding.key, lexicon.language)):
        return [Problem(code="subject", message="a word of another finding")]
    plain = " ".join(lower)
    if any(name in plain for name in other_names(finding, case, lexicon.language)):
        return [Problem(code="subject", message="the name of another finding")]
    return []


def _check_status(lower: list[str], finding: Finding, lexicon: Lexicon) -> list[Problem]:
    """No word that says the value came about in another way than it did."""
    said = {part for word in lower for part in _parts(word)}
    ways = _ways(finding)
    fitting = frozenset().union(*(lexicon.words.get(way, frozenset()) for way in ways))
    for status, claims in lexicon.claims.items():
        if status not in ways and (claims & said) - fitting:
            return [Problem(code="status", message=f"it reads as {status}, which it is not")]
    told = _told(lower, lexicon)
    plain = f" {' '.join(told)} "
    if any(f" {words} " in plain for words in other_values(finding, lexicon.language)):
        return [Problem(code="category", message="words of another category")]
    if _absent(finding) and not _left_to_value(told, lexicon):
        return [Problem(code="polarity", message="it affirms what was not found")]
    return []


def _ways(finding: Finding) -> set[str]:
    """How a value came about. What follows from entries was itself neither entered nor measured."""
    if finding.derived:
        return {"derived"}
    if finding.method.kind == "rule":
        return {finding.status, "measured", "derived"}
    return {finding.status}


def _told(lower: list[str], lexicon: Lexicon) -> list[str]:
    """The words without those that say something else here: "in the present case"."""
    pairs = zip(lower, [*lower[1:], ""], strict=True)
    return [word for word, after in pairs if after not in lexicon.only_before.get(word, ())]


def _absent(finding: Finding) -> bool:
    value = finding.value
    if finding.status in VALUELESS or value is None:
        return True
    if not isinstance(value, Category):
        return False
    return value.code.startswith(("not_", "no_")) or value.code in ABSENT_CODES


def _left_to_value(lower: list[str], lexicon: Lexicon) -> bool:
    """Whether affirming words leave the polarity to the value: "was found to be {F7}"."""
    if not lexicon.affirming & set(lower):
        return True
    if {"#F"} & set(lower) and lexicon.asserting & set(lower):
        return False
    before = lower[: lower.index("#F")] if "#F" in lower else []
    return any(before[-len(frame.split()) :] == frame.split() for frame in lexicon.frames)


def _check_closed(
    lower: list[str], finding: Finding, case: CaseFindings, lexicon: Lexicon, *, human: bool
) -> list[Problem]:
    """Any word that is not known to say nothing of the case; a person has some more of them."""
    allowed = lexicon.words["any"] | lexicon.words[finding.phrased]
    if finding.method.kind == "rule":
        allowed |= lexicon.words["measured"] | lexicon.words["derived"]
    allowed |= place_words(finding, case, lexicon)
    if human:
        allowed |= lexicon.words["human"] | name_words(finding, case)
    for word, after in zip(lower, [*lower[1:], ""], strict=True):
        fits = word.startswith("#") or word in allowed or (_parts(word) - {word} and (
            _parts(word) - {word} <= allowed
        ))  # fmt: skip
        if word in lexicon.only_before:
            fits = after in lexicon.only_before[word]
        if not fits:
            return [Problem(code="unknown_word", message="a word outside the vocabulary")]
    if not human and any(a == b and not a.startswith("#") for a, b in pairwise(lower)):
        return [Problem(code="unknown_word", message="a word stands twice in a row")]
    return []
