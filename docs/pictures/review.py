"""Make ``docs/img/review.png``: a real review of a run, in a real window.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python docs/pictures/review.py demo

The reader's decisions go to a temporary folder, so the run is left as it is.
"""

import argparse
import tempfile
import time
from pathlib import Path

from PIL import Image

from pathai.viewer.app import open_window, require_display, require_napari

MAX_BYTES = 600_000
DOCK_PX = 460


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--case", default="", help="by default one with a model's answer")
    parser.add_argument("--out", type=Path, default=Path("docs/img/review.png"))
    chosen = parser.parse_args()
    require_napari()
    require_display()
    with tempfile.TemporaryDirectory() as folder:
        picture = shoot(chosen.run, Path(folder), chosen.case)
    save(picture, chosen.out)
    print(f"{chosen.out}: {chosen.out.stat().st_size / 1000:.0f} kB")


def shoot(run: Path, reviews: Path, case_id: str) -> Image.Image:
    """Review a little, go to the evidence of a model's answer, and take the window's picture."""
    viewer, dock = open_window(run, "reader", reviews, blind=False)
    review = dock.review
    found = [
        (case.case_id, sentence.id, sentence.text)
        for case in review.run.cases.values()
        for sentence in case.sentences
        if sentence.places > 1 and (not case_id or case.case_id == case_id)
    ]
    found.sort(key=lambda one: "“yes” with" not in one[2])  # a tumor shows more
    predicted = [one[:2] for one in found]
    wanted, statement = predicted[0] if predicted else (case_id or next(iter(review.run.cases)), "")
    first = next(iter(review.run.cases))
    if first != wanted:
        review.open_case(first)
    review.open_case(wanted)
    for sentence in review.case.sentences:
        if sentence.id != statement:
            review.select(sentence.id)
            (review.reject if len(review.session.state.decisions) == 3 else review.accept)()
        if len(review.session.state.decisions) > 3:
            break
    review.select(statement)
    settle()
    pixels = viewer.screenshot(canvas_only=False, flash=False)
    viewer.close()
    return Image.fromarray(pixels).convert("RGB")


def settle(seconds: float = 3.0) -> None:
    """Let the window draw itself and the centers of the nuclei appear."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)


def save(picture: Image.Image, out: Path) -> None:
    """Write a PNG below the size limit; slide and dock keep colors of their own."""
    out.parent.mkdir(parents=True, exist_ok=True)
    edge = picture.width - DOCK_PX
    slide = picture.crop((0, 0, edge, picture.height))
    dock = picture.crop((edge, 0, picture.width, picture.height))
    for count in (200, 128, 64):
        palette = Image.new("P", (1, 1))
        palette.putpalette(main_colors(slide, count) + main_colors(dock, 56))
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(out, optimize=True)
        if out.stat().st_size <= MAX_BYTES:
            return
    raise SystemExit(f"{out} is larger than {MAX_BYTES} bytes")


def main_colors(part: Image.Image, count: int) -> list[int]:
    return part.quantize(count, kmeans=1).getpalette()[: 3 * count]


if __name__ == "__main__":
    main()
