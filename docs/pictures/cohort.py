"""Picture of a run's cohort page: ``python docs/pictures/cohort.py demo [docs/img/cohort.png]``.

Needs Chromium (see envs/apt.txt); it opens the page from the disk and loads nothing.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

LIMIT = 500_000
"""Bytes; the picture is in the repository."""


def screenshot(page: Path, out: Path, *, width: int = 1400, height: int = 1500) -> None:
    """Draw a page as Chromium shows it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                f"--screenshot={out.absolute()}",
                page.absolute().as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


def shrink(path: Path) -> None:
    """Bring a PNG below the limit with a palette."""
    image = Image.open(path).convert("RGB")
    for colors in (256, 128, 64):
        image.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LIMIT:
            return
    sys.exit(f"{path.name} has {path.stat().st_size} bytes, {LIMIT} are allowed")


def main() -> None:
    """Draw the page of the run that is named on the command line."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    out = Path(sys.argv[2]) if len(sys.argv) == 3 else Path("docs/img/cohort.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    screenshot(Path(sys.argv[1]) / "results" / "cohort" / "index.html", out)
    shrink(out)


if __name__ == "__main__":
    main()
