"""Ask a language model for lines in parts, check every answer, ask once more, keep digests.

Shared by the drafters that reach a model in different ways. Whatever constrains the model, its
answer is checked against the form here; what is still wrong after one repair is left to the
template.

The name that a person gave to a drawn region is part of its finding's key, and may be anything,
a patient's name too. A model is asked about ``region.r1`` instead; its answer gets the key back.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from pathai.drafters.base import (
    SYSTEMS,
    Line,
    Phrasing,
    language_of,
    prompt,
    read_answer,
    schema,
)
from pathai.language import catalog
from pathai.store.manifest import canonical

NAMED_BY_A_PERSON = "region"
"""Head of the keys whose second word a person wrote."""
PER_REQUEST = 6
TOKENS_PER_LINE = 160
HINTS = {
    "en": "The answer before did not fit the form. Answer with the JSON form only.",
    "fr": "La réponse précédente n'avait pas la bonne forme. Réponds avec le JSON seul.",
    "es": "La respuesta anterior no tenía la forma pedida. Responde solo con el JSON.",
}

Messages = list[dict[str, str]]
Request = Callable[[Messages, dict[str, Any], int], str | None]
"""Sends messages with the schema and a limit of tokens; gives the content of the answer."""


class Stopped(Exception):
    """The model cannot be asked any further; ``flag`` says why."""

    def __init__(self, flag: str) -> None:
        super().__init__(flag)
        self.flag = flag


def ask(lines: Sequence[Line], request: Request, flags: set[str]) -> Phrasing:
    """One text per line, None where the model gave none that fits.

    Parameters
    ----------
    lines : sequence of Line
        The plan.
    request : callable
        Reaches the model; raises ``Stopped`` when it must not or cannot be asked any more.
    flags : set of str
        What is known already; what goes wrong is added.
    """
    coded = [_coded(line, number) for number, line in enumerate(lines, start=1)]
    texts: list[str | None] = []
    sent, raw = sha256(), sha256()
    asked = False

    def recorded(messages: Messages, form: dict[str, Any], limit: int) -> str | None:
        nonlocal asked
        asked = True
        sent.update(canonical({"messages": messages, "schema": form}))
        content = request(messages, form, limit)
        raw.update(len(content or "").to_bytes(8, "big"))
        raw.update((content or "").encode("utf-8", "replace"))
        return content

    try:
        for start in range(0, len(coded), PER_REQUEST):
            texts += _part(coded[start : start + PER_REQUEST], recorded, flags)
    except Stopped as stop:
        flags.add(stop.flag)
    texts += [None] * (len(lines) - len(texts))
    return Phrasing(
        texts=tuple(_decoded(*one) for one in zip(texts, coded, lines, strict=True)),
        flags=tuple(sorted(flags)),
        prompt_sha256=sent.hexdigest() if asked else "",
        raw_sha256=raw.hexdigest() if asked else "",
    )


def _coded(line: Line, number: int) -> Line:
    """A line without the name that a person gave to its region."""
    head, _, tail = line.key.partition(".")
    if head != NAMED_BY_A_PERSON:
        return line
    key = f"{head}.r{number}.{tail.partition('.')[2]}"
    return line.model_copy(update={"key": key, "name": catalog(line.language).term(key)})


def _decoded(text: str | None, coded: Line, line: Line) -> str | None:
    return text if text is None else text.replace(f"{{T:{coded.key}}}", f"{{T:{line.key}}}")


def _part(lines: Sequence[Line], request: Request, flags: set[str]) -> list[str | None]:
    form, limit, language = schema(lines), TOKENS_PER_LINE * len(lines), language_of(lines)
    system = {"role": "system", "content": SYSTEMS[language]}
    question = prompt(lines)
    texts = read_answer(request([system, _user(question)], form, limit), lines)
    if None not in texts:
        return texts
    flags.add("llm_repaired")
    again = [system, _user(f"{question}\n{HINTS[language]}")]
    try:
        repaired = read_answer(request(again, form, limit), lines)
    except Stopped as stop:  # what was said well before stands
        flags.add(stop.flag)
        repaired = [None] * len(lines)
    texts = [old if old is not None else new for old, new in zip(texts, repaired, strict=True)]
    if None in texts:
        flags.add("llm_invalid")
    return texts


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
