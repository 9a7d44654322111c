"""Verification by rules: a statement stands on its finding, or it is not printed.

Nothing here trusts a drafter, and nothing asks a model. Expected numbers are computed from the
finding, independently of the renderer, and compared with the numbers read back from the printed
sentence. The vocabulary is closed, so a paraphrase that it does not know is refused, too: the
template's sentence is then printed instead.
"""

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise

import yaml

from pathai.drafters.base import LETTERS, MAX_LETTERS, MIN_LETTERS, SLOT, TERM, Line
from pathai.errors import PathaiError
from pathai.finding import (
    CaseFindings,
    Category,
    Finding,
    PredictedNumber,
    Prediction,
    Quantity,
    Sum,
    registry,
)
from pathai.report.plan import plan
from pathai.report.records import WATERMARK, Draft, Problem, Section, Statement
from pathai.report.render import note_texts, render_text, slide_note_texts, term_text

NUMBER = re.compile(r"(?<![\w.-])−?[0-9][0-9,]*(?:\.[0-9]+)?")


@lru_cache(maxsize=1)
def _lexicon() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    data = yaml.safe_load(files("pathai.report").joinpath("lexicon.yaml").read_text("utf-8"))
    words, forbidden = (
        {kind: frozenset(text.split()) for kind, text in data[part].items()}
        for part in ("words", "forbidden")
    )
    return words, forbidden


def check_text(text: str, line: Line, case: CaseFindings) -> list[Problem]:
    """What is wrong with a drafter's text for ``line``; an empty list lets it pass.

    Parameters
    ----------
    text : str
        Words and slots.
    line : Line
        The planned line; its finding is the only evidence the text may use.
    case : CaseFindings
        All findings of the case.
    """
    finding = case.finding(line.finding)
    if finding is None or finding.key != line.key or finding.status != line.status:
        return [Problem(code="unknown_id", message=f"{line.finding} is not this finding")]
    problems = _check_form(text) + _check_slots(text, finding, case)
    if problems:
        return problems
    problems = _check_words(text, finding)
    if problems:
        return problems
    return check_numbers(render_text(text, case), finding)


def _check_form(text: str) -> list[Problem]:
    bare = TERM.sub("", SLOT.sub("", text))
    if re.search(r"[0-9]", bare) or any(c.isnumeric() for c in bare):
        return [Problem(code="digit", message="a number stands outside a slot")]
    if not re.fullmatch(rf"[{LETTERS}]*", bare):
        return [Problem(code="characters", message="a character that is not allowed")]
    if not MIN_LETTERS <= len(text) <= MAX_LETTERS or not text.endswith("."):
        return [Problem(code="length", message="not one sentence of usual length")]
    if text.count(".") - sum(t.count(".") for t in TERM.findall(text)) != 1:
        return [Problem(code="length", message="more than one sentence")]
    if not re.match(r"[A-Z{]", text):
        return [Problem(code="characters", message="it does not begin like a sentence")]
    return []


def _check_slots(text: str, finding: Finding, case: CaseFindings) -> list[Problem]:
    slots = [f"F{number}" for number in SLOT.findall(text)]
    terms = TERM.findall(text)
    if any(case.finding(slot) is None for slot in slots):
        return [Problem(code="unknown_id", message="a slot without a finding")]
    if any(slot != finding.id for slot in slots):
        return [Problem(code="wrong_finding", message="a value of another finding")]
    if len(slots) != 1:
        return [Problem(code="missing_slot", message="the value does not stand exactly once")]
    subjects = [term for term in terms if term != "predicted"]
    if subjects != [finding.key]:
        return [Problem(code="subject", message="it does not name its finding, and only it, once")]
    hedges = terms.count("predicted")
    if finding.status == "predicted" and hedges != 1:
        return [Problem(code="hedge", message="a prediction is not marked as one")]
    if finding.status != "predicted" and hedges:
        return [Problem(code="hedge", message="a finding that was not predicted is marked so")]
    return []


def _check_words(text: str, finding: Finding) -> list[Problem]:
    words, forbidden = _lexicon()
    allowed = words["any"] | words[finding.status]
    # A slot stands as a mark, so that words left and right of it are not neighbors.
    spoken = re.findall(r"[A-Za-z']+|#", TERM.sub("#", SLOT.sub("#", text)))
    lower = [word.lower() for word in spoken]
    for code, bad in sorted(forbidden.items()):
        if bad & set(lower):
            code = "polarity" if code == "negation" else code
            return [Problem(code=code, message="a word that only a finding could support")]
    if not set(lower) <= allowed | {"#"}:
        return [Problem(code="unknown_word", message="a word outside the vocabulary")]
    if any(a == b != "#" for a, b in pairwise(lower)):
        return [Problem(code="unknown_word", message="a word stands twice in a row")]
    return []


def expected_numbers(finding: Finding) -> list[Decimal]:
    """Numbers that a sentence about ``finding`` prints, in order, computed from the finding."""
    value, row = finding.value, registry().find(finding.key)
    if finding.status not in ("measured", "observed", "predicted") or value is None:
        return []
    step = Decimal(1).scaleb(-row.decimals)

    def seen(number: Decimal) -> Decimal:
        exact = Decimal(1).scaleb(-row.places(number))
        return number.quantize(exact, ROUND_HALF_EVEN)

    if isinstance(value, Category):
        return read_numbers(registry().words(finding.key, value.code))
    if isinstance(value, Sum):
        return [Decimal(number) for number in (*value.parts, value.total)]

    if isinstance(value, Quantity):
        numbers = [seen(value.value)]
        if value.low is not None and value.high is not None and value.level is not None:
            numbers += [100 * value.level, seen(value.low), seen(value.high)]
        if value.numerator is not None and value.denominator is not None:
            numbers += [Decimal(value.numerator), Decimal(value.denominator)]
        return numbers
    if isinstance(value, PredictedNumber):
        return _of_predicted_number(value)
    if isinstance(value, Prediction) and value.probability is not None:
        chance = min(max(seen(value.probability), step), 1 - step)
        if step <= value.probability <= 1 - step:
            chance = seen(value.probability)
        coverage = [] if value.alpha is None else [100 * (1 - value.alpha)]
        members = value.set if value.alpha is not None else ()
        return [
            *read_numbers(value.label),
            chance,
            *coverage,
            *(number for member in members for number in read_numbers(member)),
        ]
    return []


def _of_predicted_number(value: PredictedNumber) -> list[Decimal]:
    """Value, numbers of the unit's own words, coverage, and the ends that the interval has."""
    if value.value is None:
        return []
    step = Decimal(1).scaleb(-value.decimals)
    answer, *ends = (
        n.quantize(step, ROUND_HALF_EVEN)
        for n in (value.value, value.low, value.high)
        if n is not None
    )
    coverage = [100 * (1 - value.alpha)] if ends and value.alpha is not None else []
    return [answer, *read_numbers(value.unit), *coverage, *ends]


def read_numbers(text: str) -> list[Decimal]:
    """Numbers printed in a text; digits inside names (Ki-67, E110) are not numbers."""
    return [Decimal(found.replace(",", "").replace("−", "-")) for found in NUMBER.findall(text)]


def check_numbers(rendered: str, finding: Finding) -> list[Problem]:
    """Compare the numbers read back from a printed sentence with the finding's."""
    name = term_text(finding.key)
    bare = re.sub(re.escape(name), " ", rendered, flags=re.IGNORECASE)
    if read_numbers(bare) != expected_numbers(finding):
        return [Problem(code="rendered", message=f"{finding.id} is not printed as it was found")]
    return []


# --- a whole draft ---------------------------------------------------------------------------


def check_draft(draft: Draft, case: CaseFindings) -> list[Problem]:
    """What is wrong with a draft, as stored: every sentence, completeness, and its origin."""
    problems = _check_origin(draft, case)
    planned = plan(case)
    if [s.id for s in planned] != [s.id for s in draft.sections]:
        problems.append(Problem(code="required", message="sections are missing or moved"))
        return problems
    for wanted, section in zip(planned, draft.sections, strict=True):
        if section.notes != slide_note_texts(wanted, case):
            problems.append(Problem(code="required", message=f"{section.id}: a note is missing"))
        problems += _check_section(wanted.lines, section, case)
    return problems


def _check_origin(draft: Draft, case: CaseFindings) -> list[Problem]:
    problems = []
    if draft.findings_digest != case.sha256() or draft.case_id != case.case_id:
        problems.append(Problem(code="origin", message="the draft is of other findings"))
    if draft.watermark != WATERMARK or draft.status != "draft":
        problems.append(Problem(code="origin", message="the watermark is not in place"))
    return problems


def _check_section(lines: Sequence[Line], section: Section, case: CaseFindings) -> list[Problem]:
    given = [(s.id, s.finding) for s in section.statements]
    if given != [(line.statement, line.finding) for line in lines]:
        return [Problem(code="required", message=f"{section.id}: statements are missing or moved")]
    pairs = zip(lines, section.statements, strict=True)
    return [problem for line, said in pairs for problem in _check_statement(said, line, case)]


def _check_statement(said: Statement, line: Line, case: CaseFindings) -> list[Problem]:
    problems = check_text(said.text, line, case)
    if problems:
        return problems
    finding = case.finding(said.finding)
    if finding is None or said.rendered != render_text(said.text, case):
        return [Problem(code="rendered", message=f"{said.id} is not printed as it was drafted")]
    if said.notes != note_texts(finding):
        return [Problem(code="required", message=f"{said.id}: a note is missing")]
    return check_numbers(said.rendered, finding)


def require(draft: Draft, case: CaseFindings) -> None:
    """Refuse a draft with any problem.

    Raises
    ------
    PathaiError
        E203 naming the first problem; draft the case again.
    """
    problems = check_draft(draft, case)
    if problems:
        first = problems[0]
        raise PathaiError("E203", f"case {case.case_id}: {first.message} ({first.code})")
