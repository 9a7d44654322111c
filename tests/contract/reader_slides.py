"""The slides of the readers' contract, and which reader opens which."""

from pathlib import Path

import numpy as np
from slide_cases import (
    coordinates,
    write_aperio,
    write_generic,
    write_leica,
    write_mirax,
    write_ome,
)

DICOM = "slides/dicom-cmu-jpeg/1.2.826.0.1.3680043.8.498."
BOTH = ("openslide", "tiffslide")
ALL = (*BOTH, "tiled-tiff")
PLAIN = ("tiffslide", "tiled-tiff")
"""Tiled, of a kind that openslide does not read."""
REAL = {
    "slides/CMU-1-Small-Region.svs": ALL,
    "slides/CMU-1-Small-Region.jpeg.tiff": ALL,
    "slides/CMU-1-Small-Region.jp2.tiff": PLAIN,
    "slides/CMU-1-Small-Region.webp.tiff": PLAIN,
    "slides/TCGA-CR-7395-01A-01-TS1.svs": ALL,
    "slides/li_yb10kx5k.zstd.tiff": ALL,
    "slides/test3-TRITC 2 (560).ndpi": BOTH,
    "slides/camelyon_overview_jpeg.dcm": ("openslide",),
    "slides/camelyon_overview_jpeg2000.dcm": ("openslide",),
    f"{DICOM}46702941076792458794464453066648511350.dcm": ("openslide",),
    f"{DICOM}58740178995208579534253317996600852419.dcm": ("openslide",),
    f"{DICOM}59138772023963819382497555356965497339.dcm": ("openslide",),
    f"{DICOM}59317222794345851838438403002169487918.dcm": ("openslide",),
    "slides/OS-1-detail_HE.ome.tif": PLAIN,
    "slides/OS-2-ndpi_Ki67.ome.tif": PLAIN,
    "slides/xyc/XYC_zlib.ome.tiff": PLAIN,
    "slides/xyc/XYC_lzw.ome.tiff": PLAIN,
    "slides/xyc/XYC_jpeg.ome.tiff": PLAIN,
    "slides/xyc/XYC-half-mpp.tiff": ("tiffslide",),
    "slides/xyc/XYC.png": (),
    "slides/li_grey10kx5k.tif": (),
    "slides/li_small_la.tiff": (),
}
"""Every file below ``slides/``, and the readers that read it as it is."""

OTHERWISE = {
    ("slides/li_small_la.tiff", "openslide"),  # gray shown in color; refused before it is opened
    ("levels.ome.tif", "openslide"),  # without levels and mpp
    ("regions.scn", "tiffslide"),  # the overview of the glass
}
"""Opened, but not as they are; that reader is never chosen for them."""

_IMAGE = coordinates(900, 1100)
_HALF = np.ascontiguousarray(_IMAGE[::2, ::2])
_QUARTER = np.ascontiguousarray(_IMAGE[::4, ::4])


def _unordered(path: Path) -> Path:
    return write_generic(path, [_IMAGE, _QUARTER, _HALF])


def _planar(path: Path) -> Path:
    plane = np.ascontiguousarray(np.moveaxis(_IMAGE, 2, 0))
    return write_generic(path, [plane], planarconfig="separate")


def _blocks(path: Path) -> Path:
    small = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    return write_mirax(path, small.repeat(64, 0).repeat(64, 1), 4, 4, holes={(1, 1)})


MADE = {
    "aperio.svs": (lambda p: write_aperio(p, [_IMAGE, _QUARTER]), ALL),
    "generic.tif": (lambda p: write_generic(p, [_IMAGE, _HALF, _QUARTER]), ALL),
    "big.tif": (lambda p: write_generic(p, [_IMAGE, _HALF], bigtiff=True), ALL),
    "unordered.tif": (_unordered, ALL),
    "planar.tif": (_planar, ("openslide",)),
    "lzw.tif": (lambda p: write_generic(p, [_IMAGE], compression="lzw"), ALL),
    "plain.tif": (lambda p: write_generic(p, [_IMAGE], compression=None), ALL),
    "webp.tif": (lambda p: write_generic(p, [_IMAGE], compression="webp"), PLAIN),
    "levels.ome.tif": (lambda p: write_ome(p, _IMAGE, 0.25, 0.25, levels=3), PLAIN),
    "regions.scn": (
        lambda p: write_leica(p, [(coordinates(512, 768), 500, 600, 20), (_IMAGE, 1500, 1200, 20)]),
        ("openslide",),
    ),
    "blocks.mrxs": (_blocks, ("openslide",)),
}
"""Slides written for the test: how, and which readers read them as they are."""

OPENED = {**REAL, **{name: readers for name, (_, readers) in MADE.items()}}
PAIRS = [(name, reader) for name, readers in OPENED.items() for reader in readers]
SHARED = [name for name, readers in OPENED.items() if len(readers) > 1]


def short(name: str) -> str:
    """A slide's name as it appears in a test's id."""
    return Path(name).name[-24:].replace(" ", "-")


class Shelf:
    """Real slides where they lie, made ones where they are put on first use."""

    def __init__(self, folder: Path, real: Path | None) -> None:
        self.folder, self.real = folder, real

    def path(self, name: str) -> Path:
        """The file of a slide; None of the real ones without the data."""
        if name in REAL:
            assert self.real is not None
            return self.real / name
        path = self.folder / name
        return path if path.exists() else MADE[name][0](path)
