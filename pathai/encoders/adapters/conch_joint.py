"""CONCH by its publisher's package: words, and tiles in the same space."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pathai.encoders.cards import Card
from pathai.encoders.network import Tokens
from pathai.encoders.published import need
from pathai.encoders.text_towers import TextCard, Texts, text_cards, too_long

MODEL = "conch_ViT-B-16"


def texts(card: TextCard, weights: Path) -> Texts:
    """Words as the publisher's zero-shot classifier makes them."""
    package = need("conch.open_clip_custom", card)
    network, _ = package.create_model_from_pretrained(MODEL, str(weights))
    network.eval().requires_grad_(False)
    tokenizer = package.get_tokenizer()

    @torch.inference_mode()
    def encode(prompts: Sequence[str]) -> NDArray[np.float32]:
        for prompt in prompts:
            tokens = len(tokenizer(prompt)["input_ids"])
            if tokens > card.max_tokens:
                raise too_long(card, prompt, tokens)
        tokens = package.tokenize(tokenizer, list(prompts))
        found: NDArray[np.float32] = network.encode_text(tokens).float().numpy()
        return found

    return Texts(encode, float(1 / network.logit_scale.exp()))


def tiles(card: Card, weights: Path) -> tuple[Any, Tokens]:
    """Tile encoder in the words' space: behind the projection that the plain features lack."""
    package = need("conch.open_clip_custom", text_cards()["conch"])
    network, _ = package.create_model_from_pretrained(MODEL, str(weights))

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network.encode_image(pixels, normalize=False, proj_contrast=True)
        return found

    return network, forward
