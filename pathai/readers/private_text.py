"""Which kinds of identifying text a slide file holds; never the text itself.

Every text tag of a TIFF is looked at, in every directory, XMP, EXIF and private ones included,
and the comments inside its JPEG streams; for DICOM every text element, nested and private ones
included.
"""

import os
import re
from collections.abc import Iterator

from pathai.errors import PathaiError
from pathai.readers.base import text_kinds
from pathai.readers.dicom_walk import DicomReader, Element, is_text
from pathai.readers.tiff_walk import Entry, TiffReader
from pathai.source import Place

_MOST = 2**20
"""Bytes of one text that are looked at."""
_ASCII, _BYTES, _UNDEFINED = 2, 1, 7
_SUB_IFDS, _EXIF, _GPS = 330, 34665, 34853
_TABLES, _OFFSETS, _COUNTS = 347, (324, 273), (325, 279)
_KINDS = {
    269: "file name",
    270: "description",
    271: "device",
    272: "device",
    285: "description",
    305: "software",
    306: "date",
    315: "operator",
    316: "device",
    700: "XMP",
    33432: "copyright",
    33723: "IPTC",
    34377: "Photoshop",
    36867: "date",
    36868: "date",
    37510: "description",
    42032: "operator",
    42033: "device",
    42036: "device",
    65427: "barcode",
}
"""TIFF, EXIF and Hamamatsu tags; every other tag that holds text is private."""
_NOT_TEXT = {_TABLES, 34675, 301, 320, 37500}
_KEYS = re.compile(
    # key = value, attributes
    r"(?:^|[|\r\n<\s])([A-Za-z][\w .:()-]{0,60}?)\s{0,8}=\s{0,8}[\"']?[^\s|\"'<>]"
    r"|<([A-Za-z][\w:.-]{0,60})[^<>/]{0,4000}>[^<>\s]"  # elements with text
    r"|Name=\"([\w. -]{1,60})\"",  # Philips writes the key as the value of an attribute
    re.MULTILINE,
)


def private_text(path: Place) -> tuple[str, ...]:
    """Kinds of text in a file that may identify someone.

    Parameters
    ----------
    path : Path or Remote
        A file that `sniff` has accepted.

    Returns
    -------
    tuple of str
        Sorted kinds such as ``barcode``, ``date``, ``operator``, ``patient``, ``XMP``.

    Raises
    ------
    PathaiError
        E110 where the file is cut off, E162 if reading failed.
    """
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(132)
            if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                found.update(_of_tiff(TiffReader(file, size)))
            elif head[128:] == b"DICM":
                found.update(_of_dicom(DicomReader(file, size)))
            elif head[:2] == b"\xff\xd8":
                file.seek(0)
                found.update(_of_jpeg(file.read(_MOST)))
            elif path.suffix.lower() in (".ini", ".vms", ".vmu"):
                file.seek(0)
                found.update(_of_text(file.read(_MOST)))
    except OSError as error:
        raise PathaiError("E162", f"reading failed: {error.strerror}") from None
    return tuple(sorted(found))


def _of_tiff(reader: TiffReader) -> Iterator[str]:
    waiting, seen = [reader.first], set()
    while waiting:
        offset = waiting.pop()
        if offset == 0 or offset in seen:
            continue
        seen.add(offset)
        entries, following = reader.entries(offset)
        waiting.append(following)
        blocks: dict[int, int] = {}
        for entry in entries:
            if entry.tag in (_SUB_IFDS, _EXIF, _GPS) and entry.kind in (3, 4, 13, 16, 18):
                waiting += [int(v) for v in reader.integers(entry)]
                if entry.tag == _GPS:
                    yield "place"
            elif entry.tag in (*_OFFSETS, *_COUNTS):
                values = reader.integers(entry)
                blocks[entry.tag] = int(values[0]) if len(values) else 0
            elif entry.tag == _TABLES:
                yield from _of_jpeg(reader.value(entry, _MOST))
            else:
                yield from _of_entry(reader, entry)
        for place, count in zip(_OFFSETS, _COUNTS, strict=True):
            if blocks.get(place) and blocks.get(count):
                yield from _of_jpeg(reader.fetch(blocks[place], min(blocks[count], _MOST)))


def _of_entry(reader: TiffReader, entry: Entry) -> Iterator[str]:
    """Kinds of one tag that may hold text."""
    if entry.kind not in (_ASCII, _BYTES, _UNDEFINED) or entry.tag in _NOT_TEXT:
        return
    value = reader.value(entry, _MOST).strip(b"\0 \r\n\t")
    if not value or (entry.kind != _ASCII and not _is_text(value)):
        return
    kind = _KINDS.get(entry.tag)
    yield kind or ("private tag" if entry.tag >= 32768 else "description")
    if kind not in ("software", "date", "device"):
        yield from _of_text(value)


def _is_text(value: bytes) -> bool:
    """Whether bytes read as text: at least four, nearly all of them printable."""
    if len(value) < 4:
        return False
    head = value[:4096].replace(b"\0", b"")  # UTF-16 counts too
    plain = sum(32 <= b < 127 or b in b"\t\r\n" for b in head)
    return plain >= 0.9 * max(len(head), 1)


def _of_text(value: bytes) -> Iterator[str]:
    """Kinds that keys and element names in a description stand for."""
    text = value.replace(b"\0", b"").decode("utf-8", "replace")
    keys = {next(k for k in match.groups() if k).strip() for match in _KEYS.finditer(text)}
    yield from text_kinds(sorted(keys))


def _of_jpeg(data: bytes) -> Iterator[str]:
    """A comment, EXIF or XMP in the segments before the coded data."""
    at = 2 if data[:2] == b"\xff\xd8" else len(data)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if marker in (0xD9, 0xDA) or length < 2:
            return
        if marker == 0xFE and body.strip(b"\0 "):
            yield "JPEG comment"
            yield from _of_text(body)
        elif marker == 0xE1:
            yield "XMP" if body.startswith(b"http") else "EXIF"
        at += 2 + length


# Groups and elements of DICOM (PS3.6) in the order in which they are tried.
_DICOM = (
    (re.compile(r"0010....|00080050|0008009.|0020000[0-9]|0032....|0038...."), "patient"),
    (re.compile(r"22000005|00400512|00400551|00400560"), "barcode"),
    (re.compile(r"22000002|2200000."), "description"),
    (re.compile(r"0008008.|0008104.|00081010"), "institution"),
    (re.compile(r"0008105.|0008107.|0040A123|00700084"), "operator"),
    (re.compile(r"00181000|00080070|00081090|00181002|0018100.|00189004"), "device"),
    (re.compile(r"00181020"), "software"),
    (re.compile(r"0008103E|00081030|00204000|00400600|00402016|00104000|00080104"), "description"),
)


def _of_dicom(reader: DicomReader) -> Iterator[str]:
    for element in reader.elements():
        if element.length == 0 or element.tag >> 16 == 2:
            continue
        if (element.tag >> 16) % 2:
            if is_text(element) or _is_text(reader.fetch(element.place, min(element.length, 64))):
                yield "private tag"
        elif is_text(element):
            yield from _of_element(reader, element)


def _of_element(reader: DicomReader, element: Element) -> Iterator[str]:
    kinds = {b"PN": "operator", b"DA": "date", b"DT": "date", b"TM": "date"}
    name = f"{element.tag:08X}"
    found = next((kind for pattern, kind in _DICOM if pattern.fullmatch(name)), None)
    found = found or kinds.get(element.kind)
    if found and reader.text(element):
        yield found
