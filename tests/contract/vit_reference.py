"""A vision transformer written out by hand: what a card's network must compute.

Takes the tensors of a state by timm's or transformers' names and nothing else of those libraries.

References
----------
Dosovitskiy A et al. An image is worth 16x16 words. ICLR 2021. Touvron H et al. Going deeper with
image transformers (LayerScale). ICCV 2021. Darcet T et al. Vision transformers need registers.
ICLR 2024. Shazeer N. GLU variants improve transformer. arXiv:2002.05202.
"""

import math
from typing import Any

import torch

Tensor = torch.Tensor
State = dict[str, Tensor]


def tokens(state: State, pixels: Tensor, heads: int, eps: float) -> tuple[Tensor, int]:
    """Normalized tokens ``float[B, T, D]`` and how many come before the patches."""
    names = timm_names(state) if "patch_embed.proj.weight" in state else hub_names(state)
    get = names.get
    patches = convolved(pixels, names["proj.w"], names["proj.b"])
    batch, place = len(pixels), names["pos"]
    first = [names["cls"].expand(batch, -1, -1)]
    registers = get("reg")
    count = patches.shape[1]
    rest = [] if registers is None else [registers.expand(batch, -1, -1)]
    if place.shape[1] == count:  # places of patches alone
        x = torch.cat([*first, *rest, patches + place], 1)
    elif place.shape[1] == count + 1:  # class token and patches; registers have no place
        x = torch.cat([*first, patches], 1) + place
        x = torch.cat([x[:, :1], *rest, x[:, 1:]], 1)
    else:
        x = torch.cat([*first, *rest, patches], 1) + place
    for block in names["blocks"]:
        normed = norm(x, block["n1.w"], block["n1.b"], eps)
        x = x + block.get("ls1", 1) * attention(normed, block, heads)
        x = x + block.get("ls2", 1) * mlp(norm(x, block["n2.w"], block["n2.b"], eps), block)
    prefix = 1 + (0 if registers is None else registers.shape[1])
    return norm(x, names["norm.w"], names["norm.b"], eps), prefix


def convolved(pixels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Patches as vectors: cut, flattened, multiplied."""
    edge = weight.shape[-1]
    batch, channels, height, width = pixels.shape
    rows, columns = height // edge, width // edge
    cut = pixels[..., : rows * edge, : columns * edge]
    cut = cut.reshape(batch, channels, rows, edge, columns, edge).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(batch, rows * columns, -1) @ weight.reshape(len(weight), -1).T + bias


def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm."""
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def attention(x: Tensor, block: dict[str, Tensor], heads: int) -> Tensor:
    """Softmax attention."""
    batch, count, width = x.shape
    q, k, v = (
        (x @ block[f"{n}.w"].T + block[f"{n}.b"])
        .reshape(batch, count, heads, width // heads)
        .transpose(1, 2)
        for n in "qkv"
    )
    weights = (q @ k.transpose(-2, -1) / math.sqrt(width // heads)).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).reshape(batch, count, width)
    return mixed @ block["o.w"].T + block["o.b"]


def mlp(x: Tensor, block: dict[str, Tensor]) -> Tensor:
    """Two layers with GELU, or gated by SiLU where there are twice as many inputs."""
    hidden = x @ block["fc1.w"].T + block["fc1.b"]
    if hidden.shape[-1] == 2 * block["fc2.w"].shape[-1]:
        gate, value = hidden.chunk(2, -1)
        hidden = gate * torch.sigmoid(gate) * value
    else:
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return hidden @ block["fc2.w"].T + block["fc2.b"]


def timm_names(state: State) -> dict[str, Any]:
    """Tensors by short names, from a state of timm."""
    found: dict[str, Any] = {
        "proj.w": state["patch_embed.proj.weight"], "proj.b": state["patch_embed.proj.bias"],
        "cls": state["cls_token"], "pos": state["pos_embed"],
        "norm.w": state["norm.weight"], "norm.b": state["norm.bias"], "blocks": [],
    }  # fmt: skip
    if "reg_token" in state:
        found["reg"] = state["reg_token"]
    for i in range(count_of(state, "blocks.{}.norm1.weight")):
        p = f"blocks.{i}."
        block = {}
        for kind, short in (("weight", "w"), ("bias", "b")):
            for n, part in zip("qkv", state[f"{p}attn.qkv.{kind}"].chunk(3), strict=True):
                block[f"{n}.{short}"] = part
            for name, own in (("attn.proj", "o"), ("norm1", "n1"), ("norm2", "n2"),
                              ("mlp.fc1", "fc1"), ("mlp.fc2", "fc2")):  # fmt: skip
                block[f"{own}.{short}"] = state[f"{p}{name}.{kind}"]
        for k in (1, 2):
            if f"{p}ls{k}.gamma" in state:
                block[f"ls{k}"] = state[f"{p}ls{k}.gamma"]
        found["blocks"].append(block)
    return found


def hub_names(state: State) -> dict[str, Any]:
    """Tensors by short names, from a state of transformers."""
    e = "embeddings."
    found: dict[str, Any] = {
        "proj.w": state[f"{e}patch_embeddings.projection.weight"],
        "proj.b": state[f"{e}patch_embeddings.projection.bias"],
        "cls": state[f"{e}cls_token"], "pos": state[f"{e}position_embeddings"],
        "norm.w": state["layernorm.weight"], "norm.b": state["layernorm.bias"], "blocks": [],
    }  # fmt: skip
    if f"{e}register_tokens" in state:
        found["reg"] = state[f"{e}register_tokens"]
    dino = "encoder.layer.0.norm1.weight" in state
    start, before, after = (
        ("encoder.layer.", "norm1", "norm2")
        if dino
        else ("layers.", "layernorm_before", "layernorm_after")
    )
    for i in range(count_of(state, start + "{}." + before + ".weight")):
        p = f"{start}{i}."
        block = {}
        for kind, short in (("weight", "w"), ("bias", "b")):
            for n in "qkvo":
                block[f"{n}.{short}"] = state[f"{p}attention.{n}_proj.{kind}"]
            block[f"n1.{short}"] = state[f"{p}{before}.{kind}"]
            block[f"n2.{short}"] = state[f"{p}{after}.{kind}"]
            if f"{p}mlp.gate_proj.weight" in state:
                parts = [state[f"{p}mlp.{m}_proj.{kind}"] for m in ("gate", "up")]
                block[f"fc1.{short}"] = torch.cat(parts)
                block[f"fc2.{short}"] = state[f"{p}mlp.down_proj.{kind}"]
            else:
                for k in (1, 2):
                    block[f"fc{k}.{short}"] = state[f"{p}mlp.fc{k}.{kind}"]
        for k in (1, 2):
            if f"{p}layer_scale{k}.lambda1" in state:
                block[f"ls{k}"] = state[f"{p}layer_scale{k}.lambda1"]
        found["blocks"].append(block)
    return found


def count_of(state: State, pattern: str) -> int:
    """How many blocks there are."""
    n = 0
    while pattern.format(n) in state:
        n += 1
    return n
