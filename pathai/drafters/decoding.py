"""Greedy decoding of a causal language model, free or held to a JSON schema token by token."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Decoder:
    """A model and its tokenizer's constraints.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Causal language model, in evaluation mode.
    guide : llguidance.LLTokenizer
        Of the model's tokenizer.
    ends : sequence of int
        Tokens that end an answer.
    decode : callable
        Tokens to text.

    References
    ----------
    Willard BT, Louf R. Efficient guided generation for large language models. arXiv 2307.09702.
    """

    def __init__(
        self, model: Any, guide: Any, ends: Sequence[int], decode: Callable[[list[int]], str]
    ) -> None:
        import llguidance
        import torch

        self._torch, self._guidance = torch, llguidance
        self._model, self._guide = model, guide
        self._ends, self._decode = frozenset(ends), decode

    def answer(
        self,
        given: Sequence[int],
        schema: dict[str, Any] | None,
        limit: int,
        until: float = float("inf"),
    ) -> tuple[str, str]:
        """Continue a prompt.

        Parameters
        ----------
        given : sequence of int
            Tokens of the prompt.
        schema : dict or None
            JSON Schema that constrains every token.
        limit : int
            Of new tokens.
        until : float
            ``time.monotonic`` at which to give up.

        Returns
        -------
        text, reason
            ``reason`` is ``stop``, ``length`` or ``slow``.

        Raises
        ------
        ValueError
            For a schema that cannot be held to.
        """
        matcher = self._matcher(schema) if schema else None
        made: list[int] = []
        cache, fresh = None, list(given)
        with self._torch.inference_mode():
            while len(made) < limit:
                if time.monotonic() > until:
                    return self._decode(made), "slow"
                tokens = self._torch.tensor([fresh], device=self._model.device)
                out = self._model(tokens, past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                fresh = self._next(out.logits[0, -1].float().cpu().numpy(), matcher)
                if self._ends & set(fresh):
                    return self._decode(made), "stop"
                made += fresh
                if matcher is not None and matcher.is_stopped():
                    return self._decode(made), "stop"
        return self._decode(made), "length"

    def _matcher(self, schema: dict[str, Any]) -> Any:
        grammar = self._guidance.LLMatcher.grammar_from_json_schema(
            json.dumps(schema), overrides={"whitespace_flexible": False}
        )
        matcher = self._guidance.LLMatcher(self._guide, grammar)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def _next(self, logits: NDArray[np.float32], matcher: Any) -> list[int]:
        """The likeliest allowed token, and those that the grammar then forces."""
        if matcher is None:
            return [int(np.argmax(logits))]
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(mask, bitorder="little").astype(bool)
        # Some models pad their output beyond the tokenizer's vocabulary.
        known = min(len(allowed), len(logits))
        token = int(np.argmax(np.where(allowed[:known], logits[:known], -np.inf)))
        matcher.consume_token(token)
        if token in self._ends or matcher.is_stopped():
            return [token]
        forced = matcher.compute_ff_tokens()
        matcher.consume_tokens(forced)
        return [token, *forced]
