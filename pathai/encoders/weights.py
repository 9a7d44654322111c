"""Where the weights of a card lie on this machine."""

from pathlib import Path

from pathai.encoders.cards import Card
from pathai.encoders.setup import Setup
from pathai.errors import PathaiError


def locate(card: Card, setup: Setup) -> Path:
    """The weights of a card: in the folder of weights, else in the cache of the Hugging Face hub.

    Parameters
    ----------
    card : Card
        Its ``file`` is looked for in ``<weights>/<name>/``, then in the cache at its revision.
    setup : Setup
        With the folder.

    Raises
    ------
    PathaiError
        E183 if they are nowhere; the remedy says how to get them.
    """
    from huggingface_hub import try_to_load_from_cache

    own = setup.weights / card.name / card.file
    if own.is_file():
        return own
    cached = try_to_load_from_cache(card.repo, card.file, revision=card.revision)
    if isinstance(cached, str):
        return Path(cached)
    asked = f"ask for access at huggingface.co/{card.repo}, then " if card.gated else ""
    remedy = f"{asked}run pathai weights fetch {card.name}, or put {card.file} into {own.parent}"
    raise PathaiError("E183", f"encoder {card.name} has no weights here", remedy)
