"""The draft as data: ``draft.json`` is the truth, Markdown and HTML are printed from it."""

from typing import Literal

from pydantic import Field

from pathai.drafters.base import Engine, Line
from pathai.finding import Frozen
from pathai.layouts import Layout

WATERMARK = "DRAFT - not for clinical use - AI-assisted, unsigned; research use only"
Source = Literal["template", "llm", "human"]


class Gathered(Frozen):
    """Findings without a value that one printed line names together, and why they have none.

    ``notes`` are codes of the registry; ``all`` says that the section holds nothing else.
    """

    findings: tuple[str, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()
    all: bool = False


class PlannedSection(Frozen):
    """Lines that stand together; ``slide_id`` is empty for a specimen or the whole case.

    ``notes`` are codes of sentences that are printed once below the heading.
    """

    id: str
    title: str = ""
    slide_id: str = ""
    stain: str = ""
    specimen_id: str = ""
    laterality: str = ""
    site: str = ""
    notes: tuple[str, ...] = ()
    gathered: tuple[Gathered, ...] = ()
    lines: tuple[Line, ...]


class Problem(Frozen):
    """Why a statement or a draft is refused."""

    code: str
    message: str


class Statement(Frozen):
    """One sentence, the finding it stands on, and what became of the drafter's own text.

    ``text`` holds slots, ``rendered`` values. ``notes`` are fixed sentences of the registry for
    the finding's note and flags; no drafter can leave them out. A refused text is not kept; its
    reasons and its SHA-256 are.
    """

    id: str
    finding: str
    text: str
    rendered: str
    notes: tuple[str, ...] = ()
    source: Source
    verdict: Literal["pass", "fallback", "flag"]
    flags: tuple[str, ...] = ()
    refused: str = ""


class Fixed(Frozen):
    """A sentence that code alone prints: it comes from a table, never from a drafter.

    ``id`` is the rule, the item of the clinical context or the entry of the knowledge corpus;
    ``findings`` are what it stands on; ``source`` is the DOI or document that it quotes.
    """

    kind: Literal["contradiction", "suggestion", "context", "reference"]
    id: str
    text: str
    findings: tuple[str, ...] = ()
    source: str = ""


class Brief(Frozen):
    """One line for several findings without a value: documents print it in their sentences' place.

    The sentences are in ``statements`` all the same, each on its finding; ``notes`` say why.
    """

    text: str
    findings: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Section(Frozen):
    """Printed section of a draft."""

    id: str
    title: str
    slide_id: str = ""
    notes: tuple[str, ...] = ()
    statements: tuple[Statement, ...]
    briefs: tuple[Brief, ...] = ()

    def shown(self) -> tuple[Statement, ...]:
        """The statements that a document prints one by one; ``briefs`` stand for the others."""
        brief = {finding for line in self.briefs for finding in line.findings}
        return tuple(s for s in self.statements if s.finding not in brief)


class Verification(Frozen):
    """Counts over the draft's statements."""

    statements: int
    accepted: int
    fallback: int
    problems: dict[str, int] = Field(default_factory=dict)


class Draft(Frozen):
    """An unsigned draft of one case; ``digest`` is the SHA-256 of everything else.

    ``prompt_sha256`` and ``raw_sha256`` cover what a language model was asked and what it
    answered; both are empty where none was.
    ``layout`` is the order that it was made by, so that it can be checked when that file changed.
    """

    schema_version: Literal[1] = 1
    case_id: str
    findings_digest: str
    status: Literal["draft"] = "draft"
    watermark: str = WATERMARK
    language: Literal["en", "fr", "es"] = "en"
    revision: int = Field(0, ge=0)
    template: str
    layout: Layout | None = None
    engine: Engine
    engine_flags: tuple[str, ...] = ()
    prompt_sha256: str = ""
    raw_sha256: str = ""
    sections: tuple[Section, ...]
    fixed: tuple[Fixed, ...] = ()
    verification: Verification
    digest: str = ""

    def statements(self) -> tuple[Statement, ...]:
        """Every statement, in order."""
        return tuple(s for section in self.sections for s in section.statements)

    def told(self) -> frozenset[str]:
        """Findings whose value the printed sentences give.

        Not those whose sentence a person deleted, nor those that a person told in words which
        the verifier flagged: what leaves as data must not say more than, or against, the words.
        """
        spoken = [s for s in self.statements() if s.source == "human" and s.verdict == "flag"]
        against = {s.finding for s in spoken}
        return frozenset(s.finding for s in self.statements()) - against
