"""A signed report in plain words for the patient: what was found, nothing about outlook or care.

Sentences are fixed, one per finding; numbers are printed from the findings and read back. What has
no plain sentence is left to the full report, and a model's guess is never passed on.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import NamedTuple, Protocol

import yaml
from pydantic import Field

from pathai.errors import PathaiError
from pathai.finding import (
    CaseFindings,
    Category,
    Finding,
    Frozen,
    Quantity,
    Specimen,
    Sum,
    registry,
)
from pathai.report.check.lexicon import WORD, bare, lexicon
from pathai.report.check.numbers import Printed, expected, read
from pathai.report.readability import reading_grade
from pathai.report.records import Draft

MAX_GRADE = 8.0
SIGNED = ("signed", "amended")
OUTLOOK = frozenset(
    """prognosis prognostic survival survive cure curable cured death die fatal terminal recurrence
    relapse remission risk chance outlook aggressive indolent""".split()  # noqa: SIM905
)
ALLOWED = frozenset(("need", "please", "hormone"))
"""Words on the list of advice that are none in the sentences of this file."""


class Signed(Protocol):
    """State of a report, as its documents print it."""

    @property
    def name(self) -> str:
        """One of draft, in_review, signed, amended."""
        ...

    @property
    def digest(self) -> str:
        """Digest of the draft that was signed; empty if the state does not say."""
        ...


class _Words(Frozen):
    """Plain words of one key: a sentence with its value, or one sentence per code."""

    name: str
    say: str = ""
    means: str = ""
    codes: dict[str, str] = Field(default_factory=dict)


class _Book(Frozen):
    schema_version: int
    title: str
    intro: tuple[str, ...]
    sample: str
    found: str
    missing: str
    missing_intro: str
    guess: str
    unfit: str
    ask: str
    ask_lines: tuple[str, ...]
    findings: dict[str, _Words]


class _Part(NamedTuple):
    """A heading, sentences, and items with the ids of their findings."""

    heading: str
    lines: tuple[str, ...] = ()
    items: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=1)
def _book() -> _Book:
    text = files("pathai.report").joinpath("patient-en.yaml").read_text("utf-8")
    return _Book.model_validate(yaml.safe_load(text))


def patient_summary(signed: Draft, case: CaseFindings, state: Signed) -> str:
    """The plain-language summary of a signed report, as Markdown.

    Parameters
    ----------
    signed : Draft
        The draft that was signed.
    case : CaseFindings
        The revision of the findings that the signature binds.
    state : Signed
        State of the report.

    Raises
    ------
    PathaiError
        E206 if the report is not signed or its findings changed since; E203 if a sentence does not
        stand on its finding, tells of outlook or care, or reads harder than grade 8.
    """
    parts = _parts(signed, case, state)
    out = [f"# {_book().title}", " ".join(_book().intro)]
    for part in parts:
        out.append(f"## {part.heading}")
        out += [" ".join(part.lines)] if part.lines else []
        out.append("\n".join(f"- {_markdown(text)} [{ids}]" for text, ids in part.items))
    out.append(f"{case.case_id} · {signed.findings_digest[:12]}")
    return "\n\n".join(block for block in out if block) + "\n"


def patient_page(signed: Draft, case: CaseFindings, state: Signed) -> str:
    """The same summary as one self-contained page without scripts; see `patient_summary`."""
    parts = _parts(signed, case, state)
    book = _book()
    body = [f"<h1>{escape(book.title)}</h1>", f"<p>{escape(' '.join(book.intro))}</p>"]
    for part in parts:
        body.append(f"<h2>{escape(part.heading)}</h2>")
        body += [f"<p>{escape(' '.join(part.lines))}</p>"] if part.lines else []
        items = "".join(
            f"<li>{escape(text)} <small>{escape(ids)}</small></li>" for text, ids in part.items
        )
        body += [f"<ul>{items}</ul>"] if items else []
    body.append(f"<p><small>{escape(case.case_id)} · {signed.findings_digest[:12]}</small></p>")
    head = (
        '<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'\"><title>{escape(book.title)}</title>"
    )
    text = "\n".join(body)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{text}\n</body></html>\n'


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def _parts(signed: Draft, case: CaseFindings, state: Signed) -> list[_Part]:
    """Everything below the introduction, checked."""
    _require_signed(signed, case, state)
    book = _book()
    parts = list(_found(case, signed.told()))
    missing = _missing(case)
    if missing:
        parts.append(_Part(book.missing, (book.missing_intro,), missing))
    parts.append(_Part(book.ask, book.ask_lines))
    lines = [*book.intro, *(line for p in parts for line in (*p.lines, *(t for t, _ in p.items)))]
    _check_words(lines)
    grade = reading_grade(" ".join(lines))
    if grade > MAX_GRADE:
        raise PathaiError("E203", f"the summary reads at grade {grade:.1f}, above {MAX_GRADE:.0f}")
    return parts


def _require_signed(signed: Draft, case: CaseFindings, state: Signed) -> None:
    if state.name not in SIGNED:
        raise PathaiError("E206", f"case {case.case_id}: the report is not signed", "sign it first")
    if signed.case_id != case.case_id or signed.findings_digest != case.sha256():
        raise PathaiError("E206", f"case {case.case_id}: these are not the signed findings")
    if state.digest and state.digest != signed.digest:
        raise PathaiError("E206", f"case {case.case_id}: this is not the draft that was signed")
    if signed.language != "en":
        raise PathaiError("E206", "plain words exist in English only", "set report.language to en")


def _found(case: CaseFindings, told: frozenset[str]) -> Iterator[_Part]:
    """One part per specimen; what stands on several comes first."""
    book = _book()
    for specimen in (None, *case.specimens):
        here = [f for f in case.findings if _specimen(f, case) == specimen]
        items = tuple((_said(f), f.id) for f in here if _plain(f) and f.id in told)
        guessed = any(f.status in ("predicted", "indeterminate") for f in here)
        more = any(
            f.status in ("measured", "observed") and not (_plain(f) and f.id in told) for f in here
        )
        lines = [book.guess] if guessed else []
        lines += [book.unfit] if more else []
        if items or lines:
            yield _Part(_heading(specimen), tuple(lines), items)


def _specimen(finding: Finding, case: CaseFindings) -> Specimen | None:
    slides = {e.slide_id for e in finding.evidence}
    of = [s for s in case.specimens if slides & set(s.slides)]
    return of[0] if len(of) == 1 else None


def _heading(specimen: Specimen | None) -> str:
    book = _book()
    if specimen is None or not specimen.specimen_id:
        return book.found
    names = (specimen.specimen_id, specimen.laterality, specimen.site)
    words = ", ".join(name for name in names if name)
    return f"{book.found}: {book.sample.format(name=words)}"


def _plain(finding: Finding) -> bool:
    """Whether a value of this finding has a plain sentence."""
    words = _book().findings.get(finding.key)
    if words is None or finding.status not in ("measured", "observed"):
        return False
    return finding.value.code in words.codes if isinstance(finding.value, Category) else True


def _said(finding: Finding) -> str:
    """The plain sentences of a finding, their numbers read back."""
    words, value = _book().findings[finding.key], finding.value
    if isinstance(value, Category):
        sentence = words.codes[value.code]
        right = re.findall("[0-9]+", sentence.replace("HER2", "")) == re.findall(
            "[0-9]+", value.code
        )
    else:
        sentence = words.say.format(value=_value(finding))
        names = sentence.replace("Ki-67", "").replace("HER2", "")
        right = read(names) == _first(expected(finding), value)
    if not right:
        raise PathaiError("E203", f"{finding.id} is not printed as it was found")
    return f"{sentence} {words.means}".strip()


def _value(finding: Finding) -> str:
    row = registry().find(finding.key)
    if isinstance(finding.value, Sum):
        return f"{' + '.join(map(str, finding.value.parts))} = {finding.value.total}"
    if not isinstance(finding.value, Quantity):
        raise PathaiError("E203", f"{finding.id} has no value to print")
    unit = registry().units[row.unit]
    return f"{row.rounded(finding.value.value):,}{'' if unit == '%' else ' '}{unit}".strip()


def _first(numbers: Sequence[Printed], value: object) -> list[Printed]:
    """The value alone: a summary prints no interval, numerator or denominator."""
    return list(numbers) if isinstance(value, Sum) else list(numbers[:1])


def _missing(case: CaseFindings) -> tuple[tuple[str, str], ...]:
    """What the report names as not assessed, once each, unless another slide has it."""
    book = _book()
    ids: dict[str, list[str]] = {}
    have = {(f.key, _specimen(f, case)) for f in case.findings if _plain(f)}
    for finding in case.findings:
        left = finding.key in book.findings and finding.status in ("not_assessed", "failed")
        if left and (finding.key, _specimen(finding, case)) not in have:
            ids.setdefault(finding.key, []).append(finding.id)
    return tuple(
        (f"{book.findings[key].name[:1].upper()}{book.findings[key].name[1:]}.", ", ".join(of))
        for key, of in ids.items()
    )


def _check_words(lines: Sequence[str]) -> None:
    """Nothing about outlook or treatment, whatever the word list becomes."""
    said = {bare(word) for line in lines for word in WORD.findall(line)}
    bad = said & (OUTLOOK | (lexicon("en").forbidden["advice"] - ALLOWED))
    if bad:
        raise PathaiError("E203", f"the summary may not say {sorted(bad)[0]!r}")
