"""Every card builds the network that it describes; small ones compute what they should."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from contract import vit_reference
from PIL import Image

from pathai.encoders.build import build, forward_of, prefix_tokens
from pathai.encoders.cards import ALLOWED, CARDS, Card, require_licence
from pathai.encoders.network import NetworkEncoder
from pathai.encoders.setup import Setup
from pathai.errors import PathaiError

BUILDABLE = [name for name, card in CARDS.items() if card.buildable]
TRANSFORMERS_OF_VISION = [
    name for name in BUILDABLE if re.match(r"vit_|ViTConfig|Dinov2", CARDS[name].architecture)
]
ASKED = {
    "uni", "uni2-h", "virchow", "virchow2", "prov-gigapath", "h-optimus-0", "h-optimus-1",
    "h0-mini", "phikon", "phikon-v2", "hibou-b", "hibou-l", "conch-v1", "conch-v1-5",
    "midnight-12k", "gpfm", "kaiko-vits8", "kaiko-vits16", "kaiko-vitb8", "kaiko-vitb16",
    "kaiko-vitl14", "lunit-vits8", "lunit-vits16", "ctranspath", "retccl", "musk", "keep",
    "resnet50", "dinov2-vitl14",
}  # fmt: skip


def test_the_encoders_of_the_field_are_there() -> None:
    assert set(CARDS) >= ASKED


@pytest.mark.parametrize("name", BUILDABLE)
def test_a_card_builds_the_network_that_it_describes(name: str) -> None:
    """On the meta device: architecture, number of parameters and length of the vector."""
    card = CARDS[name]
    network = build(card, meta=True).eval()
    assert sum(p.numel() for p in network.parameters()) == card.parameters
    pixels = torch.empty((2, 3, card.input_px, card.input_px), device="meta")
    with torch.inference_mode():
        assert forward_of(card, network)(pixels).shape == (2, card.dim)


@pytest.mark.parametrize("name", BUILDABLE)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    """Papers round, and some say the nominal number of a ViT-L or ViT-H: 2 %."""
    card = CARDS[name]
    number, unit = re.match(r"([0-9.]+) ?([MB])", card.published).groups()  # type: ignore[union-attr]
    published = float(number) * {"M": 1e6, "B": 1e9}[unit]
    half = 0.5 * 10 ** -len(number.partition(".")[2]) * {"M": 1e6, "B": 1e9}[unit]
    assert abs(card.parameters - published) <= max(half, 0.02 * published)


def small(card: Card) -> Card:
    """The same card with few and narrow layers, and one place for each patch of its input."""
    if card.source == "timm":
        few = {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": card.input_px}
    else:
        few = {"num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 3}
        few["image_size"] = card.input_px
        if "intermediate_size" in card.arguments:
            few["intermediate_size"] = 96
    return card.model_copy(update={"arguments": {**card.arguments, **few}})


def randomized(network: Any) -> Any:
    """Every tensor drawn at random, so that none of them can be left out unseen."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return network.eval()


@pytest.mark.parametrize("name", TRANSFORMERS_OF_VISION)
def test_a_small_one_computes_what_is_written_out_by_hand(name: str) -> None:
    """Tiles to vectors: resizing or cropping, normalization, blocks, pooling."""
    card = small(CARDS[name])
    network = randomized(build(card))
    tile = np.random.default_rng(3).integers(0, 256, (2, card.tile_px, card.tile_px, 3), np.uint8)
    dim = 48 * (2 if card.rule == "class+mean" else 1)
    encoder = NetworkEncoder(
        name, network, forward_of(card, network), "0" * 64, tile_px=card.tile_px, mpp=card.mpp,
        input_px=card.input_px, fit=card.fit, interpolation=card.interpolation, mean=card.mean,
        std=card.std, dim=dim, setup=Setup(device="cpu"),
    )  # fmt: skip
    pixels = torch.stack([by_hand(card, t) for t in tile])
    eps = 1e-12 if card.architecture == "ViTConfig" else 1e-6
    with torch.inference_mode():
        tokens, prefix = vit_reference.tokens(network.state_dict(), pixels, 3, eps)
    assert prefix == prefix_tokens(card, network)
    wanted = {
        "class": tokens[:, 0],
        "mean": tokens[:, prefix:].mean(1),
        "class+mean": torch.cat([tokens[:, 0], tokens[:, prefix:].mean(1)], 1),
    }[card.rule if card.rule != "pooled" else "class"]
    scale = float(wanted.abs().max())
    close = 0.02 if card.fit == "resize" else 1e-4  # PIL resizes whole gray levels
    assert np.abs(encoder.encode(tile) - wanted.numpy()).max() <= close * scale


def by_hand(card: Card, tile: np.ndarray) -> torch.Tensor:
    """A tile as the card's network wants it, with PIL and numpy."""
    image = Image.fromarray(tile)
    if card.fit == "resize":
        how = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        image = image.resize((card.input_px, card.input_px), how[card.interpolation])
    if card.fit == "crop":
        start = (card.tile_px - card.input_px) // 2
        image = image.crop((start, start, start + card.input_px, start + card.input_px))
    scaled = (np.asarray(image, np.float32) / 255 - card.mean) / card.std
    return torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)


def test_licences_refuse_what_the_lab_may_not_use() -> None:
    assert {card.terms for card in CARDS.values()} >= {"open", "research"}
    for card in CARDS.values():
        require_licence(card, "any")
        for policy in ("open", "commercial"):
            if card.terms in ALLOWED[policy]:
                require_licence(card, policy)
                continue
            with pytest.raises(PathaiError, match=rf"E185: encoder {card.name}.*{policy}"):
                require_licence(card, policy)


def test_only_known_open_licences_count_as_open() -> None:
    known = {"Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause"}
    for card in CARDS.values():
        assert (card.terms == "open") == (card.licence in known), card.name
        if "NC" in card.licence or "non-commercial" in card.licence.lower():
            assert card.terms == "research", card.name


def test_facts_have_sources_and_fit_together() -> None:
    for card in CARDS.values():
        assert card.sources
        assert card.paper
        assert (card.fit == "none") == (card.tile_px == card.input_px), card.name
        assert card.fit != "crop" or card.tile_px > card.input_px
