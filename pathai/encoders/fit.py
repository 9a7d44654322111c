"""Giving a network its weights: all of them and no others.

A network computes in float32 whatever its file stores: half precision is exact in it. What the
processor or the GPU then computes in is the configuration's matter.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pathai.encoders.build import build, transformers_model
from pathai.encoders.cards import Card
from pathai.errors import PathaiError

State = dict[str, torch.Tensor]
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_TOWERS = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")
"""What a model of images and texts holds beside the tower that sees images."""


def loaded(card: Card, state: State, file: str) -> Any:
    """The network of a card with its weights.

    Parameters
    ----------
    card : Card
        Of any source but ``package``.
    state : dict of tensors
        From `pathai.encoders.load.read_state`.
    file : str
        Named in errors.

    Returns
    -------
    torch.nn.Module
        float32.

    Raises
    ------
    PathaiError
        E182 naming the first tensor that is missing, unknown, of another shape or another kind.
    """
    if card.source == "transformers":
        return _transformers(card, state, file)
    network = build(card)
    take(network, state, file, card.name)
    return network


def take(network: Any, state: State, file: str, model: str) -> None:
    """Give a network its weights.

    Raises
    ------
    PathaiError
        E182 as `loaded`.
    """
    network.load_state_dict(matched(network, state, file, model), strict=True)


def check(card: Card, state: State, file: str) -> None:
    """Whether weights fit a card, by names and shapes alone.

    Parameters
    ----------
    state : dict of tensors
        Their values are not looked at; `blank` makes them of a header.

    Raises
    ------
    PathaiError
        E182 as `loaded`.
    """
    if card.source == "transformers":
        _transformers(card, state, file)
    else:
        matched(build(card, meta=True), state, file, card.name)


def blank(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor of that type and shape whose elements share one place in memory."""
    kinds = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16}
    kinds |= {"BF16": torch.bfloat16, "BOOL": torch.bool}
    return torch.zeros((), dtype=kinds.get(dtype, torch.int64)).expand(shape)


def matched(network: Any, state: State, file: str, model: str) -> State:
    """The tensors of a file under the network's own names."""
    own = network.state_dict()
    renamed = getattr(network, "renamed", None)  # a network of our own knows its publisher's names
    state = renamed(state) if renamed else _without_heads(network, _renamed(state, own, file))
    for key in sorted(own.keys() | state.keys()):
        if key not in state:
            raise _misfit(file, f"lacks {key}", model)
        if key not in own:
            raise _misfit(file, f"has unknown {key}", model)
        if own[key].shape != state[key].shape:
            shapes = f"{_times(state[key].shape)}, not {_times(own[key].shape)}"
            raise _misfit(file, f"has {key} of {shapes}", model)
        _check_kind(key, own[key], state[key], file, model)
    return state


def _check_kind(key: str, own: torch.Tensor, given: torch.Tensor, file: str, model: str) -> None:
    """Quantized weights would be taken for numbers."""
    if own.is_floating_point() != (given.dtype in FLOATS):
        raise _misfit(file, f"has {key} as {str(given.dtype).removeprefix('torch.')}", model)


def _times(shape: torch.Size) -> str:
    return "×".join(map(str, shape)) or "a number"


def _misfit(file: str, why: str, model: str) -> PathaiError:
    return PathaiError("E182", f"{file} {why}", f"give weights made for {model}")


def _renamed(state: State, own: State, file: str) -> State:
    """Without what a publisher wrote before each name (``module.``, ``backbone.`` ...)."""
    prefixes = Counter(
        key[:start]
        for key in state
        for start in (0, *(i + 1 for i, letter in enumerate(key) if letter == "."))
        if key[start:] in own
    )
    whole = sorted(prefix for prefix, count in prefixes.items() if count == len(own))
    if len(whole) > 1 and "" not in whole:
        message = f"{file} holds several networks: {', '.join(whole)}"
        raise PathaiError("E182", message, "save the tensors of one of them alone")
    prefix = whole[0] if whole else max(sorted(prefixes), key=prefixes.__getitem__, default="")
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _without_heads(network: Any, state: State) -> State:
    """Without a classifier on top, and what the network computes itself."""
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    drop = tuple(f"{head}." for head in (*heads, "pooler"))
    own, computed = network.state_dict(), dict(network.named_buffers())
    kept = {k: v for k, v in state.items() if k in own or not k.startswith(drop)}
    return {k: v for k, v in kept.items() if k in own or k not in computed}


def _transformers(card: Card, state: State, file: str) -> Any:
    """By the library's own loader: it knows the names that its older versions wrote."""
    model, settings, extra = transformers_model(card)
    for key, given in state.items():
        if given.dtype not in FLOATS and not key.endswith("position_ids"):
            raise _misfit(
                file, f"has {key} as {str(given.dtype).removeprefix('torch.')}", card.name
            )
    with _silent():
        network, told = model.from_pretrained(
            None,
            config=settings,
            state_dict=dict(state),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            **extra,
        )
    drop = ("pooler.", "embeddings.mask_token", *_TOWERS)
    unknown = sorted(k for k in told["unexpected_keys"] if not k.startswith(drop))
    wrong = sorted(row[0] for row in told["mismatched_keys"])
    for why, keys in (
        ("has another shape of", wrong),
        ("lacks", sorted(told["missing_keys"])),
        ("has unknown", unknown),
    ):
        if keys:
            raise _misfit(file, f"{why} {keys[0]}", card.name)
    if told["error_msgs"]:
        raise _misfit(file, "does not fit", card.name)
    return network


@contextmanager
def _silent() -> Iterator[None]:
    """Without the bars and reports of transformers; what matters of them becomes an error."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
