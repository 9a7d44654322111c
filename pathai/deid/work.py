"""What runs in the child process: find out what the file is, copy it, prove the copy."""

from __future__ import annotations

import logging
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EIO
from hashlib import file_digest
from pathlib import Path

from pathai.deid.report import Report, unsafe
from pathai.errors import PathaiError
from pathai.store.manifest import storage_error

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MISREAD = (ArithmeticError, AttributeError, EOFError, LookupError, RuntimeError, TypeError,
            ValueError, struct.error)  # fmt: skip
_HINT = "pathai deid copies SVS, tiled TIFF, OME-TIFF and DICOM; convert the slide to one of them"


def make(source: Path, part: Path, key: bytes) -> Report:
    """Write and prove a de-identified copy.

    Parameters
    ----------
    source : Path
        Slide file, or folder of a DICOM slide.
    part : Path
        File or folder to make; it must not exist.
    key : bytes
        Secret for new DICOM UIDs.

    Returns
    -------
    Report

    Raises
    ------
    PathaiError
        E101-E105, E110-E119, E136, E137, E140, E141, E148, E163: see the message.
    """
    kind = _kind(source)
    before = _states(source, kind)
    try:
        with _silence():
            report = _dicom(source, part, key) if kind == "dicom" else _tiff(source, part)
    except OSError as error:
        if error.errno is None:  # a library's own, whose text may hold values of the file
            raise unsafe("the file is not well formed") from None
        if error.errno == EIO:
            raise PathaiError("E162", "reading or writing failed") from None
        raise storage_error(error) from None
    except _MISREAD as error:
        # Not a fault of the call: the file is so made that a library or this code trips over it.
        raise unsafe(f"the file is not well formed ({type(error).__name__})") from None
    if _states(source, kind) != before:
        raise PathaiError("E163", "the slide changed while it was read")
    written = sorted(part.iterdir()) if part.is_dir() else [part]
    for path in written:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        name = path.name if part.is_dir() else ""
        report.files.append({"name": name, "bytes": path.stat().st_size, "sha256": digest})
    return report


@contextmanager
def _silence() -> Iterator[None]:
    """Keep libraries from printing what they read: their warnings quote the file's values."""
    names = ("pydicom", "tifffile")
    levels = [logging.getLogger(name).level for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for name, level in zip(names, levels, strict=True):
                logging.getLogger(name).setLevel(level)


def _tiff(source: Path, part: Path) -> Report:
    import openslide
    import tifffile

    from pathai.deid.tiff import copy_tiff
    from pathai.deid.tiff_check import check_tiff

    try:
        report, levels = copy_tiff(source, part)
        check_tiff(source, part, report, levels)
    except (tifffile.TiffFileError, openslide.OpenSlideError) as error:
        raise unsafe(f"the file is not well formed ({type(error).__name__})") from None
    return report


def _dicom(source: Path, part: Path, key: bytes) -> Report:
    import openslide
    from pydicom.errors import BytesLengthException, InvalidDicomError

    from pathai.deid.dicom import copy_dicom
    from pathai.deid.dicom_check import check_dicom

    try:
        report, sources = copy_dicom(source, part, key)
        check_dicom(sources, part, report)
    except (BytesLengthException, InvalidDicomError, openslide.OpenSlideError) as error:
        raise unsafe(f"the file is not well formed ({type(error).__name__})") from None
    return report


def _kind(source: Path) -> str:
    """``tiff`` or ``dicom``, by the first bytes; a file that is both is DICOM."""
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            if not any(path.suffix.lower() == ".dcm" for path in source.iterdir()):
                raise unsafe("a folder without .dcm files", _HINT)
            return "dicom"
        if not stat.S_ISREG(mode):
            raise PathaiError("E104", "the path is a device or pipe, not a file")
        with source.open("rb") as file:
            head = file.read(132)
    except FileNotFoundError:
        raise PathaiError("E102", "the file does not exist", "correct SLIDE") from None
    except PermissionError:
        raise PathaiError("E105", "the file may not be read by this user") from None
    if not head:
        raise PathaiError("E101", "the file has 0 bytes")
    if head[128:] == b"DICM":
        return "dicom"
    if source.suffix.lower() in (".ndpi", ".mrxs", ".scn", ".bif", ".vsi", ".czi", ".svslide"):
        raise unsafe(f"{source.suffix.lower()[1:].upper()} slides are not supported", _HINT)
    if head[:4] in _TIFF:
        return "tiff"
    raise unsafe("the file is of a kind that is not supported", _HINT)


def _states(source: Path, kind: str) -> list[tuple[int, int]]:
    """Size and time of change of what is read, so that a change shows."""
    folder = source if source.is_dir() else source.parent
    paths = sorted(folder.glob("*.dcm")) if kind == "dicom" else [source]
    return [(s.st_size, s.st_mtime_ns) for s in map(os.stat, paths)]
