"""Proof that written DICOM files are what they should be, by pydicom's reader and openslide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import openslide
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments

from pathai.deid.dicom_rules import TEXT, TIMES, WORDS, is_maker
from pathai.deid.icc import renewed
from pathai.deid.report import Report, unsafe
from pathai.deid.tiff_check import compare_openslide

_PLAIN = re.compile(r"[+-]?\d{1,10}(\.\d*)?([eE][+-]?\d+)?|[A-Z][A-Z0-9_]{0,15}|\d{2}|ISO_\d+_\d+")
_BINARY = {"UL", "US", "SL", "SS", "FL", "FD", "AT", "SQ"}
_KNOWN_UIDS = re.compile(r"2\.25\.\d+|1\.2\.840\.10008\.[\d.]+")
_IMPLEMENTATION = {"ImplementationClassUID", "ImplementationVersionName",
                   "FileMetaInformationVersion", "FileMetaInformationGroupLength"}  # fmt: skip
_PIXEL_DATA = 0x7FE00010
_PIECE = 2**22


def check_dicom(sources: list[Path], part: Path, report: Report) -> None:
    """Prove a copy.

    Parameters
    ----------
    sources : list of Path
        The file that each level was made from.
    part : Path
        The folder that was written.
    report : Report

    Raises
    ------
    PathaiError
        E148 at any doubt; the copy must not be kept.
    """
    files = sorted(part.iterdir(), key=lambda path: int(path.stem.removeprefix("level-")))
    if len(files) != len(sources):
        raise unsafe("proof failed: the copy has more or fewer files than it should")
    for source, path in zip(sources, files, strict=True):
        _check_file(source, path)
    _check_openslide(sources[0], files[0], report)


def _check_file(source: Path, path: Path) -> None:
    with path.open("rb") as file:
        if any(file.read(128)):
            raise unsafe("proof failed: the copy has a preamble")
    (new, start), (old, old_start) = _header(path), _header(source)
    said = ""
    for element in _elements(new, binary=True):
        _check_element(element)
        said += "" if element.VR in _BINARY else f"{element.value}\n"
    for element in new.file_meta:
        if element.keyword not in _IMPLEMENTATION:
            _check_element(element)
    encapsulated = old.file_meta.TransferSyntaxUID.is_encapsulated
    frames, end = _frames(path, start, encapsulated)
    if _frames(source, old_start, encapsulated)[0] != frames:
        raise unsafe("proof failed: a frame differs from the source's")
    if old.file_meta.TransferSyntaxUID != new.file_meta.TransferSyntaxUID:
        raise unsafe("proof failed: the transfer syntax differs")
    if end != path.stat().st_size:
        raise unsafe("proof failed: the copy has bytes after its end")
    _check_words(old, path, start, said)


def _elements(header: Dataset, binary: bool) -> Iterator[Any]:
    """Elements of a data set and of its items, without the pixels."""
    for element in header:
        if element.tag == _PIXEL_DATA:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item, binary)
        if binary or element.VR not in _BINARY:
            yield element


def _check_element(element: Any) -> None:
    if element.tag.is_private:
        raise unsafe("proof failed: the copy has a private attribute")
    if element.VR in _BINARY:
        return
    if element.keyword == "ICCProfile":
        profile = bytes(element.value)
        if (renewed(profile) or b"").rstrip(b"\0") != profile.rstrip(b"\0"):
            raise unsafe("proof failed: the copy has a color profile with text")
        return
    values = element.value if element.VM > 1 else [element.value]
    for value in values:
        text = "" if value is None else str(value).strip()
        if element.VR == "UI":
            fine = bool(_KNOWN_UIDS.fullmatch(text))
        elif element.VR in TEXT | TIMES | {"PN"}:
            fine = text in WORDS or is_maker(text) or _numbered(element, text)
        else:
            fine = text in WORDS or bool(_PLAIN.fullmatch(text))
        if not fine:
            raise unsafe("proof failed: the copy has a text that it should not have")


def _numbered(element: Any, text: str) -> bool:
    return element.keyword == "OpticalPathIdentifier" and text.isdigit() and len(text) <= 4


def _header(path: Path) -> tuple[Dataset, int]:
    """The data set up to the pixel data, and the byte where these start."""
    with path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True)
        return header, file.tell()


def _frames(path: Path, start: int, encapsulated: bool) -> tuple[list[bytes], int]:
    """SHA-256 of each fragment (or of the native data), and the byte after the element."""
    with path.open("rb") as file:
        file.seek(start)
        head = file.read(12)
        if not encapsulated:
            wide = head[4:6] in (b"OB", b"OW")
            length = int.from_bytes(head[8:12] if wide else head[4:8], "little")
            file.seek(start + (12 if wide else 8))
            digest = sha256()
            for at in range(0, length, _PIECE):
                digest.update(file.read(min(_PIECE, length - at)))
            return [digest.digest()], file.tell()
        hashes = [sha256(fragment).digest() for fragment in generate_fragments(file)]
        return hashes[1:], file.tell() + (0 if file.read(4) == b"" else 4)


def _check_words(old: Dataset, path: Path, start: int, said: str) -> None:
    """No text, date or UID of the source stands in the copy's header, but what it may say."""
    with path.open("rb") as file:
        head = file.read(start)
    for element in _elements(old, binary=False):
        if element.VR not in TEXT | TIMES | {"PN", "UI", "UN", "OB"}:
            continue
        values = element.value if element.VM > 1 else [element.value]
        for value in values:
            raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
            raw = raw.strip(b"\0 ")
            text = raw.decode("latin-1")
            fine = text in said or text.startswith("1.2.840.10008.")
            if len(raw) >= (6 if raw.isdigit() else 4) and not fine and raw in head:
                raise unsafe("proof failed: a text of the source is in the copy")


def _check_openslide(source: Path, path: Path, report: Report) -> None:
    try:
        old = openslide.OpenSlide(source)
    except openslide.OpenSlideError:
        report.notes.append("openslide does not read the source, so it did not check the copy")
        return
    with old:
        try:
            new = openslide.OpenSlide(path)
        except openslide.OpenSlideError:
            raise unsafe("proof failed: openslide reads the source, but not the copy") from None
        with new:
            compare_openslide(old, new, set())
