"""Writing Aperio-layout SVS files, with the private text that real ones carry (invented here).

Level 0 and the levels below it are JPEG tiles without their tables, which stand once per level in
the tag `JPEGTables`; RGB tiles carry no marker that says so. Real slides are like this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]

PATIENT = "CANARY^TEST"
ACCESSION = "S-2031-004711"
USER = "canary-user"
MACHINE = "CANARY-HOST-7"
# what must never leave a slide: tests look for these byte strings in every output
CANARIES = (PATIENT, ACCESSION, USER, MACHINE, "05/17/31", "canary-uuid-0d6a")
THUMBNAIL_PX = 640
JPEG_TABLES = 347


@dataclass(frozen=True)
class Scanner:
    """How a scanner writes its files.

    Attributes
    ----------
    tile_px : int
        Side of a tile, a multiple of 16.
    quality : int
        JPEG quality.
    ycbcr : bool
        False: RGB, 4:4:4. True: YCbCr, 4:2:0.
    steps : tuple of int
        Downsample factors of the levels below level 0, ascending.
    objective : int
        Written as AppMag.
    """

    tile_px: int = 240
    quality: int = 87
    ycbcr: bool = False
    steps: tuple[int, ...] = (4,)
    objective: int = 20


SCANNERS = {"A": Scanner(), "B": Scanner(tile_px=256, quality=85, ycbcr=True, steps=(4, 16))}


def write_svs(
    path: Path, picture: Picture, mpp: float | None, scanner: Scanner = SCANNERS["A"]
) -> None:
    """Write a picture as an SVS with pyramid, thumbnail, label and macro image.

    Parameters
    ----------
    path : Path
    picture : uint8[y, x, 3]
    mpp : float or None
        Micrometers per pixel written into the file; None leaves it out, as some scanners do.
    scanner : Scanner

    Notes
    -----
    The same arguments give the same bytes: no clock, host or path goes into the file.
    """
    height, width = picture.shape[:2]
    full = Image.fromarray(picture)
    private = _private_text(width, height, mpp, scanner)
    thumbnail = full.copy()
    thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    size = f"{width}x{height}"
    kind = "YCC" if scanner.ycbcr else "RGB"
    with tifffile.TiffWriter(path, bigtiff=False, byteorder="<") as tiff:
        tile = f"({scanner.tile_px}x{scanner.tile_px}) JPEG/{kind} Q={scanner.quality}"
        _write_level(tiff, picture, scanner, f"{size} [0,0 {size}] {tile}{private}")
        _write_strips(
            tiff, thumbnail, 0, f"{size} -> {thumbnail.width}x{thumbnail.height} - {private}"
        )
        for step in scanner.steps:
            small = full.reduce(step)
            level = np.asarray(small.crop((0, 0, width // step, height // step)))
            note = (
                f"{size} [0,0 {size}] {tile} -> {level.shape[1]}x{level.shape[0]} {tile}{private}"
            )
            _write_level(tiff, level, scanner, note)
        label, macro = _label_image(), _macro_image(thumbnail)
        tiff.write(
            np.asarray(label),
            photometric="rgb",
            compression="lzw",
            predictor=True,
            rowsperstrip=16,
            subfiletype=1,
            description=_describe(f"label {label.width}x{label.height}"),
            metadata=None,
            software=False,
        )
        _write_strips(tiff, macro, 9, f"macro {macro.width}x{macro.height}")


def _describe(text: str) -> str:
    return f"Aperio Image Library v11.2.1 \r\n{text}"


def _private_text(width: int, height: int, mpp: float | None, scanner: Scanner) -> str:
    """Return the fields that Aperio appends to its descriptions, with invented private ones."""
    fields = [f"AppMag = {scanner.objective}", "StripeWidth = 1000", f"ScanScope ID = {MACHINE}"]
    fields += [f"Filename = {ACCESSION}", "Date = 05/17/31", "Time = 10:11:12", f"User = {USER}"]
    fields += ["Parmset = USM Filter", f"Patient = {PATIENT}", f"Accession = {ACCESSION}"]
    if mpp is not None:
        fields.append(f"MPP = {mpp:.4f}")
    fields += [
        "Left = 25.691574",
        "Top = 23.449873",
        f"OriginalWidth = {width}",
        f"OriginalHeight = {height}",
    ]
    return "|" + "|".join([*fields, "ImageID = canary-uuid-0d6a"])


def _write_level(tiff: tifffile.TiffWriter, picture: Picture, scanner: Scanner, text: str) -> None:
    side, height, width = scanner.tile_px, *picture.shape[:2]
    coding: dict[str, Any] = {"level": scanner.quality, "colorspace": "RGB", "optimize": False}
    if scanner.ycbcr:
        coding |= {"outcolorspace": "YCBCR", "subsampling": "420"}
    else:
        coding |= {"outcolorspace": "RGB", "subsampling": "444"}

    def encode(tile: Picture) -> tuple[bytes, bytes]:
        return split_jpeg(bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(tile), **coding)))

    tables, _ = encode(np.full((side, side, 3), 255, np.uint8))

    def tiles() -> Iterator[bytes]:
        padded = np.pad(picture, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
        for y in range(0, height, side):
            for x in range(0, width, side):
                yield encode(padded[y : y + side, x : x + side])[1]

    tiff.write(
        tiles(),
        shape=picture.shape,
        dtype=np.uint8,
        tile=(side, side),
        photometric="ycbcr" if scanner.ycbcr else "rgb",
        compression="jpeg",
        compressionargs={"subsampling": (2, 2)} if scanner.ycbcr else {"outcolorspace": "RGB"},
        extratags=[(JPEG_TABLES, 7, len(tables), tables, True)],
        description=_describe(text),
        metadata=None,
        software=False,
    )


def _write_strips(
    tiff: tifffile.TiffWriter, image: Image.Image, subfiletype: int, text: str
) -> None:
    tiff.write(
        np.asarray(image),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 85},
        rowsperstrip=16,
        subfiletype=subfiletype,
        description=_describe(text),
        metadata=None,
        software=False,
    )


def split_jpeg(stream: bytes) -> tuple[bytes, bytes]:
    """Split a baseline JPEG into (tables, abbreviated stream).

    Application markers are dropped and components numbered from 0, so that nothing tells RGB from
    YCbCr.
    """
    tables, rest, at = b"", b"", 2
    while True:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = stream[at : at + 2 + length]
        if marker == 0xDA:  # start of scan: the rest is coded data and the end marker
            rest += _number(segment, 5, 2) + stream[at + 2 + length :]
            return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest
        if marker in (0xDB, 0xC4):
            tables += segment
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            rest += _number(segment, 10, 3)
        at += 2 + length


def _number(segment: bytes, first: int, stride: int) -> bytes:
    """Return a frame or scan header with its three component ids set to 0, 1, 2."""
    changed = bytearray(segment)
    changed[first : first + 3 * stride : stride] = b"\x00\x01\x02"
    return bytes(changed)


def _label_image() -> Image.Image:
    """Return a paper label with an invented name, number and block code."""
    label = Image.new("RGB", (387, 463), (244, 243, 238))
    draw = ImageDraw.Draw(label)
    font = ImageFont.load_default(32)
    for row, text in enumerate((ACCESSION, PATIENT, "DOB 01/02/1934", "A1 H&E", "FAKE HOSPITAL")):
        draw.text((24, 24 + 46 * row), text, fill=(25, 25, 30), font=font)
    code = np.random.default_rng(4711).integers(0, 2, (14, 14), dtype=np.uint8) * 255
    label.paste(Image.fromarray(code).resize((168, 168), Image.Resampling.NEAREST), (190, 270))
    return label


def _macro_image(thumbnail: Image.Image) -> Image.Image:
    """Return a photograph of the whole glass: label at the left end, tissue in the middle."""
    macro = Image.new("RGB", (1280, 431), (212, 214, 214))
    draw = ImageDraw.Draw(macro)
    draw.rectangle([8, 8, 1272, 423], outline=(150, 155, 158), width=3)
    macro.paste(_label_image().resize((320, 383), Image.Resampling.BILINEAR), (20, 24))
    small = thumbnail.copy()
    small.thumbnail((420, 380), Image.Resampling.BOX)
    x, y = 560, (431 - small.height) // 2
    macro.paste(small, (x, y))
    draw.rectangle(
        [x - 4, y - 4, x + small.width + 3, y + small.height + 3], outline=(60, 160, 70), width=2
    )
    return macro
