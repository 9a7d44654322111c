"""A window on one slide without a review: map, scale bar, magnification by keys."""

from collections.abc import Sequence

import napari
from qtpy.QtWidgets import QMainWindow

from pathai.viewer import keys
from pathai.viewer.help_panel import KeyList
from pathai.viewer.looking import Looking, in_microns
from pathai.viewer.overview_panel import Overview

KEYS = ("fit", "5x", "10x", "20x", "40x", "overview", "help")


class LookingWindow:
    """Keys and map on a viewer that shows one slide.

    Parameters
    ----------
    viewer : napari.Viewer
        With a layer ``slide``.
    notes : sequence of str
        What the reader must be told.
    """

    def __init__(self, viewer: "napari.Viewer", notes: Sequence[str] = ()) -> None:
        from napari.utils.notifications import show_info

        self.looking = Looking(viewer)
        self.looking.told.connect(show_info)
        self.looking.asked.connect(self._show_part)
        window = viewer.window._qt_window
        canvas = window.centralWidget() if isinstance(window, QMainWindow) else window
        self.overview, self.key_list = Overview(self.looking, canvas), KeyList(canvas, KEYS)
        for name in KEYS:
            viewer.bind_key(keys.bound_to(name), self._key(name), overwrite=True)
        bar = viewer.canvas.overlays.scale_bar
        shown = self.looking.layer("slide")
        bar.visible = shown is not None and in_microns(shown)
        self.looking.fit()
        self.overview.refresh()
        for note in notes:
            show_info(note)

    def _key(self, name: str) -> object:
        def act(_viewer: object) -> None:
            keys.KEYS[name].action(self.looking)  # type: ignore[arg-type]

        return act

    def _show_part(self, name: str) -> None:
        if name == "help":
            self.key_list.toggle()
        elif name == "overview":
            self.overview.toggle()
