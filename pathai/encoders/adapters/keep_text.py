"""KEEP's words, by its publisher's own code in a folder that the user has named."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pathai.encoders.adapters.local_code import from_folder
from pathai.encoders.text_towers import TextCard, Texts, too_long


def texts(card: TextCard, folder: Path) -> Texts:
    """Words as the publisher's own example makes them, padded to the longest prompt allowed."""
    network = from_folder(card, folder)
    network.eval().requires_grad_(False)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    @torch.inference_mode()
    def encode(prompts: Sequence[str]) -> NDArray[np.float32]:
        for prompt in prompts:
            tokens = len(tokenizer(prompt)["input_ids"])
            if tokens > card.max_tokens:
                raise too_long(card, prompt, tokens)
        given = tokenizer(
            list(prompts), padding="max_length", max_length=card.max_tokens, return_tensors="pt"
        )
        found: NDArray[np.float32] = network.encode_text(given).float().numpy()
        return found

    return Texts(encode, float(torch.exp(-network.logit_scale)))
