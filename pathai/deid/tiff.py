"""A TIFF slide copied: levels only, few tags, tiles byte for byte."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from pathai.deid import aperio, ome
from pathai.deid.pictures import thumbnail
from pathai.deid.report import Report
from pathai.deid.streams import JPEG, Block, check_stream
from pathai.deid.tiff_file import Image, Tiff, read_tiff
from pathai.deid.tiff_images import check_blocks, kind_of, levels_of, removed_images
from pathai.deid.tiff_out import ASCII, CLASSIC_LIMIT, LONG, SHORT, NewImage, TiffOut
from pathai.deid.tiff_tags import DESCRIPTION, block_of, kept_tags
from pathai.errors import PathaiError


def copy_tiff(source: Path, part: Path) -> tuple[Report, list[int]]:
    """Write a de-identified copy of a TIFF slide.

    Parameters
    ----------
    source, part : Path
        The slide, and the file to write.

    Returns
    -------
    report : Report
    levels : list of int
        Index of each level in the source's main chain (of its sub-images for OME-TIFF, where
        the first stands for level 0 itself).

    Raises
    ------
    PathaiError
        E110-E119, E140, E141, E148: see the message; nothing is to be believed of ``part``.
    """
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        tiff = read_tiff(file, size)
        kind = kind_of(tiff)
        levels = levels_of(tiff, kind)
        check_blocks(tiff, levels, size)
        report = Report(kind)
        for name, image in removed_images(tiff, levels):
            report.removed[name] += 1
            report.removed["image description"] += DESCRIPTION in image.tags
        with part.open("xb") as out:
            _write(file, out, source, tiff, levels, report)
    report.kept["level"] = len(levels)
    report.kept["tile, byte for byte"] = sum(len(level.blocks()) for level in levels)
    indices = [level.index for level in levels]
    return report, list(range(len(levels))) if kind == "ome-tiff" else indices


def _write(
    file: BinaryIO, out: BinaryIO, source: Path, tiff: Tiff, levels: list[Image], report: Report
) -> None:
    stored = sum(int(level.blocks()[:, 1].sum()) for level in levels)
    big = tiff.big or stored + 16 * 2**20 > CLASSIC_LIMIT
    writer = TiffOut(out, tiff.order, big)
    first = levels[0]
    values = aperio.scan_values(first, report) if report.format == "aperio" else {}
    made = []
    for level in levels:
        block = block_of(level)
        new = NewImage(kept_tags(level, block, report))
        if report.format == "aperio":
            text = aperio.level_text(first, level, block, values)
            new.tags[DESCRIPTION] = (ASCII, text)
            report.rewritten["image description"] += 1
        elif report.format == "ome-tiff" and level is first:
            new.tags[DESCRIPTION] = (ASCII, ome.level_text(first, tiff.order))
            report.rewritten["image description"] += 1
        elif DESCRIPTION in level.tags:
            report.removed["image description"] += 1
        new.blocks = _tiles(file, writer, level, block)
        made.append(new)
    if report.format == "ome-tiff":
        made[0].children = made[1:]
        del made[1:]
    elif report.format == "aperio":
        small = _thumbnail(writer, source, levels, values)
        made.insert(1, small)
        report.rewritten["thumbnail image, drawn from the smallest level"] += 1
    for new in made:
        writer.image(new)


def _tiles(file: BinaryIO, writer: TiffOut, level: Image, block: Block) -> list[tuple[int, int]]:
    """Pass on the tiles of a level; one that several places share stays shared."""
    placed: dict[tuple[int, int], tuple[int, int]] = {}
    found = []
    for offset, size in level.blocks().tolist():
        if not size:  # a tile that was never scanned
            found.append((0, 0))
            continue
        if (offset, size) not in placed:
            file.seek(offset)
            data = file.read(size)
            if len(data) != size:
                raise PathaiError("E163", "the slide changed while it was read")
            check_stream(data, block)
            placed[offset, size] = writer.block(data)
        found.append(placed[offset, size])
    return found


def _thumbnail(
    writer: TiffOut, source: Path, levels: list[Image], values: dict[str, str]
) -> NewImage:
    """The second image of an Aperio file, where programs expect a thumbnail, made from a level.

    The scanner's own is not passed on: nothing proves that it shows only what the levels show.
    """
    import imagecodecs

    picture = thumbnail(source, levels[-1].index)
    height, width = picture.shape[:2]
    coded = bytes(imagecodecs.jpeg8_encode(picture, level=85, outcolorspace="RGB"))
    tags = {
        254: (LONG, [0]), 256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [8] * 3),
        259: (SHORT, [JPEG]), 262: (SHORT, [2]), 277: (SHORT, [3]), 278: (LONG, [height]),
        284: (SHORT, [1]),
        DESCRIPTION: (ASCII, aperio.thumbnail_text(levels[0], width, height, values)),
    }  # fmt: skip
    return NewImage(dict(tags), tiled=False, blocks=[writer.block(coded)])
