"""The draft as data: ``draft.json`` is the truth, Markdown and HTML are printed from it."""

from typing import Literal

from pydantic import Field

from pathai.drafters.base import Engine, Line
from pathai.finding import Frozen

WATERMARK = "DRAFT - not for clinical use - unsigned; research use only"
Source = Literal["template", "llm", "human"]


class PlannedSection(Frozen):
    """Lines that stand together; ``slide_id`` is empty for the whole case."""

    id: str
    slide_id: str = ""
    stain: str = ""
    specimen_id: str = ""
    laterality: str = ""
    site: str = ""
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


class Section(Frozen):
    """Printed section of a draft."""

    id: str
    title: str
    slide_id: str = ""
    notes: tuple[str, ...] = ()
    statements: tuple[Statement, ...]


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
    """

    schema_version: Literal[1] = 1
    case_id: str
    findings_digest: str
    status: Literal["draft"] = "draft"
    watermark: str = WATERMARK
    language: Literal["en", "fr", "es"] = "en"
    revision: int = Field(0, ge=0)
    template: str
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
