"""MUSK by its publisher's package: words, and tiles in the same space."""

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
from pathai.encoders.torchvision_shim import import_timm
from pathai.errors import PathaiError

MODEL = "musk_large_patch16_384"
WORDS = "tokenizer.spm"


def texts(card: TextCard, weights: Path) -> Texts:
    """Words behind the head; `WORDS` lies beside the weights."""
    network, package = _network(card, weights)
    network.eval().requires_grad_(False)
    file = weights.with_name(WORDS)
    if not file.is_file():
        message = f"{card.name}: {WORDS} does not lie beside the weights"
        raise PathaiError("E183", message, f"copy it from {card.repo}")
    from transformers import XLMRobertaTokenizer

    tokenizer = XLMRobertaTokenizer(str(file))

    @torch.inference_mode()
    def encode(prompts: Sequence[str]) -> NDArray[np.float32]:
        ids, masks = [], []
        for prompt in prompts:
            tokens = len(tokenizer.encode(prompt))
            if tokens > card.max_tokens:
                raise too_long(card, prompt, tokens)
            found, mask = package.xlm_tokenizer(prompt, tokenizer, max_len=card.max_tokens)
            ids.append(found)
            masks.append(mask)
        vectors = network(
            text_description=torch.tensor(ids),
            padding_mask=torch.tensor(masks),
            with_head=True,
            out_norm=True,
        )[1]
        out: NDArray[np.float32] = vectors.float().numpy()
        return out

    return Texts(encode, float(1 / network.logit_scale.exp()))


def tiles(card: Card, weights: Path) -> tuple[Any, Tokens]:
    """Tile encoder in the words' space: behind the head that the plain features lack."""
    network, _ = _network(text_cards()["musk"], weights)

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(
            image=pixels, with_head=True, out_norm=False, ms_aug=False, return_global=True
        )[0]
        return found

    return network, forward


def _network(card: TextCard, weights: Path) -> tuple[Any, Any]:
    """The network, and the module that also splits words into tokens."""
    timm = import_timm()
    need("musk.modeling", card)  # tells timm of the architecture
    package = need("musk.utils", card)
    network = timm.create_model(MODEL)
    package.load_model_and_may_interpolate(str(weights), network, "model|module", "")
    return network, package
