"""A question translated by the lab's own language model; what it gives is checked like ours.

The model sees the question, the names of keys and their values, and no finding. Its answer is a
query by schema; a query that names an unknown key, value, unit or place is refused.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any as Anything

from pydantic import ValidationError

from pathai.ask.parse import MAX_LETTERS
from pathai.ask.query import (
    All,
    Any,
    Between,
    Compare,
    Condition,
    From,
    Not,
    Query,
    Says,
    Stands,
)
from pathai.ask.vocabulary import Vocabulary, folded
from pathai.config import LlmConfig
from pathai.errors import PathaiError
from pathai.finding import registry

SYSTEM = """Translate a question about pathology cases into one JSON query. Use only the keys,
values and names listed. Do not answer the question and do not invent conditions. Kinds:
compare (sign, value, unit), between (low, high, unit), says (codes), stands (status), from (part,
names), and, or (parts), not (part). "want" is list or count, "by" is case, stain, site or
laterality. "unvalued" means not assessed. Units are those listed with the key, or empty."""

Ask = Callable[[list[dict[str, str]], dict[str, Anything]], str | None]


def translate(question: str, known: Vocabulary, ask: Ask) -> Query:
    """Let a language model translate a question.

    Parameters
    ----------
    question : str
        As it was typed.
    known : Vocabulary
        What may be named.
    ask : callable
        Messages and JSON Schema to the model's text, None without an answer.

    Raises
    ------
    PathaiError
        E202 without a usable answer, E213 if it names what does not exist.
    """
    if not question.strip() or len(question) > MAX_LETTERS:
        raise PathaiError("E213", f"a question has 1 to {MAX_LETTERS} letters")
    messages = [
        {"role": "system", "content": f"{SYSTEM}\n{listing(known)}"},
        {"role": "user", "content": json.dumps({"question": question})},
    ]
    text = ask(messages, Query.model_json_schema())
    try:
        query = Query.model_validate_json(text or "")
    except ValidationError:
        message = "the language model gave no query"
        raise PathaiError("E202", message, "ask without --llm") from None
    if query.where is not None:
        check(query.where, known)
    return query


def listing(known: Vocabulary) -> str:
    """Keys with units and values, stains and sides, for the prompt.

    What a person wrote freely, the names of drawn regions and of sites, is left out: a question
    may name a site all the same, and what is named must exist.
    """
    rows = []
    for key in sorted(k for k in set(known.keys.values()) if not k.startswith("region.")):
        values = sorted(set(known.values.get(key, {}).values()))
        rows.append(f"key {key}: unit {known.unit(key)!r}, values {json.dumps(values)}")
    stains = {name for name in known.parts["stain"].values() if registry().family(name)}
    for part, names in (("stain", stains), ("laterality", set(known.parts["laterality"].values()))):
        rows.append(f"{part}: {json.dumps(sorted(names))}")
    return "\n".join(rows)


def check(condition: Condition, known: Vocabulary) -> None:
    """Refuse a condition that names what does not exist (E213)."""
    if isinstance(condition, All | Any):
        for part in condition.parts:
            check(part, known)
    elif isinstance(condition, Not):
        check(condition.part, known)
    elif isinstance(condition, From):
        _named(condition.names, known.parts[condition.part], condition.part)
    else:
        _of_key(condition, known)


def _of_key(condition: Compare | Between | Says | Stands, known: Vocabulary) -> None:
    key = condition.key
    if key not in known.keys.values():
        raise PathaiError("E213", f"the query names key {key!r}, which does not exist")
    if isinstance(condition, Says):
        _named(condition.codes, known.values.get(key, {}), key)
    if isinstance(condition, Compare | Between) and condition.unit not in ("", known.unit(key)):
        raise PathaiError("E213", f"the query gives {key} in {condition.unit!r}")


def _named(names: tuple[str, ...], known: dict[str, str], what: str) -> None:
    for name in names:
        if name not in known.values() and folded(name) not in known:
            raise PathaiError("E213", f"the query names {what} {name!r}, which does not exist")


def server(llm: LlmConfig) -> Ask:
    """The configured server, on loopback or an allowed network.

    Raises
    ------
    PathaiError
        E194 without the openai client, E201 for an address that is not allowed, or a model that is
        relayed to another machine.
    """
    try:
        import httpx
        import openai

        from pathai import loopback
        from pathai.drafters.model_identity import identity, is_cloud
    except ImportError:
        remedy = "pip install 'pathai[llm]'"
        raise PathaiError("E194", "the openai client is missing", remedy) from None
    relayed = PathaiError(
        "E201", f"report.llm.model {llm.model!r} is relayed to a cloud service",
        "choose a model that runs on this machine",
    )  # fmt: skip
    if is_cloud(llm.model):
        raise relayed
    if llm.command:
        from pathai.drafters.own_server import address as started

        llm = llm.model_copy(update={"base_url": started(llm)})
    address = loopback.check_address(llm.base_url, llm.networks)

    def ask(messages: list[dict[str, str]], form: dict[str, Anything]) -> str | None:
        transport = loopback.GuardedTransport(address, llm.seconds)
        asked = {"name": "query", "strict": True, "schema": form}
        with loopback.client(transport) as guarded:
            http: Anything = guarded
            with suppress(httpx.HTTPError):  # a server that is down is told of below
                if identity(http, llm.base_url, llm.model).relayed:
                    raise relayed
            client = openai.OpenAI(
                base_url=llm.base_url,
                api_key="local",
                organization="",
                project="",
                http_client=http,
                max_retries=0,
                timeout=llm.seconds,
            )
            try:
                made = client.chat.completions.create(  # type: ignore[call-overload]
                    model=llm.model,
                    messages=messages,
                    temperature=0,
                    seed=0,
                    max_tokens=800,
                    response_format={"type": "json_schema", "json_schema": asked},
                )
            except openai.OpenAIError as error:
                message = f"the language model did not answer ({type(error).__name__})"
                raise PathaiError("E202", message, "ask without --llm") from None
        return made.choices[0].message.content if made.choices else None

    return ask
