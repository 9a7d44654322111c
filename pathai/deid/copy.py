"""The door: where the copy goes, and that it is there only when it is proven."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from pathai.deid.report import Report, unsafe
from pathai.errors import PathaiError
from pathai.guard import Guard
from pathai.store.commit import remove
from pathai.store.manifest import storage_error

KEY_BYTES = 16
MEMORY_MIB = 16384
_OURS = re.compile(r"level-\d+\.dcm")
_SECONDS, _BYTES_PER_SECOND = 900.0, 2e6


def deid(slide: Path, out: Path, *, overwrite: bool = False, key: bytes | None = None) -> Report:
    """Write a de-identified copy of a slide, or nothing.

    Parameters
    ----------
    slide : Path
        SVS, tiled TIFF, OME-TIFF; for DICOM a folder with one slide, or a file of it. It is only
        read.
    out : Path
        File to write; for DICOM a folder. It gets its name when the copy is proven.
    overwrite : bool
        Replace an existing copy.
    key : bytes, optional
        Secret of at least 16 bytes: slides copied with the same one get consistent DICOM UIDs.
        By default a new one each time, which nobody keeps.

    Returns
    -------
    Report
        What was kept, rewritten and removed, by kind and number.

    Raises
    ------
    PathaiError
        E148 where the slide cannot be de-identified safely; E193 for an ``out`` that exists, or
        is the slide; E160 or E161 where it cannot be written; E101-E141 for a broken slide;
        E170-E172 where its decoder failed.
    """
    slide, out = slide.absolute(), out.absolute()
    _check_call(slide, out, overwrite, key)
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove(part)
        report = _made(slide, part, key or secrets.token_bytes(32))
        if part.is_dir():
            remove(out)  # a folder cannot take the place of another
        part.replace(out)
    except OSError as error:
        raise storage_error(error) from None
    finally:
        remove(part)
    for file in report.files:
        file["name"] = file["name"] or out.name
    return report


def _check_call(slide: Path, out: Path, overwrite: bool, key: bytes | None) -> None:
    if key is not None and len(key) < KEY_BYTES:
        raise PathaiError("E193", f"the key has fewer than {KEY_BYTES} bytes", "give a longer one")
    if not slide.exists():
        raise PathaiError("E102", "the slide does not exist", "correct SLIDE")
    there, home = out.resolve(), slide.resolve()
    if there == home or (out.exists() and out.samefile(slide)):
        raise PathaiError("E193", "OUT is the slide itself", "choose another name")
    if home.is_dir() and (there.is_relative_to(home) or home.is_relative_to(there)):
        raise PathaiError("E193", "OUT lies in the slide's folder", "choose another place")
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise PathaiError("E193", f"{out.name} exists", "choose another name, or --overwrite")
    if out.is_dir() and not all(_OURS.fullmatch(path.name) for path in out.iterdir()):
        message = f"{out.name} is a folder with other things than an earlier copy"
        raise PathaiError("E193", message, "choose another name")


def _made(slide: Path, part: Path, key: bytes) -> Report:
    """Copy and prove in a child process: a decoder that crashes takes only that with it."""
    paths = slide.iterdir() if slide.is_dir() else [slide]
    size = sum(path.stat().st_size for path in paths)
    seconds = _SECONDS + size / _BYTES_PER_SECOND
    with Guard(MEMORY_MIB) as guard:
        try:
            report: Report = guard.call("pathai.deid.work:make", slide, part, key, seconds=seconds)
        except PathaiError as error:
            if error.code == "E299":
                raise unsafe("the file is so made that reading it failed") from None
            raise
    return report
