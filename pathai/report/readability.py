"""Reading grade of an English text by the Flesch-Kincaid formula."""

import re

VOWELS = re.compile(r"[aeiouy]+")
LE = re.compile(r"[^aeiouy]le[sd]?$")
# "es" sounds behind a hissing sound (boxes), "ed" behind t and d (counted).
SILENT_ES = re.compile(r"(?<![aeiouy])(?<!s)(?<!x)(?<!z)(?<!c)(?<!g)(?<!sh)(?<!ch)es$")
SILENT_ED = re.compile(r"(?<![td])ed$")
APART = re.compile(r"i[ao](?!u)(?<![ct]ia)(?<![cstgx]io)|eo(?!us)|ua(?!r)|[^q]uous|iu|oing|ying|yi")
"""Neighboring vowels that are spoken apart (di-agnosis, ra-di-o)."""
WORD = re.compile(r"[A-Za-z]+(?:['’][a-z]+)?|[0-9]+")
SENTENCE = re.compile(r"[.!?:]+(?=\s|$)")


def syllables(word: str) -> int:
    """Syllables of an English word, by rules of spelling; a digit counts as one.

    Examples
    --------
    >>> syllables("report"), syllables("sample"), syllables("cells")
    (2, 2, 1)
    """
    word = re.sub(r"['’](?:s|t|re|ll|ve|d)$", "", word.casefold())
    if word.isdigit():
        return len(word)
    if len(word) <= 3 and not word.endswith("y"):
        return max(1, len(VOWELS.findall(word)) - bool(re.search("[^aeiouy]e$", word)))
    body = word
    extra = len(APART.findall(word))
    if LE.search(word):
        body = re.sub("[sd]$", "", word)
    elif SILENT_ED.search(word) or SILENT_ES.search(word):
        body = word[:-2] + ("e" if word[-3:-2] in "aeiou" else "")
    elif re.search("[^aeiouy]e$", word):
        body = word[:-1]
    return max(1, len(VOWELS.findall(body)) + extra)


def reading_grade(text: str) -> float:
    """Flesch-Kincaid grade level: years of US schooling that a text asks for.

    Parameters
    ----------
    text : str
        Plain English sentences.

    Returns
    -------
    float
        ``0.39 words/sentences + 11.8 syllables/words - 15.59``; 0 for a text without words.

    References
    ----------
    Kincaid JP, Fishburne RP, Rogers RL, Chissom BS. Derivation of new readability formulas
    (Automated Readability Index, Fog Count and Flesch Reading Ease Formula) for Navy enlisted
    personnel. Research Branch Report 8-75, Naval Technical Training Command, 1975.
    """
    words = WORD.findall(text)
    if not words:
        return 0.0
    sentences = max(1, len(SENTENCE.findall(text)))
    spoken = sum(syllables(word) for word in words)
    return 0.39 * len(words) / sentences + 11.8 * spoken / len(words) - 15.59
