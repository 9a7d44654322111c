"""Slots to values, and a draft to Markdown and HTML. The only place that prints a number."""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from pathai.drafters.base import CITE, FLAGS, SLOT, TERM
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
from pathai.language import Catalog, catalog
from pathai.report.records import Brief, Draft, Gathered, PlannedSection

WITHOUT_VALUE = ("not_detected", "not_assessed", "indeterminate", "failed")


def value_text(finding: Finding, language: str = "en") -> str:
    """What stands in the place of a finding's slot.

    Raises
    ------
    PathaiError
        E203 if the finding has nothing to print.
    """
    words, row, value = catalog(language), registry().find(finding.key), finding.value
    if finding.status in WITHOUT_VALUE:
        return no_value_text(finding, language)
    if isinstance(value, Quantity):
        return _quantity_text(value, row, words)
    if isinstance(value, Prediction):
        return _prediction_text(value, row, words)
    if isinstance(value, PredictedNumber):
        return _predicted_number_text(value, words)
    if isinstance(value, Sum):
        parts = " + ".join(words.number(Decimal(part)) for part in value.parts)
        return f"{parts} = {words.number(Decimal(value.total))}"
    if isinstance(value, Category):
        return words.value(finding.key, value.code)
    raise PathaiError("E203", f"{finding.id} has no value to print")


def no_value_text(finding: Finding, language: str = "en") -> str:
    """Words for a value that is not there, with the code of a step that failed."""
    words = catalog(language)
    text = words.no_value(finding.status)
    if finding.status == "failed" and finding.code:
        text += f" ({words.phrase('failed_code', code=finding.code)})"
    return text


def _quantity_text(quantity: Quantity, row: Key, words: Catalog) -> str:
    def printed(number: Decimal) -> str:
        return words.number(number, row.places(number))

    if quantity.unit == "%":
        text = words.percent(quantity.value, row.places(quantity.value))
    else:
        text = words.measured(printed(quantity.value), words.unit(quantity.unit))
    beside = []
    if quantity.low is not None and quantity.high is not None and quantity.level is not None:
        ends = {"low": printed(quantity.low), "high": printed(quantity.high)}
        beside.append(words.phrase("interval", level=_share(quantity.level, words), **ends))
    if quantity.numerator is not None and quantity.denominator is not None:
        numbers = {
            "numerator": words.number(Decimal(quantity.numerator)),
            "denominator": words.number(Decimal(quantity.denominator)),
        }
        beside.append(words.phrase("ratio", counts=words.counted(row.counts), **numbers).strip())
    return f"{text} ({words.phrase('separator').join(beside)})" if beside else text


def _prediction_text(answer: Prediction, row: Key, words: Catalog) -> str:
    if answer.probability is None:
        raise PathaiError("E203", "a withheld answer cannot be printed as a prediction")
    step = Decimal(1).scaleb(-row.decimals)
    # Rounding must not turn a probability into certainty.
    if answer.probability > 1 - step:
        chance = words.phrase("above", number=words.number(1 - step, row.decimals))
    elif answer.probability < step:
        chance = words.phrase("below", number=words.number(step, row.decimals))
    else:
        chance = words.number(answer.probability, row.decimals)
    text = words.phrase("chance", label=answer.label, chance=chance)
    if answer.alpha is None:
        return text
    named = [words.phrase("label", label=member) for member in answer.set]
    members = f" {words.phrase('or')} ".join(named) or words.phrase("empty_set")
    level = _share(1 - answer.alpha, words)
    return f"{text} ({words.phrase('prediction_set', level=level, members=members)})"


def _predicted_number_text(answer: PredictedNumber, words: Catalog) -> str:
    if answer.value is None:
        raise PathaiError("E203", "a withheld answer cannot be printed as a prediction")

    def printed(number: Decimal) -> str:
        return words.number(number, answer.decimals)

    if answer.unit == "%":
        text = words.percent(answer.value, answer.decimals)
    else:
        text = words.measured(printed(answer.value), answer.unit)
    ends = {k: printed(v) for k, v in (("low", answer.low), ("high", answer.high)) if v is not None}
    if answer.alpha is None or not ends:
        return f"{text} ({words.phrase('no_interval')})"
    name = {1: "interval_from" if "low" in ends else "interval_up_to", 2: "interval"}[len(ends)]
    return f"{text} ({words.phrase(name, level=_share(1 - answer.alpha, words), **ends)})"


def _share(share: Decimal, words: Catalog) -> str:
    """A share as a percentage, with the places that it has."""
    percent = (100 * share).normalize()
    exponent = percent.as_tuple().exponent
    return words.percent(percent, max(0, -exponent) if isinstance(exponent, int) else 0)


def term_text(term: str, language: str = "en") -> str:
    """Display words of a key, or of one of the registry's own terms."""
    return catalog(language).term(term)


def render_text(text: str, case: CaseFindings, language: str = "en") -> str:
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
        return value_text(finding, language)

    text = CITE.sub(lambda m: f"[{m[1]}]", text)
    filled = SLOT.sub(value, TERM.sub(lambda m: term_text(m[1], language), text))
    return _capital(catalog(language).typeset(filled))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def note_texts(finding: Finding, language: str = "en") -> tuple[str, ...]:
    """Fixed sentences for what a reader must know beside this value."""
    words, once = catalog(language), registry().once_per_slide
    codes = [code for code in (finding.note, *finding.flags) if code]
    return tuple(words.typeset(words.said(code)) for code in codes if code not in once)


def slide_note_texts(
    section: PlannedSection, case: CaseFindings, language: str = "en"
) -> tuple[str, ...]:
    """Fixed sentences that hold for a section's slide and are printed once."""
    words = catalog(language)
    return tuple(words.typeset(words.said(code)) for code in section.notes)


def briefs(section: PlannedSection, case: CaseFindings, language: str = "en") -> tuple[Brief, ...]:
    """One line for each group of findings without a value, with the reasons."""
    keys = Counter(line.key for line in section.lines)
    return tuple(_brief(g, section, case, keys, catalog(language)) for g in section.gathered)


def _brief(
    group: Gathered, section: PlannedSection, case: CaseFindings, keys: Counter[str], words: Catalog
) -> Brief:
    found = [f for f in map(case.finding, group.findings) if f is not None]
    status, once = _capital(no_value_text(found[0], words.language)), registry().once_per_slide
    if group.all:
        count = words.number(Decimal(len(found)))
        text = words.phrase("gathered_all", status=status, count=count)
    else:
        of_slide = not set(group.notes).isdisjoint(once)
        slides: dict[str, list[str]] = {}
        for finding in found:
            slides.setdefault(finding.key, []).extend(e.slide_id for e in finding.evidence)
        items = (
            words.term(key)
            if section.slide_id or not (of_slide or keys[key] > 1)
            else words.phrase(
                "gathered_on" if len(on) == 1 else "gathered_on_several",
                term=words.term(key),
                slides=", ".join(on),
            )
            for key, on in slides.items()
        )
        text = words.phrase("gathered", status=status, items=words.phrase("separator").join(items))
    above = once if section.slide_id else section.notes
    notes = tuple(words.typeset(words.said(code)) for code in group.notes if code not in above)
    return Brief(text=words.typeset(text), findings=group.findings, notes=notes)


def title_text(section: PlannedSection, language: str = "en") -> str:
    """Heading of a section: its own words, then the sheet's names of the place."""
    words = catalog(language)
    if section.slide_id:
        place = [words.phrase("slide", id=section.slide_id), section.stain, section.specimen_id]
    elif section.specimen_id:
        place = [words.phrase("specimen", id=section.specimen_id)]
    else:
        place = [] if section.title else [words.phrase("case")]
    place += [words.side(section.laterality)]
    place += [words.phrase("site", site=section.site)] if section.site else []
    return " · ".join(word for word in (section.title, *place) if word)


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
