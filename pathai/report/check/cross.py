"""The case as a whole: fixed sentences come from tables, and no finding contradicts another.

Cross-field rules are computed here from the findings, not with the code that derived them. A value
that breaks one is a problem, unless the case names the contradiction, which then is printed.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from pathai.drafters.base import CITE, Line
from pathai.finding import CaseFindings, Category, Context, Finding, Quantity, Sum
from pathai.knowledge import corpus, references
from pathai.report.check.lexicon import lexicon
from pathai.report.check.numbers import read_numbers
from pathai.report.check.printed import rule_source, rule_words
from pathai.report.records import Draft, Fixed, Problem

VALUED = ("measured", "observed", "predicted")
NEEDS = {
    "her2_ish": r"\bISH\b|\bFISH\b|\bHIS\b|in situ",
    "er_low_positive": r"low positive|faiblement positi|positivo bajo|bajo positivo|"
    r"débilmente positiv|baja positividad|positividad baja|1 (?:and|et|y|to|à|a) 10",
    "msi_confirm": r"confirm",
}
"""What must be said beside some findings, in words of any language.

References
----------
Wolff AC et al. Human epidermal growth factor receptor 2 testing in breast cancer: ASCO-CAP
guideline update. Arch Pathol Lab Med 2023;147:993-1000.
Allison KH et al. Estrogen and progesterone receptor testing in breast cancer: ASCO/CAP guideline
update. Arch Pathol Lab Med 2020;144:545-563.
"""


def check_case(draft: Draft, case: CaseFindings, lines: Sequence[Line]) -> list[Problem]:
    """Fixed sentences, what some findings need beside them, and contradictions."""
    problems = [*_check_tables(draft, case), *_check_context(draft, case)]
    problems += _check_references(draft, lines)
    problems += _check_needs(draft, case)
    problems += _check_contradictions(case)
    return problems


# --- fixed sentences -------------------------------------------------------------------------


def _check_tables(draft: Draft, case: CaseFindings) -> Iterator[Problem]:
    """Suggestions and contradictions are those of the case, each once, in the table's words."""
    for kind, wanted in (("suggestion", case.suggestions), ("contradiction", case.contradictions)):
        printed = [f for f in draft.fixed if f.kind == kind]
        given = sorted((f.id, f.findings) for f in printed)
        if given != sorted((w.rule, w.findings) for w in wanted):
            yield Problem(code=kind, message=f"a {kind} is missing, or not one of this case")
            continue
        for sentence in printed:
            said = rule_words(kind, sentence.id, draft.language)
            if sentence.text != said or rule_source(sentence.id) not in sentence.source:
                yield Problem(code=kind, message=f"{sentence.id} is not in the table's words")


def _check_context(draft: Draft, case: CaseFindings) -> Iterator[Problem]:
    """An item of the clinical context stands as it was given, or not at all."""
    items = {item.id: item for item in case.context}
    ids = [f.id for f in draft.fixed if f.kind == "context"]
    if len(set(ids)) != len(ids):
        yield Problem(code="context", message="an item of the context is printed twice")
    for sentence in (f for f in draft.fixed if f.kind == "context"):
        item = items.get(sentence.id)
        if item is None:
            yield Problem(code="context", message=f"{sentence.id} is not in the context")
        elif not _verbatim(sentence, item, draft.language):
            yield Problem(code="context", message=f"{sentence.id} is not printed as it was given")


def _verbatim(sentence: Fixed, item: Context, language: str) -> bool:
    """A name, a colon, then the value and unit as given; the name holds nothing that claims."""
    name, _, value = sentence.text.partition(": ")
    if value != f"{item.value} {item.unit}".strip() or not 0 < len(name) <= 40:
        return False
    said = {word.casefold() for word in re.findall(r"[^\W\d_]+", name)}
    book = lexicon(language)
    bad = book.forbidden["negation"] | book.forbidden["advice"] | set(book.sides)
    return not read_numbers(name, language) and not said & bad


def _check_references(draft: Draft, lines: Sequence[Line]) -> Iterator[Problem]:
    """Each entry of the corpus that a value stands on, or that is cited, once, in its own words."""
    printed = [f for f in draft.fixed if f.kind == "reference"]
    if len({f.id for f in printed}) != len(printed):
        yield Problem(code="citation", message="a source is printed twice")
    known = corpus()
    given = {f.id: f.findings for f in printed if f.id in known}
    if given != _wanted(draft, lines):
        yield Problem(code="citation", message="a source is missing, or stands on nothing here")
    for sentence in printed:
        if sentence.id in known:
            own = references([sentence.id], draft.language)[0]
            sound = (sentence.text, sentence.source) == (own.text, own.source)
        else:  # a passage of the lab's own documents: where it stands, never its words
            passage = re.fullmatch(r"(.+), [0-9]+-[0-9]+", sentence.text)
            sound = bool(sentence.source) and bool(passage and passage[1] == sentence.source)
        if not sound:
            yield Problem(code="citation", message=f"{sentence.id} is not in its own words")


def _wanted(draft: Draft, lines: Sequence[Line]) -> dict[str, tuple[str, ...]]:
    """Entries of the corpus by id, with the findings that stand on them in the order of lines."""
    said = {s.id: s.text for s in draft.statements()}
    found: dict[str, list[str]] = {}
    for line in lines:
        own = line.cites if line.status in VALUED else CITE.findall(said.get(line.statement, ""))
        for name in dict.fromkeys(own):
            if name in corpus():
                found.setdefault(name, []).append(line.finding)
    return {name: tuple(findings) for name, findings in found.items()}


# --- what must stand beside a finding --------------------------------------------------------


def _check_needs(draft: Draft, case: CaseFindings) -> Iterator[Problem]:
    for finding in case.findings:
        need = _need(finding, case)
        if need and not re.search(NEEDS[need], _beside(finding, draft, case), re.IGNORECASE):
            yield Problem(code="required", message=f"{finding.id} stands without its {need}")


def _need(finding: Finding, case: CaseFindings) -> str:
    value = finding.value
    if finding.key == "her2.score" and isinstance(value, Category) and value.code == "2plus":
        done = any(f.key == "her2.ish" and f.status in VALUED for f in case.findings)
        return "" if done else "her2_ish"
    if finding.key == "er.positive_percent" and isinstance(value, Quantity):
        return "er_low_positive" if 1 <= value.value <= 10 else ""
    return (
        "msi_confirm" if finding.key == "msi.probability" and finding.status == "predicted" else ""
    )


def _beside(finding: Finding, draft: Draft, case: CaseFindings) -> str:
    """Fixed words on a finding or on what was derived from it."""
    ids = {finding.id} | {f.id for f in case.findings if finding.id in f.parents}
    texts = [f.text for f in draft.fixed if f.kind == "suggestion" and ids & set(f.findings)]
    said = [s for s in draft.statements() if s.finding in ids]
    texts += [note for s in said for note in s.notes]
    # A derived status may be the comment itself: "ER Low Positive".
    texts += [s.rendered for s in said if s.finding != finding.id]
    return " ".join(texts)


# --- contradictions --------------------------------------------------------------------------


def _check_contradictions(case: CaseFindings) -> Iterator[Problem]:
    named = {finding for c in case.contradictions for finding in c.findings}
    for ids in (*_gleason(case), *_nottingham(case), *_status(case), *_counts(case), *_tumor(case)):
        if not set(ids) & named:
            yield Problem(code="cross_field", message=f"{' and '.join(ids)} contradict one another")


def _groups(case: CaseFindings, head: str) -> Iterator[dict[str, Finding]]:
    """Findings with a value whose keys begin with ``head``, by place."""
    places: dict[tuple[str, ...], dict[str, Finding]] = {}
    for finding in case.findings:
        if finding.key.startswith(head) and finding.status in VALUED:
            place = tuple(e.slide_id for e in finding.evidence)
            places.setdefault(place, {})[finding.key.removeprefix(head)] = finding
    yield from places.values()


def _points(finding: Finding | None) -> int | None:
    """Number in a category's code (p4, s2, gg3), or the total of a sum."""
    if finding is None:
        return None
    if isinstance(finding.value, Sum):
        return finding.value.total
    digits = (
        re.search("[0-9]+", finding.value.code) if isinstance(finding.value, Category) else None
    )
    return int(digits[0]) if digits else None


def _gleason(case: CaseFindings) -> Iterator[Sequence[str]]:
    for of in _groups(case, "gleason."):
        score = of.get("score")
        if score is None or not isinstance(score.value, Sum):
            continue
        for part, key in zip(score.value.parts, ("primary", "secondary"), strict=False):
            if key in of and _points(of[key]) != part:
                yield score.id, of[key].id
        group = of.get("grade_group")
        if group is not None and _points(group) != grade_group(score.value.parts):
            yield score.id, group.id


def grade_group(parts: Sequence[int]) -> int:
    """Grade group of a Gleason score.

    References
    ----------
    Epstein JI et al. The 2014 ISUP consensus conference on Gleason grading of prostatic
    carcinoma. Am J Surg Pathol 2016;40:244-252.
    """
    total = sum(parts)
    if total == 7:
        return 2 if parts[0] == 3 else 3
    return 1 if total <= 6 else 4 if total == 8 else 5


def _nottingham(case: CaseFindings) -> Iterator[Sequence[str]]:
    for of in _groups(case, "nottingham."):
        score, grade = of.get("score"), of.get("grade")
        if score is None or not isinstance(score.value, Sum):
            continue
        for part, key in zip(score.value.parts, ("tubules", "nuclear", "mitoses"), strict=False):
            if key in of and _points(of[key]) != part:
                yield score.id, of[key].id
        total = score.value.total
        if grade and _points(grade) != (1 if total <= 5 else 2 if total <= 7 else 3):
            yield score.id, grade.id


def _status(case: CaseFindings) -> Iterator[Sequence[str]]:
    """Receptor status against its percentage, Ki-67 band likewise."""
    beyond = Decimal("1e-9")  # these cuts belong to the band below them
    er = ((1, "negative"), (10 + beyond, "low_positive"), (101, "positive"))
    pr = ((1, "negative"), (101, "positive"))
    ki67 = ((5 + beyond, "low"), (30, "indeterminate"), (101, "high"))
    cuts = {"er.": ("status", er), "pr.": ("status", pr), "ki67.": ("band", ki67)}
    for head, (key, bands) in cuts.items():
        for of in _groups(case, head):
            percent, status = of.get("positive_percent"), of.get(key)
            if not percent or not status or not isinstance(percent.value, Quantity):
                continue
            number = percent.value.value
            right = next(code for end, code in bands if number < end)
            if isinstance(status.value, Category) and status.value.code != right:
                yield percent.id, status.id


def _counts(case: CaseFindings) -> Iterator[Sequence[str]]:
    """A part is not more than its whole."""
    for of in _groups(case, "prostate."):
        whole, part = _number(of.get("cores")), _number(of.get("cores_positive"))
        if whole is not None and part is not None and part > whole:
            yield of["cores_positive"].id, of["cores"].id


MALIGNANT = (
    r"(?:gleason|nottingham)\..*|(?:breast|prostate)\..*=present|prostate\.cores_positive=[1-9].*"
)


def _tumor(case: CaseFindings) -> Iterator[Sequence[str]]:
    """Material of one place that is benign, or too little, holds no grade and no invasion."""
    for of in _groups(case, "diagnosis."):
        diagnosis = of.get("category")
        if diagnosis is None or not isinstance(diagnosis.value, Category):
            continue
        if diagnosis.value.code not in ("benign", "insufficient"):
            continue
        here = {e.slide_id for e in diagnosis.evidence}
        for finding in case.findings:
            value = finding.value
            said = value.code if isinstance(value, Category) else _number(finding)
            inside = {e.slide_id for e in finding.evidence} <= here and finding.status == "observed"
            if inside and re.fullmatch(MALIGNANT, f"{finding.key}={said}"):
                yield diagnosis.id, finding.id


def _number(finding: Finding | None) -> Decimal | None:
    return finding.value.value if finding and isinstance(finding.value, Quantity) else None
