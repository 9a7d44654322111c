"""Slide readers behind one protocol; which one reads a file follows an explicit order."""

from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.readers.base import Facts, Slide
from pathai.readers.leica import leica_regions
from pathai.readers.sniff import largest_tiled, sniff
from pathai.registry import Registry
from pathai.source import Place, Remote
from pathai.units import Size

READERS = Registry(
    "readers",
    {
        "openslide": "pathai.readers.openslide_reader:OpenSlideReader",
        "tiffslide": "pathai.readers.tiffslide_reader:TiffSlideReader",
        "tiled-tiff": "pathai.readers.tiled_tiff:TiledTiffReader",
    },
)
ORDER = ("openslide", "tiffslide")
"""openslide first: it refuses what it cannot represent, where others guess."""

__all__ = ["ORDER", "READERS", "Facts", "Slide", "open_slide", "reopen"]


def open_slide(path: Place, limits: IngestConfig | None = None, reader: str = "") -> Slide:
    """Open a slide file that nobody has looked at yet.

    The file is examined before any library sees it. Only a file whose *format* openslide does
    not support goes on to tiffslide; one that it finds damaged does not, since tiffslide would
    read wrong pixels from it.

    Parameters
    ----------
    path : Path or Remote
        The file.
    limits : IngestConfig, optional
        Sizes beyond which a file is refused.
    reader : str
        Use this reader and no other.

    Returns
    -------
    Slide
        With ``name`` and ``reason`` of the reader.

    Raises
    ------
    PathaiError
        E10x, E11x, E12x, E13x or E14x saying what is wrong with the file and what to do.
    """
    kind = sniff(path, limits or IngestConfig())
    if isinstance(path, Remote):
        return _remote(path, kind)
    if reader:
        return _opened(path, reader, "asked for")
    if kind == "ome-tiff":
        return _opened(path, "tiffslide", "OME-TIFF: openslide does not read its mpp and levels")
    try:
        slide = _opened(path, "openslide", "first in order")
    except PathaiError as error:
        if error.code == "E134":
            raise PathaiError("E134", f"{error.message}: {leica_regions(path)}") from None
        unsupported = error.code == "E119" or "Unsupported" in error.message
        if not unsupported or kind != "tiff":
            raise
        why = "compression" if error.code == "E119" else "format"
        slide = _opened(path, "tiffslide", f"openslide does not support the {why}")
    if kind == "tiff" and slide.facts.vendor == "generic-tiff":
        _check_largest(slide, largest_tiled(path, limits or IngestConfig()))
    return slide


def _check_largest(slide: Slide, largest: Size) -> None:
    """A TIFF whose first image is a small one would pass for a small slide."""
    size = slide.facts.size
    if largest.width > size.width and largest.height > size.height:
        slide.close()
        found = f"{largest.width} x {largest.height} px"
        message = f"the first image is {size.width} x {size.height} px, a later one {found}"
        raise PathaiError("E120", message, "convert it to a pyramid, e.g. vips tiffsave --pyramid")


REMOTE = ("aperio", "generic-tiff")
"""Formats that are read from a server: those for which tiffslide gives openslide's pixels."""


def _remote(path: Remote, kind: str) -> Slide:
    if kind not in ("tiff", "ome-tiff"):
        raise PathaiError("E107", f"{kind} slides are read from a disk only")
    slide = _opened(path, "tiffslide", "on a server, where openslide cannot read")
    vendor = slide.facts.vendor
    if vendor not in REMOTE:
        slide.close()
        raise PathaiError("E107", f"{vendor} slides are read from a disk only")
    return slide


def reopen(path: Place, reader: str) -> Slide:
    """Open a slide that ingest has accepted, with the reader that it chose."""
    return _opened(path, reader, "chosen at ingest")


def _opened(path: Place, reader: str, reason: str) -> Slide:
    slide: Slide = READERS.load(reader)(path, reason)
    _ = slide.facts  # opening is lazy: this is where a file that cannot be read shows itself
    return slide
