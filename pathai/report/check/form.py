"""Form of a statement's text: characters, length, one sentence, slots that stand free."""

import re
import unicodedata

from pathai.drafters.base import CITE, MAX_LETTERS, MIN_LETTERS, SLOT, TERM
from pathai.report.check.lexicon import Lexicon
from pathai.report.records import Problem

HUMAN_LETTERS = 400
HUMAN_MARKS = " ,.;:()'’-–—/\"“”«»?!\u00a0\u202f"
ADDRESS = re.compile(
    r"://|www\.|@|\b(?:https?|ftp|mailto|javascript|file)\b|\w\.[a-z]{2,6}\b", re.IGNORECASE
)
ROMAN = re.compile(r"M{0,3}(?:C[MD]|D?C{0,3})(?:X[CL]|L?X{0,3})(?:I[XV]|V?I{0,3})")
RANKED = re.compile(r"(?i:grade|stage|type|class|pattern|group|score|level|stade|groupe|"
                    r"grado|estadio|grupo|clase|tipo)\s+I\b")  # fmt: skip
TOKEN = re.compile(rf"{SLOT.pattern}|{TERM.pattern}|{CITE.pattern}")


def marked(text: str) -> str:
    """``text`` with marks for its slots: #F value, #P words of a prediction, #T term."""
    text = TERM.sub(lambda m: " #P " if m[1] == "predicted" else " #T ", CITE.sub(" ", text))
    return SLOT.sub(" #F ", text)


def check_form(text: str, lexicon: Lexicon, *, human: bool) -> list[Problem]:
    """Characters, numbers outside of slots, length and sentence."""
    outside = TOKEN.sub(" ", text)
    if any(c.isnumeric() for c in outside):
        return [Problem(code="digit", message="a number stands outside a slot")]
    if ADDRESS.search(outside.rstrip(" .")):
        return [Problem(code="markup", message="an address or a command")]
    if _strange(outside, lexicon, human=human):
        return [Problem(code="characters", message="a character that is not allowed")]
    if _roman(outside):
        return [Problem(code="number_word", message="a Roman numeral")]
    return _free_slots(text) + _one_sentence(text, human=human)


def _strange(outside: str, lexicon: Lexicon, *, human: bool) -> bool:
    if not human:
        return not re.fullmatch(rf"[{lexicon.letters}]*", outside)
    # NFKC of a no-break space is a space; every other compatibility form is a disguise.
    plain = outside.translate({0xA0: " ", 0x202F: " "})
    if unicodedata.normalize("NFKC", plain) != plain:
        return True
    return any(
        c not in HUMAN_MARKS
        and not (c.isalpha() and unicodedata.name(c, "").startswith("LATIN "))
        for c in outside
    )  # fmt: skip


def _roman(outside: str) -> bool:
    """Upper-case numerals; a lone I is a word except behind what is counted with it."""
    upper = re.findall(r"(?<![\w'’])[IVXLCDM]+(?![\w'’])", outside)
    lower = re.findall(r"(?<![\w'’])(?:ii|iii|iv|vi|vii|viii|ix|xi|xii)(?![\w'’])", outside)
    numerals = [w for w in upper if ROMAN.fullmatch(w) and w not in ("I", "D", "C", "L", "M")]
    return bool(numerals or lower or RANKED.search(outside))


def _free_slots(text: str) -> list[Problem]:
    """A slot glued to a letter, dash or sign would print another word or number."""
    for found in TOKEN.finditer(text):
        before, after = text[: found.start()][-1:], text[found.end() :]
        if not re.match(r"$|[ (\u00a0\u202f'’«“]", before):
            return [Problem(code="characters", message="something is glued to a slot")]
        if not re.match(r"$|[ ,.;:)\u00a0\u202f»”]|['’]s\b", after):
            return [Problem(code="characters", message="something is glued to a slot")]
    return []


def _one_sentence(text: str, *, human: bool) -> list[Problem]:
    body = CITE.sub("", text).rstrip()
    longest = HUMAN_LETTERS if human else MAX_LETTERS
    if not MIN_LETTERS <= len(body) <= longest or not body.endswith("."):
        return [Problem(code="length", message="not one sentence of usual length")]
    if TOKEN.sub("", body).count(".") != 1 or re.search(r"[?!]", TOKEN.sub("", body)):
        return [Problem(code="length", message="more than one sentence")]
    if not (text[:1].isupper() or text.startswith("{")):
        return [Problem(code="characters", message="it does not begin like a sentence")]
    clauses = [*marked(body).split(";"), re.split("[–—]", marked(body))[-1]]
    if any(not re.search("#[FTP]", clause) for clause in clauses):
        return [Problem(code="second_claim", message="a second claim without a finding")]
    return []
