"""The keys of the review; bound by us, because napari ignores the keys of a manifest.

All of them are free in napari. They act wherever the focus is in the window, and are given
back when the review closes. A reader may choose others in napari's preferences.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from app_model import Application
from napari.components import ViewerModel

from pathai.viewer.keymap import keymap
from pathai.viewer.presenter import Review


@dataclass(frozen=True)
class Key:
    """One key: as napari spells it, as a reader does, what it does in a word and in full.

    ``blind``: it also acts before the reader's first impression, since it shows nothing of the
    AI's. ``group`` is its heading in the list of keys.
    """

    napari: str
    shown: str
    short: str
    title: str
    action: Callable[[Review], None]
    blind: bool = False
    group: str = "Sentences"


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
        False,
        "Slide",
    ),
    "fainter": Key(
        ",", ",", "fainter", "attention weaker", _of("overlays", "fainter"), False, "Slide"
    ),
    "stronger": Key(
        ".", ".", "stronger", "attention stronger", _of("overlays", "stronger"), False, "Slide"
    ),
    "more": Key(
        "Alt-,", "Alt+,", "more", "attention of more tiles", _of("overlays", "more"), False, "Slide"
    ),
    "fewer": Key(
        "Alt-.",
        "Alt+.",
        "fewer",
        "attention of fewer tiles",
        _of("overlays", "fewer"),
        False,
        "Slide",
    ),
    "task": Key(
        "Shift-G",
        "Shift+G",
        "model",
        "attention of the next model",
        _of("overlays", "next_task"),
        False,
        "Slide",
    ),
    "gallery": Key(
        "G", "G", "gallery", "gallery of top tiles", _of("gallery", "open"), False, "Slide"
    ),
    "field": Key(
        "Shift-F",
        "Shift+F",
        "field",
        "next field of the screening",
        _of("screening", "next_field"),
        True,
        "Fields",
    ),
    "field_back": Key(
        "Shift-B",
        "Shift+B",
        "field back",
        "field before, in the screening",
        _of("screening", "previous_field"),
        True,
        "Fields",
    ),
    "draw": Key(
        "Alt-R", "Alt+R", "region", "draw a region", _of("drawing", "toggle"), True, "Fields"
    ),
    "outline": Key(
        "Alt-D",
        "Alt+D",
        "outline",
        "outline of the nucleus at the mouse",
        _of("segmenting", "at_cursor"),
        True,
        "Fields",
    ),
    "box": Key(
        "Alt-X",
        "Alt+X",
        "box",
        "outline of the object in a box",
        _of("segmenting", "toggle_box"),
        True,
        "Fields",
    ),
    "keep": Key(
        "Alt-A",
        "Alt+A",
        "keep",
        "keep the outline as a nucleus",
        _of("segmenting", "keep_nucleus"),
        True,
        "Fields",
    ),
    "side": Key(
        "Alt-B",
        "Alt+B",
        "beside",
        "another slide side by side",
        _of("side", "toggle"),
        True,
        "Fields",
    ),
}
"""Overlays and fields of the slide."""

KEYS: dict[str, Key] = {
    "next": Key("N", "N", "next", "next unreviewed case", lambda r: r.next_case(), True, "Cases"),
    "previous": Key(
        "Shift-N",
        "Shift+N",
        "back",
        "previous unreviewed case",
        lambda r: r.next_case(-1),
        True,
        "Cases",
    ),
    "worklist": Key(
        "W",
        "W",
        "worklist",
        "worklist, and back",
        lambda r: r.asked.emit("worklist"),
        True,
        "Cases",
    ),
    "accept": Key("K", "K", "accept", "accept the sentence", lambda r: r.accept()),
    "reject": Key("J", "J", "reject", "reject the sentence", lambda r: r.reject()),
    "report": Key(
        "Q", "Q", "report", "show the report", lambda r: r.part("report").show(), False, "Report"
    ),
    "edit": Key(
        "Shift-K", "Shift+K", "edit", "edit the sentence", lambda r: r.part("report").begin_edit()
    ),
    "undo": Key("U", "U", "undo", "undo the last decision", lambda r: r.undo(), True),
    "redo": Key("Shift-U", "Shift+U", "redo", "redo what was undone", lambda r: r.redo(), True),
    "hide": Key(
        "H",
        "H",
        "overlays",
        "hide or show all overlays",
        lambda r: r.toggle_overlays(),
        False,
        "Slide",
    ),
    "fit": Key("0", "0", "fit", "whole slide", lambda r: r.fit(), True, "Slide"),
    "5x": Key("Alt-5", "Alt+5", "5×", "5×: 2 µm per pixel", lambda r: r.magnify(5), True, "Slide"),
    "10x": Key(
        "Alt-0", "Alt+0", "10×", "10×: 1 µm per pixel", lambda r: r.magnify(10), True, "Slide"
    ),
    "20x": Key("8", "8", "20×", "20×: 0.5 µm per pixel", lambda r: r.magnify(20), True, "Slide"),
    "40x": Key("9", "9", "40×", "40×: 0.25 µm per pixel", lambda r: r.magnify(40), True, "Slide"),
    "overview": Key(
        "Shift-W",
        "Shift+W",
        "map",
        "overview map on or off",
        lambda r: r.asked.emit("overview"),
        True,
        "Slide",
    ),
    "help": Key(
        "F1", "F1", "keys", "list of all keys", lambda r: r.asked.emit("help"), True, "Window"
    ),
    **{
        f"class {n}": Key(
            f"Alt-{n}", f"Alt+{n}", f"class {n}", f"hide or show class {n} of the nuclei",
            lambda r, n=n: r.part("cells").toggle_number(n),  # type: ignore[misc]
            False, "Nuclei",
        )
        for n in (1, 2, 3, 4, 6, 7, 8, 9)
    },
    **{
        f"give {n}": Key(
            f"Control-{n}", f"Ctrl+{n}", f"is {n}", f"the chosen nucleus is of class {n}",
            lambda r, n=n: r.part("cells").classify_number(n),  # type: ignore[misc]
            False, "Nuclei",
        )
        for n in range(1, 10)
    },
    "nucleus right": Key(
        "Control-K", "Ctrl+K", "right", "the chosen nucleus has the right class",
        lambda r: r.part("cells").confirm(), False, "Nuclei",
    ),
    "nucleus none": Key(
        "Control-J", "Ctrl+J", "none", "the chosen one is no nucleus",
        lambda r: r.part("cells").reject(), False, "Nuclei",
    ),
    "region draw": Key(
        "Shift-D", "Shift+D", "draw", "draw a region to count in",
        lambda r: r.part("counting").draw(), True, "Counting",
    ),
    "region drop": Key(
        "Shift-C", "Shift+C", "drop", "drop a region of the chosen area in the middle",
        lambda r: r.part("counting").drop(), False, "Counting",
    ),
    "ruler": Key(
        "Shift-M", "Shift+M", "ruler", "measure a length",
        lambda r: r.part("counting").measure(), True, "Counting",
    ),
    **FIELD_KEYS,
}  # fmt: skip
"""By the name of the action."""

_chosen: dict[str, str] = {}
"""Action to key where the reader chose another; one for the program, like the preferences."""


def choose(wishes: Mapping[str, str], taken: Collection[str] = ()) -> list[str]:
    """Let the reader's own keys hold from now on; what could not be granted, as sentences."""
    usual = {name: key.shown for name, key in KEYS.items()}
    found, problems = keymap(usual, wishes, taken)
    _chosen.clear()
    _chosen.update({name: key for name, key in found.items() if key != usual[name]})
    return problems


def shown(name: str) -> str:
    """The key of an action, as a reader spells it."""
    return _chosen.get(name, KEYS[name].shown)


def bound_to(name: str) -> str:
    """The key of an action, as napari spells it."""
    return _chosen[name].replace("+", "-") if name in _chosen else KEYS[name].napari


def tip(name: str) -> str:
    """Tooltip of a button: what it does and its key."""
    title = KEYS[name].title
    return f"{title[:1].upper()}{title[1:]} ({shown(name)})"


def do(review: Review, name: str) -> None:
    """What a key does; before the first impression nothing that shows the AI's results."""
    key = KEYS[name]
    if review.blind and not key.blind:
        review.refuse_blind()
    else:
        key.action(review)


def napari_keys() -> tuple[str, ...]:
    """Keys that napari needs itself: its shortcuts, and those of its menus once it has any."""
    from napari.settings import get_settings

    given = get_settings().shortcuts.shortcuts
    found = {str(key) for keys in given.values() for key in keys}
    found |= {str(key) for key in ViewerModel.class_keymap}
    app = Application.get_app("napari")
    found |= {str(one.keybinding) for one in app.keybindings} if app is not None else set()
    return tuple(sorted(found))


@contextmanager
def bound(viewer: ViewerModel, review: Review) -> Iterator[None]:
    """Bind the keys while the review is open; what they did before is restored."""
    before = {}
    for name in KEYS:

        def act(_viewer: object, name: str = name) -> None:
            do(review, name)

        key = bound_to(name)
        before[key] = viewer.bind_key(key, act, overwrite=True)
    try:
        yield
    finally:
        for key, old in before.items():
            with suppress(KeyError):
                viewer.bind_key(key, old, overwrite=True)
