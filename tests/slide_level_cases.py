"""Features of slides that need no pixels, and a CLIP small enough to be made in a test."""

import json
from pathlib import Path

import numpy as np

from pathai.encoders.cards import Card
from pathai.encoders.text_towers import TextCard
from pathai.store.commit import Key, run_stage
from pathai.store.folders import SlideFolder, write_slide_info
from pathai.store.groups import write_features
from pathai.store.records import Features, FeaturesAttrs, SlideInfo

WORDS = ("tumor", "stroma", "tissue", "an", "image", "of", "fat", "a")
MERGED = "</w>"


def make_features(
    x: np.ndarray,
    encoder: str = "virchow",
    *,
    tile_px: int = 224,
    mpp: float = 0.5,
    step_px0: float = 0.0,
    places: np.ndarray | None = None,
    valid: np.ndarray | None = None,
    digest: str = "e" * 64,
    names: tuple[str, ...] = (),
    stride_px: int = 0,
) -> Features:
    """Features as the stage stores them; tiles lie in a row unless ``places`` says otherwise."""
    step = step_px0 or float(tile_px)
    if places is None:
        places = np.stack([np.arange(len(x)), np.zeros(len(x), int)], axis=1)
    stride = stride_px or tile_px
    attrs = FeaturesAttrs(
        encoder=encoder,
        encoder_digest=digest,
        grid_digest="g" * 64,
        tile_px=tile_px,
        mpp=mpp,
        stride_px=stride,
        names=names,
    )
    size = np.full(2, step, np.float32)
    xy = np.floor(places * step * stride / tile_px + 0.5).astype(np.int32)
    ones = np.ones(len(x), np.float16)
    return Features(x.astype(np.float16), xy, size, ones if valid is None else valid, ones, attrs)


def put_features(folder: SlideFolder, features: Features) -> SlideFolder:
    """A slide's folder that holds features, with the manifests of ingest and features."""
    info = SlideInfo(
        slide_id=folder.slide_id, sha256="0" * 64, width=4096, height=4096, mpp_x=0.5, mpp_y=0.5,
        mpp_source="file", reader="test", level_downsamples=(1.0,), stain="H&E",
    )  # fmt: skip
    run_stage(
        folder.base("ingest"), folder.slide_id, Key("ingest", 1, "c", ("slide.json",)), {},
        lambda out: write_slide_info(out.part("slide.json"), info),
    )  # fmt: skip
    base = folder.base("features", features.attrs.encoder)
    key = Key("features", 1, "c", (f"{base.name}.zarr",))
    run_stage(
        base, folder.slide_id, key, {"tile": folder.base("ingest")},
        lambda out: write_features(out.part(f"{base.name}.zarr"), features),
    )  # fmt: skip
    return folder


def tiny_clip(folder: Path, seed: int = 0) -> tuple[Card, TextCard, Path]:
    """Cards of a CLIP with random weights, and the folder with its weights and tokenizer.

    The tokenizer knows single letters and `WORDS`, by merges made here.
    """
    import torch
    from safetensors.torch import save_file

    from pathai.encoders.build import build

    folder.mkdir(parents=True)
    vocabulary, merges = _byte_pairs()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    end = vocabulary["<|endoftext|>"]
    text = {
        "vocab_size": len(vocabulary), "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 16,
        "bos_token_id": vocabulary["<|startoftext|>"], "eos_token_id": end, "pad_token_id": end,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    card = Card(
        name="tiny-clip", title="A tiny CLIP", source="transformers", repo="none/none",
        architecture="CLIPConfig", tile_px=32, mpp=0.5, input_px=32, rule="pooled", dim=24,
        arguments={"text_config": text, "vision_config": vision, "projection_dim": 24},
        mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28), parameters=1, published="tiny",
        licence="none", terms="open", gated=False, paper="none", sources=("made in a test",),
    )  # fmt: skip
    words = TextCard(
        name="tiny-clip", title="Its words", repo="none/none", file="model.safetensors",
        adapter="pathai.encoders.adapters.clip_text:texts", tile_encoder="tiny-clip", tile_px=32,
        mpp=0.5, tile_dim=24, dim=24, published="tiny", licence="none", terms="open", gated=False,
        paper="none", sources=("made in a test",), max_tokens=16, space="joint", shared=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(card)
        for name, tensor in network.named_parameters():
            if "projection" in name or "embedding" in name:  # else all vectors are nearly one
                torch.nn.init.normal_(tensor, std=1.0)
    save_file(network.state_dict(), folder / "model.safetensors")
    return card, words, folder


def _byte_pairs() -> tuple[dict[str, int], list[str]]:
    """Vocabulary and merges of a byte-level BPE whose tokens are letters and `WORDS`."""
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(letter + MERGED for letter in letters)]
    merges: list[str] = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + MERGED]
        while len(parts) > 1:
            pair = f"{parts[0]} {parts[1]}"
            if pair not in merges:
                merges.append(pair)
            parts = [parts[0] + parts[1], *parts[2:]]
            tokens.append(parts[0])
    named = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(named)}, merges
