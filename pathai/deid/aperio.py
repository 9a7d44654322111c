"""Aperio descriptions: what is said of the scan, written anew from checked values."""

from __future__ import annotations

import re

from pathai.deid.report import Report, unsafe
from pathai.deid.streams import Block
from pathai.deid.tiff_file import Image

_PROGRAM = re.compile(
    r"Aperio (?:Image Library|Leica Biosystems GT450(?: DX)?) v\d{1,2}(?:\.\d{1,2}){1,3}(?=\s|$)"
)
_CODEC = re.compile(r"\b(JPEG/(?:RGB|YCC|YCbCr)|J2K/(?:KDU|YUV16|RGB)) Q=(\d{1,3})\b")
_VALUES = {
    "AppMag": (re.compile(r"\d{1,3}(\.\d{1,2})?"), 1, 200),
    "MPP": (re.compile(r"\d{1,2}(\.\d{1,8})?"), 0.01, 99),
}
"""Keys that are kept: how the value is written, and between what it lies."""


def scan_values(first: Image, report: Report) -> dict[str, str]:
    """Magnification and µm per pixel as level 0 states them.

    Raises
    ------
    PathaiError
        E148 where one is no plain number, or is stated twice and differently.
    """
    found: dict[str, str] = {}
    for field in first.description.split("|")[1:]:
        key, _, value = (part.strip() for part in field.partition("="))
        if key not in _VALUES:
            report.removed["text field of the scanner"] += 1
            continue
        grammar, low, high = _VALUES[key]
        if not grammar.fullmatch(value) or not low <= float(value) <= high:
            raise unsafe(f"{key} in the description is no plain number")
        if found.setdefault(key, value) != value:
            raise unsafe(f"{key} stands twice in the description, with different values")
    return found


def level_text(first: Image, level: Image, block: Block, values: dict[str, str]) -> bytes:
    """Description of a level: sizes and coding, then the values of ``scan_values``."""
    (w0, h0), (w, h) = first.size, level.size
    coding = f"({block.width}x{block.height})"
    stated = _CODEC.search(level.description.split("|", 1)[0])
    if stated:
        coding += f" {stated[1]} Q={int(stated[2])}"
    arrow = "" if level is first else f" -> {w}x{h}"
    return _text(first, f"{w0}x{h0} [0,0 {w0}x{h0}]{arrow} {coding}", values)


def thumbnail_text(first: Image, width: int, height: int, values: dict[str, str]) -> bytes:
    """Description of the thumbnail that is drawn anew."""
    w0, h0 = first.size
    return _text(first, f"{w0}x{h0} -> {width}x{height} - ", values)


def _text(first: Image, line: str, values: dict[str, str]) -> bytes:
    program = _PROGRAM.match(first.description)
    head = program[0] if program else "Aperio Image Library"
    fields = "".join(f"|{key} = {value}" for key, value in values.items())
    return f"{head} \r\n{line}{fields}".encode("ascii") + b"\0"
