"""Which key does what: the reader's wishes against what is possible. Knows no Qt.

A wish that cannot be granted is told, and the key that was there before stays.
"""

from collections.abc import Collection, Mapping

from app_model.types import KeyBinding

_NO_KEYS = ("Shift", "Ctrl", "Alt", "Meta")
"""Alone they are no key: nothing could be typed any more."""


def spelled(text: str) -> str:
    """One spelling for a key, ``Shift+N``, however it was typed; empty if it names no key."""
    words = [part for part in text.replace("-", "+").split("+") if part]
    if not words:
        return ""
    try:
        found = KeyBinding.from_str("+".join(word.strip().capitalize() for word in words))
    except (ValueError, KeyError):
        return ""
    return "" if str(found) in _NO_KEYS or not found.part0.key else str(found)


def keymap(
    defaults: Mapping[str, str], wishes: Mapping[str, str], taken: Collection[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """The key of every action, and what is wrong with the wishes.

    Parameters
    ----------
    defaults : mapping of str to str
        Action to key; every key once.
    wishes : mapping of str to str
        What the reader would rather have; actions that are not there keep their key.
    taken : collection of str
        Keys of napari itself.

    Returns
    -------
    dict
        Action to key, every key once.
    list of str
        One sentence for each wish that was not granted.
    """
    taken = {spelled(key) for key in taken}
    chosen = {name: spelled(key) for name, key in defaults.items()}
    usual, problems = dict(chosen), []
    for name, wish in wishes.items():
        if name not in usual or not wish.strip():
            continue
        key = spelled(wish)
        if not key:
            problems.append(f"{wish!r} is no key; {name} stays on {usual[name]}.")
        elif key in taken and key != usual[name]:
            problems.append(f"{key} belongs to napari; {name} stays on {usual[name]}.")
        else:
            chosen[name] = key
    return _settled(chosen, usual, problems), problems


def _settled(chosen: dict[str, str], usual: dict[str, str], problems: list[str]) -> dict[str, str]:
    """Give back one wish of two that meet, until every key is there once.

    It ends, because each turn brings one action back to its usual key, and those all differ.
    """
    while True:
        first: dict[str, str] = {}
        for name, key in chosen.items():
            if key in first:
                other = first[key]
                back = name if key != usual[name] else other
                stays = other if back == name else name
                problems.append(f"{key} already does {stays!r}; {back} stays on {usual[back]}.")
                chosen = {**chosen, back: usual[back]}
                break
            first[key] = name
        else:
            return chosen
