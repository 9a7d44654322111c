"""The tags of a level that are kept, each with the values that it may have."""

from __future__ import annotations

from fractions import Fraction

from pathai.deid.icc import renewed
from pathai.deid.jpeg import check_tables
from pathai.deid.report import Report, unsafe
from pathai.deid.streams import JPEG, JPEG2000, KNOWN, Block
from pathai.deid.tiff_file import Image
from pathai.deid.tiff_out import LONG, RATIONAL, SHORT, UNDEFINED, Value
from pathai.errors import PathaiError

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL = 254, 256, 257, 258, 259, 262, 266
DESCRIPTION, ORIENTATION, SAMPLES, X_RES, Y_RES, PLANAR, RES_UNIT = (
    270,
    274,
    277,
    282,
    283,
    284,
    296,
)
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, EXTRA, FORMAT, TABLES = 317, 322, 323, 338, 339, 347
SUBSAMPLING, REFERENCE, DEPTH, ICC = 530, 532, 32997, 34675
STRUCTURE = {SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, X_RES,
             Y_RES, PLANAR, RES_UNIT, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, 324, 325, EXTRA, FORMAT,
             TABLES, SUBSAMPLING, REFERENCE, DEPTH, 273, 278, 279, 330}  # fmt: skip
"""Tags whose values are numbers with a meaning for decoding; all others are text or unknown."""
NAMES = {
    269: "document name", 270: "image description", 271: "scanner make", 272: "scanner model",
    285: "page name", 305: "software", 306: "date and time", 315: "artist", 316: "host computer",
    700: "XMP", 33432: "copyright", 33723: "IPTC", 34377: "Photoshop", 34665: "EXIF",
    34675: "color profile", 34853: "GPS",
}  # fmt: skip
_FEW: dict[int, tuple[int, ...]] = {
    SUBFILE: (0, 1), FILL: (1,), ORIENTATION: tuple(range(1, 9)), PLANAR: (1,), DEPTH: (1,),
    PREDICTOR: (1, 2), RES_UNIT: (1, 2, 3), EXTRA: (0, 1, 2),
}  # fmt: skip
MAX_BLOCK = 2**28


def block_of(image: Image) -> Block:
    """What each tile of a level must be.

    Raises
    ------
    PathaiError
        E119, E140 or E141 for what pathai reads no slides of; E148 for inconsistent sizes.
    """
    compression, samples = image.one(COMPRESSION, 1), image.one(SAMPLES, 1)
    if compression not in KNOWN:
        raise PathaiError("E119", f"image {image.index} has TIFF compression {compression}")
    bits = image.tags[BITS].integers().tolist() if BITS in image.tags else [1]
    if set(bits) != {8}:
        raise PathaiError("E140", f"image {image.index} has {max(bits, default=0)} bits")
    if samples not in (3, 4) or len(bits) not in (1, samples):
        raise PathaiError("E141", f"image {image.index} has {samples} channels per pixel")
    photometric = image.one(PHOTOMETRIC, 2)
    if photometric not in (2, 6) and compression not in JPEG2000:
        raise PathaiError("E141", f"image {image.index} has the color model {photometric}")
    block = Block(compression, image.one(TILE_WIDTH), image.one(TILE_HEIGHT), samples)
    if not 0 < block.bytes <= MAX_BLOCK:
        raise PathaiError("E116", f"image {image.index} has tiles of {block.bytes} bytes")
    return block


def kept_tags(image: Image, block: Block, report: Report) -> dict[int, Value]:
    """Tags of a new level, made from checked values; what else there was is counted as removed.

    Parameters
    ----------
    image : Image
        A level of the source.
    block : Block
        Of ``block_of``.
    report : Report
        Counts are added to it.

    Raises
    ------
    PathaiError
        E148 for a value that such a tag cannot have.
    """
    width, height = image.size
    new: dict[int, Value] = {
        WIDTH: (LONG, [width]), HEIGHT: (LONG, [height]),
        BITS: (SHORT, [8] * block.samples), COMPRESSION: (SHORT, [block.compression]),
        PHOTOMETRIC: (SHORT, [_photometric(image)]), SAMPLES: (SHORT, [block.samples]),
        TILE_WIDTH: (LONG, [block.width]), TILE_HEIGHT: (LONG, [block.height]),
    }  # fmt: skip
    for code, allowed in _FEW.items():
        if code in image.tags and code != RES_UNIT:
            value = image.one(code)
            if value not in allowed:
                raise unsafe(f"tag {code} of image {image.index} has a value that is not known")
            new[code] = (LONG if code in (SUBFILE, DEPTH) else SHORT, [value])
    _sampling(image, new)
    _resolution(image, new)
    if TABLES in image.tags:
        if block.compression != JPEG:
            raise unsafe(f"image {image.index} has JPEG tables but no JPEG tiles")
        check_tables(image.tags[TABLES].data)
        new[TABLES] = (UNDEFINED, image.tags[TABLES].data)
    _profile(image, new, report)
    count_removed(image, report)
    return new


def count_removed(image: Image, report: Report) -> None:
    """Count the tags of a kept image that carry text or are not known."""
    for code in image.tags:
        if code in (DESCRIPTION, ICC) or code in STRUCTURE or code == FILL:
            continue
        private = "private tag" if code >= 32768 else "unknown or unneeded tag"
        report.removed[NAMES.get(code, private)] += 1


def _photometric(image: Image) -> int:
    value = image.one(PHOTOMETRIC, 2)
    if value > 10:
        raise unsafe(f"image {image.index} has a color model that is not known")
    return value


def _sampling(image: Image, new: dict[int, Value]) -> None:
    if FORMAT in image.tags:
        if set(image.tags[FORMAT].integers().tolist()) != {1}:
            raise unsafe(f"image {image.index} is not of unsigned numbers")
        samples = new[SAMPLES][1][0]
        new[FORMAT] = (SHORT, [1] * min(image.tags[FORMAT].count, samples))
    if SUBSAMPLING in image.tags:
        values = image.tags[SUBSAMPLING].integers().tolist()
        if len(values) != 2 or not {*values} <= {1, 2, 4}:
            raise unsafe(f"image {image.index} has a subsampling that is not known")
        new[SUBSAMPLING] = (SHORT, values)
    if REFERENCE in image.tags:
        pairs = image.tags[REFERENCE].rationals()
        whole = [value for value, divisor in pairs if divisor == 1 and value <= 255]
        if len(whole) != 6:
            raise unsafe(f"image {image.index} has reference colors that are not known")
        new[REFERENCE] = (RATIONAL, [part for value in whole for part in (value, 1)])


def _resolution(image: Image, new: dict[int, Value]) -> None:
    """Resolution as a shortened fraction: the quotient counts, not how it is written."""
    if not {X_RES, Y_RES} <= image.tags.keys():
        return
    parts: list[list[int]] = []
    for code in (X_RES, Y_RES):
        pairs = image.tags[code].rationals()
        if len(pairs) != 1:
            raise unsafe(f"tag {code} of image {image.index} has {len(pairs)} values")
        value, divisor = pairs[0]
        if not value or not divisor:  # written by programs that do not know it
            return
        if not 1e-3 <= value / divisor <= 1e7:
            raise unsafe(f"image {image.index} has a resolution that no slide has")
        short = Fraction(value, divisor)
        parts.append([short.numerator, short.denominator])
    unit = image.one(RES_UNIT, 2)
    if unit not in _FEW[RES_UNIT]:
        raise unsafe(f"image {image.index} has a unit of resolution that is not known")
    new[X_RES], new[Y_RES] = (RATIONAL, parts[0]), (RATIONAL, parts[1])
    if RES_UNIT in image.tags:
        new[RES_UNIT] = (SHORT, [unit])


def _profile(image: Image, new: dict[int, Value], report: Report) -> None:
    if ICC not in image.tags:
        return
    profile = renewed(image.tags[ICC].data)
    if profile is None:
        report.removed["color profile"] += 1
        note = "a color profile was left out: only one of matrix and curves can be made anew"
        if note not in report.notes:
            report.notes.append(note)
    else:
        new[ICC] = (UNDEFINED, profile)
        report.rewritten["color profile"] += 1
