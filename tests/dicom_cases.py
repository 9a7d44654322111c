"""Headers of DICOM slides, written for tests (explicit VR, little endian)."""

import struct
from pathlib import Path

VOLUME, COPY = "ORIGINAL\\PRIMARY\\VOLUME\\NONE", "DERIVED\\PRIMARY\\VOLUME\\RESAMPLED"
LABEL, OVERVIEW = "ORIGINAL\\PRIMARY\\LABEL\\NONE", "ORIGINAL\\PRIMARY\\OVERVIEW\\NONE"
THUMBNAIL = "ORIGINAL\\PRIMARY\\THUMBNAIL\\RESAMPLED"
_LONG = ("OB", "SQ", "UN", "UT")


def element(tag: int, kind: str, value: bytes | str | int, *, open_end: bool = False) -> bytes:
    """One data element."""
    if isinstance(value, int):
        value = struct.pack({"US": "<H", "UL": "<I"}[kind], value)
    data = value.encode("latin-1") if isinstance(value, str) else value
    data += b"\0" if len(data) % 2 else b""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind.encode()
    length = 0xFFFFFFFF if open_end else len(data)
    if kind in _LONG:
        return head + struct.pack("<HI", 0, length) + data
    return head + struct.pack("<H", length) + data


def item(data: bytes, *, open_end: bool = False) -> bytes:
    """One item of a sequence."""
    if open_end:
        return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + data + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(data)) + data


SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def write_dicom(path: Path, sop: str, kind: str = VOLUME, **changed: object) -> Path:
    """An instance of a slide of 1000 x 500 px in frames of 250 px; ``extra`` adds elements."""
    facts = {"series": "1.2.3", "place": "1.2.9", "container": "BOX", "frames": 8, "width": 1000,
             "height": 500, "tile": 250, "samples": 3, "bits": 8, "parts": "", "part": 0,
             "parts_of": 0, "organization": "TILED_FULL", "extra": b"", "cut": 0}  # fmt: skip
    facts |= changed
    meta = element(0x00020010, "UI", "1.2.840.10008.1.2.4.50")
    body = element(0x00080008, "CS", kind) + element(0x00080018, "UI", sop)
    body += facts["extra"]
    body += element(0x0020000E, "UI", facts["series"]) + element(0x00200052, "UI", facts["place"])
    if facts["parts"]:
        body += element(0x00209161, "UI", facts["parts"])
        body += element(0x00209162, "US", facts["part"])
        body += element(0x00209163, "US", facts["parts_of"])
    body += element(0x00209311, "CS", facts["organization"])
    body += element(0x00280002, "US", facts["samples"])
    body += element(0x00280008, "IS", str(facts["frames"]))
    body += element(0x00280010, "US", facts["tile"]) + element(0x00280011, "US", facts["tile"])
    body += element(0x00280100, "US", facts["bits"])
    body += element(0x00400512, "LO", facts["container"])
    body += element(0x00480006, "UL", facts["width"]) + element(0x00480007, "UL", facts["height"])
    pixels = item(b"") + b"".join(item(b"\xff\xd8\xff\xd9") for _ in range(facts["frames"]))
    body += element(0x7FE00010, "OB", pixels, open_end=True) + SEQUENCE_END
    whole = bytes(128) + b"DICM" + meta + body
    path.write_bytes(whole[: len(whole) - facts["cut"]])
    return path
