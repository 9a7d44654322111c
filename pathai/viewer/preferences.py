"""What a reader may set in napari's preferences, under *pathai*. Knows no Qt.

They are declared in the manifest (``configurations``); napari shows and keeps them.
"""

import re
from dataclasses import dataclass, field
from typing import Any

PLUGIN = "pathai"
THUMBNAIL_PX, DOCK_PX, WINDOW_PX = 64, 460, (1500, 940)


@dataclass(frozen=True)
class Preferences:
    """As they are when a review begins.

    Parameters
    ----------
    blind : bool
        AI results stay hidden until the reader's first impression is recorded.
    opacity : float
        Of every overlay, as a share of its usual opacity, 0 to 1.
    thumbnail_px : int
        Longer edge of a slide's picture in the worklist.
    dock_px, window_px : int and (int, int)
        Width of the review, and width and height of the window.
    keys : dict
        Action to key, where the reader chose another than the usual one.
    """

    blind: bool = True
    opacity: float = 1.0
    thumbnail_px: int = THUMBNAIL_PX
    dock_px: int = DOCK_PX
    window_px: tuple[int, int] = WINDOW_PX
    keys: dict[str, str] = field(default_factory=dict)


def read() -> Preferences:
    """What napari keeps; the defaults where it does not know the plugin."""
    kept = _kept()
    if kept is None:
        return Preferences()
    window = kept.window
    return Preferences(
        blind=kept.reading.blind_first,
        opacity=kept.overlays.opacity,
        thumbnail_px=kept.worklist.thumbnail_px,
        dock_px=window.dock_px,
        window_px=(window.width_px, window.height_px),
        keys={name: getattr(kept.keys, entry(name)) for name in _key_names()},
    )


def keep_sizes(dock_px: int, window_px: tuple[int, int]) -> None:
    """Remember how wide the reader made the window and the review in it."""
    kept = _kept()
    if kept is not None:
        kept.window.dock_px = max(dock_px, 1)
        kept.window.width_px, kept.window.height_px = window_px


def entry(action: str) -> str:
    """Name of a key's preference: ``20x`` is no name in Python, ``key_20x`` is."""
    return "key_" + re.sub(r"\W+", "_", action)


def _key_names() -> tuple[str, ...]:
    from pathai.viewer.keys import KEYS

    return tuple(KEYS)


def _kept() -> Any:
    from napari.settings import get_plugin_settings

    try:
        return get_plugin_settings(PLUGIN)
    except KeyError:  # the plugin is switched off, or napari does not know it
        return None
