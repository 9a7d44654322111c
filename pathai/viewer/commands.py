"""The review's actions as napari commands: in the palette (Ctrl+Shift+P) and the Annotate menu.

There is one for each key, by the name of its action (``20x`` is ``zoom_20x``); the manifest is
written from the same list (``python docs/generate.py``).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from napari.utils.notifications import show_info

from pathai.viewer.keys import KEYS, do
from pathai.viewer.presenter import Review

_open: list[Review] = []


@contextmanager
def acting_on(review: Review) -> Iterator[None]:
    """Let the commands act on a review; of several open ones the last is meant."""
    _open.append(review)
    try:
        yield
    finally:
        _open[:] = [one for one in _open if one is not review]


def named(action: str) -> str:
    """Name of an action's command in this file."""
    word = re.sub(r"\W+", "_", action)
    return f"zoom_{word}" if word[:1].isdigit() else word


def _do(action: str) -> None:
    if _open:
        do(_open[-1], action)
    else:
        show_info("No review is open: Plugins > pathai review.")


def __getattr__(name: str) -> Callable[[], None]:
    """The command of this name."""
    action = next((one for one in KEYS if named(one) == name), None)
    if action is None:
        raise AttributeError(name)

    def command() -> None:
        _do(action)

    command.__name__, command.__doc__ = name, KEYS[action].title
    return command
