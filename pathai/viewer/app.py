"""``pathai review``: open napari on a run."""

import getpass
import os
import re
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pathai.config import ID_PATTERN
from pathai.errors import PathaiError

if TYPE_CHECKING:
    import napari

    from pathai.viewer.dock import ReviewDock
    from pathai.viewer.looking_window import LookingWindow
    from pathai.viewer.preferences import Preferences

TITLE = "pathai review"
_QUIET = ("offscreen", "minimal", "vnc", "webgl")


def review(
    path: Path, reader: str = "", reviews: Path | None = None, *, blind: bool | None = None
) -> None:
    """Open the review window and stay until it is closed.

    Parameters
    ----------
    path : Path
        A run folder, its ``config.yaml``, its results, or a slide's folder or ``tiles.zarr`` in
        them. A slide that belongs to no run, or a slide file, is only shown.
    reader : str
        Id under which decisions are logged; by default the name of the account.
    reviews : Path, optional
        Where the logs lie, instead of the run's own folder for them.
    blind : bool, optional
        Whether AI results wait for a first impression; by default as in the preferences.

    Raises
    ------
    PathaiError
        E212 without anything to review, E194 without napari, E211 without a display, E193 if
        the reader's id cannot name a log; for a slide file E10x to E14x.
    """
    from pathai.viewer.runs import find_config, loose_slide

    loose = loose_slide(path)
    if not loose:
        find_config(path)  # before the window: a wrong folder is told at once
    require_napari()
    require_display()
    import napari

    if loose:
        window: object = open_slide_window(path)
    else:
        window = open_window(path, reader or default_reader(), reviews, blind=blind)
    napari.run()
    del window  # kept alive until here


def open_window(
    path: Path, reader: str, reviews: Path | None = None, *, blind: bool | None = None
) -> "tuple[napari.Viewer, ReviewDock]":
    """A napari window with the review docked at its right side.

    Parameters
    ----------
    path, reader, reviews, blind
        As in `review`; a slide's folder opens its case.
    """
    import napari

    from pathai.viewer import preferences
    from pathai.viewer.dock import ReviewDock
    from pathai.viewer.runs import Run, slide_folder

    run = Run(path, reviews)  # nothing to review: no window
    wishes = preferences.read()
    if blind is not None:
        wishes = replace(wishes, blind=blind)
    viewer = napari.Viewer(title=TITLE)
    try:
        viewer.theme = "light"  # slides are white; a dark frame around them tires the eye
        dock = ReviewDock(viewer)
        viewer.window.add_dock_widget(dock, name=TITLE, area="right")
        _calm(viewer, dock, wishes)
        review = dock.start(run, reader, wishes)
        given = slide_folder(path)
        if given is not None:
            review.open_slide(given.slide_id)
    except PathaiError:
        viewer.close()
        raise
    return viewer, dock


def open_slide_window(path: Path) -> "tuple[napari.Viewer, LookingWindow]":
    """A napari window on one slide that belongs to no run; nothing is logged.

    Parameters
    ----------
    path : Path
        A slide's folder, its ``tiles.zarr``, or a slide file.
    """
    import napari
    from napari.layers import Layer

    from pathai.viewer.looking_window import LookingWindow
    from pathai.viewer.reader import layers_of

    data, notes = layers_of(path)
    viewer = napari.Viewer(title=TITLE)
    viewer.theme = "light"
    for one in data:
        viewer.add_layer(Layer.create(*one))
    return viewer, LookingWindow(viewer, notes)


def _calm(viewer: "napari.Viewer", dock: "ReviewDock", wishes: "Preferences") -> None:
    """Hide what a reader does not need (the Window menu brings it back); sizes as they were."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QDockWidget, QMainWindow

    viewer.window.resize(*wishes.window_px)
    window = dock.window()
    for part in window.findChildren(QDockWidget):
        if part.objectName() in ("layer list", "layer controls"):
            part.hide()
        elif part.isAncestorOf(dock) and isinstance(window, QMainWindow):
            window.resizeDocks([part], [wishes.dock_px], Qt.Orientation.Horizontal)


def default_reader() -> str:
    """Name of the account, as far as it can name a log."""
    try:
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", getpass.getuser()).strip("-_")
    except (OSError, KeyError):
        name = ""
    return name if re.fullmatch(ID_PATTERN, name) else "reader"


def require_napari() -> None:
    """E194 naming the extra when napari or a Qt binding is missing or unusable."""
    bindings = [name for name in ("PySide6", "PyQt6") if find_spec(name)]
    if find_spec("napari") is None or not bindings:
        raise PathaiError("E194", "napari is not installed", "pip install 'pathai[viewer]'")
    # PySide6 6.12.0 gives back one reference too many to None with every call; before Python
    # 3.12, where None lives forever, the program is aborted after some minutes of work.
    if "PySide6" in bindings and sys.version_info < (3, 12) and _version("PySide6") == "6.12.0":
        message = "PySide6 6.12.0 aborts on Python 3.11"
        raise PathaiError("E194", message, "pip install 'PySide6-Essentials<6.12'")


def _version(name: str) -> str:
    for package in (name, f"{name}-Essentials"):
        with suppress(PackageNotFoundError):
            return version(package)
    return ""


def require_display() -> None:
    """E211 when no window can be opened; Qt itself would abort the program."""
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM", "") in _QUIET:
        return
    x11, wayland = os.environ.get("DISPLAY", ""), os.environ.get("WAYLAND_DISPLAY", "")
    if not x11 and not wayland:
        raise PathaiError("E211", "neither DISPLAY nor WAYLAND_DISPLAY is set")
    if x11 and not wayland and not _answers(x11):
        raise PathaiError("E211", f"the display {x11} does not answer")


def _answers(display: str) -> bool:
    """Whether an X server listens at ``host:number.screen``."""
    match = re.fullmatch(r"(.*):(\d+)(\.\d+)?", display)
    if match is None:
        return False
    host, number = match[1], int(match[2])
    if host in ("", "unix") or host.startswith("/"):
        path = f"/tmp/.X11-unix/X{number}"  # noqa: S108  (where every X server puts it)
        return any(_connects(socket.AF_UNIX, name) for name in (f"\0{path}", path))
    return _connects(socket.AF_INET, (host, 6000 + number))


def _connects(family: socket.AddressFamily, address: object) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(3)
        try:
            one.connect(address)  # type: ignore[arg-type]
        except OSError:
            return False
        return True
