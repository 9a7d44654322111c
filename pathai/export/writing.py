"""Files that get their names when they are whole."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from pathai.errors import PathaiError
from pathai.store.commit import remove
from pathai.store.manifest import storage_error


def write_whole(
    folder: Path, out: Path, write: Callable[[Path], None], *, overwrite: bool = False
) -> None:
    """Write beside ``out`` and rename, so that what was there stays until the new is whole."""
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise PathaiError("E193", f"{out.name} exists", "choose another name, or --overwrite")
    if out.resolve().is_relative_to(folder.resolve()):
        raise PathaiError("E193", f"{out.name} lies among the slide's results", "write elsewhere")
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove(part)
        write(part)
        remove(out)
        part.rename(out)
    except OSError as error:
        raise storage_error(error) from None
    finally:
        remove(part)


@contextmanager
def text_file(path: Path, *, packed: bool) -> Iterator[TextIO]:
    """A text file, in gzip without name and time where it is packed: same text, same bytes."""
    with path.open("wb") as raw:
        if not packed:
            with TextIOWrapper(raw, "utf-8", newline="") as file:
                yield file
            return
        with (
            gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=raw, mtime=0) as zipped,
            TextIOWrapper(zipped, "utf-8", newline="") as file,
        ):
            yield file
