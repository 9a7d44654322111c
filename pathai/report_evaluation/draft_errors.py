"""Errors seeded into a stored draft: what it prints, keeps, leaves out and is bound to."""

import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from pathai.report_evaluation.reading import book
from pathai.report_evaluation.text_errors import WORDS

__all__ = ["ON_VALUE", "DraftError", "Record", "prints_of", "statements_of"]

Record = dict[str, Any]
DraftError = Callable[[Random, Record, Mapping[str, Any]], bool]
"""``(rng, draft, case)`` changes the draft's JSON in place; False where it cannot be done."""

DIGITS = re.compile(r"\d")
PLAIN = re.compile(r"\d[\d,]*(?:\.\d+)?")
UNITS = ("mm²", "per mm²", "mm", "µm", "%", "years", "cm")
OPPOSITES = (
    ("not identified", "present"),
    ("not detected", "present"),
    ("not assessed", "not identified"),
    ("not assessed", "negative"),
    ("not obtained", "absent"),
    ("remains indeterminate", "is negative"),
    ("negative", "positive"),
    ("positive", "negative"),
    ("lost", "intact"),
    ("intact", "lost"),
    ("not amplified", "amplified"),
    ("amplified", "not amplified"),
    ("deficient", "proficient"),
    ("proficient", "deficient"),
    ("present", "not identified"),
)
CATEGORIES = ("“yes”", "“no”", "“high”", "“low”", "“tumor”", "“normal”", "“MSI-H”", "“MSS”")


def statements_of(draft: Record) -> list[Record]:
    """All statements of a stored draft, in order."""
    return [s for section in draft["sections"] for s in section["statements"]]


def prints_of(said: Record, language: str = "en") -> dict[str, str]:
    """Slots of a clean sentence's text and what stands in their place."""
    words = book(language)
    prints = {}
    for slot, term in re.findall(r"(\{T:([^}]*)\})", said["text"]):
        prints[slot] = words.terms.get(term) or words.name(term)
    bare = re.sub(r"\{T:[^}]*\}", lambda m: prints[m[0]], said["text"])
    before, slot, after = re.split(r"(\{F[^}]*\})", bare, maxsplit=1)
    prints[slot] = said["rendered"][len(before) : len(said["rendered"]) - len(after)]
    return prints


def _value_place(said: Record, language: str) -> int:
    """Where the value begins in a printed sentence."""
    value = next(v for k, v in prints_of(said, language).items() if k.startswith("{F"))
    return said["rendered"].rindex(value) if value else 0


def _on_value(change: Callable[[Random, str], str | None]) -> DraftError:
    """An error within the printed value of one sentence that allows it."""

    def make(rng: Random, draft: Record, case: Mapping[str, Any]) -> bool:
        said = statements_of(draft)
        rng.shuffle(said)
        for statement in said:
            at = _value_place(statement, draft["language"])
            value = statement["rendered"][at:]
            new = change(rng, value)
            if new is not None and new != value:
                statement["rendered"] = statement["rendered"][:at] + new
                return True
        return False

    return make


def _number_changed(rng: Random, value: str) -> str | None:
    places = list(DIGITS.finditer(value))
    if not places:
        return None
    at = rng.choice(places).start()
    other = rng.choice([d for d in "0123456789" if d != value[at]])
    return value[:at] + other + value[at + 1 :]


def _digits_swapped(rng: Random, value: str) -> str | None:
    pairs = [
        m.start()
        for m in re.finditer(r"(?=\d\d)", value)
        if value[m.start()] != value[m.start() + 1]
    ]
    if not pairs:
        return None
    at = rng.choice(pairs)
    return value[:at] + value[at + 1] + value[at] + value[at + 2 :]


def _point_moved(rng: Random, value: str) -> str | None:
    points = list(re.finditer(r"(\d)([.,])(\d)", value))
    if points:
        m = rng.choice(points)
        new = rng.choice((m[1] + m[3], m[1] + m[3] + m[2], f"{m[2]}{m[1]}{m[3]}"))
        return value[: m.start()] + new + value[m.end() :]
    whole = re.search(r"(?<![\d.,])\d{2,}(?![\d.,])", value)
    return value[: whole.end() - 1] + "." + value[whole.end() - 1 :] if whole else None


def _sign_or_bound(rng: Random, value: str) -> str | None:
    for a, b in (("above ", "below "), ("below ", "above "), ("up to ", "from "), ("−", "")):
        if a in value:
            return value.replace(a, b, 1)
    number = PLAIN.search(value)
    put = rng.choice(("−", "above ", "about ", "below "))
    return value[: number.start()] + put + value[number.start() :] if number else None


def _interval_dropped(rng: Random, value: str) -> str | None:
    del rng
    new = re.sub(r"\d+(?:\.\d+)?% interval [^;)]*(?:; )?", "", value, count=1)
    return new.replace(" ()", "") if new != value else None


def _interval_swapped(rng: Random, value: str) -> str | None:
    del rng
    m = re.search(r"(% interval )([\d,.−]+)( to )([\d,.−]+)(?=[;)])", value)
    if m is None:
        return None
    return value[: m.start()] + m[1] + m[4] + m[3] + m[2] + value[m.end() :]


def _counts_changed(rng: Random, value: str) -> str | None:
    m = re.search(r"([\d,]+)( of )([\d,]+)(?= nuclei|\))", value)
    if m is None:
        return None
    new = rng.choice((m[3] + m[2] + m[1], m[1] + m[2] + m[3] + "0", "1" + m[1] + m[2] + m[3]))
    return value[: m.start()] + new + value[m.end() :]


def _unit_changed(rng: Random, value: str) -> str | None:
    m = re.search(r"(?<=\d)( ?)(per mm²|mm²|mm|µm|%|years)(?![\w²])(?! interval| coverage)", value)
    if m is None:
        return None
    unit = rng.choice([u for u in UNITS if u != m[2]])
    return value[: m.start()] + m[1] + unit + value[m.end() :]


def _unit_dropped(rng: Random, value: str) -> str | None:
    del rng
    m = re.search(r"(?<=\d) ?(per mm²|mm²|mm|µm|%|years)(?![\w²])(?! interval| coverage)", value)
    return value[: m.start()] + value[m.end() :] if m else None


def _polarity(rng: Random, value: str) -> str | None:
    fitting = [(a, b) for a, b in OPPOSITES if re.search(rf"(?<![\w“]){a}(?!\w)", value)]
    if fitting:
        a, b = rng.choice(fitting)
        return re.sub(rf"(?<![\w“]){a}(?!\w)", b, value, count=1)
    if rng.random() < 0.5:
        return "not " + value
    return None


def _label_swapped(rng: Random, value: str) -> str | None:
    m = re.search(r"“[^”]*”", value)
    if m is None:
        return None
    return value[: m.start()] + rng.choice([c for c in CATEGORIES if c != m[0]]) + value[m.end() :]


def _set_changed(rng: Random, value: str) -> str | None:
    m = re.search(r"(% coverage: )([^)]*)(?=\))", value)
    if m is None:
        return None
    new = rng.choice([c for c in (*CATEGORIES, "empty", "“a” or “b”") if c != m[2]])
    return value[: m.end(1)] + new + value[m.end() :]


def category_swapped(rng: Random, draft: Record, case: Mapping[str, Any]) -> bool:
    """The printed words of a category become those of another code of any key."""
    found = {f["id"]: f for f in case["findings"]}
    coded = [s for s in statements_of(draft) if _type(found.get(s["finding"])) == "category"]
    if not coded:
        return False
    said = rng.choice(coded)
    at = _value_place(said, draft["language"])
    value = said["rendered"][at:]
    new = rng.choice([w for w in WORDS["category_prints"] if w not in value])
    said["rendered"] = said["rendered"][:at] + new + "."
    return True


def sum_changed(rng: Random, draft: Record, case: Mapping[str, Any]) -> bool:
    """A sum whose parts or total are others, or in another order."""
    del case
    said = [s for s in statements_of(draft) if re.search(r"\d \+ \d", s["rendered"])]
    if not said:
        return False
    chosen = rng.choice(said)
    m = re.search(r"(\d+)( \+ )(\d+)", chosen["rendered"])
    if m is None:
        return False
    parts = (str(int(m[1]) + 1), m[3]) if m[1] == m[3] or rng.random() < 0.5 else (m[3], m[1])
    text = chosen["rendered"]
    chosen["rendered"] = text[: m.start()] + parts[0] + m[2] + parts[1] + text[m.end() :]
    return True


def _type(finding: Mapping[str, Any] | None) -> str:
    return finding["value"]["type"] if finding and finding["value"] else ""


ON_VALUE: dict[str, tuple[str, DraftError]] = {
    "printed number changed": ("number", _on_value(_number_changed)),
    "digits swapped": ("number", _on_value(_digits_swapped)),
    "decimal point or thousands moved": ("number", _on_value(_point_moved)),
    "sign or bound changed": ("number", _on_value(_sign_or_bound)),
    "interval dropped": ("number", _on_value(_interval_dropped)),
    "ends of an interval swapped": ("number", _on_value(_interval_swapped)),
    "numerator or denominator changed": ("number", _on_value(_counts_changed)),
    "sum changed": ("number", sum_changed),
    "printed unit changed": ("unit", _on_value(_unit_changed)),
    "printed unit dropped": ("unit", _on_value(_unit_dropped)),
    "printed polarity flipped": ("polarity", _on_value(_polarity)),
    "label of a prediction swapped": ("category", _on_value(_label_swapped)),
    "prediction set changed": ("category", _on_value(_set_changed)),
    "category swapped": ("category", category_swapped),
}
