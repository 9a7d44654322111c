"""A color profile made anew from the numbers of another: no text, date, device or maker.

Only profiles of three curves and a matrix are made anew. One of tables is left out: megabytes of
numbers in which text cannot be told from color.

References
----------
ICC.1:2022, sections 7.2 (header), 9 (tags) and 10 (types).
"""

from __future__ import annotations

import struct

import numpy as np

_COLUMNS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVES = (b"rTRC", b"gTRC", b"bTRC")
_POINTS = (b"wtpt", b"bkpt", b"lumi")
_TABLES = (b"A2B", b"B2A", b"D2B", b"B2D", b"gam")
_CLASSES = (b"scnr", b"mntr", b"spac", b"prtr")
_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
_D50 = bytes.fromhex("0000f6d6000100000000d32d")
_TEXT = b"de-identified"
LIMIT = 2**16
"""Bytes; a larger profile is one of tables."""


def renewed(profile: bytes) -> bytes | None:
    """Return a profile with the same matrix and curves, or None.

    Parameters
    ----------
    profile : bytes
        As the file holds it, not to be trusted.

    Returns
    -------
    bytes or None
        None where it is no RGB profile of matrix and curves, or is not well formed.
    """
    if not 132 <= len(profile) <= LIMIT or profile[36:40] != b"acsp":
        return None
    major, kind = profile[8], profile[12:16]
    if major not in (2, 4) or kind not in _CLASSES or profile[16:24] != b"RGB XYZ ":
        return None
    found = _elements(profile)
    if found is None or any(name[:3] in _TABLES or name[:3] == b"pre" for name in found):
        return None
    if not all(name in found for name in (*_COLUMNS, *_CURVES, b"wtpt")):
        return None
    kept: dict[bytes, bytes] = {b"desc": _described(major), b"cprt": _copyright(major)}
    for name in (*_COLUMNS, *_CURVES, *_POINTS, b"chad"):
        if name not in found:
            continue
        element = _curve(found[name]) if name in _CURVES else _numbers(name, found[name])
        if element is None:
            return None
        kept[name] = element
    return _assembled(major, kind, profile[67], kept)


def _elements(profile: bytes) -> dict[bytes, bytes] | None:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 64 or 132 + 12 * count > len(profile):
        return None
    found = {}
    for k in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * k)
        if offset + size > len(profile):
            return None
        found[name] = profile[offset : offset + size]
    return found


def _numbers(name: bytes, element: bytes) -> bytes | None:
    """Fixed-point numbers of a plausible size: three of type XYZ, or nine of the adaptation."""
    kind, number = (b"sf32", 9) if name == b"chad" else (b"XYZ ", 3)
    if len(element) < 8 + 4 * number or element[:8] != kind + bytes(4):
        return None
    values = np.frombuffer(element[8 : 8 + 4 * number], ">i4") / 65536
    limit = 10_000 if name == b"lumi" else 4
    if np.abs(values).max() > limit:
        return None
    return element[: 8 + 4 * number]


def _curve(element: bytes) -> bytes | None:
    """A rising curve, or a formula with plausible parameters."""
    if element[:8] == b"curv" + bytes(4) and len(element) >= 12:
        (count,) = struct.unpack_from(">I", element, 8)
        values = np.frombuffer(element[12 : 12 + 2 * count], ">u2").astype(np.int64)
        if len(values) != count or (np.diff(values) < 0).any():
            return None
        return element[: 12 + 2 * count]
    if element[:8] == b"para" + bytes(4) and len(element) >= 12:
        function, reserved = struct.unpack_from(">HH", element, 8)
        end = 12 + 4 * _PARAMETERS.get(function, 0)
        parameters = np.frombuffer(element[12:end], ">i4") / 65536
        if function not in _PARAMETERS or reserved or 12 + 4 * len(parameters) != end:
            return None
        return element[:end] if np.abs(parameters).max() <= 16 else None
    return None


def _described(major: int) -> bytes:
    if major == 4:
        return _localized()
    text = _TEXT + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)


def _copyright(major: int) -> bytes:
    return _localized() if major == 4 else b"text" + bytes(4) + _TEXT + b"\0"


def _localized() -> bytes:
    text = _TEXT.decode().encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text


def _assembled(major: int, kind: bytes, intent: int, kept: dict[bytes, bytes]) -> bytes:
    table, body = struct.pack(">I", len(kept)), b""
    start = 132 + 12 * len(kept)
    placed: dict[bytes, int] = {}  # the three curves are often one
    for name, element in kept.items():
        if element not in placed:
            placed[element] = start + len(body)
            body += element + bytes(-len(element) % 4)
        table += struct.pack(">4sII", name, placed[element], len(element))
    header = struct.pack(">I4x4s4s8s6H4s", start + len(body), bytes([major, 0, 0, 0]), kind,
                         b"RGB XYZ ", 2000, 1, 1, 0, 0, 0, b"acsp")  # fmt: skip
    header += bytes(24) + struct.pack(">I", intent if intent < 4 else 0) + _D50
    return header.ljust(128, b"\0") + table + body
