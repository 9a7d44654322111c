"""Which files make up a slide, and a quick way to tell whether two slides are the same."""

import os
import re
from hashlib import sha256
from pathlib import Path

from pathai.errors import PathaiError
from pathai.readers.dicom_series import is_dicom, series_of
from pathai.source import Place, Remote

_ENDS = 64 * 1024
"""Bytes at the start and at the end of a file that enter its quick identity."""


def slide_files(path: Place) -> tuple[Place, ...]:
    """Every file that a slide is made of, the named one among them.

    Parameters
    ----------
    path : Path or Remote
        What the sheet names.

    Returns
    -------
    tuple of Path
        In an order that depends on what they hold, not on how they are called: for DICOM the same
        for each file of the series. One file for most formats; files that are missing are left
        out.

    Raises
    ------
    PathaiError
        As `series_of` for DICOM.
    """
    if isinstance(path, Remote):
        return (path,)
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        return path, *mirax_files(path)
    if suffix in (".vms", ".vmu"):
        return path, *_listed(path, path.parent)
    if is_dicom(path):
        return tuple(one.path for one in series_of(path))
    return (path,)


def watched(path: Place) -> tuple[Place, ...]:
    """Files of a slide that must not change while it is read; of a damaged one the named file."""
    try:
        return slide_files(path)
    except PathaiError:  # ingest says how it is damaged
        return (path,)


def mirax_files(path: Path) -> tuple[Path, ...]:
    """Slidedat.ini of a MIRAX slide and the files that it lists, as far as they are there."""
    folder = path.with_suffix("")
    index = folder / "Slidedat.ini"
    return (index, *_listed(index, folder)) if index.is_file() else ()


def mirax_names(index: Path) -> list[str]:
    """Names of index and data files in Slidedat.ini, in its order."""
    with index.open("rb") as file:
        text = file.read(2**22).decode("utf-8-sig", "replace")
    return re.findall(r"^\s*(?:FILE_\d+|INDEXFILE)\s*=\s*(\S+)\s*$", text, re.MULTILINE)


def _listed(index: Path, folder: Path) -> list[Path]:
    """Files of a folder that a list of ``key = name`` names."""
    with index.open("rb") as file:
        text = file.read(2**22).decode("utf-8-sig", "replace")
    names = re.findall(r"^[^=\n]+=[ \t]*(.*?)[ \t\r]*$", text, re.MULTILINE)
    plain = [n for n in dict.fromkeys(names) if n and os.path.basename(n) == n and "\0" not in n]
    return [folder / name for name in plain if (folder / name).is_file()]


def quick_identity(path: Place) -> str:
    """Fingerprint of the size, the start and the end of each of a slide's files.

    It needs no decoder and milliseconds, and is the same for every file of one DICOM series. It
    tells slides apart; that one is intact only its SHA-256 shows.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    PathaiError
        E162 if reading failed; as `slide_files`.
    """
    digest = sha256()
    try:
        for file in slide_files(path):
            with file.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(0)
                digest.update(size.to_bytes(8, "little") + stream.read(_ENDS))
                stream.seek(max(size - _ENDS, 0))
                digest.update(stream.read(_ENDS))
    except OSError as error:
        raise PathaiError("E162", f"reading failed: {error.strerror}") from None
    return digest.hexdigest()
