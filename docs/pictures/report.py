"""Picture of a draft: ``python docs/pictures/report.py demo [docs/img/report.png]``.

Shows the first case whose draft has a picture of a place, with the sentence of that place in focus.
Needs Chromium (see envs/apt.txt); it opens a copy of the page from the disk and loads nothing.
"""

import re
import sys
import tempfile
from pathlib import Path

from cohort import screenshot, shrink

MARK = "model prediction"
"""What the sentence to focus says; pictures of its places are crops."""


def focused(page: str) -> str | None:
    """The page with the first sentence of a model in focus; None where there is none."""
    for item in re.finditer(r'<li tabindex="0" class="seen">.*?</li>', page, re.DOTALL):
        if MARK in item[0].casefold():
            shown = item[0].replace("<li", "<li autofocus", 1)
            return page[: item.start()] + shown + page[item.end() :]
    return None


def main() -> None:
    """Draw the first draft of the run that is named on the command line."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    out = Path(sys.argv[2]) if len(sys.argv) == 3 else Path("docs/img/report.png")
    for draft in sorted(Path(sys.argv[1]).glob("results/cases/*/draft.html")):
        if page := focused(draft.read_text("utf-8")):
            break
    else:
        sys.exit("no draft of this run shows a place that a model looked at")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "draft.html"
        copy.write_text(page, "utf-8")
        out.parent.mkdir(parents=True, exist_ok=True)
        screenshot(copy, out, width=1100, height=1200)
    shrink(out)


if __name__ == "__main__":
    main()
