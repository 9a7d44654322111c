"""One HTML file that loads nothing: the frame of every page that pathai writes.

Styles and scripts stand in the page and are allowed by their SHA-256 alone; pictures are data
URLs. So a page opens from a disk, without network, in ten years, and text that reached it from
a sheet cannot run.
"""

from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from numpy.typing import NDArray

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
"""


def page(title: str, body: str, style: str = "", script: str = "") -> str:
    """A whole page around a body.

    Parameters
    ----------
    title : str
        Plain text; it is escaped.
    body : str
        Markup, already escaped (see `template`). ``style`` and ``on...`` attributes and
        ``javascript:`` links in it have no effect under the page's policy.
    style : str
        CSS after the common one.
    script : str
        JavaScript that runs when the body has been read; the page must be usable without it.

    Returns
    -------
    str
        HTML that refers to nothing outside of itself.

    Raises
    ------
    ValueError
        If style or script would end their own element: write the slash of a closing tag as an
        escape there.
    """
    style = shipped("page.css") + style
    for text, end in ((style, "</style"), (script, "</script")):
        if end in text.lower() or "\r" in text or "\0" in text:
            raise ValueError(f"a page's style and script must not contain {end}, CR or NUL")
    runs = f"'sha256-{_hash(script)}'" if script else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_hash(style)}'; "
        f"script-src {runs}; base-uri 'none'; form-action 'none'"
    )
    head = _HEAD.format(policy=policy, title=escape(title), style=style)
    tail = f"<script>{script}</script>\n" if script else ""
    return f"{head}{body}\n{tail}</body>\n</html>\n"


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def shipped(name: str, package: str = "pathai") -> str:
    """Text of a file that comes with the package."""
    return files(package).joinpath(name).read_text("utf-8")


@lru_cache(maxsize=16)
def template(name: str, package: str) -> Template:
    """A template of a package; every value is escaped, and a missing one is an error."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters["number"] = number
    return environment.from_string(shipped(name, package))


def number(value: float | None, digits: int = 0, missing: str = "–") -> str:
    """A number with commas between thousands; ``missing`` for None and NaN."""
    if value is None or not np.isfinite(value):
        return missing
    return f"{value:,.{digits}f}"


def thumbnail(pixels: NDArray[np.uint8], width: int, height: int, quality: int = 82) -> str:
    """A picture that fits into a box, as a JPEG data URL.

    Parameters
    ----------
    pixels : uint8[h, w, 3]
        Axes y, x, c; not empty.
    width, height : int
        Box in px; the picture keeps its shape and is never enlarged.
    quality : int
        JPEG quality.

    Returns
    -------
    str
        ``data:image/jpeg;base64,...``
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((width, height), Image.Resampling.LANCZOS)
    out = BytesIO()
    options: dict[str, Any] = {"quality": quality, "optimize": True, "subsampling": 0}
    image.save(out, "JPEG", **options)
    return "data:image/jpeg;base64," + b64encode(out.getvalue()).decode()
