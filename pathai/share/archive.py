"""A zip written piece by piece: the same bytes for the same pieces, and whole or not there."""

import zipfile
from pathlib import Path
from types import TracebackType

from pathai.errors import PathaiError
from pathai.store.manifest import storage_error

TIME = (1980, 1, 1, 0, 0, 0)
"""Of every member: the earliest that a zip can say."""
PACKED = (".html", ".json", ".txt", ".dzi")


class Archive:
    """Write ``NAME.part``, and give it its name at the end; after an error nothing is left.

    Parameters
    ----------
    path : Path
        The file to make.
    overwrite : bool
        False: refuse a file that is there (E193).
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        if path.exists() and not overwrite:
            raise PathaiError("E193", f"{path.name} is there already", "give --overwrite")
        if path.is_dir():
            raise PathaiError("E193", f"{path.name} is a folder", "give the name of a file")
        self.path, self.part = path, path.with_name(path.name + ".part")
        self.bytes = 0
        self.members = 0

    def __enter__(self) -> "Archive":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._zip = zipfile.ZipFile(self.part, "w", zipfile.ZIP_STORED, allowZip64=True)
        except OSError as error:
            raise storage_error(error) from None
        return self

    def put(self, name: str, data: bytes) -> None:
        """Add a file; pictures are stored as they are, texts are packed."""
        info = zipfile.ZipInfo(name, TIME)
        info.create_system, info.external_attr = 3, 0o100644 << 16
        packed = name.endswith(PACKED)
        info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        try:
            self._zip.writestr(info, data)
        except OSError as error:
            raise storage_error(error) from None
        self.members += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._zip.close()
            if kind is None:
                self.bytes = self.part.stat().st_size
                self.part.replace(self.path)
        except OSError as found:
            if kind is None:
                raise storage_error(found) from None
        finally:
            self.part.unlink(missing_ok=True)
