"""A slide's folder as ingest and tile leave it, made from an array."""

from pathlib import Path

import numpy as np
from store_cases import store

from pathai.store.folders import SlideFolder, write_slide_info
from pathai.store.pyramid import write_tissue
from pathai.store.records import SlideInfo, TissueMap
from pathai.units import Box, Mpp, Size


def make_folder(
    path: Path, image: np.ndarray, mpp: Mpp, classes: np.ndarray | None = None, stain: str = "H&E"
) -> SlideFolder:
    """``classes`` has one value per 16 x 16 px of the image; all tissue when left out."""
    path.mkdir(parents=True)
    folder = SlideFolder(path)
    height, width = image.shape[:2]
    if classes is None:
        classes = np.ones((-(-height // 16), -(-width // 16)), np.uint8)
    tissue = TissueMap(classes, 16.0, mpp.scaled(16))
    info = SlideInfo(
        slide_id=path.name, sha256="0" * 64, width=width, height=height, mpp_x=mpp.x, mpp_y=mpp.y,
        mpp_source="file", reader="openslide", level_downsamples=(1.0,), stain=stain,
    )  # fmt: skip

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        x, y, w, h = (int(v) for v in (box.x, box.y, box.width, box.height))
        part = image[y : y + h, x : x + w]
        return part, np.ones(part.shape[:2], bool)

    write_slide_info(folder.slide_json, info)
    store(folder.tiles, read, Size(width, height), mpp, tissue)
    write_tissue(folder.tissue, tissue)
    return folder
