"""Proof that a written TIFF is what it should be, by other code than wrote it.

tifffile reads the source and the copy; openslide opens both where it can. Every byte of the copy
must belong to a header, a directory, a checked value or a tile, and every tile must be the
source's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import openslide
import tifffile

from pathai.deid.icc import renewed
from pathai.deid.pictures import levels_in, same_picture
from pathai.deid.report import Report, unsafe
from pathai.deid.streams import JPEG

_ALLOWED = {254, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 283, 284, 296,
            317, 322, 323, 324, 325, 330, 338, 339, 347, 530, 532, 32997, 34675}  # fmt: skip
_SAME = (256, 257, 258, 259, 262, 274, 277, 284, 317, 322, 323, 338, 347, 530, 532)
"""Tags that decide how tiles decode."""
_APERIO = re.compile(
    r"Aperio (Image Library|Leica Biosystems GT450( DX)?)( v\d{1,2}(\.\d{1,2}){1,3})? \r\n"
    r"\d+x\d+( \[0,0 \d+x\d+\]( -> \d+x\d+)? \(\d+x\d+\)( (JPEG|J2K)/\w{2,5} Q=\d{1,3})?"
    r"| -> \d+x\d+ - ?)(\|(AppMag|MPP) = [\d.]+){0,2}"
)
_OME = re.compile(
    r'<\?xml version="1\.0" encoding="UTF-8"\?>'
    r'<OME xmlns="http://www\.openmicroscopy\.org/Schemas/OME/2016-06">'
    r'<Image ID="Image:0"><Pixels( \w+="[\w:.+-]{1,24}")+( PhysicalSizeXUnit="[µμnm]{1,2}")?'
    r'( PhysicalSizeY="[\d.eE+-]+")?( PhysicalSizeYUnit="[µμnm]{1,2}")?>'
    r'<Channel ID="Channel:0:0" SamplesPerPixel="[34]"/>'
    r'<TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
)
_REGIONS = 5
_NEEDLE, _NEEDLES, _VARIED = 64, 6, 20
_PIECE = 2**24


def check_tiff(source: Path, part: Path, report: Report, levels: list[int]) -> None:
    """Prove a copy.

    Parameters
    ----------
    source, part : Path
        The slide and its copy.
    report : Report
        Of the copy.
    levels : list of int
        As ``copy_tiff`` returns them.

    Raises
    ------
    PathaiError
        E148 at any doubt; the copy must not be kept.
    """
    with tifffile.TiffFile(source) as old, tifffile.TiffFile(part) as new:
        before = levels_in(old, report.format, levels)
        own = [0, *range(2, len(levels) + 1)] if report.format == "aperio" else levels
        after = levels_in(new, report.format, own)
        pages = list(_pages(new))
        wanted = len(levels) + (report.format == "aperio")
        if len(pages) != wanted:
            raise unsafe("proof failed: the copy has other images than it should")
        for page in pages:
            _check_tags(page, report.format)
        for one, two in zip(before, after, strict=True):
            _check_level(old, new, one, two)
        _check_coverage(new, pages, part.stat().st_size)
        same_picture(new, after)
        kept = {page.offset for page in before}
        removed = [page for page in _pages(old) if page.offset not in kept]
        _check_absent(old, removed, part)
    _check_openslide(source, part, report)


def _pages(tiff: tifffile.TiffFile) -> Iterator[Any]:
    for page in tiff.pages:
        yield page
        yield from page.pages or ()


def _check_tags(page: Any, kind: str) -> None:
    if not {tag.code for tag in page.tags} <= _ALLOWED:
        raise unsafe("proof failed: the copy has a tag that it should not have")
    for tag in page.tags:
        if tag.dtype == 2 and tag.code != 270:
            raise unsafe("proof failed: the copy has a text that it should not have")
    if 270 in page.tags:
        pattern = {"aperio": _APERIO, "ome-tiff": _OME}.get(kind)
        if pattern is None or not pattern.fullmatch(page.description):
            raise unsafe("proof failed: the copy has a description that it should not have")
    if 34675 in page.tags:
        profile = bytes(page.tags[34675].value)
        if renewed(profile) != profile:
            raise unsafe("proof failed: the copy has a color profile with text")


def _check_level(old: Any, new: Any, one: Any, two: Any) -> None:
    for code in _SAME:
        a, b = (page.tags.get(code) for page in (one, two))
        if code in (259, 262, 277, 284, 317):  # these may be left to their defaults
            a, b = getattr(one, _NAMES[code]), getattr(two, _NAMES[code])
        else:
            a, b = (None if tag is None else tag.value for tag in (a, b))
        if a != b and not (code == 258 and b is not None and set(b) == {8}):
            raise unsafe("proof failed: a level would decode in another way")
    if len(one.dataoffsets) != len(two.dataoffsets):
        raise unsafe("proof failed: a level has more or fewer tiles")
    was = zip(one.dataoffsets, one.databytecounts, strict=True)
    now = zip(two.dataoffsets, two.databytecounts, strict=True)
    for (offset, size), (new_offset, new_size) in zip(was, now, strict=True):
        if size != new_size or (size and _hash(old, offset, size) != _hash(new, new_offset, size)):
            raise unsafe("proof failed: a tile differs from the source's")


_NAMES = {259: "compression", 262: "photometric", 277: "samplesperpixel", 284: "planarconfig",
          317: "predictor"}  # fmt: skip


def _hash(tiff: Any, offset: int, size: int) -> bytes:
    tiff.filehandle.seek(offset)
    return sha256(tiff.filehandle.read(size)).digest()


def _check_coverage(tiff: Any, pages: list[Any], size: int) -> None:
    """Every byte is accounted for; what lies between is padding of zeros."""
    spans = {(0, 16 if tiff.is_bigtiff else 8)}
    head, entry, link = (8, 20, 8) if tiff.is_bigtiff else (2, 12, 4)
    for page in pages:
        spans.add((page.offset, head + entry * len(page.tags) + link))
        spans.update((tag.valueoffset, tag.valuebytecount) for tag in page.tags)
        spans.update(s for s in zip(page.dataoffsets, page.databytecounts, strict=True) if s[1])
    at = 0
    for offset, length in sorted(spans):
        if offset > at:
            tiff.filehandle.seek(at)
            gap = tiff.filehandle.read(offset - at)
            if len(gap) > 8 or any(gap):
                raise unsafe("proof failed: the copy has bytes that belong to nothing")
        at = max(at, offset + length)
    if at != size:
        raise unsafe("proof failed: the copy has bytes after its end")


def _check_absent(old: Any, removed: list[Any], part: Path) -> None:
    """Pieces of each removed image's data are searched for in the whole copy."""
    needles = [needle for page in removed for needle in _needles(old, page)]
    tail = b""
    with part.open("rb") as file:
        while piece := file.read(_PIECE):
            window = tail + piece
            if any(needle in window for needle in needles):
                raise unsafe("proof failed: data of a removed image are in the copy")
            tail = piece[-_NEEDLE:]


def _needles(old: Any, page: Any) -> Iterator[bytes]:
    blocks = [b for b in zip(page.dataoffsets, page.databytecounts, strict=False) if b[1]]
    for offset, size in blocks[:: max(len(blocks) // _NEEDLES, 1)]:
        old.filehandle.seek(offset)
        data = old.filehandle.read(size)
        # The tables before a JPEG scan are often the standard's own, as in other images.
        data = data[data.rfind(b"\xff\xda") + 14 if page.compression == JPEG else 0 :]
        needle = data[max(len(data) - _NEEDLE, 0) // 2 :][:_NEEDLE]
        if len(set(needle)) >= _VARIED:
            yield needle


def _check_openslide(source: Path, part: Path, report: Report) -> None:
    """Where openslide reads the source, it must read the copy, and see the same."""
    try:
        old = openslide.OpenSlide(source)
    except openslide.OpenSlideError:
        report.notes.append("openslide does not read the source, so it did not check the copy")
        return
    with old:
        try:
            new = openslide.OpenSlide(part)
        except openslide.OpenSlideError:
            raise unsafe("proof failed: openslide reads the source, but not the copy") from None
        with new:
            compare_openslide(old, new, {"thumbnail"})


def compare_openslide(old: Any, new: Any, associated: set[str]) -> None:
    """Same levels, resolution and pixels; no associated images but the named ones.

    Raises
    ------
    PathaiError
        E148 where they differ.
    """
    if not set(new.associated_images) <= associated:
        raise unsafe("proof failed: openslide sees an image that it should not see")
    if not set(new.level_dimensions) <= set(old.level_dimensions):
        raise unsafe("proof failed: openslide sees other levels")
    if old.dimensions != new.dimensions:
        raise unsafe("proof failed: openslide sees another level 0")
    for name in ("vendor", "mpp-x", "mpp-y", "objective-power"):
        if old.properties.get(f"openslide.{name}") != new.properties.get(f"openslide.{name}"):
            raise unsafe("proof failed: openslide sees another resolution or make")
    for level, (width, height) in enumerate(new.level_dimensions):
        before = old.level_dimensions.index((width, height))
        scale = new.level_downsamples[level]
        for k in range(_REGIONS):
            place = (int(width * k / _REGIONS * scale), int(height * k / _REGIONS * scale))
            try:
                same = (
                    old.read_region(place, before, (256, 256)).tobytes()
                    == new.read_region(place, level, (256, 256)).tobytes()
                )
            except openslide.OpenSlideError:
                raise unsafe("a tile of the slide cannot be decoded") from None
            if not same:
                raise unsafe("proof failed: openslide sees other pixels")
