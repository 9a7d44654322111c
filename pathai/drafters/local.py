"""A language model of a local folder phrases the lines inside this process: no server at all.

Only safetensors are read, nothing is downloaded and no code of the folder is run. Answers are
held to the schema token by token, and checked here all the same.
"""

import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pathai.config import LlmConfig, ReportConfig
from pathai.drafters.asking import Messages, Stopped, ask
from pathai.drafters.base import Engine, Line, Phrasing
from pathai.drafters.evaluations import is_evaluated
from pathai.errors import PathaiError


class LocalDrafter:
    """Phrase lines with a causal language model of ``report.llm.path``, in this process."""

    def __init__(self, section: ReportConfig) -> None:
        llm = section.llm
        if llm is None or not llm.path:
            message = "report.drafter local needs report.llm.path"
            raise PathaiError("E190", message, "give the folder of a model")
        folder = Path(llm.path)
        files = sorted(folder.glob("*.safetensors"))
        if not files or not (folder / "config.json").is_file():
            message = f"report.llm.path: no config.json and *.safetensors in {folder}"
            raise PathaiError("E190", message, "give a model's folder, as from huggingface.co")
        try:
            import llguidance
        except ImportError:
            raise PathaiError(
                "E194", "llguidance is missing", "pip install 'pathai[llm]'"
            ) from None
        self._guidance = llguidance
        self._llm: LlmConfig = llm
        self._folder, self._runtime = folder, None
        digest = weights_digest(files)
        known = is_evaluated(Path(llm.evaluations), digest)
        name = llm.model or folder.resolve().name
        self.engine = Engine(name="local", model=name, digest=digest, evaluated=known)

    def phrase(self, lines: Sequence[Line]) -> Phrasing:
        """Ask for every line within the time limit; see ``base.Drafter``.

        Loading the weights is not counted; it happens once.
        """
        flags = set() if self.engine.evaluated else {"llm_not_evaluated"}
        runtime: Any = self._runtime or _Runtime(self._folder)
        self._runtime = runtime
        until = time.monotonic() + self._llm.seconds

        def request(messages: Messages, form: dict[str, Any], limit: int) -> str | None:
            try:
                text, reason = runtime.answer(messages, form, limit, until)
            except ValueError:
                flags.add("llm_unconstrained")
                text, reason = runtime.answer(messages, None, limit, until)
            if reason == "slow":
                raise Stopped("llm_slow")
            return str(text)

        return ask(lines, request, flags)


class _Runtime:
    """The loaded model. PyTorch is imported here and nowhere above."""

    def __init__(self, folder: Path) -> None:
        import torch
        from llguidance.hf import from_tokenizer

        from pathai.drafters.decoding import Decoder

        transformers = _transformers()
        offline = {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **offline)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype="auto", **offline
        )
        if torch.cuda.is_available():
            model = model.to("cuda")
        ends = model.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        if self._tokenizer.eos_token_id is not None:
            ends.append(self._tokenizer.eos_token_id)
        guide = from_tokenizer(self._tokenizer)
        self._decoder = Decoder(model.eval(), guide, ends, self._decode)

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def answer(
        self, messages: Messages, form: dict[str, Any] | None, limit: int, until: float
    ) -> tuple[str, str]:
        """Continue a conversation by the model's own chat template."""
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
        else:
            text = "\n".join(m["content"] for m in messages) + "\n"
        given = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._decoder.answer(given, form, limit, until)


def _transformers() -> Any:
    """Transformers; beside a foreign build of torch its picture parts stay out of reach."""
    import transformers

    return transformers


def weights_digest(files: Sequence[Path]) -> str:
    """SHA-256 over the names and bytes of a model's files of weights."""
    total = sha256()
    for path in files:
        own = sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                own.update(block)
        total.update(f"{path.name}\0{own.hexdigest()}\n".encode())
    return total.hexdigest()
