"""Which images of a TIFF are levels of the slide, decided by structure, and which are not."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from pathai.deid.report import unsafe
from pathai.deid.tiff_file import Image, Tiff
from pathai.errors import PathaiError

_VENDORS = (
    ("Leica SCN", re.compile(r"<scn\b|leica-microsystems\.com/scn", re.I)),
    ("Philips", re.compile(r"DPUfsImport|<DataObject|Philips", re.I)),
    ("Ventana BIF", re.compile(r"iScan|^level=\d+ mag=|Ventana|Roche", re.I)),
    ("PerkinElmer QPTIFF", re.compile(r"PerkinElmer|Akoya", re.I)),
    ("Argos", re.compile(r"<Argos", re.I)),
    ("Trestle", re.compile(r"MedScan|^Trestle|Background Color=", re.I)),
    ("Hamamatsu", re.compile(r"Hamamatsu|NDP\.", re.I)),
    ("3DHISTECH", re.compile(r"3D-?HISTECH|MIRAX|Pannoramic", re.I)),
    ("Zeiss", re.compile(r"Zeiss|<METADATA", re.I)),
    ("Olympus", re.compile(r"Olympus", re.I)),
    ("ImageJ", re.compile(r"^ImageJ=", re.I)),
)
_TOLD_BY = (270, 271, 272, 305, 700)
_BENIGN = {700, 32997, 33432, 33723, 34377, 34665, 34675, 34853}
_OTHER = re.compile(r"\b(label|macro|overview|barcode)\b", re.I)
CONVERT = "convert it to DICOM or OME-TIFF with a program that you trust, then try again"


def kind_of(tiff: Tiff) -> str:
    """``aperio``, ``ome-tiff`` or ``tiff``.

    Raises
    ------
    PathaiError
        E148 for makes whose files hide more than is known here, and for unknown private tags.
    """
    first = tiff.images[0]
    if any(65400 <= code <= 65500 for code in first.tags):
        raise unsafe("Hamamatsu NDPI slides are not supported", CONVERT)
    if re.match(r"Aperio\b", first.description):
        return "aperio"
    ome = "<OME" in first.description[:4096]
    for code in _TOLD_BY:
        tag = first.tags.get(code)
        text = tag.data.decode("latin-1") if tag is not None else ""
        for name, pattern in _VENDORS:
            if pattern.search(text) and not (ome and code == 270):
                raise unsafe(f"{name} slides are not supported", CONVERT)
    for image in tiff.everything():
        unknown = sorted(c for c in image.tags if c >= 32768 and c not in _BENIGN)
        if unknown:
            message = f"image {image.index} has the private tag {unknown[0]} of an unknown maker"
            raise unsafe(message, CONVERT)
    if ome:
        return "ome-tiff"
    if first.description.lstrip().startswith("<"):
        raise unsafe("the description is XML of an unknown maker", CONVERT)
    return "tiff"


def levels_of(tiff: Tiff, kind: str) -> list[Image]:
    """Images that are levels of one pyramid, largest first.

    Parameters
    ----------
    tiff : Tiff
    kind : str
        Of ``kind_of``.

    Returns
    -------
    list of Image
        Level 0 is the first image of the file. A level is tiled, smaller than the one before,
        and of the same shape; it does not call itself label or macro. In OME-TIFF the other
        levels are the sub-images of the first image.

    Raises
    ------
    PathaiError
        E148 where level 0 is not plain to see, or a tiled image is neither a level nor says
        what it is.
    """
    first = tiff.images[0]
    if not first.tiled:
        raise PathaiError("E118", "level 0 is not tiled", CONVERT)
    if first.one(254, 0) not in (0, 1) or _calls_itself_other(first, kind):
        raise unsafe("the first image is not the scan")
    area = first.size[0] * first.size[1]
    # Aperio's own layout says which is first; its strips, such as the macro image, may be larger.
    rivals = [i for i in tiff.everything() if i.tiled or kind != "aperio"]
    if any(i.size[0] * i.size[1] > area for i in rivals):
        raise unsafe("the first image is not the largest")
    levels = [first]
    for image in first.children if kind == "ome-tiff" else tiff.images[1:]:
        if not image.tiled or image.one(254, 0) not in (0, 1) or _calls_itself_other(image, kind):
            continue
        if not _fits(levels[-1], image):
            if kind == "aperio":
                raise unsafe(f"image {image.index} is tiled, but no level, and says not what it is")
            continue
        levels.append(image)
    return levels


def _calls_itself_other(image: Image, kind: str) -> bool:
    """Whether the text names another kind; where it is long XML, only of a later image."""
    if kind == "ome-tiff" and image.description.lstrip().startswith("<"):
        return False
    return bool(_OTHER.search(image.description.split("|", 1)[0]))


def _fits(before: Image, image: Image) -> bool:
    """Whether an image is a smaller copy, each side rounded either way."""
    (w0, h0), (w, h) = before.size, image.size
    return w < w0 and h < h0 and abs(w * h0 - h * w0) <= w0 + h0


def removed_images(tiff: Tiff, levels: list[Image]) -> list[tuple[str, Image]]:
    """The other images, each with the name under which it is counted."""
    kept = {id(image) for image in levels}
    others = [image for image in tiff.everything() if id(image) not in kept]
    return [(_name(image, k), image) for k, image in enumerate(others)]


def _name(image: Image, place: int) -> str:
    head = image.description.split("|", 1)[0].lower()
    if "label" in head:
        return "label image"
    if "macro" in head or image.one(254, 0) == 9:
        return "macro image"
    if image.one(254, 0) == 1 and not image.tiled:
        return "label image"
    return "thumbnail image" if place == 0 and "->" in head else "other image"


def check_blocks(tiff: Tiff, levels: list[Image], size: int) -> None:
    """Refuse levels whose tiles are another image's bytes, or the file's own tables.

    Raises
    ------
    PathaiError
        E110 past the end; E148 for overlaps and for a wrong number of tiles.
    """
    kept = [image.blocks() for image in levels]
    for image, blocks in zip(levels, kept, strict=True):
        width, height = image.size
        across = -(-width // image.one(322)), -(-height // image.one(323))
        if len(blocks) != across[0] * across[1]:
            raise unsafe(f"image {image.index} has more or fewer tiles than its size needs")
    ours = np.unique(np.concatenate(kept), axis=0)
    ours = ours[ours[:, 1] > 0]
    others = [image.blocks() for _, image in removed_images(tiff, levels)]
    spans = np.array(tiff.spans, np.uint64)
    theirs = np.unique(np.concatenate([*others, spans]), axis=0)
    theirs = theirs[theirs[:, 1] > 0]
    if (ours > size).any() or (ours.sum(axis=1) > size).any():
        raise PathaiError("E110", "a tile lies past the end of the file")
    theirs = np.minimum(theirs, np.uint64(2**62))
    if _overlap(ours):
        raise unsafe("tiles lie upon one another")
    both = np.concatenate([ours, theirs])
    owner = np.repeat([0, 1], [len(ours), len(theirs)])
    if _overlap(both, owner):
        raise unsafe("tiles of the scan lie upon an image that is to be removed, or upon text")


def _overlap(blocks: NDArray[np.uint64], owner: NDArray[np.int64] | None = None) -> bool:
    """Whether blocks overlap (of different owners, where these are given)."""
    order = np.lexsort((blocks[:, 1], blocks[:, 0]))
    starts = blocks[order, 0].astype(np.int64)
    ends = starts + blocks[order, 1].astype(np.int64)
    if owner is None:
        return bool((starts[1:] < ends[:-1]).any())
    for mine in (0, 1):
        reach = np.maximum.accumulate(np.where(owner[order] == mine, ends, -1))
        other = owner[order] != mine
        if (other[1:] & (starts[1:] < reach[:-1])).any():
            return True
    return False
