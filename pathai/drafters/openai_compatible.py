"""A local language model behind an OpenAI-compatible address phrases the lines.

The prompt holds ids, keys, display names, units and statuses: no value, no slide text, no path,
no patient. What comes back is checked against the schema here, whatever the server promises; one
repair is asked for; what is still wrong is left to the template.
"""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pathai.config import LlmConfig, ReportConfig
from pathai.drafters.base import SYSTEM, Engine, Line, Phrasing, prompt, read_answer, schema
from pathai.errors import PathaiError

PER_REQUEST = 6
TOKENS_PER_LINE = 160


class OpenAICompatibleDrafter:
    """Ollama, llama.cpp, vLLM, LM Studio and the like, on loopback or an allowed network."""

    def __init__(self, section: ReportConfig) -> None:
        if section.llm is None:
            raise PathaiError("E190", "report.drafter needs report.llm", "give base_url and model")
        self._llm: LlmConfig = section.llm
        if re.search(r"[-:]cloud(:|$)", section.llm.model, re.IGNORECASE):
            message = f"report.llm.model {section.llm.model!r} is relayed to a cloud service"
            raise PathaiError("E201", message, "choose a model that runs on this machine")
        try:
            from pathai import loopback
        except ImportError:
            raise PathaiError(
                "E194", "the openai client is missing", "pip install 'pathai[llm]'"
            ) from None
        self._loopback = loopback
        self._address = loopback.check_address(section.llm.base_url, section.llm.networks)
        network = "loopback" if self._address.is_loopback else "allowed"
        self.engine = Engine(name="openai-compatible", model=section.llm.model, network=network)

    def phrase(self, lines: Sequence[Line]) -> Phrasing:
        """Ask for every line within the time limit; see ``base.Drafter``."""
        import openai

        texts: list[str | None] = []
        flags = {"llm_not_evaluated"}
        transport = self._loopback.GuardedTransport(self._address, self._llm.seconds)
        with self._loopback.client(transport) as http:
            talker = openai.OpenAI(
                base_url=self._address.url,
                api_key="local",
                organization="",
                project="",
                http_client=http,  # type: ignore[arg-type]  # httpx is still accepted
                max_retries=0,
                timeout=self._llm.seconds,
            )
            for start in range(0, len(lines), PER_REQUEST):
                part = lines[start : start + PER_REQUEST]
                try:
                    texts += self._ask(talker, part, flags)
                except openai.OpenAIError as error:
                    flags.add(_flag(error, transport.reason))
                    break
        texts += [None] * (len(lines) - len(texts))
        return Phrasing(texts=tuple(texts), flags=tuple(sorted(flags)))

    def _ask(self, talker: Any, lines: Sequence[Line], flags: set[str]) -> list[str | None]:
        texts = read_answer(self._request(talker, lines, ""), lines)
        if None not in texts:
            return texts
        flags.add("llm_repaired")
        hint = "\nThe answer before did not fit the form. Answer with the JSON form only."
        again = read_answer(self._request(talker, lines, hint), lines)
        texts = [old if old is not None else new for old, new in zip(texts, again, strict=True)]
        if None in texts:
            flags.add("llm_invalid")
        return texts

    def _request(self, talker: Any, lines: Sequence[Line], hint: str) -> str | None:
        raw = talker.chat.completions.with_raw_response.create(
            model=self._llm.model,
            messages=[
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": prompt(lines) + hint},
            ],
            temperature=0,
            seed=0,
            max_tokens=TOKENS_PER_LINE * len(lines),
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "statements", "strict": True, "schema": schema(lines)},
            },
        )
        try:
            return _Completion.model_validate_json(raw.content).choices[0].message.content
        except (ValidationError, IndexError):
            return None


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    """What is read of a completion; servers may send more."""

    choices: list[_Choice]


def _flag(error: Exception, reason: str) -> str:
    """Name for what a server did."""
    if reason:
        return f"llm_{reason}"
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return "llm_redirect" if 300 <= status < 400 else "llm_status"
    return "llm_unreachable"
