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


def _of(part: str, act: str) -> Callable[[Review], None]:
    """A method of a part."""
    return lambda review: getattr(review.part(part), act)()


FIELD_KEYS: dict[str, Key] = {
    "outlines": Key(
        "Shift-H",
        "Shift+H",
        "outlines",
        "outlines alone, no areas",
        _of("overlays", "toggle_outlines"),
    ),
    "fainter": Key(",", ",", "fainter", "attention weaker", _of("overlays", "fainter")),
    "stronger": Key(".", ".", "stronger", "attention stronger", _of("overlays", "stronger")),
    "more": Key("Alt-,", "Alt+,", "more", "attention of more tiles", _of("overlays", "more")),
    "fewer": Key("Alt-.", "Alt+.", "fewer", "attention of fewer tiles", _of("overlays", "fewer")),
    "task": Key(
        "Shift-G", "Shift+G", "model", "attention of the next model", _of("overlays", "next_task")
    ),
    "gallery": Key("G", "G", "gallery", "gallery of top tiles", _of("gallery", "open")),
    "field": Key(
        "Enter", "Enter", "field", "next field of the screening", _of("screening", "next_field")
    ),
    "field_back": Key(
        "Shift-Enter",
        "Shift+Enter",
        "field back",
        "field before, in the screening",
        _of("screening", "previous_field"),
    ),
    "draw": Key("Alt-R", "Alt+R", "region", "draw a region", _of("drawing", "toggle")),
    "outline": Key(
        "Alt-S",
        "Alt+S",
        "outline",
        "outline of the nucleus at the mouse",
        _of("segmenting", "at_cursor"),
    ),
    "box": Key(
        "Alt-X", "Alt+X", "box", "outline of the object in a box", _of("segmenting", "toggle_box")
    ),
    "keep": Key(
        "Alt-A", "Alt+A", "keep", "keep the outline as a nucleus", _of("segmenting", "keep_nucleus")
    ),
    "side": Key("Alt-B", "Alt+B", "beside", "another slide side by side", _of("side", "toggle")),
}
"""Overlays and fields of the slide."""

KEYS: dict[str, Key] = {
    "next": Key("N", "N", "next", "next unreviewed case", lambda r: r.next_case()),
    "previous": Key(
        "Shift-N", "Shift+N", "back", "previous unreviewed case", lambda r: r.next_case(-1)
    ),
    "accept": Key("K", "K", "accept", "accept the sentence", lambda r: r.accept()),
    "reject": Key("J", "J", "reject", "reject the sentence", lambda r: r.reject()),
    "undo": Key("U", "U", "undo", "undo the last decision", lambda r: r.undo()),
    "hide": Key("H", "H", "overlays", "hide or show all overlays", lambda r: r.toggle_overlays()),
    "fit": Key("0", "0", "fit", "whole slide", lambda r: r.fit()),
    "20x": Key("8", "8", "20×", "20×: 0.5 µm per pixel", lambda r: r.magnify(20)),
    "40x": Key("9", "9", "40×", "40×: 0.25 µm per pixel", lambda r: r.magnify(40)),
    **FIELD_KEYS,
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
