"""One DICOM slide is a series of files: which they are, and whether they are all there."""

import math
import os
import stat
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.readers.dicom_walk import MAGIC, PIXELS, DicomReader, Element, is_text

_SOP, _SERIES, _TYPE = 0x00080018, 0x0020000E, 0x00080008
_FRAME_OF_REFERENCE, _CONTAINER = 0x00200052, 0x00400512
_PARTS, _PARTS_OF, _PART = 0x00209161, 0x00209163, 0x00209162
_ROWS, _COLUMNS, _FRAMES, _SAMPLES, _BITS = (
    0x00280010,
    0x00280011,
    0x00280008,
    0x00280002,
    0x00280100,
)
_TOTAL_COLUMNS, _TOTAL_ROWS, _PLANES = 0x00480006, 0x00480007, 0x00480303
_OPTICAL_PATHS, _ORGANIZATION = 0x00480302, 0x00209311


@dataclass(frozen=True)
class Instance:
    """What the header of one DICOM file says."""

    path: Path
    size: int
    series: str
    sop: str
    kind: str
    """VOLUME, LABEL, OVERVIEW, THUMBNAIL ..."""
    resampled: bool
    """Whether it is a smaller copy of another instance."""
    place: str
    """Frame of reference and container: the same for all instances of one slide."""
    parts: str
    """Identifies the instances into which one level is split; empty where it is not."""
    part: int
    parts_of: int
    frames: int
    """Frames in this file."""
    grid: int
    """Frames that cover the level where every one must be there, else 0."""
    width: int
    height: int
    tile: tuple[int, int]
    samples: int
    bits: int


def is_dicom(path: Path) -> bool:
    """Whether a regular file starts as DICOM does."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == MAGIC
    except OSError:
        return False


def instance(path: Path) -> Instance:
    """Read the header of a file.

    Raises
    ------
    PathaiError
        E104 if it holds no image, E110 where it is cut off, E115 and E119 as `DicomReader`, E162
        if reading failed.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise PathaiError("E162", f"reading failed: {error.strerror}") from None
    return _instance(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _instance(path: Path, size: int, mtime_ns: int) -> Instance:
    del mtime_ns  # part of the key: another time is another file
    try:
        with path.open("rb") as file:
            reader = DicomReader(file, size)
            found: dict[int, str] = {}
            for element in reader.elements():
                if element.level == 0:
                    pixels = element.tag == PIXELS
                    found.setdefault(element.tag, "" if pixels else _value(reader, element))
            if PIXELS not in found:
                if _TYPE in found:
                    raise PathaiError("E110", "the DICOM file ends before its pixels")
                raise PathaiError("E104", "a DICOM file that holds no image")
    except OSError as error:
        raise PathaiError("E162", f"reading failed: {error.strerror}") from None
    return _from(found, path, size)


def _value(reader: DicomReader, element: Element) -> str:
    if is_text(element) or (reader.implicit and element.length <= 1024):
        return reader.text(element)
    if element.kind in (b"US", b"UL") and element.length in (2, 4):
        return str(int.from_bytes(reader.fetch(element.place, element.length), "little"))
    return ""


def _from(found: dict[int, str], path: Path, size: int) -> Instance:
    def whole(tag: int, default: int) -> int:
        text = found.get(tag, "").strip()
        return int(text) if text.isascii() and text.isdigit() else default

    kinds = [*found.get(_TYPE, "").split("\\"), "", "", "", ""]
    width, height = whole(_TOTAL_COLUMNS, 0), whole(_TOTAL_ROWS, 0)
    tile = whole(_COLUMNS, 0), whole(_ROWS, 0)
    full = found.get(_ORGANIZATION, "").strip() == "TILED_FULL" and min(*tile, width, height) > 0
    layers = whole(_PLANES, 1) * whole(_OPTICAL_PATHS, 1)
    grid = math.ceil(width / tile[0]) * math.ceil(height / tile[1]) * layers if full else 0
    return Instance(
        path=path,
        size=size,
        series=found.get(_SERIES, "").strip(),
        sop=found.get(_SOP, "").strip(),
        kind=kinds[2].strip(),
        resampled="RESAMPLED" in (kinds[3].strip(), kinds[4].strip()),
        place=f"{found.get(_FRAME_OF_REFERENCE, '')}|{found.get(_CONTAINER, '')}",
        parts=found.get(_PARTS, "").strip(),
        part=whole(_PART, 0),
        parts_of=whole(_PARTS_OF, 0),
        frames=whole(_FRAMES, 1),
        grid=grid,
        width=width,
        height=height,
        tile=tile,
        samples=whole(_SAMPLES, 3),
        bits=whole(_BITS, 8),
    )


def series_of(path: Path) -> list[Instance]:
    """Instances of the series that a file belongs to, in the order of their identifiers.

    Found in the file's own folder, whatever they are called; a second copy of an instance counts
    once.

    Raises
    ------
    PathaiError
        As `instance`, for the file itself and every other file of its series; E136 if two files
        claim to be the same instance and differ.
    """
    first = instance(path)
    found = {first.sop: first}
    with os.scandir(path.parent) as entries:
        others = sorted(Path(e.path) for e in entries if e.name != path.name)
    for other in others:
        if not is_dicom(other):
            continue
        try:
            one = instance(other)
        except PathaiError as error:
            if error.code == "E162":
                raise
            continue  # which series a damaged file belongs to cannot be known
        if one.series != first.series:
            continue
        twin = found.setdefault(one.sop, one)
        if twin.size != one.size:
            raise PathaiError("E136", "two files claim to be the same instance and differ")
    return [found[sop] for sop in sorted(found)]


def check_series(instances: list[Instance], limits: IngestConfig) -> None:
    """Refuse a series that is not one whole bright-field slide.

    Raises
    ------
    PathaiError
        E116, E117, E136, E137, E140 or E141.
    """
    volumes = [i for i in instances if i.kind == "VOLUME"]
    if not volumes:
        kinds = sorted({i.kind.lower() for i in instances} & {"label", "overview", "thumbnail"})
        only = f"the series holds only: {', '.join(kinds) or 'other images'}"
        if "thumbnail" in kinds:
            raise PathaiError("E136", f"{only}; the full-resolution instance is missing")
        raise PathaiError("E137", only)
    for one in volumes:
        _check_picture(one, limits)
    if len({one.place for one in volumes}) > 1:
        raise PathaiError("E136", "instances of several slides carry one series identifier")
    if all(one.resampled for one in volumes):
        largest = max(volumes, key=lambda one: one.width)
        message = f"only reduced copies are there (up to {largest.width} x {largest.height} px)"
        raise PathaiError("E136", f"{message}; the full-resolution instance is missing")
    levels: dict[str, list[Instance]] = defaultdict(list)
    for one in volumes:
        levels[one.parts or one.sop].append(one)
    for level in levels.values():
        _check_level(level)


def _check_level(level: list[Instance]) -> None:
    """A level may be split into several instances; each of them must be there."""
    first = level[0]
    size = f"{first.width} x {first.height} px"
    if first.parts and first.parts_of:
        there = {one.part for one in level}
        missing = sorted(set(range(1, first.parts_of + 1)) - there)
        if missing:
            message = f"instance {missing[0]} of {first.parts_of} of the level of {size} is missing"
            raise PathaiError("E136", message)
    frames = sum(one.frames for one in level)
    if first.grid and frames != first.grid:
        message = f"the level of {size} has {frames} frames, {first.grid} are needed"
        raise PathaiError("E136", message)


def _check_picture(one: Instance, limits: IngestConfig) -> None:
    size = f"{one.width} x {one.height} px"
    if min(one.width, one.height, *one.tile) == 0:
        raise PathaiError(
            "E117", f"an instance is {size}, its frames {one.tile[0]} x {one.tile[1]}"
        )
    if one.width * one.height > limits.max_pixels:
        message = f"a level is {size}, limit {limits.max_pixels} px"
        raise PathaiError("E116", message, "raise ingest.max_pixels if the slide is trusted")
    block = one.tile[0] * one.tile[1] * max(one.samples, 1) * max(one.bits, 8) / 8 / 2**20
    if block > limits.max_tile_mib:
        message = f"an instance has frames of {block:.0f} MiB, limit {limits.max_tile_mib}"
        raise PathaiError("E116", message, "raise ingest.max_tile_mib if it is trusted")
    if one.bits != 8:
        raise PathaiError("E140", f"{one.bits} bits per channel")
    if one.samples != 3:
        raise PathaiError("E141", f"{one.samples} channels per pixel")
