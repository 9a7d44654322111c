"""Write napari's manifest of the plugin, ``pathai/viewer/napari.yaml``, from the list of keys.

Commands, menu and preferences follow from ``pathai.viewer.keys.KEYS``, so that an action is
named in one place. ``python docs/generate.py`` runs this too; a test fails while it is stale.
"""

from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parent.parent / "pathai" / "viewer" / "napari.yaml"
HEAD = "# Written by `python docs/generate.py`; the keys come from pathai/viewer/keys.py.\n"
SLIDES = ("svs", "ndpi", "mrxs", "scn", "bif", "vms", "vmu", "svslide", "dcm", "tif", "tiff")
"""Endings of slides' names."""


def manifest() -> dict[str, Any]:
    """Everything that napari must know before it loads the plugin."""
    from pathai.viewer.commands import named
    from pathai.viewer.keys import KEYS

    own = {name: f"pathai.{named(name)}" for name in KEYS}
    commands = [
        _command("pathai.review", "review the cases of a run", "dock:ReviewDock"),
        _command("pathai.read", "open the results of a slide", "reader:get_reader"),
        _command("pathai.read_slide", "open a slide", "reader:get_slide_reader"),
    ]
    commands += [
        _command(own[name], key.title, f"commands:{named(name)}") for name, key in KEYS.items()
    ]
    return {
        "name": "pathai",
        "display_name": "pathai",
        "contributions": {
            "commands": commands,
            "readers": [
                {
                    "command": "pathai.read",
                    "filename_patterns": ["*.zarr"],
                    "accepts_directories": True,
                },
                {
                    "command": "pathai.read_slide",
                    "filename_patterns": [f"*.{ending}" for ending in SLIDES],
                },
            ],
            "widgets": [{"command": "pathai.review", "display_name": "pathai review"}],
            "menus": {"napari/layers/annotate": [{"command": own[name]} for name in KEYS]},
            "configurations": configurations(),
        },
    }


def configurations() -> dict[str, Any]:
    """What a reader may set in napari's preferences."""
    from pathai.viewer.keys import KEYS
    from pathai.viewer.preferences import Preferences, entry

    usual = Preferences()
    width, height = usual.window_px
    keys = {
        entry(name): {
            "title": key.title[:1].upper() + key.title[1:],
            "type": "string",
            "default": key.shown,
            "description": "A key such as N, Shift+N or Alt+5; holds when a review is opened.",
        }
        for name, key in KEYS.items()
    }
    return {
        "reading": _page(
            "Reading",
            blind_first=_entry(
                "boolean", usual.blind, "First impression before the AI's results",
                "AI results stay hidden until you have recorded what you think.",
            ),
        ),
        "overlays": _page(
            "Overlays",
            opacity=_entry(
                "number", usual.opacity, "Opacity of overlays",
                "Share of the usual opacity, 0 to 1.", minimum=0.0, maximum=1.0,
            ),
        ),
        "worklist": _page(
            "Worklist",
            thumbnail_px=_entry(
                "integer", usual.thumbnail_px, "Size of thumbnails",
                "Longer edge, pixels of the screen.", minimum=24, maximum=256,
            ),
        ),
        "keys": {"title": "Keys", "properties": keys},
        "window": _page(
            "Window",
            dock_px=_entry("integer", usual.dock_px, "Width of the review", _KEPT, minimum=1),
            width_px=_entry("integer", width, "Width of the window", _KEPT, minimum=1),
            height_px=_entry("integer", height, "Height of the window", _KEPT, minimum=1),
        ),
    }  # fmt: skip


_KEPT = "Pixels of the screen; kept as you left it."


def _command(name: str, title: str, target: str) -> dict[str, str]:
    return {
        "id": name,
        "title": f"pathai: {title}",
        "python_name": f"pathai.viewer.{target}",
    }


def _entry(
    kind: str, default: Any, title: str, description: str, **limits: float
) -> dict[str, Any]:
    return {
        "title": title, "type": kind, "default": default, "description": description, **limits,
    }  # fmt: skip


def _page(title: str, **properties: Any) -> dict[str, Any]:
    return {"title": title, "properties": properties}


def text() -> str:
    """The manifest as a file."""
    return HEAD + yaml.safe_dump(manifest(), sort_keys=False, allow_unicode=True, width=96)


if __name__ == "__main__":
    new = text()
    if not FILE.is_file() or FILE.read_text("utf-8") != new:
        FILE.write_text(new, "utf-8")
        print(f"wrote {FILE.name}")
