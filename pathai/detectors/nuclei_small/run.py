"""The network at work: padding, precision, device."""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from pathai.detectors.nuclei_small import Weights
from pathai.detectors.nuclei_small.decode import Peaks, decode
from pathai.detectors.nuclei_small.net import ALIGN_PX, MEAN, SPREAD, NucleusNet, fused
from pathai.device import device


def find(weights: Weights, rgb: NDArray[np.uint8], precise: bool = False) -> Peaks:
    """Nuclei of a picture ``uint8[h, w, 3]`` at the network's µm/px.

    Parameters
    ----------
    weights : Weights
    rgb : uint8[h, w, 3]
    precise : bool
        Compute in float32 also where the device has bfloat16.
    """
    kind = torch.float32 if precise else fastest(device())
    return decode(*maps(weights, rgb, kind), weights.threshold)


def maps(weights: Weights, rgb: NDArray[np.uint8], kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Heat ``float32[h, w]``, 0 to 1, and rays ``float[R, h / 2, w / 2]``, as they come.

    Parameters
    ----------
    weights : Weights
    rgb : uint8[h, w, 3]
    kind : torch.dtype
        Numbers to compute in.
    """
    height, width = rgb.shape[:2]
    where = device()
    pixels = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(where)
    x = pixels.permute(2, 0, 1)[None].to(kind)
    x = (x * (1 / (255 * SPREAD)) - MEAN / SPREAD).contiguous(memory_format=torch.channels_last)
    more = (0, -width % ALIGN_PX, 0, -height % ALIGN_PX)
    # as the edge goes on: white or black would be an edge of its own
    x = functional.pad(x, more, mode="replicate") if any(more) else x
    with torch.inference_mode():
        heat, _, rays = _network(weights.raw, where, kind)(x)
    return torch.sigmoid(heat[0, :height, :width].float()).cpu(), rays[0].cpu()


@cache
def fastest(where: str) -> torch.dtype:
    """The narrowest numbers in which the device is fast and the answer holds."""
    if where.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    with_tiles: Any = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with_words: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if with_tiles() or with_words() else torch.float32


@cache
def _network(raw: bytes, where: str, kind: torch.dtype) -> NucleusNet:
    torch.set_num_threads(1)  # blocks are shared out by `cells.workers`, not pixels
    network = NucleusNet()
    state = load(raw)
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = value  # a count that only training reads
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    )
    moved: NucleusNet = fused(network).to(where, kind)
    return moved.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]
