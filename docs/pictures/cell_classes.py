"""Draws docs/img/cell-classes.png: classes of nuclei on a real slide that no model has seen.

    python docs/pictures/cell_classes.py [--data ../shared/data] [--model shipped]

Above, the crop of H&E as it is; below, each outline in the color of its class. Nobody has
classified these nuclei: the picture is to be looked at, it measures nothing.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tiffslide import TiffSlide

from pathai.cell_classes import CLASSES, classify, open_model
from pathai.detectors.classical import Classical
from pathai.geojson import color_of
from pathai.morphometry import measure
from pathai.resample import area_reduce, reduction
from pathai.stain import slide_background, stain_matrix
from pathai.units import Mpp

ROOT = Path(__file__).resolve().parents[2]
SLIDE, WORK_MPP, ZOOM = "OS-1-detail_HE.ome.tif", 0.5, 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--model", default="shipped")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img" / "cell-classes.png")
    arguments = parser.parse_args()
    with TiffSlide(arguments.data / "slides" / SLIDE) as slide:
        mpp = Mpp(*(float(slide.properties[f"tiffslide.mpp-{axis}"]) for axis in "xy"))
        whole = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    factor = reduction(mpp, WORK_MPP)
    size = (int(whole.shape[1] / factor[0]), int(whole.shape[0] / factor[1]))
    rgb = area_reduce(np.ascontiguousarray(whole), factor, (0, 0), (0, 0), size)
    at = Mpp(mpp.x * factor[0], mpp.y * factor[1])
    background = slide_background(rgb, stain_matrix("H&E"))
    found = Classical(background=background).detect(rgb, at)
    measures = measure(rgb, at, background, found)
    model = open_model(arguments.model, "H&E")
    class_, prob = classify(found.centers * [at.x, at.y], measures, model)
    picture = Image.fromarray(rgb).resize((size[0] * ZOOM, size[1] * ZOOM), Image.BICUBIC)
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    for i, (start, stop) in enumerate(
        zip(found.outline_start[:-1], found.outline_start[1:], strict=True)
    ):
        points = [tuple(p) for p in (found.outline[start:stop] * ZOOM).tolist()]
        pen.line([*points, points[0]], fill=color_of(CLASSES[class_[i]]), width=2)
    sheet = Image.new("RGB", (2 * picture.width + 8, picture.height + 26), (255, 255, 255))
    sheet.paste(picture, (0, 26))
    sheet.paste(drawn, (picture.width + 8, 26))
    text, x = ImageDraw.Draw(sheet), picture.width + 12
    for name, number in zip(CLASSES, np.bincount(class_, minlength=len(CLASSES)), strict=True):
        label = f"{name} {number}"
        text.text(
            (x, 4),
            label,
            fill=color_of(name) if number else (90, 90, 90),
            font=ImageFont.load_default(15),
        )
        x += 12 * len(label)
    sheet.quantize(96, dither=Image.Dither.NONE).save(arguments.out, optimize=True)
    print(
        f"{len(class_)} nuclei, mean probability of the class given {prob.max(axis=1).mean():.2f}"
    )


if __name__ == "__main__":
    main()
