"""A real language-model runtime with nothing to download: tiny, trained here, served on loopback.

``build`` makes a byte-level BPE tokenizer from sentences written in this file and trains a
Llama-architecture model of some 0.4 million parameters for a few hundred steps. ``serve`` answers
``/v1/chat/completions`` like Ollama or vLLM do and honors ``response_format: json_schema`` by
constrained decoding. The model is meant to be imperfect: it exercises the whole path of a drafter
(HTTP, schema, verification, fallback) with statements that pass and statements that must not. It
says nothing about the quality of any other model.

``python -m pathai.testing.tiny_llm --port 0`` prints the address once it answers.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pathai import knowledge
from pathai.drafters.decoding import Decoder
from pathai.drafters.local import weights_digest
from pathai.errors import PathaiError
from pathai.finding import registry
from pathai.testing import tiny_llm_sentences
from pathai.testing.tiny_llm_sentences import ANSWER, END, USER, examples

NAME = "pathai-tiny"
CHAT = (
    "{% for m in messages %}{% if m.role == 'user' %}"
    + USER
    + "{{ m.content }}{% endif %}{% endfor %}"
    + ANSWER
)
"""The model's chat template; system messages are not read by it."""
VOCABULARY = 640
CONTEXT = 2048
STEPS, BATCH, LEARNING_RATE = 400, 6, 4e-3
MAX_NEW_TOKENS = 1024


def build(folder: Path, seed: int = 0, steps: int = STEPS) -> Path:
    """Train tokenizer and model and write them to ``folder``; an existing model is kept.

    Parameters
    ----------
    folder : Path
        Receives ``tokenizer.json``, ``config.json`` and ``model.safetensors``.
    seed : int
        Of sentences and weights.
    steps : int
        Of training; 0 leaves random weights.

    Returns
    -------
    Path
        ``folder``.
    """
    if (folder / "model.safetensors").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(seed)
    _chatty(tokenizer).save_pretrained(folder)
    model = _train(tokenizer, seed, steps)
    model.save_pretrained(folder)
    return folder


def cached(root: Path, seed: int = 0, steps: int = STEPS) -> Path:
    """Folder of the built model below ``root``, named by everything that it is made of.

    A folder that is there is used as it is; another registry, corpus, seed or version of this
    file makes another one. It is built aside and gets its name when it is whole.
    """
    recipe = sha256(f"{seed} {steps}".encode())
    for part in (__file__, tiny_llm_sentences.__file__):
        recipe.update(Path(part).read_bytes())
    recipe.update(registry().model_dump_json().encode())
    recipe.update(repr(knowledge.corpus()).encode())
    folder = root / f"{NAME}-{recipe.hexdigest()[:12]}"
    if not (folder / "model.safetensors").is_file():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            made = build(Path(scratch) / NAME, seed, steps)
            # Someone else may have been quicker; the models are the same.
            with contextlib.suppress(OSError):
                made.rename(folder)
    return folder


@contextmanager
def serving(folder: Path, *, honor_schema: bool = True, seconds: float = 120) -> Iterator[str]:
    """Serve a built model in a child process on a free port of loopback.

    Parameters
    ----------
    folder : Path
        From ``build`` or ``cached``.
    honor_schema : bool
        Without it the server ignores ``response_format`` silently, as some do.
    seconds : float
        Until it must answer.

    Yields
    ------
    str
        Its base URL, which ends in ``/v1``.

    Raises
    ------
    PathaiError
        E202 if it does not start.
    """
    options = [] if honor_schema else ["--ignore-schema"]
    call = [sys.executable, "-m", "pathai.testing.tiny_llm", "--model", str(folder), *options]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=quiet, text=True) as child:
        late = threading.Timer(seconds, child.kill)
        late.start()
        try:
            address = child.stdout.readline().strip() if child.stdout else ""
            late.cancel()
            if not address:
                raise PathaiError("E202", "the tiny model's server did not start")
            yield address
        finally:
            late.cancel()
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


def _chatty(tokenizer: Any) -> Any:
    """The tokenizer as other runtimes want it: with its ends and a chat template."""
    return _llama().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, chat_template=CHAT
    )


def _tokenizer(seed: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # Digits stand alone, so that a number is copied digit by digit.
    digits = pre_tokenizers.Digits(individual_digits=True)
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, whole])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, USER, ANSWER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pairs = examples(seed)
    texts = [text for _ in range(400) for text in next(pairs)]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _llama() -> Any:
    """Transformers, importable beside any build of torch."""
    from pathai.encoders.torchvision_shim import import_torchvision

    import_torchvision()
    import transformers

    return transformers


def _train(tokenizer: Any, seed: int, steps: int) -> Any:
    import torch

    transformers = _llama()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(END),
    )
    model = transformers.LlamaForCausalLM(config)
    best = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    pace = torch.optim.lr_scheduler.OneCycleLR(
        best, max_lr=LEARNING_RATE, total_steps=max(steps, 1), pct_start=0.1
    )
    pairs = examples(seed + 1)
    model.train()
    for _ in range(steps):
        ids, labels = _batch(tokenizer, pairs)
        loss = model(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(labels)).loss
        best.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        best.step()
        pace.step()
    return model.eval()


def _batch(tokenizer: Any, source: Iterator[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and labels, int64[BATCH, length]; the loss counts answers alone (-100 elsewhere).

    Padding stands behind the answer, where causal attention never looks back from.
    """
    pairs = [[tokenizer.encode(part).ids for part in next(source)] for _ in range(BATCH)]
    length = max(len(q) + len(a) for q, a in pairs)
    ids = np.full((BATCH, length), tokenizer.token_to_id(END), np.int64)
    labels = np.full((BATCH, length), -100, np.int64)
    for row, (question, answer) in enumerate(pairs):
        end = len(question) + len(answer)
        ids[row, :end] = question + answer
        labels[row, len(question) : end] = answer
    return ids, labels


class TinyLLM:
    """The built model with greedy decoding, free or constrained by a JSON schema."""

    def __init__(self, folder: Path) -> None:
        import llguidance
        import torch
        from tokenizers import Tokenizer

        torch.set_num_threads(1)
        self.digest = weights_digest(sorted(folder.glob("*.safetensors")))
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        end = self._tokenizer.token_to_id(END)
        guide = llguidance.LLTokenizer(str(folder / "tokenizer.json"), eos_token=end)
        model = _llama().LlamaForCausalLM.from_pretrained(folder).eval()
        self._decoder = Decoder(model, guide, [end], self._tokenizer.decode)

    def answer(self, user: str, schema: dict[str, Any] | None, limit: int) -> tuple[str, str]:
        """Text and ``stop`` or ``length``; system messages are not read by this model."""
        given = self._tokenizer.encode(f"{USER}{user}{ANSWER}").ids[-(CONTEXT - limit) :]
        return self._decoder.answer(given, schema, limit)


def app(model: TinyLLM, *, honor_schema: bool = True) -> Any:
    """The HTTP application; without ``honor_schema`` it ignores ``response_format`` silently."""
    from fastapi import FastAPI, HTTPException

    service = FastAPI(openapi_url=None)
    one_at_a_time = threading.Lock()

    @service.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": NAME, "object": "model"}]}

    @service.get("/api/tags")
    def tags() -> dict[str, Any]:
        """The digest of the weights, as Ollama states it."""
        return {"models": [{"name": NAME, "model": NAME, "digest": model.digest}]}

    @service.post("/v1/chat/completions")
    def complete(body: dict[str, Any]) -> dict[str, Any]:
        messages = body.get("messages") or []
        user = next((m["content"] for m in reversed(messages) if m.get("role") == "user"), "")
        form = body.get("response_format") or {}
        schema = (form.get("json_schema") or {}).get("schema") if honor_schema else None
        limit = min(int(body.get("max_tokens") or MAX_NEW_TOKENS), MAX_NEW_TOKENS)
        try:
            with one_at_a_time:
                text, reason = model.answer(str(user), schema, limit)
        except ValueError as error:
            raise HTTPException(400, "the schema is not supported") from error
        message = {"role": "assistant", "content": text}
        return {
            "id": "chatcmpl-tiny",
            "object": "chat.completion",
            "created": 0,
            "model": NAME,
            "choices": [{"index": 0, "finish_reason": reason, "message": message}],
        }

    return service


def serve(folder: Path, port: int, *, honor_schema: bool = True) -> None:
    """Serve on loopback until ended; the address is printed to stdout when it answers."""
    import uvicorn

    service = app(TinyLLM(build(folder)), honor_schema=honor_schema)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/v1\n")
        sys.stdout.flush()
        config = uvicorn.Config(service, log_level="error", lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: build if needed, then serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--model", type=Path, help="folder of the model; kept for the next time")
    parser.add_argument("--ignore-schema", action="store_true", help="as some servers do")
    given = parser.parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # uvicorn hands the signal on when it has shut down; leaving by exit removes the scratch.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.model or Path(scratch) / NAME
        serve(folder, given.port, honor_schema=not given.ignore_schema)


if __name__ == "__main__":
    main()
