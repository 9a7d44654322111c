"""Small slides of every layout, written for tests: what each pixel must be is known."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

TILED = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib", "metadata": None}


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture in which every pixel tells its x and y (up to 4096), uint8[h, w, 3]."""
    image = np.empty((height, width, 3), np.uint8)
    x, y = np.arange(width), np.arange(height)[:, None]
    image[..., 0], image[..., 1] = x % 256, y % 256
    image[..., 2] = x // 256 + 16 * (y // 256)
    return image


def ramp(height: int, width: int, across: float, down: float) -> np.ndarray:
    """Red rises by ``across`` per px along x, green by ``down`` along y."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.rint(np.arange(width) * across)
    image[..., 1] = np.rint(np.arange(height) * down)[:, None]
    return image


def write_aperio(path: Path, levels: list[np.ndarray], mpp: str = "0.4990", **tags) -> Path:
    """An Aperio pyramid of given level images (level 0 first)."""
    height, width = levels[0].shape[:2]
    text = f"Aperio Image Library v1\r\n{width}x{height} [0,0 {width}x{height}] (240x240)"
    text += f"|AppMag = 20|MPP = {mpp}"
    text += "".join(f"|{key} = {value}" for key, value in tags.items())
    text = text.encode("latin-1")  # as scanners write it
    options = {**TILED, "tile": (240, 240), "description": text}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(levels[0], **options)
        thumbnail = np.ascontiguousarray(levels[-1][::4, ::4])
        tiff.write(thumbnail, photometric="rgb", metadata=None, description=text)
        for level in levels[1:]:
            tiff.write(level, **options)
    return path


def write_generic(path: Path, levels: list[np.ndarray], **options) -> Path:
    """A generic tiled pyramid; lower levels are marked as reduced."""
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False)) as tiff:
        for number, level in enumerate(levels):
            kind = {"subfiletype": 1} if number else {}
            tiff.write(level, **{**TILED, **options, **kind})
    return path


def write_ome(path: Path, image: np.ndarray, mpp_x: float, mpp_y: float, levels: int = 1) -> Path:
    """A tiled OME-TIFF; lower levels, each a plain half, lie in sub-directories."""
    metadata = {"axes": "YXS", "PhysicalSizeX": mpp_x, "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": mpp_y, "PhysicalSizeYUnit": "µm"}  # fmt: skip
    options = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(image, subifds=levels - 1, metadata=metadata, **options)
        for k in range(1, levels):
            small = np.ascontiguousarray(image[:: 2**k, :: 2**k])
            tiff.write(small, subfiletype=1, metadata=None, **options)
    return path


_SCN = """<?xml version="1.0"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="Slide" \
uuid="urn:uuid:1" sizeX="{width}" sizeY="{height}"><barcode>Q0FOQVJZ</barcode>{images}\
</collection></scn>"""
_SCN_IMAGE = """<image name="{name}" uuid="urn:uuid:{name}"><creationDate>2031-05-17T10:11:12Z\
</creationDate><device model="Leica SCN400;Leica SCN" version="1.5" /><pixels sizeX="{w}" \
sizeY="{h}">{levels}</pixels><view sizeX="{vw}" sizeY="{vh}" offsetX="{x}" offsetY="{y}" />\
<scanSettings><objectiveSettings><objective>{objective}</objective></objectiveSettings>\
<illuminationSettings><numericalAperture>0.4</numericalAperture><illuminationSource>brightfield\
</illuminationSource></illuminationSettings></scanSettings></image>"""


def write_leica(path: Path, regions: list[tuple[np.ndarray, int, int, int]]) -> Path:
    """A Leica SCN of regions (image, x and y on the glass in µm, objective) at 0.5 µm/px.

    The glass is 4000 x 3000 µm, its overview 400 x 300 px.
    """
    nm = 500
    macro = np.full((300, 400, 3), 230, np.uint8)
    images, ifd, pages = "", 0, [macro]
    whole = {"vw": 4_000_000, "vh": 3_000_000, "x": 0, "y": 0}
    level = '<dimension sizeX="{}" sizeY="{}" r="{}" ifd="{}" />'
    images += _SCN_IMAGE.format(name="macro", w=400, h=300, objective=0.6, **whole,
                                levels=level.format(400, 300, 0, 0))  # fmt: skip
    for number, (image, x, y, objective) in enumerate(regions):
        height, width = image.shape[:2]
        small = np.ascontiguousarray(image[::4, ::4])
        ifd = len(pages)
        pages += [image, small]
        images += _SCN_IMAGE.format(
            name=f"r{number}", w=width, h=height, vw=width * nm, vh=height * nm, x=x * 1000,
            y=y * 1000, objective=objective,
            levels=level.format(width, height, 0, ifd)
            + level.format(small.shape[1], small.shape[0], 1, ifd + 1),
        )  # fmt: skip
    text = _SCN.format(width=4_000_000, height=3_000_000, images=images)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, page in enumerate(pages):
            extra = {"description": text} if number == 0 else {}
            scale = 1e7 / nm / (4 if number > 1 and number % 2 == 0 else 1)  # px per cm
            scaled = {"resolution": (scale, scale), "resolutionunit": "CENTIMETER"}
            tiff.write(page, **{**TILED, **scaled, **extra})
    return path


def write_mirax(path: Path, picture: np.ndarray, across: int, down: int, holes=()) -> Path:
    """A MIRAX slide: ``across`` x ``down`` JPEG tiles of equal size, some of them not scanned.

    Two zoom levels; nothing overlaps.
    """
    folder = path.with_suffix("")
    folder.mkdir()
    path.write_bytes(bytes(imagecodecs.jpeg8_encode(np.full((8, 8, 3), 200, np.uint8))))
    height, width = picture.shape[0] // down, picture.shape[1] // across
    data, records = bytearray(), ([], [])
    for row in range(down):
        for column in range(across):
            if (column, row) in holes:
                continue
            rows, columns = slice(row * height, (row + 1) * height), slice(column * width, None)
            tile = np.ascontiguousarray(picture[rows, columns][:, :width])
            for zoom, levels in enumerate(records):
                if zoom and (row % 2 or column % 2):
                    continue  # one stored picture covers 2 x 2 tiles of zoom 0
                if zoom:
                    block = picture[row * height : (row + 2) * height]
                    block = block[:, column * width : (column + 2) * width]
                    tile = np.ascontiguousarray(block[::2, ::2])
                code = bytes(imagecodecs.jpeg8_encode(tile, level=100, subsampling="444"))
                levels.append((row * across + column, len(data), len(code)))
                data += code
    (folder / "Data0000.dat").write_bytes(data)
    identity = "CANARY0123456789"
    (folder / "Index.dat").write_bytes(_mirax_index(identity, records))
    (folder / "Slidedat.ini").write_text(
        _mirax_ini(identity, across, down, width, height), "utf-8-sig"
    )
    return path


def _mirax_index(identity: str, records: tuple[list, ...]) -> bytes:
    head = b"01.02" + identity.encode()
    at = len(head) + 8  # two pointers: zoom levels, and other layers
    table, lists = bytearray(), bytearray()
    base = at + 4 * len(records)
    for levels in records:
        start = base + len(lists)
        table += struct.pack("<i", start)
        lists += struct.pack("<ii", 0, start + 8)  # an empty page, then the real one
        lists += struct.pack("<ii", len(levels), 0)
        for image, offset, length in levels:
            lists += struct.pack("<iiii", image, offset, length, 0)
    return head + struct.pack("<ii", at, base + len(lists)) + table + lists + bytes(64)


def _mirax_ini(identity: str, across: int, down: int, width: int, height: int) -> str:
    zooms = ""
    for zoom in range(2):
        zooms += f"""
[LEVEL_{zoom}]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {0.25 * 2**zoom}
MICROMETER_PER_PIXEL_Y = {0.26 * 2**zoom}
IMAGE_FORMAT = JPEG
IMAGE_FILL_COLOR_BGR = 16777215
DIGITIZER_WIDTH = {width}
DIGITIZER_HEIGHT = {height}
IMAGE_CONCAT_FACTOR = {min(zoom, 1)}
"""
    return f"""[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = {identity}
IMAGENUMBER_X = {across}
IMAGENUMBER_Y = {down}
OBJECTIVE_MAGNIFICATION = 20
CameraImageDivisionsPerSide = 1
[HIERARCHICAL]
HIER_COUNT = 1
NONHIER_COUNT = 0
INDEXFILE = Index.dat
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 2
HIER_0_VAL_0_SECTION = LEVEL_0
HIER_0_VAL_1_SECTION = LEVEL_1
[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat
{zooms}"""
