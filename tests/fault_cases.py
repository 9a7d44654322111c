"""Slides with one fault each, after the fault catalogue: how each is made.

A maker gets a folder and the bytes of a good slide, and returns the faulty one.
"""

import contextlib
import gzip
import os
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile
from dicom_cases import COPY, LABEL, OVERVIEW, write_dicom
from slide_cases import write_aperio, write_generic, write_leica, write_mirax, write_ome

from pathai.testing.aperio import Scanner, write_svs

PX = 960
ACROSS = PX // 240
TISSUE_TILE, GLASS_TILE = ACROSS + 1, ACROSS + 3


@dataclass(frozen=True)
class Faulty:
    """A slide as the sheet would name it."""

    path: Path
    mpp: float | None = None
    sha256: str = ""
    stain: str = "H&E"
    config: dict = field(default_factory=dict)
    during: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext


def picture(tissue: float = 0.5) -> np.ndarray:
    """Stained texture on the left, glass on the right, uint8[PX, PX, 3]."""
    rng = np.random.default_rng(3)
    image = rng.normal((203, 140, 186), 14, (PX, PX, 3))
    edge = round(PX * tissue)
    image[:, edge:] = rng.normal(243, 1, (PX, PX - edge, 3))
    return image.clip(0, 255).astype(np.uint8)


def good(path: Path) -> bytes:
    """The slide that most faults are made from: Aperio, 0.5 µm/px, 16 JPEG tiles."""
    write_svs(path, picture(), 0.5)
    return path.read_bytes()


def put(folder: Path, content: bytes, name: str = "fault.svs") -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(content)
    return path


def patched(folder: Path, content: bytes, tag: int, value: int, index: int = 0) -> Path:
    """Overwrite one element of a whole-number tag of the first image."""
    path = put(folder, content)
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[0].tags[tag]
        place, kind = found.valueoffset, {3: "<H", 4: "<I"}[int(found.dtype)]
    with path.open("r+b") as file:
        file.seek(place + index * struct.calcsize(kind))
        file.write(struct.pack(kind, value))
    return path


def spoiled(folder: Path, content: bytes, tiles: Iterator[int] | list[int], byte: int) -> Path:
    """Overwrite whole tiles of the first image with one byte."""
    path = put(folder, content)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        places = [(page.dataoffsets[i], page.databytecounts[i]) for i in tiles]
    with path.open("r+b") as file:
        for offset, count in places:
            file.seek(offset)
            file.write(bytes([byte]) * count)
    return path


def growing(folder: Path, content: bytes) -> Faulty:
    """A copy in progress: the file's time moves on while it is read."""
    path = put(folder, content)
    os.truncate(path, 600 * 2**20)  # sparse: long enough to be read while it changes

    @contextlib.contextmanager
    def during() -> Iterator[None]:
        done = threading.Event()

        def touch() -> None:
            while not done.wait(0.005):
                os.utime(path)

        thread = threading.Thread(target=touch)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    return Faulty(path, during=during)


def zipped(folder: Path, content: bytes) -> Path:
    """A slide in an archive of the wrong name."""
    path = folder / "fault.svs"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("slide.svs", content)
    return path


def gzipped(folder: Path, content: bytes) -> Path:
    """A slide in another kind of archive."""
    return put(folder, gzip.compress(content, 1))


def looped(folder: Path, content: bytes) -> Path:
    """The first directory names itself as the next."""
    path = put(folder, content)
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].offset, len(tiff.pages[0].tags)
    with path.open("r+b") as file:
        file.seek(start + 2 + 12 * count)
        file.write(struct.pack("<I", start))
    return path


def directories(folder: Path, count: int) -> Path:
    """A TIFF of many tiny images, one after the other."""
    tags = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, 8), (277, 3, 1, 3), (279, 4, 1, 0)]  # fmt: skip
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    size = len(body) + 4
    parts = [b"II*\0" + struct.pack("<I", 8)]
    parts += [body + struct.pack("<I", 8 + (i + 1) * size) for i in range(count - 1)]
    return put(folder, b"".join([*parts, body, bytes(4)]))


def small_tiff(folder: Path, image: np.ndarray, name: str = "fault.tif", **options) -> Path:
    """A tiled TIFF at 0.5 µm/px."""
    scale = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    settings = {"tile": (256, 256), "metadata": None, "compression": "zlib", **scale, **options}
    tifffile.imwrite(folder / name, image, **settings)
    return folder / name


def compressed(folder: Path, code: int) -> Path:
    """Tiles in a compression that is not in use for slides."""
    path = small_tiff(folder, picture(), photometric="rgb")
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags[259].valueoffset
    with path.open("r+b") as file:
        file.seek(place)
        file.write(struct.pack("<H", code))
    return path


def bomb(folder: Path) -> Path:
    """One tile of 16,384 x 16,384 px that packs into less than 1 MB."""
    image = np.zeros((16_384, 16_384, 3), np.uint8)
    return small_tiff(folder, image, photometric="rgb", tile=(16_384, 16_384))


def far(folder: Path) -> Path:
    """A BigTIFF whose last tile lies behind 4 GB of nothing."""
    path = small_tiff(folder, picture(1.0), photometric="rgb", bigtiff=True, compression=None)
    with tifffile.TiffFile(path) as tiff:
        tag, offset = tiff.pages[0].tags[324], tiff.pages[0].dataoffsets[-1]
        count, number = tiff.pages[0].databytecounts[-1], len(tiff.pages[0].dataoffsets)
    place = 2**32 + 4096
    with path.open("r+b") as file:
        file.seek(offset)
        data = file.read(count)
        file.seek(offset)
        file.write(bytes(count))
        file.seek(place)
        file.write(data)
        file.seek(tag.valueoffset + (number - 1) * 8)
        file.write(struct.pack("<Q", place))
    return path


def with_mpp(folder: Path, text: str, **tags: str) -> Path:
    """An Aperio slide whose description says ``MPP = text``."""
    return write_aperio(folder / "fault.svs", [picture()], mpp=text, **tags)


def scaled(folder: Path, unit: str, value: int, down: int = 0) -> Path:
    """A generic pyramid with resolution tags."""
    resolution = {"resolution": (value, down or value), "resolutionunit": unit}
    return write_generic(folder / "fault.tif", [picture()], **resolution)


def odd_levels(folder: Path) -> Path:
    """Lower levels that are 2.001 and 4.004 times smaller."""
    image = picture(1.0)[:901, :901]
    levels = [image, image[::2, ::2][:450, :450], image[::4, ::4][:225, :225]]
    return write_aperio(folder / "fault.svs", [np.ascontiguousarray(v) for v in levels])


def unordered(folder: Path) -> Path:
    """Lower levels out of order, each marked as reduced."""
    levels = [picture()[::k, ::k] for k in (1, 4, 2)]
    scale = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    path = folder / "fault.tif"
    return write_generic(path, [np.ascontiguousarray(v) for v in levels], **scale)


def label_alone(folder: Path) -> Path:
    """What is left of a slide when only its label was copied out."""
    path = folder / "fault.svs"
    label = np.full((463, 387, 3), 240, np.uint8)
    tifffile.imwrite(path, label, photometric="rgb", subfiletype=1, metadata=None,
                     description="Aperio Image Library v11\r\nlabel 387x463")  # fmt: skip
    return path


def leica(folder: Path, objectives: tuple[int, ...]) -> Path:
    """Regions at places of their own on the glass."""
    image = np.ascontiguousarray(picture(1.0)[:512, :768])
    places = ((500, 600), (2000, 1200))
    regions = [(image, *places[i], power) for i, power in enumerate(objectives)]
    return write_leica(folder / "fault.scn", regions)


def mirax(folder: Path, lost: str) -> Path:
    """A MIRAX slide without one of its files (or without its folder, ``""``)."""
    import shutil

    path = write_mirax(folder / "fault.mrxs", picture(1.0)[:512, :512], 4, 4)
    if lost:
        (folder / "fault" / lost).unlink()
    else:
        shutil.rmtree(folder / "fault")
    return path


def dicom(folder: Path, what: str) -> Path:
    """A DICOM series with something missing or mixed in."""
    path = folder / "fault.dcm"
    if what == "part":
        return write_dicom(path, "1.1", parts="7", part=1, parts_of=2, frames=4)
    if what == "full resolution":
        return write_dicom(path, "1.1", COPY)
    if what == "label":
        write_dicom(folder / "other.dcm", "1.2", OVERVIEW)
        return write_dicom(path, "1.1", LABEL)
    write_dicom(folder / "other.dcm", "1.2", place="8")
    return write_dicom(path, "1.1")


def clear_area(folder: Path) -> Path:
    """A quarter is transparent and black beneath."""
    image = np.dstack([picture(1.0), np.full((PX, PX), 255, np.uint8)])
    image[: PX // 2, : PX // 2] = 0
    return small_tiff(folder, image, photometric="rgb", extrasamples=["unassalpha"])


def colored(folder: Path) -> Path:
    """With a color profile."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return small_tiff(folder, picture(), photometric="rgb", iccprofile=profile)


def painted(folder: Path, image: np.ndarray) -> Path:
    """A slide of one level that shows a given picture."""
    write_svs(folder / "fault.svs", image, 0.5, Scanner(steps=()))
    return folder / "fault.svs"


def one_tile(folder: Path) -> Path:
    """Tissue of 200 x 200 px on clean glass."""
    image = picture(0.0)
    image[300:500, 300:500] = picture(1.0)[300:500, 300:500]
    return painted(folder, image)


def pen(folder: Path) -> Path:
    """Strokes of a green marker on glass without tissue."""
    image = picture(0.0)
    for row in (200, 500, 800):
        image[row : row + 60, 100:800] = (60, 150, 90)
    return painted(folder, image)


def ome(folder: Path) -> Path:
    """0.5 µm across, 0.52 down."""
    return write_ome(folder / "fault.ome.tif", picture(), 0.5, 0.52)
