"""Opening a slide's results in napari: by drag and drop, or from the File menu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pathai.errors import PathaiError
from pathai.store.folders import SlideFolder

PathOrPaths = str | list[str]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[Any]] | None:
    """Napari's question whether we read this; never raises.

    Parameters
    ----------
    path : str or list of str
        A slide's folder below ``results/slides`` or its ``tiles.zarr``.
    """
    return read if isinstance(path, str) and _folder(path) is not None else None


def read(path: PathOrPaths) -> list[Any]:
    """Layers of a slide: pixels, and for a folder every overlay that is there."""
    from pathai.viewer.runs import names_of
    from pathai.viewer.slide import open_slide

    text = path if isinstance(path, str) else path[0]
    folder = _folder(text)
    if folder is None:
        raise PathaiError("E164", f"{Path(text).name} is not the result of a slide")
    if Path(text) == folder.tiles:
        return open_slide(folder, pixels_only=True).layers()
    return open_slide(folder, *names_of(folder)).layers()


def _folder(path: str) -> SlideFolder | None:
    given = Path(path)
    folder = SlideFolder(given.parent if given.name == "tiles.zarr" else given)
    return folder if (folder.tiles / "zarr.json").is_file() else None
