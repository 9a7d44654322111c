"""Say what is wrong with a draft, from its JSON and that of its findings alone.

The judge of drafts and of the verifier. It shares no code with either and with nothing else of
pathai: it reads printed sentences back (`reading`), works out anew what each finding must print,
and compares. Both records are read as plain dictionaries.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import sha256
from typing import Any

from pathai.report_evaluation.oracle_tables import corpus, judge_tables
from pathai.report_evaluation.reading import WORDS, Book, Claim, book, read_sentence

__all__ = ["expected", "judge_draft", "judge_raw", "judge_sentence", "sealed"]

Data = Mapping[str, Any]
MARK = ("draft", "not for clinical use", "unsigned")
"""What the mark on every page must say."""


def _number(value: Any) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(str(value))


def _rounded(value: Any, decimals: int, cuts: Sequence[Any] = ()) -> Decimal:
    """Half to even; with more places where fewer would carry the value over a threshold."""
    exact = _number(value)
    for places in range(decimals, 7):
        printed = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
        sides = ((exact > c) - (exact < c) == (printed > c) - (printed < c) for c in cuts)
        if all(sides):
            break
    return printed


def _share(value: Any) -> Decimal:
    return 100 * _number(value)


# --- what a finding must print ---------------------------------------------------------------


def expected(finding: Data, words: Book) -> Claim:
    """The one claim that a sentence on this finding may make."""
    claim = Claim(keys=(finding["key"],))
    status, value = finding["status"], finding["value"]
    claim.predicted = int(status == "predicted")
    claim.entered = status == "observed" and finding["method"]["kind"] != "rule"
    if status in words.statuses:
        claim.status = status
        claim.code = finding["code"] if status == "failed" else ""
        return claim
    row = words.rows[words.pattern(finding["key"])]
    make = {
        "quantity": _of_quantity,
        "prediction": _of_prediction,
        "predicted_number": _of_predicted_number,
        "sum": _of_sum,
        "category": _of_category,
    }
    make[value["type"]](claim, value, row, words)
    return claim


def _of_quantity(claim: Claim, value: Data, row: Data, words: Book) -> None:
    decimals, cuts = row.get("decimals", 0), [_number(c) for c in row.get("cuts", ())]
    cuts += [Decimal(0), Decimal(100)] if value["unit"] == "%" else []  # neither none nor all
    claim.number = _rounded(value["value"], decimals, cuts)
    claim.unit = words.units[value["unit"]]
    if value["low"] is not None:
        claim.low, claim.high = (_rounded(value[k], decimals, cuts) for k in ("low", "high"))
        claim.level = _share(value["level"])
    if value["numerator"] is not None:
        claim.ratio = (value["numerator"], value["denominator"])


def _of_prediction(claim: Claim, value: Data, row: Data, words: Book) -> None:
    del words
    decimals = row.get("decimals", 0)
    step = Decimal(1).scaleb(-decimals)
    chance = _number(value["probability"])
    claim.label = value["label"]
    if chance > 1 - step:
        claim.bound, claim.number = "above", 1 - step
    elif chance < step:
        claim.bound, claim.number = "below", step
    else:
        claim.number = _rounded(chance, decimals)
    if value["alpha"] is not None:
        claim.coverage = _share(1 - _number(value["alpha"]))
        claim.members = tuple(value["set"])


def _of_predicted_number(claim: Claim, value: Data, row: Data, words: Book) -> None:
    del row, words
    decimals = value["decimals"]
    claim.number = _rounded(value["value"], decimals)
    claim.unit = value["unit"]
    ends = [None if value[k] is None else _rounded(value[k], decimals) for k in ("low", "high")]
    claim.low, claim.high = ends
    claim.no_interval = value["alpha"] is None or ends == [None, None]
    if not claim.no_interval:
        claim.level = _share(1 - _number(value["alpha"]))


def _of_sum(claim: Claim, value: Data, row: Data, words: Book) -> None:
    del row, words
    claim.parts, claim.total = tuple(value["parts"]), sum(value["parts"])


def _of_category(claim: Claim, value: Data, row: Data, words: Book) -> None:
    claim.category = words.values[row["vocabulary"]][value["code"]]


# --- one sentence ----------------------------------------------------------------------------


def judge_sentence(text: str, finding: Data, case: Data, words: Book) -> list[str]:
    """Kinds of error in a printed sentence; empty when it says what the finding holds."""
    keys = {f["key"] for f in case["findings"]}
    units = {f["value"]["unit"] for f in case["findings"] if f["value"] and f["value"].get("unit")}
    wanted = expected(finding, words)
    # A citation is judged with the tables: it stands in brackets, and must be an entry's id.
    cited = re.findall(r" \[([a-z0-9_-]+)\]", text)
    said = read_sentence(re.sub(r" \[[a-z0-9_-]+\]", "", text), words, keys, units)
    wrong = ["citation"] if not set(cited) <= corpus().keys() else []
    wrong += ["characters"] if said.odd else []
    if finding["key"] not in said.keys:
        wrong.append("subject")
    wrong += _compare(said, wanted)
    wrong += _leftovers(said.left, finding, case, words.language)
    return wrong


def _compare(said: Claim, wanted: Claim) -> list[str]:
    groups = {
        "number": ("number", "bound", "ratio", "parts", "total", "low", "high", "level"),
        "interval": ("no_interval", "coverage"),
        "unit": ("unit",),
        "category": ("label", "members", "category"),
        "status": ("status", "code"),
        "hedge": ("predicted",),
    }
    wrong = [
        group
        for group, fields in groups.items()
        if any(getattr(said, f) != getattr(wanted, f) for f in fields)
    ]
    # That a person entered a value may stay unsaid in a sentence; it may not be claimed of others.
    claimed = said.entered and not wanted.entered and "status" not in wrong
    return [*wrong, "status"] if claimed else wrong


def _leftovers(left: Iterable[str], finding: Data, case: Data, language: str) -> list[str]:
    words = WORDS[language]
    side = next(
        (s["laterality"] for s in case["specimens"] if s["specimen_id"] == finding["specimen_id"]),
        "",
    )
    wrong = []
    for word in (w.casefold() for w in left):
        if word in words["sides"]:
            if words["sides"][word] != side:
                wrong.append("laterality")
        elif word in words["negations"]:
            wrong.append("polarity")
        elif word.isdigit() or word in words["numbers"]:
            wrong.append("number")
        elif word not in words["plain"]:
            wrong.append("ungrounded")
    return list(dict.fromkeys(wrong))


# --- a drafter's own text, with slots --------------------------------------------------------


def judge_raw(text: str, finding: Data, case: Data, cites: Iterable[str] = ()) -> list[str]:
    """Kinds of error in a text with slots, before anything is filled in."""
    wrong = [] if text.isprintable() else ["characters"]
    values = re.findall(r"\{(F[1-9]\d*)\}", text)
    terms = re.findall(r"\{T:([a-z0-9_.]+)\}", text)
    cited = re.findall(r"\{K:([a-z0-9_-]+)\}", text)
    if values != [finding["id"]]:
        wrong.append("slot")
    if [t for t in terms if t != "predicted"] != [finding["key"]]:
        wrong.append("subject")
    if terms.count("predicted") != int(finding["status"] == "predicted"):
        wrong.append("hedge")
    if not set(cited) <= set(cites):
        wrong.append("citation")
    rest = re.sub(r"\{(?:F[1-9]\d*|[TK]:[a-z0-9_.-]+)\}", " \u25cb ", text)
    if finding["status"] == "observed" and finding["method"]["kind"] != "rule":
        for phrase in sorted(WORDS["en"]["entered"], key=len, reverse=True):
            rest = re.sub(rf"\b{phrase}\b", " ", rest, flags=re.IGNORECASE)
    pieces = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+|[^\w\s.,:;()\u25cb'’-]", rest)
    return wrong + _leftovers(pieces, finding, case, "en")


# --- a whole draft ---------------------------------------------------------------------------


def sealed(data: Data) -> str:
    """SHA-256 of a record's JSON without its digest: sorted keys, no spaces."""
    rest = {k: v for k, v in data.items() if k != "digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def judge_draft(draft: Data, case: Data) -> list[tuple[str, str]]:
    """Every error of a stored draft as (kind, place); empty when it is true and whole."""
    wrong: list[tuple[str, str]] = _judge_frame(draft, case)
    language = draft["language"] if draft["language"] in WORDS else "en"
    words = book(language)
    found = {f["id"]: f for f in case["findings"]}
    said = [(section, s) for section in draft["sections"] for s in section["statements"]]
    ids = [s["finding"] for _, s in said]
    wrong += [("missing", i) for i in found if i not in ids]
    wrong += [("duplicate", i) for i in {i for i in ids if ids.count(i) > 1}]
    if [s["id"] for _, s in said] != [f"S{k}" for k in range(1, len(said) + 1)]:
        wrong.append(("order", "statements"))
    for section, statement in said:
        finding = found.get(statement["finding"])
        if finding is None:
            wrong.append(("subject", statement["id"]))
            continue
        kinds = judge_sentence(statement["rendered"], finding, case, words)
        kinds += _judge_text(statement["text"], finding)
        kinds += _judge_place(section, finding)
        kinds += _judge_notes(_said_above(draft, section, finding), statement, finding, words)
        wrong += [(kind, statement["id"]) for kind in kinds]
    for section in draft["sections"]:
        wrong += [(kind, section["id"]) for kind in _judge_title(section, case, language)]
    return wrong + judge_tables(draft, case)


def _judge_frame(draft: Data, case: Data) -> list[tuple[str, str]]:
    wrong = []
    mark = draft["watermark"].casefold()
    if draft["language"] == "en" and not all(words in mark for words in MARK):
        wrong.append(("watermark", "draft"))
    if not draft["watermark"].strip() or draft["status"] != "draft":
        wrong.append(("watermark", "draft"))
    if draft["findings_digest"] != case["digest"] or draft["case_id"] != case["case_id"]:
        wrong.append(("digest", "findings"))
    if draft["revision"] != case["revision"]:
        wrong.append(("digest", "revision"))
    if draft["digest"] != sealed(draft):
        wrong.append(("digest", "draft"))
    said = [s for section in draft["sections"] for s in section["statements"]]
    fell = sum(s["verdict"] == "fallback" for s in said)
    counts = draft["verification"]
    if (counts["statements"], counts["accepted"], counts["fallback"]) != (
        len(said),
        len(said) - fell,
        fell,
    ):
        wrong.append(("counts", "verification"))
    return wrong


def _judge_text(text: str, finding: Data) -> list[str]:
    """The slots of the kept text: it is what the sentence is printed from."""
    if re.findall(r"\{(F[^}]*)\}", text) != [finding["id"]]:
        return ["slot"]
    outside = re.sub(r"\{[^}]*\}", "", text)
    return ["number"] if re.search(r"\d", outside) else []


def _judge_place(section: Data, finding: Data) -> list[str]:
    slides = {e["slide_id"] for e in finding["evidence"]}
    return ["place"] if section["slide_id"] and slides != {section["slide_id"]} else []


def _said_above(draft: Data, section: Data, finding: Data) -> set[str]:
    """Notes below the headings of a finding's own slide so far, and beside its gathered line."""
    said = set(section["notes"])
    for other in draft["sections"]:
        if other is section:
            break
        if section["slide_id"] and other["slide_id"] == section["slide_id"]:
            said |= set(other["notes"])
    for brief in section["briefs"]:
        if finding["id"] in brief["findings"]:
            said |= set(brief["notes"])
    return said


def _judge_notes(said: set[str], statement: Data, finding: Data, words: Book) -> list[str]:
    codes = [c for c in (finding["note"], *finding["flags"]) if c]
    own = [words.notes[c] for c in codes if c not in words.once]
    above = {words.notes[c] for c in codes if c in words.once}
    return [] if list(statement["notes"]) == own and above <= said else ["notes"]


def _judge_title(section: Data, case: Data, language: str) -> list[str]:
    """A section names the side of its own specimen, and no other."""
    sides = WORDS[language]["sides"]
    of = {slide: s["laterality"] for s in case["specimens"] for slide in s["slides"]}
    if not section["slide_id"]:
        return []
    mine = of.get(section["slide_id"], "")
    pieces = [p.strip().casefold() for p in section["title"].split("·")]
    said = {sides[p] for p in pieces if p in sides}
    return [] if said == ({mine} if mine else set()) else ["laterality"]
