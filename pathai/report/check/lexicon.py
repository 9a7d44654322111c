"""The words of a language that the verifier knows, from ``pathai/report/lexicon-<code>.yaml``."""

import re
import unicodedata
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import yaml

from pathai.errors import PathaiError

LANGUAGES = ("en", "fr", "es")
LOOKALIKE = str.maketrans("ıłøđħŧŋ", "ilodhtn")
"""Letters that have no accent to take off and still look like another one."""
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|#T|#F|#P")


class Lexicon(NamedTuple):
    """Closed vocabulary and reasons of refusal of one language."""

    language: str
    letters: str
    words: dict[str, frozenset[str]]
    only_before: dict[str, frozenset[str]]
    claims: dict[str, frozenset[str]]
    affirming: frozenset[str]
    asserting: frozenset[str]
    frames: tuple[str, ...]
    forbidden: dict[str, frozenset[str]]
    phrases: tuple[tuple[str, re.Pattern[str]], ...]
    sides: dict[str, str]
    sites: frozenset[str]
    subjects: frozenset[str]
    absent: re.Pattern[str]
    decimal: str
    group: str


@lru_cache(maxsize=len(LANGUAGES))
def lexicon(language: str) -> Lexicon:
    """The lexicon of ``language``.

    Raises
    ------
    PathaiError
        E203 for a language without a lexicon: nothing can be verified in it.
    """
    if language not in LANGUAGES:
        raise PathaiError("E203", f"no lexicon of language {language!r}", "use en, fr or es")
    text = files("pathai.report").joinpath(f"lexicon-{language}.yaml").read_text("utf-8")
    data = yaml.safe_load(text)

    def lists(part: str) -> dict[str, frozenset[str]]:
        return {kind: _words(words) for kind, words in data[part].items()}

    phrases = []
    for kind, several in data["phrases"].items():
        spaced = "|".join(r"\s+".join(map(re.escape, one.split())) for one in several)
        phrases.append((kind, re.compile(rf"(?<!\w)(?:{spaced})(?!\w)", re.IGNORECASE)))
    return Lexicon(
        language=language,
        letters=data["letters"],
        words=lists("words"),
        only_before={bare(word): after for word, after in lists("only_before").items()},
        claims=lists("claims"),
        affirming=_words(data["affirming"]),
        asserting=_words(data["asserting"]),
        frames=tuple(data["frames"]),
        forbidden=lists("forbidden"),
        phrases=tuple(phrases),
        sides={bare(word): side for word, side in data["sides"].items()},
        sites=_words(data["sites"]),
        subjects=_words(data["subjects"]),
        absent=re.compile(data["absent"], re.IGNORECASE),
        decimal=data["numbers"]["decimal"],
        group=data["numbers"]["group"],
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(bare(word) for word in text.split())


@lru_cache(maxsize=1)
def foreign_sides() -> dict[str, str]:
    """Words of laterality of every language: a side may not hide in another language."""
    return {word: side for code in LANGUAGES for word, side in lexicon(code).sides.items()}


@lru_cache(maxsize=8192)  # the same few words stand in every sentence
def bare(word: str) -> str:
    """A word without accents and case, so that ``pérínéural`` is still the clinical term."""
    split = unicodedata.normalize("NFKD", word.casefold().translate(LOOKALIKE))
    return "".join(c for c in split if not unicodedata.combining(c))
