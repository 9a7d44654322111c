"""The text tower of a CLIP whose tile encoder has a card: same file of weights, built here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pathai.encoders.build import projected
from pathai.encoders.cards import CARDS
from pathai.encoders.fit import loaded
from pathai.encoders.load import digest_of, read_state
from pathai.encoders.published import digest_at
from pathai.encoders.text_towers import TextCard, Texts, too_long
from pathai.errors import PathaiError

WORDS = ("vocab.json", "merges.txt")


def texts(card: TextCard, weights: Path) -> Texts:
    """Words in the space of ``get_image_features``; `WORDS` lie beside the weights.

    Raises
    ------
    PathaiError
        E183 if the tokenizer's files are missing, E182 if the weights do not fit, E191 if the
        tile encoder has no card.
    """
    if card.tile_encoder not in CARDS:
        raise PathaiError("E191", f"{card.name}: no encoder named {card.tile_encoder!r}")
    tiles = CARDS[card.tile_encoder]
    tokenizer = _tokenizer(card, weights.parent)
    network = loaded(tiles, read_state(weights), weights.name)
    network.eval().requires_grad_(False)

    @torch.inference_mode()
    def encode(prompts: Sequence[str]) -> NDArray[np.float32]:
        for prompt in prompts:
            tokens = len(tokenizer(prompt)["input_ids"])
            if tokens > card.max_tokens:
                raise too_long(card, prompt, tokens)
        given = tokenizer(list(prompts), padding=True, return_tensors="pt")
        found: NDArray[np.float32] = projected(network.get_text_features(**given)).float().numpy()
        return found

    temperature = float(1 / network.logit_scale.exp())
    return Texts(encode, temperature, digest_of(tiles, digest_at(weights)))


def _tokenizer(card: TextCard, folder: Path) -> Any:
    from transformers import CLIPTokenizer

    missing = [name for name in WORDS if not (folder / name).is_file()]
    if missing:
        message = f"{card.name}: {missing[0]} does not lie beside the weights"
        raise PathaiError("E183", message, f"copy {' and '.join(WORDS)} from {card.repo}")
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
