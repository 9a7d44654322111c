"""Opening slides in napari by drag and drop or from the File menu: results, and plain slides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pathai.errors import PathaiError

PathOrPaths = str | list[str]
OURS = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")
"""Endings that only slides have; ``.tif`` and ``.dcm`` may be anything."""
Reading = Callable[[PathOrPaths], list[Any]]


def get_reader(path: PathOrPaths) -> Reading | None:
    """Napari's question whether we read this; never raises.

    Parameters
    ----------
    path : str or list of str
        A slide's folder below ``results/slides`` or its ``tiles.zarr``.
    """
    if not isinstance(path, str):
        return None
    from pathai.viewer.runs import slide_folder

    return read if slide_folder(Path(path)) is not None else None


def get_slide_reader(path: PathOrPaths) -> Reading | None:
    """Napari's question whether this is a slide file that we read; never raises.

    Parameters
    ----------
    path : str or list of str
        The file, as it came from the scanner.
    """
    if not isinstance(path, str):
        return None
    if Path(path).suffix.lower() in OURS:
        return read_slide  # nobody else reads it: what is wrong with a file shall be said
    from pathai.config import IngestConfig
    from pathai.readers.sniff import sniff

    try:
        sniff(Path(path), IngestConfig())
    except (PathaiError, OSError):
        return None
    return read_slide


def read(path: PathOrPaths) -> list[Any]:
    """Layers of a slide: pixels, and for a folder every overlay that is there."""
    return _told(*_results_of(Path(_one(path))))


def read_slide(path: PathOrPaths) -> list[Any]:
    """The pixels of a slide file; without µm per pixel they lie in pixels, and that is said."""
    from pathai.viewer.plain import plain_layer

    layer, note = plain_layer(Path(_one(path)))
    return _told([layer], [note] if note else [])


def layers_of(path: Path) -> tuple[list[Any], list[str]]:
    """Layers of a slide's folder, its ``tiles.zarr`` or a slide file, and what must be told.

    Raises
    ------
    PathaiError
        E164 or E165 for results, E10x to E14x for a file.
    """
    from pathai.viewer.plain import plain_layer

    if path.is_dir():
        return _results_of(path)
    layer, note = plain_layer(path)
    return [layer], [note] if note else []


def _results_of(given: Path) -> tuple[list[Any], list[str]]:
    from pathai.viewer.runs import names_of, slide_folder
    from pathai.viewer.slide import open_slide

    folder = slide_folder(given)
    if folder is None:
        raise PathaiError("E164", f"{given.name} is not the result of a slide")
    if given.name == folder.tiles.name:
        return open_slide(folder, pixels_only=True).layers(), []
    slide = open_slide(folder, *names_of(folder))
    return slide.layers(), slide.notes


def _told(layers: list[Any], notes: list[str]) -> list[Any]:
    from napari.utils.notifications import show_info

    for note in notes:
        show_info(note)
    return layers


def _one(path: PathOrPaths) -> str:
    return path if isinstance(path, str) else path[0]
