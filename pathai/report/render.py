"""Slots to values, and a draft to Markdown and HTML. The only place that prints a number."""

import re
from base64 import b64encode
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from pathai.drafters.base import FLAGS, SLOT, TERM
from pathai.errors import CODES, PathaiError
from pathai.finding import (
    CaseFindings,
    Category,
    Evidence,
    Finding,
    Key,
    ModelAnswer,
    PredictedNumber,
    Prediction,
    Quantity,
    Sum,
    registry,
)
from pathai.report.records import Draft, PlannedSection

STATUS_WORDS = {
    "not_detected": "not detected",
    "not_assessed": "not assessed",
    "indeterminate": "indeterminate",
    "failed": "not obtained",
}


def number_text(value: Decimal, row: Key) -> str:
    """A number as it is printed: the registry's rounding, commas between thousands."""
    return f"{row.rounded(value):,}"


def value_text(finding: Finding) -> str:
    """What stands in the place of a finding's slot."""
    row = registry().find(finding.key)
    if finding.status in STATUS_WORDS:
        failed = finding.status == "failed" and finding.code
        return STATUS_WORDS[finding.status] + (f" (failed, {finding.code})" if failed else "")
    if isinstance(finding.value, Quantity):
        return _quantity_text(finding.value, row)
    if isinstance(finding.value, Prediction):
        return _prediction_text(finding.value, row)
    if isinstance(finding.value, PredictedNumber):
        return _predicted_number_text(finding.value)
    if isinstance(finding.value, Category):
        return registry().words(finding.key, finding.value.code)
    if isinstance(finding.value, Sum):
        return f"{' + '.join(str(part) for part in finding.value.parts)} = {finding.value.total}"
    raise PathaiError("E203", f"{finding.id} has no value to print")


def _quantity_text(quantity: Quantity, row: Key) -> str:
    unit = registry().units[quantity.unit]
    joint = "" if unit == "%" else " "
    text = f"{number_text(quantity.value, row)}{joint}{unit}".strip()
    beside = []
    if quantity.low is not None and quantity.high is not None and quantity.level is not None:
        low, high = number_text(quantity.low, row), number_text(quantity.high, row)
        beside.append(f"{_percent(quantity.level)}% interval {low} to {high}")
    if quantity.numerator is not None and quantity.denominator is not None:
        beside.append(f"{quantity.numerator:,} of {quantity.denominator:,} {row.counts}".strip())
    return f"{text} ({'; '.join(beside)})" if beside else text


def _prediction_text(answer: Prediction, row: Key) -> str:
    if answer.probability is None:
        raise PathaiError("E203", "a withheld answer cannot be printed as a prediction")
    step = Decimal(1).scaleb(-row.decimals)
    # Rounding must not turn a probability into certainty.
    if answer.probability > 1 - step:
        chance = f"above {1 - step}"
    elif answer.probability < step:
        chance = f"below {step}"
    else:
        chance = number_text(answer.probability, row)
    text = f"“{answer.label}” with probability {chance}"
    if answer.alpha is None:
        return text
    members = " or ".join(f"“{member}”" for member in answer.set) or "empty"
    return f"{text} (prediction set at {_percent(1 - answer.alpha)}% coverage: {members})"


def _predicted_number_text(answer: PredictedNumber) -> str:
    if answer.value is None:
        raise PathaiError("E203", "a withheld answer cannot be printed as a prediction")
    step = Decimal(1).scaleb(-answer.decimals)

    def printed(number: Decimal) -> str:
        rounded = number.quantize(step, ROUND_HALF_EVEN)
        return f"{rounded if rounded else abs(rounded):,}".replace("-", "−")  # no minus before 0

    joint = "" if answer.unit == "%" else " "
    text = f"{printed(answer.value)}{joint}{answer.unit}".strip()
    low, high = (None if v is None else printed(v) for v in (answer.low, answer.high))
    if answer.alpha is None or (low is None and high is None):
        return f"{text} (no interval)"
    ends = f"from {low}" if high is None else f"up to {high}" if low is None else f"{low} to {high}"
    return f"{text} ({_percent(1 - answer.alpha)}% interval {ends})"


def _percent(share: Decimal) -> str:
    return f"{(100 * share).normalize():f}"


def term_text(term: str) -> str:
    """Display words of a key, or of one of the registry's own terms."""
    own = registry().terms.get(term)
    return own if own is not None else registry().find(term).name


def render_text(text: str, case: CaseFindings) -> str:
    """Fill the slots of a statement.

    Raises
    ------
    PathaiError
        E203 if a slot names a finding that does not exist.
    """

    def value(match: re.Match[str]) -> str:
        finding = case.finding(f"F{match[1]}")
        if finding is None:
            raise PathaiError("E203", f"slot F{match[1]} has no finding")
        return value_text(finding)

    filled = SLOT.sub(value, TERM.sub(lambda m: term_text(m[1]), text))
    return filled[:1].upper() + filled[1:]


def note_texts(finding: Finding) -> tuple[str, ...]:
    """Fixed sentences for what a reader must know beside this value."""
    book = registry()
    codes = [code for code in (finding.note, *finding.flags) if code]
    return tuple(_sentence(code) for code in codes if code not in book.once_per_slide)


def slide_note_texts(section: PlannedSection, case: CaseFindings) -> tuple[str, ...]:
    """Fixed sentences that hold for a section's slide and are printed once."""
    found = [case.finding(line.finding) for line in section.lines]
    codes = {code for f in found if f for code in (f.note, *f.flags)}
    return tuple(_sentence(code) for code in registry().once_per_slide if code in codes)


def _sentence(code: str) -> str:
    book = registry()
    return book.notes.get(code) or book.flags[code]


def title_text(section: PlannedSection) -> str:
    """Heading of a section, from the sheet's own ids."""
    if not section.slide_id:
        return "Case"
    words = [f"Slide {section.slide_id}", section.stain, section.specimen_id]
    words += [section.laterality, f"site {section.site}" if section.site else ""]
    return " · ".join(word for word in words if word)


# --- documents -------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _document(name: str, *, escape: bool) -> Template:
    environment = SandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=escape,
        finalize=None if escape else _escape_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = files("pathai.report").joinpath("templates", name).read_text("utf-8")
    return environment.from_string(text)


def place_text(evidence: Sequence[Evidence]) -> str:
    """Where a finding stands: slides, and the first box of each in level-0 pixels."""
    parts = []
    for item in evidence:
        boxes = [f"{b.width:.0f} × {b.height:.0f} px at {b.x:.0f}, {b.y:.0f}" for b in item.boxes]
        more = f" and {len(boxes) - 1} more" if len(boxes) > 1 else ""
        parts.append(
            f"{item.slide_id}: {boxes[0]}{more}" if boxes else f"{item.slide_id}: whole slide"
        )
    return "; ".join(parts)


def _rows(case: CaseFindings) -> list[dict[str, str]]:
    return [
        {
            "id": f.id,
            "name": registry().find(f.key).name,
            "key": f.key,
            "status": f.status.replace("_", " ") + _reason(f),
            "value": value_text(f),
            "question": f.value.question if isinstance(f.value, ModelAnswer) else "",
            "method": f"{f.method.name}, version {f.method.version}",
            "digest": f.method.digest[:12],
            "place": place_text(f.evidence),
        }
        for f in case.findings
    ]


def _reason(finding: Finding) -> str:
    return f": {CODES[finding.code].title} ({finding.code})" if finding.code in CODES else ""


def _context(draft: Draft, case: CaseFindings) -> dict[str, object]:
    serious = {registry().flags["out_of_distribution"]}
    return {
        "draft": draft,
        "rows": _rows(case),
        "engine_notes": [FLAGS[flag] for flag in draft.engine_flags],
        "serious": serious,
    }


def markdown(draft: Draft, case: CaseFindings) -> str:
    """The draft as Markdown; characters that Markdown would act on are escaped."""
    return _document("draft.md.jinja", escape=False).render(_context(draft, case))


def _escape_markdown(text: object) -> object:
    if isinstance(text, Markup):
        return text
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", str(text))


def html(draft: Draft, case: CaseFindings) -> str:
    """The draft as one self-contained page: nothing is loaded, no script, styles by hash."""
    style = files("pathai.report").joinpath("templates", "draft.css").read_text("utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _document("draft.html.jinja", escape=True)
    # The style is the package's own file; everything else is escaped.
    return template.render(_context(draft, case), style=Markup(style), policy=policy)  # noqa: S704
