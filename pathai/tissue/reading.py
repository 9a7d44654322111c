"""A small image of the whole slide, read once, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.units import Box, Mpp, Size

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
Read = Callable[[Box, int], tuple[Pixels, Mask]]
Levels = Sequence[tuple[Size, float]]

BLOCK_PX = 2048
"""Edge of what is read at once, px of the level read."""
FINE_UM = 4.0
"""µm per px at which blur, folds and bubbles are sought."""
SLACK = 1.25
"""A level may be coarser than wanted by this factor."""


@dataclass(frozen=True)
class Overview:
    """A small image of the whole slide.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Mean of the valid pixels below each map pixel; white where there are none.
    valid : float32[h, w]
        Share of valid pixels.
    downsample : float
        Level-0 px per map px.
    mpp : Mpp
        µm per map px.
    edge : (float, float)
        Share of the last column and row that lies on the slide.
    fine : uint8[h * zoom, w * zoom, 3] or None
        The same at about `FINE_UM`; may lack rows and columns beyond the slide; None where it was
        not read.
    zoom : int
        Pixels of ``fine`` per map px along one axis.
    """

    rgb: Pixels
    valid: Floats
    downsample: float
    mpp: Mpp
    edge: tuple[float, float] = (1.0, 1.0)
    fine: Pixels | None = None
    zoom: int = 1


def overview(read: Read, levels: Levels, mpp: Mpp, target_um: float) -> Overview:
    """Reduce a slide to about ``target_um`` per pixel, in bounded memory.

    Starts from the coarsest level that is fine enough and takes means over whole pixels; a slide
    of one level is streamed block by block.

    Parameters
    ----------
    read : callable
        Box (level-0 px) and level to pixels and their validity.
    levels : sequence of (Size, float)
        Size and downsample of each level.
    mpp : Mpp
        µm per level-0 px.
    target_um : float
        Wanted µm per map px.

    Returns
    -------
    Overview
        Unreadable blocks are invalid, not an error.
    """
    level = coarsest(levels, mpp, target_um)
    size, downsample = levels[level]
    here_um = downsample * mpp.mean
    # The map's pixels are whole fine pixels, these are whole pixels of the level.
    zoom = max(1, round(target_um / FINE_UM)) if here_um <= FINE_UM * SLACK else 0
    small = max(1, round(target_um / (zoom or 1) / here_um))
    factor = small * (zoom or 1)
    shape = -(-size.height // factor), -(-size.width // factor)
    rgb = np.zeros((*shape, 3), np.uint8)
    valid = np.zeros(shape, np.float32)
    fine = np.zeros((-(-size.height // small), -(-size.width // small), 3), np.uint8)
    step = max(BLOCK_PX // factor, 1) * factor
    for place in blocks(0, 0, size.width, size.height, step):
        for (left, top), pixels, known in readable(read, levels, level, place, factor):
            mean, share = reduced(pixels, known, factor)
            put(rgb, mean, left // factor, top // factor)
            put(valid, share, left // factor, top // factor)
            if zoom:
                part = reduced(pixels, known, small)[0]
                if part.shape == fine.shape:
                    fine = part  # all of it at once: not copied
                else:
                    put(fine, part, left // small, top // small)
    lost = valid == 0
    if lost.any():
        rgb[lost] = 255
        fine[lost.repeat(zoom or 1, 0).repeat(zoom or 1, 1)[: len(fine), : fine.shape[1]]] = 255
    total = downsample * factor
    edge = (size.width / factor - shape[1] + 1, size.height / factor - shape[0] + 1)
    return Overview(rgb, valid, total, mpp.scaled(total), edge, fine if zoom else None, zoom or 1)


def coarsest(levels: Levels, mpp: Mpp, target_um: float) -> int:
    """The coarsest level of at most ``target_um`` per px or a little more; level 0 if none is."""
    fits = [k for k, (_, d) in enumerate(levels) if d * mpp.mean <= target_um * SLACK]
    return max(fits, key=lambda k: levels[k][1], default=0)


def put(whole: NDArray[np.generic], part: NDArray[np.generic], left: int, top: int) -> None:
    """Copy a part to its place; what would reach over the end is left out."""
    place = whole[top : top + part.shape[0], left : left + part.shape[1]]
    place[...] = part[: place.shape[0], : place.shape[1]]


Rectangle = tuple[int, int, int, int]


def blocks(x: int, y: int, width: int, height: int, step: int) -> Iterator[Rectangle]:
    """Left, top, width, height of squares that cover a rectangle, row by row."""
    for top in range(y, y + height, step):
        for left in range(x, x + width, step):
            yield left, top, min(step, x + width - left), min(step, y + height - top)


def readable(
    read: Read, levels: Levels, level: int, place: Rectangle, factor: int
) -> Iterator[tuple[tuple[int, int], Pixels, Mask]]:
    """Parts of a block that can be read; what cannot be read at 128 px or so is left out."""
    x, y, width, height = place
    size, whole = levels[level][0], levels[0][0]
    rx, ry = whole.width / size.width, whole.height / size.height
    try:
        pixels, known = read(Box(x * rx, y * ry, width * rx, height * ry), level)
    except PathaiError as error:
        if error.code != "E162":
            raise
        smallest = max(128 // factor, 1) * factor
        if max(width, height) > smallest:
            step = max(max(width, height) // 4 // factor * factor, smallest)
            for part in blocks(*place, step):
                yield from readable(read, levels, level, part, factor)
    else:
        yield (x, y), pixels, known


def reduced(pixels: Pixels, known: Mask, factor: int) -> tuple[Pixels, Floats]:
    """Means over ``factor`` x ``factor`` valid pixels; a partial last row counts what it has.

    Parameters
    ----------
    pixels : uint8[h, w, 3]
        Image.
    known : bool[h, w]
        Which pixels are valid.
    factor : int
        Pixels per pixel of the result along one axis.

    Returns
    -------
    pixels : uint8[ceil(h / factor), ceil(w / factor), 3]
        White where no pixel is valid.
    share : float32[ceil(h / factor), ceil(w / factor)]
        Share of valid pixels.
    """
    height, width = known.shape
    if known.all():
        shape = -(-height // factor), -(-width // factor)
        return shrunk(pixels, factor), np.ones(shape, np.float32)
    pad = (0, -height % factor), (0, -width % factor)
    inside = np.pad(np.ones_like(known), pad).astype(np.uint32)
    weight = np.pad(known, pad).astype(np.uint32)
    split = inside.shape[0] // factor, factor, inside.shape[1] // factor, factor
    count = weight.reshape(split).sum(axis=(1, 3))
    out = np.full((split[0], split[2], 3), 255, np.uint8)
    for channel in range(3):
        plane = np.pad(pixels[..., channel] * known, pad).reshape(split)
        sums = plane.sum(axis=(1, 3), dtype=np.uint32)
        mean = (sums + count // 2) // np.maximum(count, 1)
        out[..., channel] = np.where(count > 0, mean, 255)
    share = count / np.maximum(inside.reshape(split).sum(axis=(1, 3)), 1)
    return out, share.astype(np.float32)


def shrunk(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Means over ``factor`` x ``factor`` pixels of an image of one or three channels."""
    if factor == 1:
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).reduce(factor))


def dark_background(view: Overview) -> bool:
    """Whether the slide is bright on dark (fluorescence), which bright-field rules cannot read."""
    few = slice(None, None, 3)  # shares need no more
    seen = view.rgb[few, few][view.valid[few, few] > 0.5]
    if not len(seen):
        return False
    top, low = spread(seen)
    return bool((top < 70).mean() > 0.5 and (low > 150).mean() < 0.05)


def spread(rgb: Pixels) -> tuple[Pixels, Pixels]:
    """Brightest and darkest channel of each pixel, ``uint8[...]`` each."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    top = np.maximum(np.maximum(red, green), blue)
    return top, np.minimum(np.minimum(red, green), blue)


def with_fine(
    view: Overview, read: Read, levels: Levels, mpp: Mpp, where: Mask, block: int = 32
) -> Overview:
    """The overview with its fine image, read from a finer level only around ``where``.

    Parameters
    ----------
    view : Overview
        As read; returned as it is if it has a fine image or no level is fine enough.
    read, levels, mpp
        As in `overview`.
    where : bool[h, w]
        Map pixels that are of interest.
    block : int
        Map pixels along one edge of what is read at once.

    Returns
    -------
    Overview
        ``fine`` holds enlarged map pixels where nothing was read or could be read.
    """
    level = coarsest(levels, mpp, FINE_UM)
    if view.fine is not None or levels[level][1] * mpp.mean > FINE_UM * SLACK:
        return view
    size, downsample = levels[level]
    zoom = max(1, round(view.mpp.mean / FINE_UM))
    height, width = where.shape
    fine = view.rgb.repeat(zoom, axis=0).repeat(zoom, axis=1)
    step = view.downsample / downsample
    for left, top, across, down in blocks(0, 0, width, height, block):
        if not where[top : top + down, left : left + across].any():
            continue
        x, y = round(left * step), round(top * step)
        right, bottom = round((left + across) * step), round((top + down) * step)
        place = x, y, min(right, size.width) - x, min(bottom, size.height) - y
        out = round(place[2] / step * zoom), round(place[3] / step * zoom)
        if min(*place[2:], *out) < 1:
            continue
        for (there_x, there_y), pixels, _ in readable(read, levels, level, place, 1):
            if (there_x, there_y) != (x, y) or pixels.shape[:2] != (place[3], place[2]):
                continue  # part of a damaged block: no detail there
            put(fine, _resized(pixels, *out), left * zoom, top * zoom)
    return replace(view, fine=fine, zoom=zoom)


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    from PIL import Image

    if pixels.shape[1] % width == 0 and pixels.shape[1] // width == pixels.shape[0] / height:
        return shrunk(pixels, pixels.shape[1] // width)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))
