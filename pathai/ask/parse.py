"""English questions to queries, by a small grammar; what it does not know it names.

::

    question  = words, [condition], [("by" part)]
    condition = and-part {"or" and-part}
    and-part  = term {["and" | "but" | ","] term}
    term      = ["not"] ( "(" condition ")" | place | key predicate | predicate key )
    predicate = sign number [unit] | "between" number "and" number [unit] | status | value
    place     = ("stain" | "site" | "side" | "case") name {"or" name}

A predicate without a key is about the key before it: *Ki-67 above 5 % and below 30 %*.
"""

import re
from decimal import Decimal
from typing import NamedTuple

from pydantic import ValidationError

from pathai.ask.query import (
    All,
    Any,
    Between,
    Compare,
    Condition,
    From,
    Not,
    Query,
    Says,
    Sign,
    Stands,
)
from pathai.ask.vocabulary import Vocabulary, folded, not_understood, words
from pathai.errors import PathaiError

MAX_LETTERS = 500
"""Longest question."""
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?![\w.]*[a-z])")
_WORD = re.compile(r"[^\s,;?()]+|[,;?()]")
_FACTORS = {("cm", "mm"): Decimal(10), ("um", "mm"): Decimal("0.001"), ("mm", "um"): Decimal(1000)}


class _Token(NamedTuple):
    kind: str
    text: str
    value: str = ""


def parse(question: str, known: Vocabulary) -> Query:
    """Translate a question.

    Parameters
    ----------
    question : str
        In English, at most 500 letters.
    known : Vocabulary
        Keys, values and places of the cohort.

    Raises
    ------
    PathaiError
        E213 naming the word that is not understood.
    """
    if not question.strip() or len(question) > MAX_LETTERS:
        raise PathaiError("E213", f"a question has 1 to {MAX_LETTERS} letters")
    return _Parser(_tokens(question, known), known).question()


# --- words to tokens -------------------------------------------------------------------------


def _phrases(known: Vocabulary) -> dict[str, list[_Token]]:
    """Every known phrase with what it can mean; a key goes before the other meanings."""
    table, found = words(), dict[str, list[_Token]]()

    def learn(kind: str, phrases: list[str], value: str = "") -> None:
        for phrase in phrases:
            found.setdefault(folded(phrase), []).append(_Token(kind, phrase, value))

    for phrase, key in known.keys.items():
        learn("key", [phrase], key)
    for kind in ("comparisons", "statuses", "units", "parts"):
        for value, phrases in table[kind].items():
            learn(kind, phrases, value)
    for kind in ("count", "between", "not"):
        learn(kind, table[kind])
    for values in known.values.values():
        for phrase in values:
            learn("value", [phrase])
    for part, names in known.parts.items():
        for phrase in names:
            learn("name", [phrase], part)
    learn("skip", table["skipped"])
    return found


def _tokens(question: str, known: Vocabulary) -> list[list[_Token]]:
    """Meanings of each stretch of a question, the longest known phrase first."""
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", folded(question))
    text = re.sub(r"([<>=!]=?|[≤≥≠%])", r" \1 ", text)
    text = re.sub(r"(?<=[0-9])(?=mm|cm|um|µm|μm|/mm)", " ", text)
    raw = _WORD.findall(text)
    found, table = _phrases(known), list[list[_Token]]()
    longest = max(len(phrase.split()) for phrase in found)
    place = 0
    while place < len(raw):
        for size in range(min(longest, len(raw) - place), 0, -1):
            phrase = " ".join(raw[place : place + size])
            if phrase in found or (size == 1 and _single(phrase)):
                meanings = found.get(phrase, [])
                table.append([*_single(phrase), *meanings])
                place += size
                break
        else:
            table.append([_Token("unknown", raw[place].rstrip(".!"))])
            place += 1
    return table


def _single(word: str) -> list[_Token]:
    if word in ("and", "but", ",", ";", "&"):
        return [_Token("and", word)]
    if word in ("or", "(", ")", "by"):
        return [_Token(word, word)]
    if word in ("?", ".", "!"):
        return [_Token("skip", word)]
    return [_Token("number", word)] if _NUMBER.fullmatch(word) else []


# --- tokens to a query -----------------------------------------------------------------------


class _Parser:
    def __init__(self, tokens: list[list[_Token]], known: Vocabulary) -> None:
        self.tokens, self.known, self.place = tokens, known, 0
        self.key = ""

    def peek(self, kind: str, ahead: int = 0) -> _Token | None:
        """The meaning of that kind of a word to come."""
        place = self.place + ahead
        if place >= len(self.tokens):
            return None
        return next((token for token in self.tokens[place] if token.kind == kind), None)

    def take(self, kind: str) -> _Token | None:
        """The next word if it has that meaning."""
        found = self.peek(kind)
        self.place += found is not None
        return found

    def word(self) -> str:
        """The next word as it was typed, or the last."""
        place = min(self.place, len(self.tokens) - 1)
        return self.tokens[place][0].text

    def lost(self) -> PathaiError:
        """E213 at the next word."""
        if self.place >= len(self.tokens):
            return PathaiError("E213", f"the question ends too early, after {self.word()!r}")
        if self.tokens[self.place][0].kind != "unknown":
            return PathaiError("E213", f"the question is not understood at {self.word()!r}")
        return not_understood(self.word(), self.known)

    def skip(self, *, parts: bool = False) -> None:
        """Leave out words without a meaning of their own here."""
        while self.peek("skip") and not self.peek("key") and not self.peek("comparisons"):
            if self._grouping():
                return
            if parts and self.peek("parts") and self.peek("name", 1):
                return
            self.place += 1

    def question(self) -> Query:
        self.skip(parts=True)
        counted = bool(self.take("count"))
        self.skip(parts=True)
        where, by = None, "case"
        if self.place < len(self.tokens) and not self._grouping():
            where = self.condition()
        self.skip()
        if self._grouping():
            self.place += 1
            part = self.take("parts")
            if part is None:
                raise self.lost()
            by = part.value
        self.skip()
        if self.place < len(self.tokens):
            raise self.lost()
        if where is None and not counted and by == "case":
            raise PathaiError("E213", "the question names no finding")
        want = "count" if counted else "list"
        return Query.model_validate({"want": want, "by": by, "where": where})

    def _grouping(self) -> bool:
        return bool(self.peek("by") and self.peek("parts", 1))

    def condition(self) -> Condition:
        parts = [self.conjunction()]
        while self.take("or"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else Any(parts=tuple(parts))

    def conjunction(self) -> Condition:
        parts = [self.term()]
        while True:
            self.skip(parts=True)
            joined = False
            while self.take("and"):
                joined = True
                self.skip(parts=True)
            if self.place >= len(self.tokens) or self.peek("or") or self.peek(")"):
                if joined:
                    raise self.lost()
                break
            if self._grouping() or (not joined and not self._begins()):
                break
            parts.append(self.term())
        return parts[0] if len(parts) == 1 else All(parts=tuple(parts))

    def _begins(self) -> bool:
        """Whether a term begins here without a joining word: *with MSI*, *stained with ER*."""
        kinds = ("key", "parts", "not", "(", "statuses", "comparisons", "between")
        return any(self.peek(kind) for kind in kinds)

    def term(self) -> Condition:
        self.skip(parts=True)
        if self.peek("statuses") and not self.peek("key"):
            return self.before_key()
        if self.take("not"):
            return Not(part=self.term())
        if self.take("("):
            inner = self.condition()
            if not self.take(")"):
                raise self.lost()
            return inner
        if self.peek("parts") and not self.peek("key") and self._named():
            return self.origin()
        if self.peek("name") and not self.peek("key"):
            return self.origin()
        key = self.take("key")
        if key:
            self.key = key.value
            return self.predicate(bare=True)
        if self.peek("comparisons") and self._amount_follows():
            return self.number_first()
        return self.predicate(bare=False) if self.key else self.before_key()

    def number_first(self) -> Condition:
        """*More than 2 slides*, or *below 30 %* of the key before."""
        sign = self.take("comparisons")
        amount = self._amount()
        key = self.take("key")
        if key:
            self.key = key.value
        if not self.key or sign is None:
            raise self.lost()
        return self._compare(sign.value, amount)

    def _named(self) -> bool:
        """Whether a name follows a word such as *stain*."""
        ahead = 1
        while self.peek("skip", ahead) and not self.peek("name", ahead):
            ahead += 1
        return self.peek("name", ahead) is not None

    def origin(self) -> Condition:
        """*Stain is ER or HE*, *site breast*, or a name alone."""
        word = self.take("parts")
        self.skip()
        names: list[str] = []
        part = word.value if word else ""
        while True:
            meanings = self.tokens[self.place] if self.place < len(self.tokens) else []
            fits = [t for t in meanings if t.kind == "name" and part in ("", t.value)]
            if not fits:
                break
            part = fits[0].value
            names.append(self.known.parts[part][folded(fits[0].text)])
            self.place += 1
            joiner = self.peek("or") or (self.peek("and") if part == "case" else None)
            after = self.tokens[self.place + 1] if self.place + 1 < len(self.tokens) else []
            alike = any(t.kind == "name" and t.value == part for t in after)
            if not (joiner and alike and not any(t.kind == "key" for t in after)):
                break
            self.place += 1
        if not names:
            raise self.lost()
        return From.model_validate({"part": part, "names": names})

    def before_key(self) -> Condition:
        """*Predicted MSI*, *positive ER status*."""
        status = self.take("statuses")
        self.skip()
        said = status is None or status.value == "predicted"
        value = self.take("value") if said else None
        self.skip()
        key = self.take("key") if status or value else None
        if status and key is None and self.key:
            return self._stands(status.value)
        if key is None:
            raise self.lost()
        self.key = key.value
        if status and value is None:
            return self._stands(status.value)
        return self._says(value.text if value else "")

    def predicate(self, *, bare: bool) -> Condition:
        """What is said of the key."""
        self.skip_to_predicate()
        self._turn_to_status()
        found = self._number() or self._status() or self._value()
        if found is not None:
            return found
        if self.peek("not") and not self.peek("key", 1):
            self.place += 1
            return Not(part=self.predicate(bare=False))
        if bare and self._ends():
            self._needs_no_answer()
            return Stands(key=self.key, status="valued")
        raise self.lost()

    def _needs_no_answer(self) -> None:
        """*Cases with tumor*: a prediction that exists may say no, so the answer must be named."""
        if self.key.endswith(".probability") and len(set(self._values_of().values())) > 1:
            asked = f"say which answer of {self.key} is meant"
            raise PathaiError("E213", asked, f"{_words_of(self)}, or 'is predicted' for any")

    def _values_of(self) -> dict[str, str]:
        return self.known.values.get(self.key, {})

    def _turn_to_status(self) -> None:
        """*ER positive* is about the status of ER, whose values have that word."""
        token, status = self.peek("value"), f"{self.key.split('.')[0]}.status"
        meant = token and folded(token.text) in self.known.values.get(status, {})
        if meant and not self._fits("value") and not self.peek("key"):
            self.key = status

    def skip_to_predicate(self) -> None:
        kinds = ("comparisons", "statuses", "value", "number", "between", "key")
        while self.peek("skip") and not any(self._fits(kind) for kind in kinds):
            self.place += 1

    def _fits(self, kind: str) -> bool:
        token = self.peek(kind)
        if token is None or kind != "value":
            return token is not None
        return folded(token.text) in self.known.values.get(self.key, {})

    def _ends(self) -> bool:
        if self.place >= len(self.tokens):
            return True
        kinds = ("and", "or", ")", "by", "skip", "parts")
        return any(self.peek(kind) for kind in kinds)

    def _number(self) -> Condition | None:
        """A comparison, a range or a bare number, with its unit."""
        if self.take("between"):
            low = self._amount()
            if not (self.take("and") or (self.peek("skip") and self.take("skip"))):
                raise self.lost()
            return self._between(low, self._amount())
        if self.peek("comparisons") and self._amount_follows():
            sign = self.take("comparisons")
            low = self._amount()
            ranged = sign is not None and sign.text == "from" and self._to()
            if ranged:
                return self._between(low, self._amount())
            return self._compare(sign.value if sign else "=", low)
        if self._fits("value"):
            return None
        if self.peek("number"):
            low = self._amount()
            if self._to():
                return self._between(low, self._amount())
            if self.take("or"):
                return self._open_end(low)
            return self._compare("=", low)
        return None

    def _to(self) -> bool:
        if self.peek("skip") and self.word() == "to" and self.peek("number", 1):
            self.place += 1
            return True
        return False

    def _open_end(self, low: tuple[Decimal, str]) -> Condition:
        """*20 % or more*, *3 or less*."""
        signs = {"more": ">=", "above": ">=", "higher": ">=", "less": "<=", "below": "<=",
                 "lower": "<=", "fewer": "<=", "greater": ">=", "over": ">="}  # fmt: skip
        word = self.word()
        if word not in signs:
            raise self.lost()
        self.place += 1
        return self._compare(signs[word], low)

    def _amount_follows(self) -> bool:
        ahead = 1
        while self.peek("skip", ahead) and not self.peek("number", ahead):
            ahead += 1
        return self.peek("number", ahead) is not None

    def _amount(self) -> tuple[Decimal, str]:
        while self.peek("skip") and not self.peek("number"):
            self.place += 1
        number = self.take("number")
        if number is None:
            raise self.lost()
        unit = self.take("units")
        return Decimal(number.text), unit.value if unit else ""

    def _in_unit(self, amount: tuple[Decimal, str]) -> Decimal:
        number, unit = amount
        own = self.known.unit(self.key)
        if self.key.endswith(".probability"):
            return number / 100 if unit == "%" or number > 1 else number
        if unit in ("", own):
            return number
        factor = _FACTORS.get((unit, own))
        if factor is None:
            said = own if own not in ("1", "") and not own.startswith("{") else "no unit"
            raise PathaiError("E213", f"{self.key} has {said}, not {unit}", "give it in its unit")
        return number * factor

    def _check_number(self) -> str:
        row = self.known.row(self.key)
        numeric = any(re.search(r"[0-9]", c) for c in self.known.values.get(self.key, {}).values())
        if row.type == "category" and not numeric:
            raise PathaiError("E213", f"{self.key} is a word, not a number", _words_of(self))
        own = self.known.unit(self.key)
        return "" if self.key.endswith(".probability") else own

    def _compare(self, sign: str, amount: tuple[Decimal, str]) -> Condition:
        unit = self._check_number()
        found: Sign = sign  # type: ignore[assignment]
        return Compare(key=self.key, sign=found, value=self._in_unit(amount), unit=unit)

    def _between(self, low: tuple[Decimal, str], high: tuple[Decimal, str]) -> Condition:
        unit = self._check_number()
        shared = low[1] or high[1]
        ends = [self._in_unit((number, own or shared)) for number, own in (low, high)]
        try:
            return Between(key=self.key, low=ends[0], high=ends[1], unit=unit)
        except ValidationError:
            message = f"{ends[0]:f} to {ends[1]:f} is no range"
            raise PathaiError("E213", message, "give the smaller number first") from None

    def _status(self) -> Condition | None:
        status = self.take("statuses")
        if status is None:
            return None
        if status.value == "predicted":
            self._skip_before_value()
            if self._fits("value"):
                return self._value() or self._stands("predicted")
        return self._stands(status.value)

    def _skip_before_value(self) -> None:
        ahead = 0
        while self.peek("skip", ahead):
            ahead += 1
        self.place += ahead
        if not self._fits("value"):
            self.place -= ahead

    def _stands(self, status: str) -> Condition:
        return Stands.model_validate({"key": self.key, "status": status})

    def _value(self) -> Condition | None:
        if not self._fits("value"):
            return None
        token = self.take("value")
        return self._says(token.text if token else "")

    def _says(self, text: str) -> Condition:
        values = self.known.values.get(self.key, {})
        code = values.get(folded(text))
        if code is None:
            raise PathaiError("E213", f"{self.key} is never {text!r}", _words_of(self))
        return Says(key=self.key, codes=(code,))


def _words_of(parser: _Parser) -> str:
    known = sorted(set(parser.known.values.get(parser.key, {}).values()))
    return f"it can be {', '.join(known)}" if known else "ask whether it is assessed"
