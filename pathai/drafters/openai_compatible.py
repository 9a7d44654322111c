"""A local language model behind an OpenAI-compatible address phrases the lines.

The prompt holds ids, keys, display names, units and statuses: no value, no slide text, no path,
no patient. What comes back is checked against the schema here, whatever the server promises; one
repair is asked for; what is still wrong is left to the template.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from pathai.config import LlmConfig, ReportConfig
from pathai.drafters.asking import Messages, Stopped, ask
from pathai.drafters.base import Engine, Line, Phrasing
from pathai.drafters.evaluations import is_evaluated
from pathai.drafters.own_server import address, check_command
from pathai.errors import PathaiError

UNSUPPORTED = (400, 415, 422, 501)
"""Statuses by which servers refuse a schema that they cannot hold an answer to."""


class OpenAICompatibleDrafter:
    """Ollama, llama.cpp, vLLM, LM Studio and the like, on loopback or an allowed network."""

    def __init__(self, section: ReportConfig) -> None:
        llm = section.llm
        if llm is None or not (llm.base_url or llm.command) or not llm.model:
            raise PathaiError("E190", "report.drafter needs report.llm", "give base_url and model")
        if llm.command:
            check_command(llm)
        self._llm: LlmConfig = llm
        try:
            import openai  # here, so that its import is not part of the time limit

            from pathai import loopback
            from pathai.drafters.model_identity import identity, is_cloud
        except ImportError:
            raise PathaiError(
                "E194", "the openai client is missing", "pip install 'pathai[llm]'"
            ) from None
        if is_cloud(llm.model):
            message = f"report.llm.model {llm.model!r} is relayed to a cloud service"
            raise PathaiError("E201", message, "choose a model that runs on this machine")
        self._openai, self._loopback, self._identity = openai, loopback, identity
        self._address = None if llm.command else loopback.check_address(llm.base_url, llm.networks)
        near = self._address is None or self._address.is_loopback
        network: Literal["loopback", "allowed"] = "loopback" if near else "allowed"
        self.engine = Engine(name="openai-compatible", model=llm.model, network=network)

    def phrase(self, lines: Sequence[Line]) -> Phrasing:
        """Ask for every line within the time limit; see ``base.Drafter``.

        The server is first asked which weights stand behind the model's name; ``engine`` carries
        their digest from then on.
        """
        flags = {"llm_not_evaluated"}
        try:
            found = self._reached()
        except PathaiError:  # the command's fault was told; the draft goes on without
            flags.add("llm_unreachable")
            return Phrasing(texts=(None,) * len(lines), flags=tuple(sorted(flags)))
        transport = self._loopback.GuardedTransport(found, self._llm.seconds)
        with self._loopback.client(transport) as http:
            try:
                self._identify(http, found.url, flags)
            except Stopped as stop:
                flags.add(f"llm_{transport.reason}" if transport.reason else stop.flag)
                return Phrasing(texts=(None,) * len(lines), flags=tuple(sorted(flags)))
            llm = self._llm.model_copy(update={"base_url": found.url})
            talker = _Talker(self._openai, llm, http, transport, flags)
            return ask(lines, talker.request, flags)

    def _reached(self) -> Any:
        """The configured address, or that of the command's server, started if need be."""
        if self._address is not None:
            return self._address
        return self._loopback.check_address(address(self._llm))

    def _identify(self, http: Any, url: str, flags: set[str]) -> None:
        import httpx

        try:
            found = self._identity(http, url, self._llm.model)
        except httpx.HTTPError:
            raise Stopped("llm_unreachable") from None
        if found.relayed:
            raise Stopped("llm_relayed")
        known = is_evaluated(Path(self._llm.evaluations), found.digest)
        if known:
            flags.discard("llm_not_evaluated")
        self.engine = self.engine.model_copy(update={"digest": found.digest, "evaluated": known})


class _Talker:
    """The openai client over the guarded transport, for one draft."""

    def __init__(
        self, openai: Any, llm: LlmConfig, http: Any, transport: Any, flags: set[str]
    ) -> None:
        self._llm, self._transport, self._flags = llm, transport, flags
        self._error = openai.OpenAIError
        self._constrained = True
        # Every option that the environment could set is given here.
        self._client = openai.OpenAI(
            base_url=llm.base_url,
            api_key="local",
            organization="",
            project="",
            http_client=http,
            max_retries=0,
            timeout=llm.seconds,
        )

    def request(self, messages: Messages, form: dict[str, Any], limit: int) -> str | None:
        """Ask with the schema, and without it where the server cannot take one."""
        try:
            return self._send(messages, form if self._constrained else None, limit)
        except self._error as error:
            refused = getattr(error, "status_code", None) in UNSUPPORTED
            if not refused or not self._constrained:
                raise Stopped(_flag(error, self._transport.reason)) from None
        self._constrained = False
        try:
            content = self._send(messages, None, limit)
        except self._error as error:
            raise Stopped(_flag(error, self._transport.reason)) from None
        self._flags.add("llm_unconstrained")
        return content

    def _send(self, messages: Messages, form: dict[str, Any] | None, limit: int) -> str | None:
        from pathai.drafters.model_identity import is_cloud

        more: dict[str, Any] = {}
        if form is not None:
            asked = {"name": "statements", "strict": True, "schema": form}
            more["response_format"] = {"type": "json_schema", "json_schema": asked}
        raw = self._client.chat.completions.with_raw_response.create(
            model=self._llm.model,
            messages=messages,
            temperature=0,
            seed=0,
            max_tokens=limit,
            **more,
        )
        try:
            answer = _Completion.model_validate_json(raw.content)
            content = answer.choices[0].message.content
        except (ValidationError, IndexError):
            return None
        if is_cloud(answer.model or ""):
            raise Stopped("llm_relayed")
        return content


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    """What is read of a completion; servers may send more."""

    choices: list[_Choice]
    model: str | None = None


def _flag(error: Exception, reason: str) -> str:
    """Name for what a server did."""
    if reason:
        return f"llm_{reason}"
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return "llm_redirect" if 300 <= status < 400 else "llm_status"
    return "llm_unreachable"
