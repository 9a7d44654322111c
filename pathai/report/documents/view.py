"""What a document of a draft shows: one model, from which every format is printed."""

from collections.abc import Sequence
from dataclasses import dataclass

from pathai.drafters.base import FLAGS
from pathai.errors import CODES
from pathai.finding import CaseFindings, Evidence, Finding, ModelAnswer
from pathai.language import catalog
from pathai.report import render
from pathai.report.documents.evidence import Picture
from pathai.report.documents.state import State
from pathai.report.documents.words import Words, words_of
from pathai.report.records import WATERMARK, Draft, Fixed, Section, Statement


@dataclass(frozen=True)
class Note:
    """A fixed sentence below a statement; ``serious`` is shown loudly."""

    text: str
    serious: bool


@dataclass(frozen=True)
class Sentence:
    """A statement, the finding it stands on, and the pictures of its place."""

    id: str
    text: str
    finding: str
    notes: tuple[Note, ...]
    mark: str
    why: str
    pictures: tuple[int, ...]


@dataclass(frozen=True)
class Gathered:
    """One line that stands for the sentences of several findings without a value."""

    text: str
    findings: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A section with its heading."""

    title: str
    notes: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    gathered: tuple[Gathered, ...]


@dataclass(frozen=True)
class Told:
    """A sentence from a table, with what it stands on and its source."""

    id: str
    text: str
    findings: tuple[str, ...]
    source: str
    pictures: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A finding as a row of the table."""

    id: str
    name: str
    question: str
    value: str
    status: str
    method: str
    digest: str
    place: str


@dataclass(frozen=True)
class Shown:
    """A picture with its caption and the findings that stand there."""

    picture: Picture
    caption: str
    findings: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """A whole document; ``mark`` stands on each page."""

    language: str
    words: Words
    kind: str
    title: str
    heading: str
    case_id: str
    watermark: bool
    mark: str
    translation: str
    life: tuple[str, ...]
    lead: str
    contradictions: tuple[Told, ...]
    parts: tuple[Part, ...]
    suggestions: tuple[Told, ...]
    context: tuple[Told, ...]
    references: tuple[Told, ...]
    rows: tuple[Row, ...]
    making: tuple[str, ...]
    bound: str
    pictures: tuple[Shown, ...]


def view(draft: Draft, case: CaseFindings, state: State, evidence: Sequence[Picture] = ()) -> View:
    """What to show of a draft.

    Parameters
    ----------
    draft : Draft
        Sentences, already verified.
    case : CaseFindings
        The findings they stand on.
    state : State
        Decides watermark and signature.
    evidence : sequence of Picture
        See `pathai.report.documents.evidence.pictures`.
    """
    words = words_of(draft.language)
    heading = words("case", case=draft.case_id)
    kind = words("draft_title" if state.watermark else "signed_title")

    def told(wanted: str) -> tuple[Told, ...]:
        return tuple(_told(f, evidence) for f in draft.fixed if f.kind == wanted)

    return View(
        language=draft.language,
        words=words,
        kind=kind,
        title=f"{kind} · {heading}",
        heading=heading,
        case_id=draft.case_id,
        watermark=state.watermark,
        mark=_mark(draft, state, words),
        translation="" if catalog(draft.language).reviewed else words("translation"),
        life=_life(state, words),
        lead=words("lead", count=draft.verification.statements),
        contradictions=told("contradiction"),
        parts=tuple(_part(section, words, evidence) for section in draft.sections),
        suggestions=told("suggestion"),
        context=told("context"),
        references=told("reference"),
        rows=tuple(_row(finding, words) for finding in case.findings),
        making=_making(draft, words),
        bound=words(
            "bound",
            findings=draft.findings_digest[:12],
            revision=draft.revision,
            draft=draft.digest[:12] or "-",
        ),
        pictures=tuple(Shown(p, _caption(p, words), p.findings) for p in evidence),
    )


def _mark(draft: Draft, state: State, words: Words) -> str:
    if state.watermark:
        return " · ".join(dict.fromkeys((WATERMARK, draft.watermark)))  # English is never left out
    return words("signed_mark", signer=state.signer, time=state.time)


def _life(state: State, words: Words) -> tuple[str, ...]:
    """Sentences about review and signature."""
    if state.name == "draft":
        return ()
    if state.name == "in_review":
        return (words("in_review"),)
    role = f" ({state.role})" if state.role else ""
    said = [words("signed", signer=state.signer, role=role, time=state.time)]
    if state.reason:
        said.append(words("amended", reason=state.reason))
    return (*said, words("assertion"), words("research"))


def _at(findings: Sequence[str], evidence: Sequence[Picture]) -> tuple[int, ...]:
    """Numbers of the pictures of some findings: of each the crops, or else the overview."""
    wanted = set(findings)
    found = [i for i, p in enumerate(evidence) if wanted & set(p.findings)]
    return tuple(found[:4])


def _told(fixed: Fixed, evidence: Sequence[Picture]) -> Told:
    source = fixed.source
    return Told(fixed.id, fixed.text, fixed.findings, source, _at(fixed.findings, evidence))


def _part(section: Section, words: Words, evidence: Sequence[Picture]) -> Part:
    sentences = tuple(_sentence(said, words, evidence) for said in section.shown())
    gathered = tuple(Gathered(b.text, b.findings, b.notes) for b in section.briefs)
    return Part(section.title, section.notes, sentences, gathered)


def _sentence(said: Statement, words: Words, evidence: Sequence[Picture]) -> Sentence:
    spoken = catalog(words.language)
    serious = {spoken.typeset(spoken.flag("out_of_distribution"))}
    mark = ""
    if said.verdict == "fallback":
        mark = words("template_sentence")
    elif said.source == "human":
        mark = words("human_flag" if said.verdict == "flag" else "human")
    return Sentence(
        id=said.id,
        text=said.rendered,
        finding=said.finding,
        notes=tuple(Note(text, text in serious) for text in said.notes),
        mark=mark,
        why=", ".join(said.flags),
        pictures=_at((said.finding,), evidence),
    )


def _row(finding: Finding, words: Words) -> Row:
    spoken = catalog(words.language)
    status = spoken.status("derived" if finding.derived else finding.status)
    if finding.code in CODES:
        status += f": {CODES[finding.code].title} ({finding.code})"
    if finding.entry is not None:
        status += f": {finding.entry.reader}, {finding.entry.time}"
    place = "; ".join(_place(item, words) for item in finding.evidence)
    if finding.parents:
        place += f"; {words('derived', ids=', '.join(finding.parents))}"
    return Row(
        id=finding.id,
        name=spoken.term(finding.key),
        question=finding.value.question if isinstance(finding.value, ModelAnswer) else "",
        value=render.value_text(finding, words.language),
        status=status,
        method=f"{finding.method.name}, {words('version')} {finding.method.version}",
        digest=finding.method.digest[:12],
        place=place,
    )


def _place(item: Evidence, words: Words) -> str:
    """Slide, and the first of its boxes in level-0 pixels."""
    if not item.boxes:
        return f"{item.slide_id}: {words('whole')}"
    box, more = item.boxes[0], len(item.boxes) - 1
    size = f"{box.width:.0f}", f"{box.height:.0f}", f"{box.x:.0f}", f"{box.y:.0f}"
    text = words("at", width=size[0], height=size[1], x=size[2], y=size[3])
    return f"{item.slide_id}: {text}" + (f" {words('more', count=more)}" if more else "")


def _making(draft: Draft, words: Words) -> tuple[str, ...]:
    """How the draft came about, sentence by sentence."""
    engine = draft.engine
    name = f"{engine.name} ({engine.model})" if engine.model else engine.name
    said = [words("phrased", engine=name)]
    if engine.name != "template":
        shown = engine.digest[:19] or words("unknown_weights")
        said.append(words("evaluated" if engine.evaluated else "not_evaluated", digest=shown))
    counts = draft.verification
    said.append(words("checked", fallback=counts.fallback, count=counts.statements))
    said.append(words(f"network_{engine.network}"))
    spoken = catalog(words.language)
    return (*said, *(spoken.engine_flag(flag, FLAGS[flag]) for flag in draft.engine_flags))


def _caption(picture: Picture, words: Words) -> str:
    mpp = f"{picture.um_px:.2f}" if picture.um_px < 10 else f"{picture.um_px:.0f}"
    shared = {"slide": picture.slide_id, "mpp": mpp, "bar": picture.bar_um}
    if picture.overview or picture.box is None:
        text = words("overview", **shared)
    else:
        text = words("crop", **shared, x=f"{picture.box.x:.0f}", y=f"{picture.box.y:.0f}")
    return f"{text}; {words('outlined')}" if picture.box is not None else text
