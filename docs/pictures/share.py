"""Picture of a share bundle's page: ``python docs/pictures/share.py demo [CASE [SENTENCE]]``.

Needs Chromium (see envs/apt.txt); it opens the page from the disk and loads nothing.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from cohort import shrink

OUT = Path("docs/img/share.png")
WIDTH, HEIGHT = 1400, 820


def screenshot(page: str, out: Path, profile: Path) -> None:
    """Draw a page as Chromium shows it once its pictures are there."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("chromium is missing: apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update"]
    options += ["--hide-scrollbars", "--force-prefers-reduced-motion"]
    options += ["--virtual-time-budget=6000", f"--user-data-dir={profile}"]
    options += [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={out.absolute()}"]
    subprocess.run([browser, *options, page], check=True, capture_output=True, timeout=120)


def main() -> None:
    """Share a case of the run that is named on the command line, and draw its page."""
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    case = sys.argv[2] if len(sys.argv) > 2 else "C02"
    sentence = sys.argv[3] if len(sys.argv) > 3 else "S2"
    code = "from pathai.cli import main; main()"
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "key").write_text("the key of pictures, no secret")
        call = ["share", case, "-o", str(place / "a.zip"), "--key", str(place / "key")]
        call += ["--config", str(Path(sys.argv[1]) / "config.yaml")]
        subprocess.run([sys.executable, "-c", code, *call], check=True)
        with zipfile.ZipFile(place / "a.zip") as archive:
            archive.extractall(place / "page")
        page = (place / "page" / "index.html").as_uri()
        screenshot(f"{page}#{sentence}", OUT, place / "profile")
    shrink(OUT)


if __name__ == "__main__":
    main()
