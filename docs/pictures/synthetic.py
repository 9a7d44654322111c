"""Draw docs/img/synthetic.png: what the synthetic slides look like, each as a whole and in detail.

Run from anywhere: ``python docs/pictures/synthetic.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pathai.testing.synthetic import HE, KI67, TEST_LOOKS, TRAIN_LOOKS, Recipe, draw

OUT = Path(__file__).resolve().parents[1] / "img" / "synthetic.png"
SIDE, GAP, TITLE, COLORS = 310, 8, 22, 40
PANELS = (
    ("benign, H&E", Recipe(seed=32, tumor=False, look=TRAIN_LOOKS["B"])),
    ("tumor, H&E (outlined above)", Recipe(seed=21, look=TRAIN_LOOKS["A"])),
    ("tumor, Ki-67", Recipe(seed=3, stain=KI67)),
    (
        "pen, blur, fold, bubble; another laboratory",
        Recipe(
            seed=11,
            tumor=False,
            stain=HE,
            look=TEST_LOOKS["A"],
            artefacts=("pen", "blur", "fold", "bubble"),
        ),
    ),
)


def panel(recipe: Recipe) -> tuple[Image.Image, Image.Image]:
    """Return the whole slide with its tumor regions outlined, and a detail at full size."""
    picture, truth = draw(recipe)
    image = Image.fromarray(picture)
    scale = SIDE / max(image.size)
    whole = Image.new("RGB", (SIDE, SIDE), (244, 243, 244))
    small = image.resize((round(image.width * scale), round(image.height * scale)), Image.BOX)
    whole.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    shift = np.array([(SIDE - small.width) // 2, (SIDE - small.height) // 2])
    pen = ImageDraw.Draw(whole)
    for region in truth.regions():
        points = [tuple(p) for p in (region * scale + shift).tolist()]
        pen.line([*points, points[0]], fill=(20, 20, 20), width=1)
    if truth.regions():
        x, y = truth.regions()[0].mean(0)
    elif recipe.artefacts:
        rows, columns = np.nonzero(truth.artefact("bubble"))
        x, y = columns.mean() * truth.map_downsample + 130, rows.mean() * truth.map_downsample
    else:
        x, y = np.median(truth.xy_px0, axis=0)
    left, top = int(x) - SIDE // 2, int(y) - SIDE // 2
    return whole, image.crop((left, top, left + SIDE, top + SIDE))


def palette(panels: list[tuple[Image.Image, Image.Image]]) -> Image.Image:
    """Return a palette with an equal share for each panel, so that brown and green keep theirs."""
    colors: list[int] = []
    for images in panels:
        both = Image.fromarray(np.vstack([np.asarray(image) for image in images]))
        few = both.quantize(COLORS, kmeans=2, dither=Image.Dither.NONE)
        colors += (few.getpalette() or [])[: 3 * COLORS]
    chart = Image.new("P", (1, 1))
    chart.putpalette(colors)
    return chart


def main() -> None:
    """Draw all panels and write the picture with few colors, so that it stays small."""
    panels = [panel(recipe) for _, recipe in PANELS]
    sheet = Image.new(
        "RGB", (len(PANELS) * (SIDE + GAP) + GAP, 2 * (SIDE + GAP) + TITLE + GAP), (255, 255, 255)
    )
    text = ImageDraw.Draw(sheet)
    for column, (title, _) in enumerate(PANELS):
        x = GAP + column * (SIDE + GAP)
        text.text((x, 4), title, fill=(30, 30, 30), font=ImageFont.load_default(14))
        for row, image in enumerate(panels[column]):
            sheet.paste(image, (x, TITLE + GAP + row * (SIDE + GAP)))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(palette=palette(panels), dither=Image.Dither.NONE).save(OUT, optimize=True)


if __name__ == "__main__":
    main()
