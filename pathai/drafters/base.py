"""What a drafter gets, and what it gives back.

A drafter receives lines (ids, registry key, display name, unit, status) and returns one text per
line. A text carries slots instead of values: ``{F7}`` is replaced by the value of finding F7,
``{T:cells.count}`` by the display name of that key, ``{T:predicted}`` by the words that mark a
model's answer. Values, slide texts, paths and patients never reach a drafter.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from pathai.config import ReportConfig

MIN_LETTERS, MAX_LETTERS = 8, 160
MIN_PARTS = 4
"""Letters and slots of the shortest sentence: ``{T:key}: {F1}.``"""
LETTERS = "A-Za-z ,.;:()'-"
LETTERS_OF = {
    "en": LETTERS,
    "fr": "A-Za-zÀÂÇÉÈÊËÎÏÔÙÛÜŒàâçéèêëîïôùûüœ ,.;:()'’-",
    "es": "A-Za-zÁÉÍÓÚÜÑáéíóúüñ ,.;:()'-",
}
"""Characters of a sentence outside its slots, by language."""
SLOT = re.compile(r"\{F([1-9][0-9]{0,3})\}")
TERM = re.compile(r"\{T:([a-z0-9_.]+)\}")
CITE = re.compile(r"\{K:([a-z0-9_-]+)\}")

SYSTEMS = {
    "en": """You phrase lines of a pathology draft. Every input line is:
statement | finding | key | name | unit | status
Answer with JSON only: {"statements": [{"id": ..., "finding": ..., "key": ..., "text": ...}]},
one entry per line, in order. Each text is one short English sentence that holds the slot of its
finding once, for example {F1}, and the term of its key once, for example {T:cells.count}. A text
of status predicted also holds {T:predicted} once. A line may end in ids of references, such as
K:ki67; its text may then hold one of them before the full stop, as {K:ki67}. Write no digit, no
number word, no unit, no negation, no opinion and nothing that is not in the line: values are
filled in later.""",
    "fr": """Tu formules les lignes d'un projet de compte rendu de pathologie. Chaque ligne est :
statement | finding | key | name | unit | status
Réponds en JSON seul : {"statements": [{"id": ..., "finding": ..., "key": ..., "text": ...}]},
une entrée par ligne, dans l'ordre. Chaque texte est une courte phrase en français qui contient
une fois l'emplacement de son résultat, par exemple {F1}, et une fois le terme de sa clé, par
exemple {T:cells.count}. Un texte de statut predicted contient aussi une fois {T:predicted}. Une
ligne peut finir par des références, par exemple K:ki67 ; le texte peut alors en contenir une
avant le point, sous la forme {K:ki67}. N'écris ni chiffre, ni nombre, ni unité, ni négation, ni
avis, ni rien qui ne soit pas dans la ligne : les valeurs sont remplies ensuite.""",
    "es": """Redactas las líneas de un borrador de informe de patología. Cada línea es:
statement | finding | key | name | unit | status
Responde solo con JSON: {"statements": [{"id": ..., "finding": ..., "key": ..., "text": ...}]},
una entrada por línea, en orden. Cada texto es una frase breve en español que contiene una vez el
hueco de su hallazgo, por ejemplo {F1}, y una vez el término de su clave, por ejemplo
{T:cells.count}. Un texto de estado predicted contiene además una vez {T:predicted}. Una línea
puede acabar en referencias, por ejemplo K:ki67; el texto puede contener una de ellas antes del
punto, como {K:ki67}. No escribas cifras, números, unidades, negaciones, opiniones ni nada que no
esté en la línea: los valores se rellenan después.""",
}
"""What a language model is asked, in the draft's language."""

SYSTEM = SYSTEMS["en"]

FLAGS: dict[str, str] = {
    "llm_unreachable": "The language model did not answer; the template wrote the draft.",
    "llm_slow": "The language model exceeded its time limit; the template wrote what was missing.",
    "llm_too_large": "The language model's answer was too large; the template wrote the rest.",
    "llm_redirect": "The language model's server pointed elsewhere; this was refused.",
    "llm_status": "The language model's server reported an error.",
    "llm_invalid": "The language model's answer did not fit the asked form.",
    "llm_repaired": "The language model had to be asked twice for some sentences.",
    "llm_unconstrained": "The language model's server cannot hold answers to a form.",
    "llm_relayed": "The model is relayed to another machine by its server; this was refused.",
    "llm_not_evaluated": "This language model has not been evaluated for this use.",
}
"""Sentences for what went wrong while drafting; printed in the draft."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Line(_Frozen):
    """One statement to phrase: everything a drafter may know.

    ``cites`` are the entries of the knowledge corpus that the statement may cite as ``{K:id}``.
    """

    statement: str
    finding: str
    key: str
    name: str
    unit: str
    status: str
    language: str = "en"
    cites: tuple[str, ...] = ()


class Engine(_Frozen):
    """What phrased a draft; ``model`` is the template's name, or the language model's.

    ``digest`` identifies a language model's weights as its server states them; ``evaluated`` says
    whether ``pathai report evaluate`` has passed with that digest on this site.
    """

    name: str
    model: str = ""
    digest: str = ""
    evaluated: bool = False
    network: Literal["none", "loopback", "allowed"] = "none"


class Phrasing(_Frozen):
    """One text per line (None where there is none to use), and what went wrong.

    The digests cover every byte that was asked and every byte that a language model answered, for
    the audit; both are empty where nothing was asked.
    """

    texts: tuple[str | None, ...]
    flags: tuple[str, ...] = ()
    prompt_sha256: str = ""
    raw_sha256: str = ""


class Drafter(Protocol):
    """Contract of every drafter.

    Raises
    ------
    PathaiError
        From the constructor only, for a configuration that must not be used (E190, E201). At
        run time a drafter never raises for what a server did: it returns None and a flag.
    """

    engine: Engine

    def __init__(self, section: ReportConfig) -> None: ...

    def phrase(self, lines: Sequence[Line]) -> Phrasing:
        """Return one text with slots per line, in order."""
        ...


def text_pattern(line: Line) -> str:
    """Regular expression of a text for ``line``: letters of its language and its own slots."""
    slots = [rf"\{{{line.finding}\}}", rf"\{{T:{re.escape(line.key)}\}}"]
    if line.status == "predicted":
        slots.append(r"\{T:predicted\}")
    slots += [rf"\{{K:{re.escape(name)}\}}" for name in line.cites]
    return rf"^([{LETTERS_OF[line.language]}]|{'|'.join(slots)}){{{MIN_PARTS},{MAX_LETTERS}}}$"


# --- what language models are asked, and how their answer is read ----------------------------


class _Statement(_Frozen):
    id: str
    finding: str
    key: str
    text: str


class _Answer(_Frozen):
    statements: tuple[_Statement, ...]


def schema(lines: Sequence[Line]) -> dict[str, Any]:
    """JSON Schema of an answer: statement k cites finding k, texts hold no digit."""
    items = [
        {
            "type": "object",
            "properties": {
                "id": {"const": line.statement},
                "finding": {"const": line.finding},
                "key": {"const": line.key},
                "text": {"type": "string", "pattern": text_pattern(line)},
            },
            "required": ["id", "finding", "key", "text"],
            "additionalProperties": False,
        }
        for line in lines
    ]
    statements = {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    return {
        "type": "object",
        "properties": {"statements": statements},
        "required": ["statements"],
        "additionalProperties": False,
    }


def prompt(lines: Sequence[Line]) -> str:
    """The user message: one row per line; a language other than English is said first."""
    language = language_of(lines)
    head = [] if language == "en" else [f"language: {language}"]
    return "\n".join([*head, *map(_row, lines)])


def language_of(lines: Sequence[Line]) -> str:
    """Language of a plan's lines; all of a draft share it."""
    return lines[0].language if lines else "en"


def _row(line: Line) -> str:
    fields = [line.statement, line.finding, line.key, line.name, line.unit or "none", line.status]
    cites = " ".join(f"K:{name}" for name in line.cites)
    return " | ".join([*fields, cites] if cites else fields)


def read_answer(content: str | None, lines: Sequence[Line]) -> list[str | None]:
    """Texts of an answer, None where an entry does not fit the schema."""
    try:
        answer = _Answer.model_validate_json(content or "")
    except ValidationError:
        return [None] * len(lines)
    texts: list[str | None] = []
    for number, line in enumerate(lines):
        given = answer.statements[number] if number < len(answer.statements) else None
        wanted = (line.statement, line.finding, line.key)
        fits = given is not None and (given.id, given.finding, given.key) == wanted
        fits = fits and given is not None and bool(re.match(text_pattern(line), given.text))
        texts.append(given.text if given is not None and fits else None)
    return texts
