"""Draw docs/img/cells.png: the nuclei of every real slide that has some; count them.

    python docs/pictures/cells.py [--data ../shared/data]

Each slide goes through ``pathai ingest``, ``tile`` and ``cells``, as on the command line. The
picture shows a field of each with its outlines, beside the field as it is; the JSON what was
counted, with intervals. The network saw these slides without labels; nobody has counted them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pathai.store.folders import SlideFolder
from pathai.units import Box

ROOT = Path(__file__).resolve().parents[2]
PATHAI = Path(sys.executable).with_name("pathai")
DICOM = "dicom-cmu-jpeg/1.2.826.0.1.3680043.8.498.46702941076792458794464453066648511350.dcm"
SLIDES = (
    ("CMU-1", "CMU-1-Small-Region.svs", "H&E", (0.47, 0.26)),
    ("CMU-1, DICOM", DICOM, "H&E", (0.52, 0.73)),
    ("OS-1", "OS-1-detail_HE.ome.tif", "H&E", (0.3, 0.3)),
    ("OS-2", "OS-2-ndpi_Ki67.ome.tif", "Ki-67", (0.3, 0.3)),
)
"""Name, file, stain, where the field begins as a share of width and height."""
FIELD_UM, EDGE, GAP, TITLE = 110.0, 400, 6, 22
COLORS = {"nucleus": (0, 150, 60), "negative": (20, 70, 220), "positive": (220, 30, 30)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img" / "cells.png")
    given = parser.parse_args()
    rows, counts = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, file, stain, place in SLIDES:
            folder = Path(scratch) / "slides" / name.replace(", ", "-")
            path = given.data / "slides" / file
            run("ingest", path, "-o", folder, "--stain", stain)
            run("tile", folder, "--slide", path)
            run("cells", folder)
            slide = SlideFolder(folder)
            rows.append((name, field(slide, place)))
            counts[name] = counted(slide)
    sheet(rows).quantize(128, dither=Image.Dither.NONE).save(given.out, optimize=True)
    text = json.dumps(counts, indent=1, ensure_ascii=False)
    (ROOT / "benchmarks" / "results" / "cells_real.json").write_text(text + "\n")
    print(json.dumps(counts, indent=1, ensure_ascii=False))


def run(*command: object) -> None:
    """A verb of the command line; it must succeed."""
    subprocess.run([str(part) for part in (PATHAI, *command)], check=True)


def counted(slide: SlideFolder) -> dict[str, object]:
    """What `summary.json` says of the whole slide."""
    summary = slide.read_cells_summary("nuclei-small")
    if summary is None:
        raise SystemExit(f"{slide.path.name} has no summary")
    whole = summary.slide
    found: dict[str, object] = {
        "tissue_mm2": round(whole.tissue_mm2, 3),
        "nuclei": [round(v) for v in (whole.count.value, whole.count.low, whole.count.high)],
    }
    if whole.positive:
        share = whole.positive.analyzed
        found["positive_percent"] = [
            round(100 * v, 1) for v in (share.value, share.low, share.high)
        ]
    return found


def field(slide: SlideFolder, place: tuple[float, float]) -> Image.Image:
    """A field as it is, and beside it with outlines."""
    info, cells = slide.read_slide(), slide.read_cells("nuclei-small")
    edge = FIELD_UM / info.mpp_x
    box = Box(round(info.width * place[0]), round(info.height * place[1]), edge, edge)
    pixels = np.asarray(slide.open_tiles().dask()[0])
    rows, columns = (slice(int(v), int(v + edge)) for v in (box.y, box.x))
    plain = Image.fromarray(np.ascontiguousarray(pixels[rows, columns]))
    plain = plain.resize((EDGE, EDGE), Image.Resampling.BICUBIC)
    drawn, scale = plain.copy(), EDGE / edge
    pen = ImageDraw.Draw(drawn)
    for row in range(len(cells.xy_px0)):
        start, stop = cells.outline_start[row : row + 2]
        points = (cells.outline_px0[start:stop] - (box.x, box.y)) * scale
        if len(points) and (points.max() > 0) and (points.min(axis=0) < EDGE).all():
            corners = [tuple(p) for p in points.tolist()]
            color = COLORS[cells.attrs.classes[cells.class_[row]]]
            pen.line([*corners, corners[0]], fill=color, width=2)
    both = Image.new("RGB", (2 * EDGE + GAP, EDGE), (255, 255, 255))
    both.paste(plain, (0, 0))
    both.paste(drawn, (EDGE + GAP, 0))
    return both


def sheet(rows: list[tuple[str, Image.Image]]) -> Image.Image:
    """All fields, one below the other, with their names."""
    height = sum(picture.height + TITLE + GAP for _, picture in rows)
    whole = Image.new("RGB", (rows[0][1].width, height), (255, 255, 255))
    pen, y = ImageDraw.Draw(whole), 0
    for name, picture in rows:
        pen.text((2, y + 3), name, fill=(40, 40, 40), font=ImageFont.load_default(14))
        whole.paste(picture, (0, y + TITLE))
        y += picture.height + TITLE + GAP
    return whole


if __name__ == "__main__":
    main()
