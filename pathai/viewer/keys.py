"""The keys of the review; bound by us, because napari ignores the keys of a manifest.

All of them are free in napari. They act wherever the focus is in the window, and are given
back when the review closes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from napari.components import ViewerModel

from pathai.viewer.presenter import Review


@dataclass(frozen=True)
class Key:
    """One key: as napari spells it, as a reader does, what it does in a word and in full."""

    napari: str
    shown: str
    short: str
    title: str
    action: Callable[[Review], None]


KEYS: dict[str, Key] = {
    "next": Key("N", "N", "next", "next unreviewed case", lambda r: r.next_case()),
    "previous": Key(
        "Shift-N", "Shift+N", "back", "previous unreviewed case", lambda r: r.next_case(-1)
    ),
    "accept": Key("K", "K", "accept", "accept the sentence", lambda r: r.accept()),
    "reject": Key("J", "J", "reject", "reject the sentence", lambda r: r.reject()),
    "undo": Key("U", "U", "undo", "undo the last decision", lambda r: r.undo()),
    "hide": Key("H", "H", "overlays", "hide or show all overlays", lambda r: r.toggle_overlays()),
    "report": Key("Q", "Q", "report", "show the report", lambda r: r.part("report").show()),
    "edit": Key(
        "Shift-K", "Shift+K", "edit", "edit the sentence", lambda r: r.part("report").begin_edit()
    ),
    "fit": Key("0", "0", "fit", "whole slide", lambda r: r.fit()),
    "20x": Key("8", "8", "20×", "20×: 0.5 µm per pixel", lambda r: r.magnify(20)),
    "40x": Key("9", "9", "40×", "40×: 0.25 µm per pixel", lambda r: r.magnify(40)),
}
"""By the name of the action."""


def tip(name: str) -> str:
    """Tooltip of a button: what it does and its key."""
    key = KEYS[name]
    return f"{key.title[:1].upper()}{key.title[1:]} ({key.shown})"


@contextmanager
def bound(viewer: ViewerModel, review: Review) -> Iterator[None]:
    """Bind the keys while the review is open; what they did before is restored."""
    before = {}
    for key in KEYS.values():

        def act(_viewer: object, key: Key = key) -> None:
            key.action(review)

        before[key.napari] = viewer.bind_key(key.napari, act, overwrite=True)
    try:
        yield
    finally:
        for name, old in before.items():
            with suppress(KeyError):
                viewer.bind_key(name, old, overwrite=True)
